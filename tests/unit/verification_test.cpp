// What a context verifies besides trust: revocation, flags, depth; and what it tells of its store.
// Names of CPython's tests stand where the behaviour is theirs.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "heddle/error_queue.h"
#include "heddle/tls/context.h"

#include "openssl/handles.h"
#include "support/chain.h"
#include "support/handshake_outcome.h"
#include "support/own_entries.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::connect;
using test::HandshakeOutcome;
using test::Issued;

using CrlPtr = openssl::Handle<X509_CRL, X509_CRL_free>;

std::string text_of(const openssl::BioPtr& bio) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

CrlPtr make_crl(const Issued& ca, const Issued* revoked) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  CrlPtr crl(X509_CRL_new());
  X509_CRL_set_version(crl.get(), X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(crl.get(), X509_get_subject_name(ca.certificate.get()));
  const openssl::Handle<ASN1_TIME, ASN1_TIME_free> now(X509_gmtime_adj(nullptr, -60));
  const openssl::Handle<ASN1_TIME, ASN1_TIME_free> next(X509_gmtime_adj(nullptr, 3600));
  X509_CRL_set1_lastUpdate(crl.get(), now.get());
  X509_CRL_set1_nextUpdate(crl.get(), next.get());
  if (revoked != nullptr) {
    X509_REVOKED* const entry = X509_REVOKED_new();
    X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked->certificate.get()));
    X509_REVOKED_set_revocationDate(entry, now.get());
    X509_CRL_add0_revoked(crl.get(), entry);
  }
  X509V3_CTX context;
  X509V3_set_ctx(&context, ca.certificate.get(), nullptr, nullptr, crl.get(), 0);
  for (const auto& [nid, value] :
       {std::pair{NID_authority_key_identifier, "keyid:always"}, std::pair{NID_crl_number, "1"}}) {
    const openssl::X509ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
    if (extension != nullptr) X509_CRL_add_ext(crl.get(), extension.get(), -1);
  }
  X509_CRL_sign(crl.get(), ca.key.get(), EVP_sha256());
  return crl;
}

std::string pem_of(const CrlPtr& crl) {
  const openssl::BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_CRL(bio.get(), crl.get());
  return text_of(bio);
}

std::string der_of(const CrlPtr& crl) {
  const openssl::BioPtr bio(BIO_new(BIO_s_mem()));
  i2d_X509_CRL_bio(bio.get(), crl.get());
  return text_of(bio);
}

class VerificationTest : public testing::Test {
 protected:
  VerificationTest() {
    test::trust(client_, root_);
    test::show(server_, leaf_, {&inter_});
  }

  // What the client makes of the server's certificate.
  int verdict() {
    HandshakeOutcome outcome;
    connect(outcome, server_, client_);
    return outcome.client_error ? outcome.client_error->verify_code : X509_V_OK;
  }

  void add_crl(const std::string& text) {
    const auto added = client_.add_crls(test::bytes(text));
    ASSERT_TRUE(added) << added.error().message();
  }

  test::OwnEntries entries_;
  // They sign CRLs, too, since keyUsage is absent.
  Issued root_ = test::issue({.common_name = "root", .is_ca = true, .is_strict = false});
  Issued inter_ = test::issue({.common_name = "inter", .is_ca = true, .is_strict = false}, &root_);
  Issued leaf_ = test::issue({.common_name = "leaf"}, &inter_);
  Context server_ = Context::create(Role::kServer).value();
  Context client_ = [] {
    Context made = Context::create(Role::kClient, Trust::kNothing).value();
    made.set_strict(false);
    return made;
  }();
};

// ThreadedTests.test_crl_check.
TEST_F(VerificationTest, ListsOfRevokedCertificates) {
  EXPECT_EQ(client_.crl_check(), CrlCheck::kNone);
  EXPECT_EQ(verdict(), X509_V_OK);
  client_.set_crl_check(CrlCheck::kLeaf);
  EXPECT_EQ(client_.crl_check(), CrlCheck::kLeaf);
  EXPECT_EQ(verdict(), X509_V_ERR_UNABLE_TO_GET_CRL);
  add_crl(pem_of(make_crl(inter_, nullptr)));
  EXPECT_EQ(verdict(), X509_V_OK);
  client_.set_crl_check(CrlCheck::kChain);
  EXPECT_EQ(client_.crl_check(), CrlCheck::kChain);
  EXPECT_EQ(verdict(), X509_V_ERR_UNABLE_TO_GET_CRL) << "the root has given none";
  add_crl(der_of(make_crl(root_, nullptr)));
  EXPECT_EQ(verdict(), X509_V_OK);
  EXPECT_EQ(client_.store_statistics().crls, 2U);
  client_.set_crl_check(CrlCheck::kNone);
  EXPECT_EQ(client_.crl_check(), CrlCheck::kNone);
}

TEST_F(VerificationTest, RevokedCertificateIsRefused) {
  client_.set_crl_check(CrlCheck::kLeaf);
  add_crl(pem_of(make_crl(inter_, &leaf_)));
  EXPECT_EQ(verdict(), X509_V_ERR_CERT_REVOKED);
  client_.set_crl_check(CrlCheck::kNone);
  EXPECT_EQ(verdict(), X509_V_OK);
}

TEST_F(VerificationTest, RevokedIntermediateIsRefusedIfTheChainIsChecked) {
  add_crl(pem_of(make_crl(inter_, nullptr)) + pem_of(make_crl(root_, &inter_)));
  client_.set_crl_check(CrlCheck::kLeaf);
  EXPECT_EQ(verdict(), X509_V_OK);
  client_.set_crl_check(CrlCheck::kChain);
  EXPECT_EQ(verdict(), X509_V_ERR_CERT_REVOKED);
}

TEST_F(VerificationTest, BytesThatAreNoListAreRefused) {
  const std::string der = der_of(make_crl(root_, nullptr));
  const std::string pem = pem_of(make_crl(root_, nullptr));
  for (const std::string& bad :
       {std::string(), std::string("text"), der + "x", der.substr(1), pem_of(root_),
        pem + "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"}) {
    const auto refused = client_.add_crls(test::bytes(bad));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid);
  }
  EXPECT_EQ(client_.store_statistics().crls, 0U);
}

TEST_F(VerificationTest, ListComesFromAFile) {
  std::string folder = testing::TempDir() + "/heddle-crl-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string file = folder + "/list.pem";
  EXPECT_EQ(client_.load_crls(file).error().sys_errno, ENOENT);
  EXPECT_EQ(client_.load_crls(folder).error().sys_errno, EISDIR);
  std::ofstream(file) << pem_of(make_crl(inter_, &leaf_));
  ASSERT_TRUE(client_.load_crls(file));
  client_.set_crl_check(CrlCheck::kLeaf);
  EXPECT_EQ(verdict(), X509_V_ERR_CERT_REVOKED);
  std::filesystem::remove_all(folder);
}

// A session does not outlive the trust that it was made with.
TEST_F(VerificationTest, NewListEndsOlderSessions) {
  HandshakeOutcome outcome;
  client_.set_versions(TlsVersion::kTls12, TlsVersion::kTls12).value();
  connect(outcome, server_, client_);
  const Session session(SSL_get_session(outcome.client.tls->native_handle()));
  MemoryBio in;
  MemoryBio out;
  const StreamOptions options = {.server_name = test::kServerName, .session = session};
  ASSERT_TRUE(SslObject::create(client_, in, out, options));
  add_crl(pem_of(make_crl(inter_, nullptr)));
  EXPECT_EQ(SslObject::create(client_, in, out, options).error().code, Errc::kInvalid);
}

// That is its owner's.
TEST_F(VerificationTest, CallbackOfAnAdoptedContextStays) {
  int (*const callback)(int, X509_STORE_CTX*) = [](int is_good, X509_STORE_CTX*) {
    return is_good;
  };
  const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_server_method()));
  SSL_CTX_set_verify(ctx.get(), SSL_VERIFY_PEER, callback);
  Context adopted = Context::adopt(Role::kServer, ctx.get()).value();
  adopted.set_post_handshake_auth(true);
  adopted.set_verify_mode(VerifyMode::kRequired);
  EXPECT_EQ(SSL_CTX_get_verify_callback(ctx.get()), callback);
}

// ContextTests.test_verify_flags, ThreadedTests.test_verify_strict.
TEST_F(VerificationTest, FlagsCanBeSetAndRead) {
  EXPECT_EQ(client_.verify_flags() & X509_V_FLAG_X509_STRICT, 0U);
  client_.set_verify_flags(X509_V_FLAG_X509_STRICT);
  EXPECT_TRUE(client_.strict());
  EXPECT_NE(verdict(), X509_V_OK) << "the CAs have no keyUsage";
  client_.clear_verify_flags(X509_V_FLAG_X509_STRICT);
  EXPECT_EQ(verdict(), X509_V_OK);
}

TEST_F(VerificationTest, DepthIsHowManyCertificatesMayLieBetween) {
  client_.set_verify_depth(0);
  EXPECT_EQ(client_.verify_depth(), 0);
  EXPECT_EQ(verdict(), X509_V_ERR_CERT_CHAIN_TOO_LONG);
  client_.set_verify_depth(1);
  EXPECT_EQ(verdict(), X509_V_OK);
}

// ContextTests.test_cert_store_stats, test_get_ca_certs.
TEST_F(VerificationTest, StoreTellsWhatItHolds) {
  EXPECT_EQ(client_.store_statistics().certificates, 1U);
  EXPECT_EQ(client_.store_statistics().ca_certificates, 1U);
  test::trust(client_, leaf_);
  EXPECT_EQ(client_.store_statistics().certificates, 2U);
  EXPECT_EQ(client_.store_statistics().ca_certificates, 1U) << "a leaf is none";
  const auto trusted = client_.trusted_certificates();
  ASSERT_EQ(trusted.size(), 1U);
  EXPECT_EQ(trusted[0].subject, "CN=root");
}

// TestPostHandshakeAuth.test_internal_chain_client, test_certificate_chain.
TEST_F(VerificationTest, VerifiedChainEndsWithWhatIsTrusted) {
  HandshakeOutcome outcome;
  connect(outcome, server_, client_);
  ASSERT_TRUE(outcome.well());
  const auto verified = outcome.client.tls->verified_chain();
  ASSERT_EQ(verified.size(), 3U);
  EXPECT_EQ(verified[0].subject, "CN=leaf");
  EXPECT_EQ(verified[2].subject, "CN=root");
  EXPECT_EQ(outcome.client.tls->peer_certificates().size(), 2U) << "what was sent";
  EXPECT_TRUE(outcome.server.tls->verified_chain().empty());
}

TEST_F(VerificationTest, ChainThatDoesNotVerifyIsNoVerifiedOne) {
  const Context other = Context::create(Role::kClient, Trust::kNothing).value();
  HandshakeOutcome outcome;
  connect(outcome, server_, other);
  EXPECT_FALSE(outcome.well());
  EXPECT_TRUE(outcome.client.tls->verified_chain().empty());
}

// TestPostHandshakeAuth.test_internal_chain_server, test_internal_chain_server_resumed_session.
TEST_F(VerificationTest, ServerHasTheClientsChainsAndAfterAResumptionItsCertificate) {
  test::trust(server_, root_);
  server_.set_verify_mode(VerifyMode::kRequired);
  server_.set_strict(false);
  test::show(client_, leaf_, {&inter_});
  HandshakeOutcome first;
  connect(first, server_, client_);
  ASSERT_TRUE(first.well()) << first.server_error->message();
  EXPECT_EQ(first.server.tls->peer_certificates().size(), 2U) << "what was sent";
  const auto verified = first.server.tls->verified_chain();
  ASSERT_EQ(verified.size(), 3U);
  EXPECT_EQ(verified[2].subject, "CN=root");

  HandshakeOutcome again;
  again.server.open(server_, "");
  again.client.tls =
      SslObject::create(client_, again.client.incoming, again.client.outgoing,
                        {.server_name = test::kServerName, .session = first.client.tls->session()})
          .value();
  test::shake_hands(again);
  ASSERT_TRUE(again.well());
  ASSERT_TRUE(again.server.tls->connection_state().resumed);
  const auto known = again.server.tls->peer_certificates();
  ASSERT_EQ(known.size(), 1U);
  EXPECT_EQ(known[0].subject, "CN=leaf");
  EXPECT_TRUE(again.server.tls->verified_chain().empty());
}

// SimpleBackgroundTests.test_connect_capath, test_get_ca_certs_capath.
TEST_F(VerificationTest, FolderIsLookedThroughWhenACertificateIsNeeded) {
  std::string folder = testing::TempDir() + "/heddle-cas-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  std::array<char, 16> name{};
  (void)std::snprintf(name.data(), name.size(), "/%08lx.0",
                      X509_subject_name_hash(root_.certificate.get()));
  std::ofstream(folder + name.data()) << pem_of(root_);
  client_ = Context::create(Role::kClient, Trust::kNothing).value();
  client_.set_strict(false);
  EXPECT_NE(verdict(), X509_V_OK);
  ASSERT_TRUE(client_.load_verify_locations(folder));
  EXPECT_TRUE(client_.trusted_certificates().empty()) << "nobody has needed any";
  EXPECT_EQ(verdict(), X509_V_OK);
  ASSERT_EQ(client_.trusted_certificates().size(), 1U);
  EXPECT_EQ(client_.trusted_certificates()[0].subject, "CN=root");
  std::filesystem::remove_all(folder);
}

std::string key_digest(X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  X509_pubkey_digest(certificate, EVP_sha256(), digest.data(), &size);
  return {reinterpret_cast<const char*>(digest.data()), size};
}

// SSLObjectTests.test_distrusted_spki.
TEST_F(VerificationTest, ProgramMayDistrustAKeyInTheMiddleOfTheChain) {
  std::string distrusted = key_digest(inter_.certificate.get());
  client_.on_verify([&](const ConnectionView&, const PeerChain& chain) {
    const STACK_OF(X509)* const all = X509_STORE_CTX_get0_chain(chain.native_handle());
    for (int i = 0; i < sk_X509_num(all); ++i) {
      if (key_digest(sk_X509_value(all, i)) == distrusted) return X509_V_ERR_CERT_REJECTED;
    }
    return chain.verdict();
  });
  EXPECT_EQ(verdict(), X509_V_ERR_CERT_REJECTED);
  distrusted.clear();
  EXPECT_EQ(verdict(), X509_V_OK);
}

// SimpleBackgroundTests.test_connect_with_context, ContextTests.test_check_hostname.
TEST_F(VerificationTest, ModeMayChangeBetweenConnectionsAndNamesAreNotCheckedInVain) {
  Context stranger = Context::create(Role::kClient, Trust::kNothing).value();
  HandshakeOutcome refused;
  connect(refused, server_, stranger);
  ASSERT_TRUE(refused.client_error);
  EXPECT_EQ(refused.client_error->code, Errc::kUntrusted);

  stranger.set_verify_mode(VerifyMode::kNone);
  EXPECT_TRUE(stranger.check_hostname());
  MemoryBio in;
  MemoryBio out;
  const StreamOptions options = {.server_name = test::kServerName};
  const auto in_vain = SslObject::create(stranger, in, out, options);
  ASSERT_FALSE(in_vain);
  EXPECT_EQ(in_vain.error().code, Errc::kInvalid);
  EXPECT_STREQ(in_vain.error().detail,
               "the context checks host names but no certificates (VerifyMode::kNone): "
               "set_check_hostname(false) as well");

  stranger.set_check_hostname(false);
  HandshakeOutcome accepted;
  connect(accepted, server_, stranger);
  EXPECT_TRUE(accepted.well());
}

TEST_F(VerificationTest, ServerNamesTheCasThatItWants) {
  server_.set_verify_mode(VerifyMode::kOptional);
  EXPECT_EQ(server_.add_ca_names("text").error().code, Errc::kInvalid);
  server_.add_ca_names(pem_of(root_) + pem_of(inter_)).value();
  std::vector<std::string> wanted;
  client_.on_certificate([&](const ConnectionView& connection) {
    wanted = connection.ca_names();
    return std::optional<Credentials>();
  });
  HandshakeOutcome outcome;
  connect(outcome, server_, client_);
  ASSERT_TRUE(outcome.well());
  EXPECT_EQ(wanted, (std::vector<std::string>{"CN=root", "CN=inter"}));
}

}  // namespace
}  // namespace heddle
