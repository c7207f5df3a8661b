// What a Context verifies peers with, besides the certificates that it trusts.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "heddle/error_queue.h"
#include "heddle/tls/context.h"

#include "openssl/error.h"
#include "openssl/handles.h"
#include "openssl/version.h"
#include "tls/state/callback_state.h"
#include "tls/state/context_state.h"
#include "tls/state/trust_digest.h"
#include "tls/x509/certificate_data.h"
#include "tls/x509/pem.h"

namespace heddle {
namespace {

using openssl::error_from_queue;

constexpr unsigned long kCrlFlags = X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;

// The callback of an adopted SSL_CTX's owner stays.
void set_verify(SSL_CTX* ctx, int flags) {
  SSL_CTX_set_verify(ctx, flags, SSL_CTX_get_verify_callback(ctx));
}

X509_VERIFY_PARAM* parameters(const Context& context) {
  return SSL_CTX_get0_param(context.native_handle());
}

// Calls `visit(object)` for what the trust store holds now.
template <typename Visit>
void each_object(const Context& context, Visit&& visit) {
  X509_STORE* const store = SSL_CTX_get_cert_store(context.native_handle());
  const tls::StoreLock lock(store);
  const STACK_OF(X509_OBJECT)* const objects = openssl::version::objects_of(store);
  for (int i = 0; i < sk_X509_OBJECT_num(objects); ++i) visit(sk_X509_OBJECT_value(objects, i));
}

bool is_ca(X509* certificate) {
  return certificate != nullptr && X509_check_ca(certificate) != 0;
}

}  // namespace

void Context::set_verify_mode(VerifyMode mode) {
  // When to ask is another setting.
  int flags = SSL_CTX_get_verify_mode(native_handle()) & SSL_VERIFY_POST_HANDSHAKE;
  if (mode != VerifyMode::kNone) flags |= SSL_VERIFY_PEER;
  if (mode == VerifyMode::kRequired) flags |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  set_verify(native_handle(), flags);
}

VerifyMode Context::verify_mode() const {
  const int flags = SSL_CTX_get_verify_mode(native_handle());
  if ((flags & SSL_VERIFY_PEER) == 0) return VerifyMode::kNone;
  // A client has no use for the second flag: a server always sends a certificate.
  const bool required = role() == Role::kClient || (flags & SSL_VERIFY_FAIL_IF_NO_PEER_CERT) != 0;
  return required ? VerifyMode::kRequired : VerifyMode::kOptional;
}

void Context::set_check_hostname(bool check) {
  state_->check_hostname = check;
}

bool Context::check_hostname() const {
  return state_->check_hostname;
}

void Context::set_peer_purpose(PeerPurpose purpose) {
  const bool wants_server = purpose == PeerPurpose::kServer ||
                            (purpose == PeerPurpose::kByRole && role() == Role::kClient);
  const int peer = wants_server ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT;
  SSL_CTX_set_purpose(native_handle(), purpose == PeerPurpose::kAny ? X509_PURPOSE_ANY : peer);
  tls::CallbackState::of(native_handle()).peer_purpose = purpose;
}

PeerPurpose Context::peer_purpose() const {
  return tls::CallbackState::of(native_handle()).peer_purpose;
}

void Context::set_strict(bool strict) {
  auto* const param = SSL_CTX_get0_param(native_handle());
  if (strict) {
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
  } else {
    X509_VERIFY_PARAM_clear_flags(param, X509_V_FLAG_X509_STRICT);
  }
}

bool Context::strict() const {
  const auto flags = X509_VERIFY_PARAM_get_flags(SSL_CTX_get0_param(native_handle()));
  return (flags & X509_V_FLAG_X509_STRICT) != 0;
}

Result<void> Context::load_crls(const std::filesystem::path& file) {
  auto content = tls::read_file(file, "read certificate revocation lists");
  if (!content) return content.error();
  const auto added = add_crls(std::as_bytes(std::span(content->text())));
  if (!added) return added.error().with(file.native());
  return {};
}

Result<void> Context::add_crls(std::span<const std::byte> pem_or_der) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto crls =
      tls::parse_crls({reinterpret_cast<const char*>(pem_or_der.data()), pem_or_der.size()},
                      "parse certificate revocation lists");
  if (!crls) return crls.error();
  X509_STORE* const store = SSL_CTX_get_cert_store(native_handle());
  tls::TrustDigest& digest = tls::CallbackState::of(native_handle()).trust;
  digest.before_addition(store);
  const bool added = std::all_of(crls->begin(), crls->end(), [&](const tls::CrlPtr& crl) {
    return X509_STORE_add_crl(store, crl.get()) == 1;
  });
  digest.after_addition(store);
  if (!added) return error_from_queue(Errc::kExhausted, "add a certificate revocation list");
  return {};
}

void Context::set_crl_check(CrlCheck check) {
  clear_verify_flags(kCrlFlags);
  if (check == CrlCheck::kLeaf) set_verify_flags(X509_V_FLAG_CRL_CHECK);
  // The second has no effect without the first.
  if (check == CrlCheck::kChain) set_verify_flags(kCrlFlags);
}

CrlCheck Context::crl_check() const {
  const unsigned long flags = verify_flags();
  if ((flags & X509_V_FLAG_CRL_CHECK) == 0) return CrlCheck::kNone;
  return (flags & X509_V_FLAG_CRL_CHECK_ALL) != 0 ? CrlCheck::kChain : CrlCheck::kLeaf;
}

std::vector<Certificate> Context::trusted_certificates() const {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<openssl::X509Ptr> found;
  each_object(*this, [&](const X509_OBJECT* object) {
    X509* const certificate = X509_OBJECT_get0_X509(object);
    if (is_ca(certificate) && X509_up_ref(certificate) == 1) found.emplace_back(certificate);
  });
  std::vector<Certificate> all;
  all.reserve(found.size());
  for (const auto& each : found) all.push_back(tls::describe(each.get()));
  return all;
}

StoreStatistics Context::store_statistics() const {
  const ErrorQueueScope scope(Leftovers::kDrop);
  StoreStatistics counted;
  each_object(*this, [&](const X509_OBJECT* object) {
    const X509_LOOKUP_TYPE type = X509_OBJECT_get_type(object);
    if (type == X509_LU_CRL) ++counted.crls;
    if (type != X509_LU_X509) return;
    ++counted.certificates;
    if (is_ca(X509_OBJECT_get0_X509(object))) ++counted.ca_certificates;
  });
  return counted;
}

Result<void> Context::add_ca_names(std::string_view pem) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto certificates = tls::parse_chain(pem, "parse the certificates of CAs to name");
  if (!certificates) return certificates.error();
  const bool added = std::all_of(certificates->begin(), certificates->end(), [&](const auto& each) {
    return SSL_CTX_add1_to_CA_list(native_handle(), each.get()) == 1;
  });
  if (!added) return error_from_queue(Errc::kExhausted, "add the name of a CA");
  return {};
}

void Context::set_verify_flags(unsigned long flags) {
  X509_VERIFY_PARAM_set_flags(parameters(*this), flags);
}

void Context::clear_verify_flags(unsigned long flags) {
  X509_VERIFY_PARAM_clear_flags(parameters(*this), flags);
}

unsigned long Context::verify_flags() const {
  return X509_VERIFY_PARAM_get_flags(parameters(*this));
}

void Context::set_verify_depth(int depth) {
  SSL_CTX_set_verify_depth(native_handle(), depth);
}

int Context::verify_depth() const {
  return SSL_CTX_get_verify_depth(native_handle());
}

void Context::set_security_level(int level) {
  SSL_CTX_set_security_level(native_handle(), level);
}

int Context::security_level() const {
  return SSL_CTX_get_security_level(native_handle());
}

void Context::set_post_handshake_auth(bool on) {
  state_->post_handshake_auth = on;
  if (role() == Role::kClient) {
    SSL_CTX_set_post_handshake_auth(native_handle(), on ? 1 : 0);
    return;
  }
  const int others = SSL_CTX_get_verify_mode(native_handle()) & ~SSL_VERIFY_POST_HANDSHAKE;
  set_verify(native_handle(), others | (on ? SSL_VERIFY_POST_HANDSHAKE : 0));
}

bool Context::post_handshake_auth() const {
  return state_->post_handshake_auth;
}

std::vector<std::string> ConnectionView::ca_names() const {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<std::string> all;
  const STACK_OF(X509_NAME)* const names = SSL_get0_peer_CA_list(ssl_);
  all.reserve(static_cast<std::size_t>(std::max(sk_X509_NAME_num(names), 0)));
  for (int i = 0; i < sk_X509_NAME_num(names); ++i) {
    all.push_back(tls::printable_name(sk_X509_NAME_value(names, i)));
  }
  return all;
}

}  // namespace heddle
