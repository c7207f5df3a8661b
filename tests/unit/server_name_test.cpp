// What a client sends as the name that it asks for, what the certificate must be for, and whether
// the server acknowledges the name.
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "openssl/handles.h"
#include "support/ssl_object_pair.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

class ServerNameTest : public testing::Test {
 protected:
  void show(const std::vector<std::string>& names) {
    const Identity identity = make_self_signed(names).value();
    server_.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
    client_.add_trusted_certificates(test::bytes(identity.certificate_pem)).value();
  }

  struct Outcome {
    Result<Progress> handshake;
    std::string name;  // As the server has got it.
  };
  Outcome ask_for(const std::string& name) {
    test::End ours;
    test::End theirs;
    ours.open(client_, name);
    theirs.open(server_, "");
    Result<Progress> done = ours.tls->handshake();
    for (int flight = 0; flight < 2 && done; ++flight) {
      test::move(ours.outgoing, theirs.incoming);
      (void)theirs.tls->handshake();
      test::move(theirs.outgoing, ours.incoming);
      done = ours.tls->handshake();
    }
    return {std::move(done), std::string(theirs.tls->connection_state().server_name)};
  }
  void expect_good(const std::string& name, const std::string& sent) {
    const Outcome outcome = ask_for(name);
    EXPECT_TRUE(outcome.handshake) << name << ": " << outcome.handshake.error().message();
    EXPECT_EQ(outcome.name, sent);
  }
  void expect_mismatch(const std::string& name) {
    const Outcome outcome = ask_for(name);
    ASSERT_FALSE(outcome.handshake) << name;
    EXPECT_EQ(outcome.handshake.error().verify_code, X509_V_ERR_HOSTNAME_MISMATCH) << name;
  }

  Context client_ = Context::create(Role::kClient, Trust::kNothing).value();
  Context server_ = Context::create(Role::kServer).value();
  test::OwnEntries entries_;
};

TEST_F(ServerNameTest, DotAtTheEndIsNoPartOfTheName) {
  show({"named.example.test"});
  expect_good("named.example.test.", "named.example.test");
  expect_good("NAMED.example.test", "named.example.test");
}

TEST_F(ServerNameTest, AddressIsNotSentAndItsZoneNotVerified) {
  show({"::1", "192.0.2.1"});
  expect_good("::1", "");
  expect_good("::1%lo", "");
  expect_good("0:0:0:0:0:0:0:1", "");
  expect_good("192.0.2.1", "");
}

TEST_F(ServerNameTest, AsteriskStandsForOneLabelAlsoWithAnUnderscore) {
  show({"*.example.test"});
  expect_good("foo_bar.example.test", "foo_bar.example.test");
  expect_good("foo-bar.example.test", "foo-bar.example.test");
  expect_mismatch("a.foo_bar.example.test");
  expect_mismatch("foo_bar.example.other");
  expect_mismatch("_.a.example.test");
  expect_mismatch("example.test");
}

// ThreadedTests.test_check_hostname_idn.
TEST_F(ServerNameTest, InternationalNamesAreComparedInTheirXnForm) {
  show({"xn--mnchen-3ya.test", "*.xn--kln-sna.test"});
  expect_good("xn--mnchen-3ya.test", "xn--mnchen-3ya.test");
  expect_good("XN--Mnchen-3YA.test", "xn--mnchen-3ya.test");
  expect_good("www.xn--kln-sna.test", "www.xn--kln-sna.test");
  expect_mismatch("xn--kln-sna.test");
  expect_mismatch("xn--mnchen-4ya.test");
  expect_mismatch("munchen.test");
}

TEST_F(ServerNameTest, UnderscoreIsNoHyphen) {
  show({"foo-bar.example.test", "baz_.example.test"});
  expect_mismatch("foo_bar.example.test");
  expect_good("baz_.example.test", "baz_.example.test");
}

// One that has the name of the server as its common name, and `san`.
openssl::X509Ptr make_certificate(EVP_PKEY* key, const char* san) {
  openssl::X509Ptr made(X509_new());
  const openssl::X509NamePtr name(X509_NAME_new());
  X509_NAME_add_entry_by_txt(name.get(), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(test::kServerName), -1, -1, 0);
  X509_set_version(made.get(), 2);
  X509_set_subject_name(made.get(), name.get());
  X509_set_issuer_name(made.get(), name.get());
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
  X509_set_pubkey(made.get(), key);
  if (san != nullptr) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, made.get(), made.get(), nullptr, nullptr, 0);
    const openssl::X509ExtensionPtr extension(
        X509V3_EXT_conf_nid(nullptr, &context, NID_subject_alt_name, san));
    X509_add_ext(made.get(), extension.get(), -1);
  }
  X509_sign(made.get(), key, EVP_sha256());
  return made;
}

TEST_F(ServerNameTest, CommonNameIsNoHostName) {
  SSL_CTX* const client = client_.native_handle();
  X509_VERIFY_PARAM_clear_flags(SSL_CTX_get0_param(client), X509_V_FLAG_X509_STRICT);
  const openssl::KeyPtr key(EVP_EC_gen("P-256"));
  for (const char* const san : {"DNS:server.test", static_cast<const char*>(nullptr),
                                "IP:192.0.2.1", "email:me@server.test"}) {
    const openssl::X509Ptr certificate = make_certificate(key.get(), san);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(client), certificate.get());
    SSL_CTX_use_cert_and_key(server_.native_handle(), certificate.get(), key.get(), nullptr, 1);
    if (san != nullptr && san == std::string_view("DNS:server.test")) {
      expect_good(test::kServerName, test::kServerName);
    } else {
      expect_mismatch(test::kServerName);
    }
  }
}

TEST_F(ServerNameTest, NamesThatNobodyHasAreRefusedAtOnce) {
  MemoryBio in;
  MemoryBio out;
  Context careless = Context::create(Role::kClient, Trust::kNothing).value();
  careless.set_check_hostname(false);
  for (const Context* const context : {&client_, &careless}) {
    for (const char* const name : {".", "a..", "host:443", "a b", "[::1]", "m\xc3\xbcnchen.test",
                                   "*.example.test", "127.1"}) {
      auto refused = SslObject::create(*context, in, out, {.server_name = name});
      ASSERT_FALSE(refused) << name;
      EXPECT_EQ(refused.error().code, Errc::kInvalid);
      EXPECT_EQ(refused.error().context(), name);
    }
  }
}

// SSL_set_tlsext_debug_callback(3): an extension that the server has sent.
void note_server_name(SSL* /*ssl*/, int /*of_server*/, int type, const unsigned char* /*data*/,
                      int /*size*/, void* seen) {
  if (type == TLSEXT_TYPE_server_name) *static_cast<bool*>(seen) = true;
}

class ServerNameAnswerTest : public testing::TestWithParam<TlsVersion> {
 protected:
  ServerNameAnswerTest() { client_.set_versions(GetParam(), GetParam()).value(); }

  struct Answer {
    bool acknowledged = false;
    bool resumed = false;
    std::optional<Session> session;
  };
  // A connection to its end, with what the server's hello and encrypted extensions say.
  Answer ask(const Context& server, const std::optional<Session>& session) {
    Answer answer;
    test::End ours;
    test::End theirs;
    theirs.open(server, "");
    ours.tls = SslObject::create(client_, ours.incoming, ours.outgoing,
                                 {.server_name = test::kServerName, .session = session})
                   .value();
    SSL* const ssl = ours.tls->native_handle();
    SSL_set_tlsext_debug_callback(ssl, note_server_name);
    SSL_set_tlsext_debug_arg(ssl, &answer.acknowledged);
    for (int flight = 0; flight < 3; ++flight) {
      (void)ours.tls->handshake().value();
      test::move(ours.outgoing, theirs.incoming);
      (void)theirs.tls->handshake().value();
      test::move(theirs.outgoing, ours.incoming);
    }
    EXPECT_EQ(ours.read_one()->kind, Progress::Kind::kWantRead) << "tickets are no data";
    (void)ours.tls->shutdown();  // Else OpenSSL gives the session up.
    answer.resumed = ours.tls->connection_state().resumed;
    answer.session.emplace(SSL_get1_session(ssl));
    SSL_SESSION_free(answer.session->native_handle());
    return answer;
  }

  Context server_ = test::server_context();
  Context client_ = test::client_context();
  test::OwnEntries entries_;
};

// Names belong to connections in TLS 1.3 (RFC 8446, section 4.6.1), and to sessions before: a
// server that resumes one does not answer the name again (RFC 6066, section 3).
TEST_P(ServerNameAnswerTest, ResumedHandshakeAcknowledgesWhatAFullOneWould) {
  const Context other = test::server_context();
  const auto go_on = [](const ClientHello&) { return HelloAnswer::go_on(); };
  const auto use = [&](const ClientHello&) { return HelloAnswer::use(other); };
  for (const ServerNameCallback& callback :
       {ServerNameCallback(), ServerNameCallback(go_on), ServerNameCallback(use)}) {
    const bool wanted = callback != nullptr;
    server_.on_server_name(callback);
    const Answer full = ask(server_, std::nullopt);
    EXPECT_FALSE(full.resumed);
    EXPECT_EQ(full.acknowledged, wanted);
    const Answer resumed = ask(server_, full.session);
    EXPECT_TRUE(resumed.resumed);
    EXPECT_EQ(resumed.acknowledged, wanted && GetParam() == TlsVersion::kTls13);
  }
}

INSTANTIATE_TEST_SUITE_P(Versions, ServerNameAnswerTest, test::kTlsVersions, test::version_name);

}  // namespace
}  // namespace heddle
