// Contexts: what cannot be read, parsed or used is refused with a reason, and what
// was refused has changed nothing.
#include "heddle/tls/context.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

#include "heddle/error_queue.h"
#include "heddle/tls/certificate.h"

#include "openssl/handles.h"
#include "support/own_entries.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::string_literals::operator""s;
using std::filesystem::path;

// A folder of its own, and entries in the error queue that must still be there, with
// their mark, when the test ends.
class ContextTest : public testing::Test {
 protected:
  ContextTest() {
    std::string name = testing::TempDir() + "heddle-context-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }

  ~ContextTest() override { std::filesystem::remove_all(folder_); }

  path file(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }

  path fifo() {
    EXPECT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
    return folder_ / "fifo";
  }

  path chain() { return file("chain.pem", ours_.certificate_pem); }
  path key() { return file("key.pem", ours_.key_pem); }

  static void expect_refused(const Result<void>& result, const char* operation, int sys_errno = 0) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Errc::kInvalid) << result.error().message();
    EXPECT_STREQ(result.error().operation, operation);
    EXPECT_EQ(result.error().sys_errno, sys_errno) << result.error().message();
    if (sys_errno == 0) {
      EXPECT_NE(result.error().openssl_code, 0U) << result.error().message();
    }
  }

  // A PKCS #8 key under `password`.
  static std::string encrypted_key(const Identity& identity, const std::string& password) {
    const ErrorQueueScope scope(Leftovers::kDrop);
    const openssl::BioPtr in(
        BIO_new_mem_buf(identity.key_pem.data(), static_cast<int>(identity.key_pem.size())));
    const openssl::KeyPtr key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
    const openssl::BioPtr out(BIO_new(BIO_s_mem()));
    EXPECT_EQ(
        PEM_write_bio_PKCS8PrivateKey(out.get(), key.get(), EVP_aes_256_cbc(), password.c_str(),
                                      static_cast<int>(password.size()), nullptr, nullptr),
        1);
    char* data = nullptr;
    const long size = BIO_get_mem_data(out.get(), &data);
    return {data, static_cast<std::size_t>(size)};
  }

  const Identity& ours_ = test::identity();
  const Identity other_ = make_self_signed({"other.test"}, KeyType::kEd25519).value();
  path folder_;
  Context server_ = Context::create(Role::kServer).value();
  test::OwnEntries entries_;
};

struct Agreed {
  Result<void> outcome;
  std::string alpn;
  std::string version;
  std::string certificate;  // SHA-256 of what the client saw.
};

// What a client finds out about the server.
Agreed connect(const Context& server_context, const Context& client_context) {
  sim::World world(1);
  sim::Pipe pipe(world);
  Agreed agreed;
  world.spawn("server", [&] {
    auto stream = test::server(server_context, pipe.b());
    (void)stream.handshake(world.after(std::chrono::seconds(10)));
    (void)stream.close(world.after(std::chrono::seconds(1)));
  });
  world.spawn("client", [&] {
    auto stream = test::client(client_context, pipe.a());
    agreed.outcome = stream.handshake(world.after(std::chrono::seconds(10)));
    agreed.alpn = stream.connection_state().alpn;
    agreed.version = stream.connection_state().version;
    const auto chain = stream.peer_certificates();
    if (!chain.empty()) agreed.certificate = chain.front().sha256;
    (void)stream.close(world.after(std::chrono::seconds(1)));
  });
  world.run();
  return agreed;
}

TEST_F(ContextTest, FilesMakeAServerThatItsClientsTrust) {
  const auto loaded = server_.load_cert_chain(chain(), key());
  ASSERT_TRUE(loaded) << loaded.error().message();
  Context client = Context::create(Role::kClient, Trust::kNothing).value();
  const auto trusted = client.load_verify_locations(chain());
  ASSERT_TRUE(trusted) << trusted.error().message();
  const Agreed agreed = connect(server_, client);
  EXPECT_TRUE(agreed.outcome) << agreed.outcome.error().message();
  EXPECT_EQ(agreed.certificate, ours_.sha256);
}

TEST_F(ContextTest, KeyMayLieInTheChainsFile) {
  const path both = file("both.pem", ours_.key_pem + "\nremark\n" + ours_.certificate_pem);
  const auto loaded = server_.load_cert_chain(both, both);
  EXPECT_TRUE(loaded) << loaded.error().message();
}

TEST_F(ContextTest, ChainKeepsItsOrder) {
  const auto used =
      server_.use_cert_chain(ours_.certificate_pem + other_.certificate_pem, ours_.key_pem);
  ASSERT_TRUE(used) << used.error().message();
  STACK_OF(X509)* rest = nullptr;
  SSL_CTX_get0_chain_certs(server_.native_handle(), &rest);
  EXPECT_EQ(sk_X509_num(rest), 1);
}

TEST_F(ContextTest, ErrorNamesTheFileThatCannotBeRead) {
  constexpr const char* kChain = "read a certificate chain";
  constexpr const char* kKey = "read a private key";
  const path missing = folder_ / "missing";
  const path pipe = fifo();
  const path huge = file("huge", std::string((1 << 20) + 1, '\n'));
  expect_refused(server_.load_cert_chain(missing, key()), kChain, ENOENT);
  expect_refused(server_.load_cert_chain(chain(), missing), kKey, ENOENT);
  expect_refused(server_.load_cert_chain(folder_, key()), kChain, EISDIR);
  expect_refused(server_.load_cert_chain(chain(), folder_), kKey, EISDIR);
  expect_refused(server_.load_cert_chain(pipe, key()), kChain, EINVAL);
  expect_refused(server_.load_cert_chain(chain(), pipe), kKey, EINVAL);
  expect_refused(server_.load_cert_chain(huge, key()), kChain, EFBIG);
  expect_refused(server_.load_cert_chain(chain() / "below a file", key()), kChain, ENOTDIR);
}

TEST_F(ContextTest, ErrorNamesTheTextThatCannotBeParsed) {
  constexpr const char* kChain = "parse a certificate chain";
  constexpr const char* kKey = "parse a private key";
  const std::string& pem = ours_.certificate_pem;
  for (const std::string& bad :
       {""s, "nonsense"s, ours_.key_pem, pem.substr(0, pem.size() / 2),
        pem + other_.certificate_pem.substr(0, 100),
        pem + "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"}) {
    expect_refused(server_.load_cert_chain(file("bad", bad), key()), kChain);
    expect_refused(server_.use_cert_chain(bad, ours_.key_pem), kChain);
  }
  for (const std::string& bad : {""s, "nonsense"s, pem, ours_.key_pem.substr(0, 60)}) {
    expect_refused(server_.load_cert_chain(chain(), file("bad", bad)), kKey);
    expect_refused(server_.use_cert_chain(pem, bad), kKey);
  }
}

TEST_F(ContextTest, KeyOfAnotherCertificateIsRefused) {
  constexpr const char* kMatch = "match a private key with its certificate";
  expect_refused(server_.use_cert_chain(ours_.certificate_pem, other_.key_pem), kMatch);
  const Identity& other_type = test::identity(KeyType::kEcdsaP256);
  expect_refused(server_.use_cert_chain(ours_.certificate_pem, other_type.key_pem), kMatch);
}

TEST_F(ContextTest, EncryptedKeyNeedsItsPassword) {
  constexpr const char* kKey = "parse a private key";
  const std::string& pem = ours_.certificate_pem;
  const std::string locked = encrypted_key(ours_, "open sesame");
  // Never asked for at the terminal: this would hang.
  expect_refused(server_.use_cert_chain(pem, locked), kKey);
  expect_refused(server_.use_cert_chain(pem, locked, "open says me"), kKey);
  expect_refused(server_.use_cert_chain(pem, locked, std::string(100'000, 'x')), kKey);
  const auto used = server_.use_cert_chain(pem, locked, "open sesame");
  EXPECT_TRUE(used) << used.error().message();
  const auto needless = server_.use_cert_chain(pem, ours_.key_pem, "not needed");
  EXPECT_TRUE(needless) << needless.error().message();
}

TEST_F(ContextTest, ServerThatRefusedAnotherKeyGoesOnWithItsOld) {
  ASSERT_TRUE(server_.load_cert_chain(chain(), key()));
  EXPECT_FALSE(server_.load_cert_chain(folder_ / "missing", key()));
  EXPECT_FALSE(server_.load_cert_chain(file("bad", "nonsense"), key()));
  EXPECT_FALSE(server_.use_cert_chain(other_.certificate_pem, ours_.key_pem));
  EXPECT_FALSE(server_.use_cert_chain(other_.certificate_pem, encrypted_key(other_, "x"), "y"));
  const Agreed agreed = connect(server_, test::client_context());
  EXPECT_TRUE(agreed.outcome) << agreed.outcome.error().message();
  EXPECT_EQ(agreed.certificate, ours_.sha256);
}

TEST_F(ContextTest, ServerMayTakeANewKey) {
  ASSERT_TRUE(server_.use_cert_chain(other_.certificate_pem, other_.key_pem));
  ASSERT_TRUE(server_.use_cert_chain(ours_.certificate_pem, ours_.key_pem));
  EXPECT_EQ(connect(server_, test::client_context()).certificate, ours_.sha256);
}

TEST_F(ContextTest, TrustThatCannotBeLoadedIsRefused) {
  constexpr const char* kLoad = "load trusted certificates";
  Context client = Context::create(Role::kClient, Trust::kNothing).value();
  expect_refused(client.load_verify_locations(folder_ / "missing"), kLoad, ENOENT);
  expect_refused(client.load_verify_locations(chain() / "below a file"), kLoad, ENOTDIR);
  expect_refused(client.load_verify_locations(file("empty", "")), kLoad);
  expect_refused(client.load_verify_locations(file("junk", "nonsense")), kLoad);
  expect_refused(client.load_verify_locations(key()), kLoad);
  expect_refused(client.load_verify_locations(file("cut", ours_.certificate_pem.substr(0, 100))),
                 kLoad);
}

TEST_F(ContextTest, ErrorNamesTheFileThatIsAtFault) {
  const path missing = folder_ / "missing";
  const path junk = file("junk", "nonsense");
  const path other = file("other", other_.key_pem);
  const auto at_fault = [](const Result<void>& result) {
    return result ? path("none") : path(result.error().context());
  };
  EXPECT_EQ(at_fault(server_.load_cert_chain(missing, key())), missing);
  EXPECT_EQ(at_fault(server_.load_cert_chain(junk, key())), junk);
  EXPECT_EQ(at_fault(server_.load_cert_chain(chain(), junk)), junk);
  EXPECT_EQ(at_fault(server_.load_cert_chain(chain(), other)), other) << "not the certificate's";
  Context client = Context::create(Role::kClient, Trust::kNothing).value();
  EXPECT_EQ(at_fault(client.load_verify_locations(missing)), missing);
  EXPECT_EQ(at_fault(client.load_verify_locations(junk)), junk);
  EXPECT_EQ(at_fault(client.load_verify_locations(folder_)), folder_) << "it has no hash names";
  EXPECT_EQ(at_fault(client.set_key_log_file(folder_)), folder_);
  EXPECT_EQ(server_.use_cert_chain("nonsense", ours_.key_pem).error().context(), "") << "no file";
}

TEST_F(ContextTest, FolderOfTrustNeedsANameThatOpenSslLooksFor) {
  Context client = Context::create(Role::kClient, Trust::kNothing).value();
  (void)chain();
  for (const char* const other : {"5ed36f99", "5ed36f99.", "5ed36f99.x", "5ed36f99.r", "5ed36f9.0",
                                  "5ed36f999.0", "5ed36f9x.0", "5ed36f99-0", ".0"}) {
    (void)file(other, ours_.certificate_pem);
  }
  const auto refused = client.load_verify_locations(folder_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
  EXPECT_STREQ(refused.error().operation, "load trusted certificates");
  EXPECT_STREQ(refused.error().detail,
               "the folder has none under a hash name, which openssl rehash makes");
  for (const char* const name : {"5ed36f99.0", "5ed36f99.r12"}) {
    const path hashed = file(name, ours_.certificate_pem);
    const auto loaded = client.load_verify_locations(folder_);
    EXPECT_TRUE(loaded) << loaded.error().message();
    std::filesystem::remove(hashed);
  }
}

// Opening one would wait for a writer that never comes.
TEST_F(ContextTest, TrustFromAFifoIsRefused) {
  Context client = Context::create(Role::kClient, Trust::kNothing).value();
  expect_refused(client.load_verify_locations(fifo()), "load trusted certificates", EINVAL);
}

TEST_F(ContextTest, FilesWithoutPermissionAreRefused) {
  constexpr ::uid_t kNobody = 65534;
  const path trust = chain();
  const path secret = key();
  ASSERT_EQ(::chmod(secret.c_str(), 0), 0);
  ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
  const path hidden = folder_ / "hidden";
  ASSERT_TRUE(std::filesystem::create_directory(hidden));
  std::ofstream(hidden / "chain.pem") << ours_.certificate_pem;
  ASSERT_EQ(::chmod(hidden.c_str(), 0), 0);
  const bool root = ::geteuid() == 0;
  if (root) {
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  Context client = Context::create(Role::kClient, Trust::kNothing).value();
  expect_refused(client.load_verify_locations(hidden / "chain.pem"), "load trusted certificates",
                 EACCES);
  const auto unreadable = client.load_verify_locations(secret);
  EXPECT_EQ(unreadable.error().sys_errno, EACCES) << unreadable.error().message();
  expect_refused(server_.load_cert_chain(trust, secret), "read a private key", EACCES);
  if (root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ASSERT_EQ(::chmod(hidden.c_str(), 0700), 0);
}

TEST_F(ContextTest, TrustInMemoryMayBePemOrDer) {
  const std::string der = parse_certificate(ours_.certificate_pem).value().der;
  ASSERT_TRUE(server_.use_cert_chain(ours_.certificate_pem, ours_.key_pem));
  for (const std::string& good :
       {ours_.certificate_pem, other_.certificate_pem + ours_.certificate_pem,
        ours_.certificate_pem + ours_.certificate_pem, "A remark\n" + ours_.certificate_pem, der}) {
    Context client = Context::create(Role::kClient, Trust::kNothing).value();
    const auto trusted = client.add_trusted_certificates(test::bytes(good));
    ASSERT_TRUE(trusted) << trusted.error().message();
    EXPECT_TRUE(connect(server_, client).outcome);
  }
}

TEST_F(ContextTest, TrustInMemoryThatCannotBeParsedIsRefusedWhole) {
  const std::string der = parse_certificate(ours_.certificate_pem).value().der;
  ASSERT_TRUE(server_.use_cert_chain(ours_.certificate_pem, ours_.key_pem));
  Context client = Context::create(Role::kClient, Trust::kNothing).value();
  for (const std::string& bad :
       {""s, "nonsense"s, der.substr(0, der.size() - 1), der + "x", ours_.key_pem,
        ours_.certificate_pem + other_.certificate_pem.substr(0, 100)}) {
    const auto refused = client.add_trusted_certificates(test::bytes(bad));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid) << refused.error().message();
    EXPECT_STREQ(refused.error().operation, "parse trusted certificates");
  }
  EXPECT_EQ(connect(server_, client).outcome.error().code, Errc::kUntrusted);
}

TEST_F(ContextTest, UnknownNamesAreRefused) {
  expect_refused(server_.set_ciphers("NO-SUCH-CIPHER"), "set the TLS 1.2 ciphers");
  expect_refused(server_.set_ciphersuites("NO_SUCH_SUITE"), "set the TLS 1.3 ciphersuites");
  ASSERT_FALSE(server_.set_groups("no-such-group"));
  EXPECT_EQ(server_.set_groups("no-such-group").error().code, Errc::kInvalid);
  EXPECT_TRUE(server_.set_ciphers("ECDHE+AESGCM"));
  EXPECT_TRUE(server_.set_ciphersuites("TLS_AES_128_GCM_SHA256"));
  EXPECT_TRUE(server_.set_groups("X25519:P-256"));
}

TEST_F(ContextTest, RefusedCiphersLeaveTheOldOnes) {
  const auto names = [this] {
    std::vector<std::string> all;
    const STACK_OF(SSL_CIPHER)* const ciphers = SSL_CTX_get_ciphers(server_.native_handle());
    for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); ++i) {
      all.emplace_back(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i)));
    }
    return all;
  };
  const auto before = names();
  EXPECT_FALSE(server_.set_ciphersuites("NO_SUCH_SUITE"));
  EXPECT_EQ(names(), before);
  EXPECT_FALSE(server_.set_ciphers("NO-SUCH-CIPHER"));
  EXPECT_EQ(names(), before);
}

TEST_F(ContextTest, VersionsMayBeNarrowed) {
  Context client = test::client_context();
  ASSERT_TRUE(server_.use_cert_chain(ours_.certificate_pem, ours_.key_pem));
  EXPECT_EQ(connect(server_, client).version, "TLSv1.3");
  ASSERT_TRUE(server_.set_versions(TlsVersion::kTls12, TlsVersion::kTls12));
  EXPECT_EQ(connect(server_, client).version, "TLSv1.2");
  ASSERT_TRUE(client.set_versions(TlsVersion::kTls13, TlsVersion::kTls13));
  EXPECT_EQ(connect(server_, client).outcome.error().code, Errc::kProtocol);
}

TEST_F(ContextTest, AlpnNamesOfAnImpossibleLengthAreRefusedAndTheOldOnesStay) {
  using Protocols = std::vector<std::string_view>;
  Context client = test::client_context();
  ASSERT_TRUE(server_.use_cert_chain(ours_.certificate_pem, ours_.key_pem));
  const std::string longest(255, 'x');
  ASSERT_TRUE(server_.set_alpn_protocols(Protocols{longest, "h2", "http/1.1"}));
  ASSERT_TRUE(client.set_alpn_protocols(Protocols{"http/1.1", "h2"}));
  const std::string too_long(256, 'x');
  for (Context* const context : {&server_, &client}) {
    for (const Protocols& bad :
         {Protocols{""}, Protocols{too_long}, Protocols{"h3", ""}, Protocols{"h3", too_long}}) {
      const auto refused = context->set_alpn_protocols(bad);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, Errc::kInvalid) << refused.error().message();
    }
  }
  EXPECT_EQ(connect(server_, client).alpn, "h2");  // The server's preference.
  ASSERT_TRUE(client.set_alpn_protocols(Protocols{longest}));
  EXPECT_EQ(connect(server_, client).alpn, longest);
  ASSERT_TRUE(client.set_alpn_protocols(Protocols{"spdy/3"}));
  const Agreed nothing_in_common = connect(server_, client);
  ASSERT_FALSE(nothing_in_common.outcome);
  EXPECT_EQ(ERR_GET_REASON(nothing_in_common.outcome.error().openssl_code),
            SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
  ASSERT_TRUE(server_.set_alpn_protocols({}));
  ASSERT_TRUE(client.set_alpn_protocols({}));
  EXPECT_EQ(connect(server_, client).alpn, "");
}

TEST_F(ContextTest, AlpnListThatFitsNoHandshakeIsRefused) {
  const std::string longest(255, 'x');
  const std::vector<std::string_view> all(256, longest);  // 65536 bytes on the wire.
  for (const Role role : {Role::kClient, Role::kServer}) {
    const auto refused = Context::create(role).value().set_alpn_protocols(all);
    EXPECT_FALSE(refused);
  }
}

TEST_F(ContextTest, DefaultsVerifyServersAndAskNoClient) {
  const Context client = Context::create(Role::kClient, Trust::kNothing).value();
  EXPECT_EQ(client.verify_mode(), VerifyMode::kRequired);
  EXPECT_TRUE(client.check_hostname());
  EXPECT_EQ(client.role(), Role::kClient);
  EXPECT_EQ(server_.verify_mode(), VerifyMode::kNone);
  EXPECT_FALSE(server_.check_hostname());
  EXPECT_EQ(SSL_CTX_get_security_level(server_.native_handle()), 2);
  EXPECT_EQ(SSL_CTX_get_min_proto_version(client.native_handle()), TLS1_2_VERSION);
  EXPECT_NE(SSL_CTX_get_options(server_.native_handle()) & SSL_OP_NO_RENEGOTIATION, 0U);
  EXPECT_NE(SSL_CTX_get_options(server_.native_handle()) & SSL_OP_NO_COMPRESSION, 0U);
}

std::string cipher_names(const Context& context) {
  std::string all;
  const STACK_OF(SSL_CIPHER)* const ciphers = SSL_CTX_get_ciphers(context.native_handle());
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); ++i) {
    all.append(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i))) += ' ';
  }
  return all;
}

// What "python3 -c 'import ssl; print(ssl.create_default_context().get_ciphers())'" names.
TEST_F(ContextTest, DefaultCiphersAreThoseOfPython) {
  for (const Role role : {Role::kClient, Role::kServer}) {
    EXPECT_EQ(cipher_names(Context::create(role, Trust::kNothing).value()),
              "TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256 TLS_AES_128_GCM_SHA256 "
              "ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-RSA-AES256-GCM-SHA384 "
              "ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256 "
              "ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305 "
              "ECDHE-ECDSA-AES256-SHA384 ECDHE-RSA-AES256-SHA384 "
              "ECDHE-ECDSA-AES128-SHA256 ECDHE-RSA-AES128-SHA256 "
              "DHE-RSA-AES256-GCM-SHA384 DHE-RSA-AES128-GCM-SHA256 "
              "DHE-RSA-AES256-SHA256 DHE-RSA-AES128-SHA256 ");
  }
}

TEST_F(ContextTest, WhoHasAPskAddsItsCiphersToAListWithoutAny) {
  const auto nobody = [](const ConnectionView&, std::string_view) { return std::optional<Psk>(); };
  const std::string before = cipher_names(server_);
  server_.on_psk_server(nobody);
  const std::string after = cipher_names(server_);
  EXPECT_TRUE(after.starts_with(before)) << after;
  EXPECT_NE(after.find(" ECDHE-PSK-CHACHA20-POLY1305 "), std::string::npos) << after;
  EXPECT_NE(after.find(" PSK-AES128-GCM-SHA256 "), std::string::npos) << after;
  EXPECT_EQ(after.find("-SHA "), std::string::npos) << after;
  server_.set_ciphers("PSK-AES128-GCM-SHA256").value();
  const std::string chosen = cipher_names(server_);
  server_.on_psk_server(nobody);
  EXPECT_EQ(cipher_names(server_), chosen);
}

TEST_F(ContextTest, DefaultGroupsHaveNoFiniteField) {
  ASSERT_TRUE(server_.use_cert_chain(ours_.certificate_pem, ours_.key_pem));
  Context client = Context::create(Role::kClient, Trust::kNothing).value();
  ASSERT_TRUE(client.add_trusted_certificates(test::bytes(ours_.certificate_pem)));
  for (const char* const group : {"X25519", "P-256", "P-384"}) {
    client.set_groups(group).value();
    const Agreed agreed = connect(server_, client);
    EXPECT_TRUE(agreed.outcome) << group << ": " << agreed.outcome.error().message();
  }
  for (const char* const group : {"ffdhe2048", "ffdhe8192", "P-521", "X448"}) {
    client.set_groups(group).value();
    EXPECT_FALSE(connect(server_, client).outcome) << group;
  }
}

// Not that there is no shared cipher.
TEST_F(ContextTest, ServerWithoutACertificateSaysSo) {
  for (const TlsVersion version : {TlsVersion::kTls12, TlsVersion::kTls13}) {
    Context client = test::client_context();
    client.set_versions(version, version).value();
    sim::World world(1);
    sim::Pipe pipe(world);
    world.spawn("client", [&] {
      (void)test::client(client, pipe.a()).handshake(world.after(std::chrono::seconds(10)));
    });
    world.run([&] {
      auto stream = test::server(server_, pipe.b());
      const auto failed = stream.handshake(world.after(std::chrono::seconds(10)));
      ASSERT_FALSE(failed);
      EXPECT_EQ(failed.error().code, Errc::kInvalid) << failed.error().message();
      EXPECT_STREQ(failed.error().detail, "the server's context has no certificate");
    });
  }
}

TEST_F(ContextTest, VerifyModesComeBackAsTheyWereSet) {
  for (const VerifyMode mode : {VerifyMode::kOptional, VerifyMode::kRequired, VerifyMode::kNone}) {
    server_.set_verify_mode(mode);
    EXPECT_EQ(server_.verify_mode(), mode);
  }
}

}  // namespace
}  // namespace heddle
