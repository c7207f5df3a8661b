// A failure says what is to blame, whichever entries OpenSSL leaves beside the one that explains
// it.
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"

#include "openssl/handles.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

constexpr Deadline kNever = Deadline::never();

using openssl::KeyPtr;
using openssl::X509Ptr;

void add_extension(X509* certificate, X509* issuer, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
  ASSERT_NE(extension, nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

X509Ptr make_certificate(const char* name, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key) {
  X509Ptr made(X509_new());
  X509_set_version(made.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), issuer == nullptr ? 1 : 2);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509* const by = issuer != nullptr ? issuer : made.get();
  X509_set_issuer_name(made.get(), X509_get_subject_name(by));
  X509_set_pubkey(made.get(), key);
  add_extension(made.get(), by, NID_subject_key_identifier, "hash");
  add_extension(made.get(), by, NID_authority_key_identifier, "keyid:always");
  if (issuer == nullptr) {
    add_extension(made.get(), by, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(made.get(), by, NID_key_usage, "critical,keyCertSign");
  } else {
    add_extension(made.get(), by, NID_subject_alt_name, "DNS:server.test");
  }
  EXPECT_GT(X509_sign(made.get(), issuer_key, EVP_sha256()), 0);
  return made;
}

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
    sim::World world(1);
    world.run([&] {
      sim::Pipe pipe(world, faults_);
      const auto client = test::client(client_context_, pipe.a());
      const auto server = test::server(server_context_, pipe.b());
      test::together({[&] {
                        Result<void> done = client->handshake(kNever);
                        if (done) {
                          if (const auto got = test::read_some(*client); !got) done = got.error();
                        }
                        if (!done) error = done.error();
                        (void)client->close(world.after(Duration(1000)));
                      },
                      [&] {
                        if (server->handshake(kNever)) {
                          (void)server->write(test::bytes("hello"), kNever);
                        }
                        (void)server->close(world.after(Duration(1000)));
                      }});
    });
    if (!error) ADD_FAILURE() << "the client did not fail";
    return error.value_or(Error{});
  }

  sim::Faults faults_;
  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
};

TEST_P(FailureReasonsSim, ForgedCertificateIsUntrusted) {
  const KeyPtr ca_key(EVP_EC_gen("P-256"));
  const KeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr ca = make_certificate("CA", ca_key.get(), nullptr, ca_key.get());
  const X509Ptr honest = make_certificate("server.test", key.get(), ca.get(), ca_key.get());
  X509_STORE_add_cert(SSL_CTX_get_cert_store(client_context_.native_handle()), ca.get());
  SSL_CTX* const ctx = server_context_.native_handle();
  SSL_CTX_use_certificate(ctx, forge(honest.get()).get());
  SSL_CTX_use_PrivateKey(ctx, key.get());
  const Error error = failure_of_client();
  EXPECT_EQ(error.code, Errc::kUntrusted) << error.message();
  EXPECT_EQ(error.verify_code, X509_V_ERR_CERT_SIGNATURE_FAILURE);
}

TEST_P(FailureReasonsSim, EmptyOcspResponseIsTheServersFault) {
  client_context_.on_ocsp_response(
      [](const Connection&, std::string_view) -> Result<bool> { return true; });
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
    const auto client = test::client(client_context_, pipe.a());
    const auto server = test::server(server_context_, pipe.b());
    test::together(
        {[&] { client->handshake(kNever).value(); }, [&] { server->handshake(kNever).value(); }});
    pipe.set_faults({.flip_at = pipe.sent_by_a() + 10});
    client->write(test::bytes("hello"), kNever).value();
    const Error error = test::read_some(*server).error();
    EXPECT_EQ(error.code, Errc::kProtocol);
    EXPECT_NE(error.message().find("bad record mac"), std::string::npos) << error.message();
  });
}

INSTANTIATE_TEST_SUITE_P(Versions, FailureReasonsSim,
                         testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                         [](const auto& made) {
                           return made.param == TlsVersion::kTls12 ? "Tls12" : "Tls13";
                         });

}  // namespace
}  // namespace heddle
