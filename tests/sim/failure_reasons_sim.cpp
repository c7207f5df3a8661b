// A failure says what is to blame, whichever entries OpenSSL leaves beside the one that explains
// it.
#include <functional>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <openssl/x509.h>

#include "heddle/fiber.h"
#include "heddle/tls/memory_bio.h"
#include "heddle/tls/ssl_object.h"
#include "heddle/tls/stream.h"

#include "openssl/handles.h"
#include "support/chain.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

constexpr Deadline kNever = Deadline::never();

using openssl::X509Ptr;

// The same certificate, with a signature that does not verify.
X509Ptr forge(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  der[size - 1] ^= 1;
  const unsigned char* at = der;
  X509Ptr forged(d2i_X509(nullptr, &at, size));
  OPENSSL_free(der);
  return forged;
}

class FailureReasonsSim : public testing::TestWithParam<TlsVersion> {
 protected:
  FailureReasonsSim() { server_context_.set_versions(GetParam(), GetParam()).value(); }

  // What the client's handshake, or else its first read, fails with.
  Error failure_of_client() {
    std::optional<Error> error;
    text_.clear();
    sim::World world(1);
    world.run([&] {
      sim::Pipe pipe(world, faults_);
      auto client = test::client(client_context_, pipe.a());
      auto server = test::server(server_context_, pipe.b());
      test::together({[&] {
                        Result<void> done = client.handshake(kNever);
                        if (done) {
                          if (const auto got = test::read_some(client); !got) done = got.error();
                        }
                        if (!done) error = done.error();
                        if (error) text_ = client.explain(*error);
                        (void)client.close(world.after(Duration(1000)));
                      },
                      [&] {
                        if (server.handshake(kNever)) {
                          (void)server.write(test::bytes("hello"), kNever);
                        }
                        (void)server.close(world.after(Duration(1000)));
                      }});
    });
    if (!error) ADD_FAILURE() << "the client did not fail";
    return error.value_or(Error{});
  }

  // What a handshake says of a peer that sends `greeting`, and then ends.
  std::string text_about(Role role, std::string_view greeting) {
    sim::World world(1);
    world.run([&] {
      sim::Pipe pipe(world);
      (void)pipe.b().try_write(test::bytes(greeting));
      pipe.b().shutdown_write();
      auto stream = role == Role::kServer ? test::server(server_context_, pipe.a())
                                          : test::client(client_context_, pipe.a());
      text_ = stream.explain(stream.handshake(kNever).error());
      (void)stream.close(world.after(Duration(1000)));
    });
    return text_;
  }

  std::string text_;  // Of the last failure: Stream::explain().
  sim::Faults faults_;
  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
};

TEST_P(FailureReasonsSim, ForgedCertificateIsUntrusted) {
  const test::Issued ca = test::issue({.common_name = "CA", .is_ca = true});
  test::Issued leaf = test::issue({.common_name = "leaf"}, &ca);
  leaf.certificate = forge(leaf.certificate.get());
  test::trust(client_context_, ca);
  test::show(server_context_, leaf, {});
  const Error error = failure_of_client();
  EXPECT_EQ(error.code, Errc::kUntrusted) << error.message();
  EXPECT_EQ(error.verify_code, X509_V_ERR_CERT_SIGNATURE_FAILURE);
}

TEST_P(FailureReasonsSim, EmptyOcspResponseIsTheServersFault) {
  if (OPENSSL_VERSION_NUMBER >= 0x30600000L) {
    GTEST_SKIP() << "from 3.6 on a server of OpenSSL cannot be made to send one";
  }
  client_context_.on_ocsp_response(
      [](const ConnectionView&, std::string_view) -> Result<bool> { return true; });
  SSL_CTX* const ctx = server_context_.native_handle();
  int (*const staple)(SSL*, void*) = [](SSL* ssl, void*) {
    SSL_set_tlsext_status_ocsp_resp(ssl, OPENSSL_malloc(1), 0);
    return SSL_TLSEXT_ERR_OK;
  };
  SSL_CTX_set_tlsext_status_cb(ctx, staple);
  const Error error = failure_of_client();
  EXPECT_EQ(error.code, Errc::kProtocol) << error.message();
}

// What the cipher says of such bytes is "cipher operation failed".
TEST_P(FailureReasonsSim, RecordThatWasChangedOnItsWayIsABadRecord) {
  sim::World world(1);
  world.run([&] {
    sim::Pipe pipe(world);
    auto client = test::client(client_context_, pipe.a());
    auto server = test::server(server_context_, pipe.b());
    test::together(
        {[&] { client.handshake(kNever).value(); }, [&] { server.handshake(kNever).value(); }});
    const Error of_another = {.code = Errc::kProtocol,
                              .openssl_code = ERR_PACK(ERR_LIB_SSL, 0, SSL_R_UNSUPPORTED_PROTOCOL),
                              .operation = "another"};
    EXPECT_EQ(client.explain(of_another), of_another.message());
    pipe.set_faults({.flip_at = pipe.sent_by_a() + 10});
    client.write(test::bytes("hello"), kNever).value();
    const Error error = test::read_some(server).error();
    EXPECT_EQ(error.code, Errc::kProtocol);
    EXPECT_NE(error.message().find("bad record mac"), std::string::npos) << error.message();
  });
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_P(FailureReasonsSim, FirstLineOfAPeerThatSpeaksNoTlsIsQuoted) {
  struct Case {
    std::string_view greeting;
    const char* quoted;
  };
  for (const auto& [greeting, quoted] :
       {Case{"220 mail.test ESMTP ready\r\n", "\"220 mail.test ESMTP ready\""},
        Case{"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", "\"HTTP/1.1 400 Bad Request\""},
        Case{"GET / HTTP/1.1\r\n\r\n", "\"GET / HTTP/1.1\""},
        Case{"PRI \x1b[2J\xe2\x80\xaeolleh\n", "\"PRI \\1B[2J\\E2\\80\\AEolleh\""},
        Case{"hi\n", "\"hi\""}}) {
    for (const Role role : {Role::kClient, Role::kServer}) {
      const std::string text = text_about(role, greeting);
      EXPECT_TRUE(contains(text, "does not speak TLS, it sent ")) << text;
      EXPECT_TRUE(contains(text, quoted)) << text;
    }
  }
  const std::string endless = text_about(Role::kClient, "220 " + std::string(5000, 'x'));
  EXPECT_LT(endless.size(), 400U);
  EXPECT_TRUE(contains(endless, "xxx...\"")) << endless;
}

TEST_P(FailureReasonsSim, PeerThatBeginsWithARecordIsNotQuoted) {
  using std::string_literals::operator""s;
  for (const Role role : {Role::kClient, Role::kServer}) {
    for (const auto& begin : {"\x16\x03\x03\x00\x04junk"s, "\x15\x03\x01\x00\x02\x02\x28"s,
                              "\x80\x04junk"s, "\x16\x03"s, ""s}) {
      EXPECT_FALSE(contains(text_about(role, begin), "does not speak")) << text_;
    }
  }
}

// It leaves what it has quoted where it was: somebody may go on without TLS.
TEST_P(FailureReasonsSim, QuotedBytesStayInTheMemoryBio) {
  MemoryBio incoming;
  MemoryBio outgoing;
  auto client =
      SslObject::create(client_context_, incoming, outgoing, {.server_name = test::kServerName})
          .value();
  incoming.write(test::bytes("220 ready\r\n")).value();
  const Error error = client.handshake().error();
  EXPECT_TRUE(contains(client.explain(error), "it sent \"220 ready\"")) << client.explain(error);
  EXPECT_EQ(incoming.pending(), 6U);
}

TEST_P(FailureReasonsSim, PeerWithOnlyOlderTlsIsCalledThat) {
  server_context_ = test::server_context(KeyType::kEcdsaP256);
  SSL_CTX* const ctx = server_context_.native_handle();
  SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0");
  SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
  SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
  const auto expect_older_than = [this](const char* oldest) {
    EXPECT_EQ(failure_of_client().code, Errc::kProtocol);
    EXPECT_TRUE(contains(text_, std::string("the server offers only older TLS than ") + oldest))
        << text_;
  };
  // It refuses TLS 1.3 by an alert, and TLS 1.2 by one about ciphers: older TLS has none of those
  // that are offered. If it has one, it answers with TLS 1.1.
  client_context_.set_versions(GetParam(), GetParam()).value();
  const char* const oldest = GetParam() == TlsVersion::kTls12 ? "TLS 1.2" : "TLS 1.3";
  expect_older_than(oldest);
  client_context_.set_ciphers("ALL:@SECLEVEL=0").value();
  expect_older_than(oldest);
  client_context_.set_versions(TlsVersion::kTls12, TlsVersion::kTls13).value();
  expect_older_than("TLS 1.2");
}

TEST_P(FailureReasonsSim, ServerThatAllowsNoneOfTheVersionsIsCalledThat) {
  const bool is_12 = GetParam() == TlsVersion::kTls12;
  const TlsVersion other = is_12 ? TlsVersion::kTls13 : TlsVersion::kTls12;
  client_context_.set_versions(other, other).value();
  EXPECT_EQ(failure_of_client().code, Errc::kProtocol);
  EXPECT_TRUE(contains(text_, is_12 ? "the server offers only older TLS than TLS 1.3"
                                    : "the server allows none of the versions of TLS"))
      << text_;
}

INSTANTIATE_TEST_SUITE_P(Versions, FailureReasonsSim,
                         testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                         [](const auto& made) {
                           return made.param == TlsVersion::kTls12 ? "Tls12" : "Tls13";
                         });

}  // namespace
}  // namespace heddle
