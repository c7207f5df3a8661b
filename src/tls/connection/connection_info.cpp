// What a handshake has negotiated.
#include "tls/connection/connection_info.h"

#include <algorithm>
#include <string>

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "heddle/error_queue.h"

#include "tls/callbacks/session_mark.h"
#include "tls/machine/engine.h"
#include "tls/wire/reader.h"
#include "tls/x509/certificate_data.h"

namespace heddle::tls {
namespace {

std::string group(SSL* ssl) {
  // A resumed TLS 1.2 session has none.
  const auto id = SSL_get_negotiated_group(ssl);
  if (id == NID_undef) return {};
  const char* const name = SSL_group_to_name(ssl, static_cast<int>(id));
  return name != nullptr ? name : "";
}

// As OpenSSL writes it in a list of signature algorithms (SSL_CTX_set1_sigalgs_list(3)).
std::string peer_signature(SSL* ssl) {
  int key = NID_undef;
  // Of the handshake before, if this one has resumed its session.
  if (SSL_session_reused(ssl) != 0 || SSL_get_peer_signature_type_nid(ssl, &key) != 1) return {};
  int digest = NID_undef;
  std::string text = key == EVP_PKEY_RSA       ? "RSA"
                     : key == EVP_PKEY_RSA_PSS ? "RSA-PSS"
                     : key == EVP_PKEY_EC      ? "ECDSA"
                                               : OBJ_nid2sn(key);
  if (SSL_get_peer_signature_nid(ssl, &digest) == 1 && digest != NID_undef) {
    text.append("+").append(OBJ_nid2sn(digest));
  }
  return text;
}

}  // namespace

std::size_t pending(const SSL* ssl) noexcept {
  return static_cast<std::size_t>(std::max(SSL_pending(ssl), 0));
}

ConnectionState connection_state(const Machine& machine, const KernelTlsStates& kernel) {
  SSL* const ssl = machine.ssl();
  if (!machine.handshake_done()) return {};
  const ErrorQueueScope scope(Leftovers::kDrop);
  ConnectionState state;
  state.complete = true;
  state.version = SSL_get_version(ssl);
  if (const SSL_CIPHER* const cipher = SSL_get_current_cipher(ssl)) {
    state.cipher = SSL_CIPHER_get_name(cipher);
  }
  state.group = group(ssl);
  state.signature_algorithm = peer_signature(ssl);
  const unsigned char* alpn = nullptr;
  unsigned alpn_size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &alpn_size);
  state.alpn.assign(reinterpret_cast<const char*>(alpn), alpn_size);
  if (const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)) {
    state.server_name = name;
  }
  state.resumed = SSL_session_reused(ssl) != 0;
  state.ktls_send = kernel.send;
  state.ktls_recv = kernel.receive;
  return state;
}

std::optional<Session> session(SSL* ssl) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const SSL_SESSION* const now = SSL_get_session(ssl);
  return now != nullptr ? std::optional(copy_of(now)) : std::nullopt;
}

std::vector<Certificate> peer_certificates(const SSL* ssl) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<Certificate> all;
  X509* const leaf = SSL_get0_peer_certificate(ssl);
  if (leaf != nullptr) all.push_back(describe(leaf));
  const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
  // A server of OpenSSL forgets those that did not verify.
  const Engine* const engine = Engine::of(ssl);
  if (leaf == nullptr && chain == nullptr && engine != nullptr && engine->evidence_or_null()) {
    chain = engine->evidence_or_null()->sent.get();
  }
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    X509* const certificate = sk_X509_value(chain, i);
    // A client's list begins with the leaf, a server's does not.
    if (leaf == nullptr || X509_cmp(certificate, leaf) != 0) {
      all.push_back(describe(certificate));
    }
  }
  return all;
}

std::vector<Certificate> verified_chain(const SSL* ssl) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<Certificate> all;
  const STACK_OF(X509)* const chain = SSL_get0_verified_chain(ssl);
  // It is there also if verification has failed.
  if (SSL_get_verify_result(ssl) != X509_V_OK) return all;
  for (int i = 0; i < sk_X509_num(chain); ++i) all.push_back(describe(sk_X509_value(chain, i)));
  return all;
}

std::vector<std::string> shared_ciphers(SSL* ssl) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<std::string> all;
  if (SSL_is_server(ssl) == 0) return all;
  STACK_OF(SSL_CIPHER)* const ours = SSL_get1_supported_ciphers(ssl);
  const STACK_OF(SSL_CIPHER)* const theirs = SSL_get_client_ciphers(ssl);
  for (int i = 0; i < sk_SSL_CIPHER_num(theirs); ++i) {
    const SSL_CIPHER* const cipher = sk_SSL_CIPHER_value(theirs, i);
    if (sk_SSL_CIPHER_find(ours, cipher) >= 0) all.emplace_back(SSL_CIPHER_get_name(cipher));
  }
  sk_SSL_CIPHER_free(ours);
  return all;
}

std::vector<std::uint16_t> offered_ciphers(SSL* ssl) {
  unsigned char* bytes = nullptr;
  const long size = SSL_get0_raw_cipherlist(ssl, &bytes);
  if (bytes == nullptr || size <= 0) return {};
  return Reader({reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)}).numbers();
}

std::optional<VerifyFailure> verify_failure(const Machine& machine) {
  const std::optional<Error>& failure = machine.failure();
  if (!failure || failure->code != Errc::kUntrusted) return std::nullopt;
  VerifyFailure found{.code = failure->verify_code, .depth = failure->verify_depth};
  const Evidence* const evidence = machine.engine().evidence_or_null();
  if (found.depth >= 0 && evidence != nullptr && evidence->verify_code == found.code) {
    found.subject = evidence->subject;
  }
  return found;
}

}  // namespace heddle::tls
