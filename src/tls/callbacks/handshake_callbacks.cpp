// Callbacks of the handshake that choose, provide or judge one thing: certificate, protocol, OCSP
// response, peer.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "heddle/error_queue.h"
#include "heddle/tls/context.h"
#include "heddle/tls/ocsp.h"

#include "openssl/error.h"
#include "openssl/handles.h"
#include "tls/keys/credentials.h"
#include "tls/machine/evidence.h"
#include "tls/state/access.h"
#include "tls/state/callback_scope.h"
#include "tls/state/callback_state.h"
#include "tls/state/for_role.h"
#include "tls/x509/certificate_data.h"
#include "tls/x509/ocsp_response.h"

namespace heddle {

int PeerChain::verdict() const {
  return X509_STORE_CTX_get_error(store_);
}

int PeerChain::depth() const {
  return X509_STORE_CTX_get_error_depth(store_);
}

std::vector<Certificate> PeerChain::certificates() const {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<Certificate> all;
  const STACK_OF(X509)* const chain = X509_STORE_CTX_get0_chain(store_);
  all.reserve(static_cast<std::size_t>(std::max(sk_X509_num(chain), 1)));
  for (int i = 0; i < sk_X509_num(chain); ++i)
    all.push_back(tls::describe(sk_X509_value(chain, i)));
  if (all.empty()) all.push_back(tls::describe(X509_STORE_CTX_get0_cert(store_)));
  return all;
}

OcspStatus ocsp_status(const ConnectionView& connection, std::string_view der) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const SSL* const ssl = connection.native_handle();
  if (der.empty()) return {};
  const STACK_OF(X509)* const chain = SSL_get0_verified_chain(ssl);
  const bool verified = (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) != 0 &&
                        SSL_get_verify_result(ssl) == X509_V_OK && sk_X509_num(chain) > 0;
  X509* const leaf = verified ? sk_X509_value(chain, 0) : nullptr;
  X509* const issuer = sk_X509_num(chain) > 1 ? sk_X509_value(chain, 1) : leaf;
  if (leaf == nullptr || X509_check_issued(issuer, leaf) != X509_V_OK) {
    return {.verdict = OcspVerdict::kUnusable, .detail = "the issuer was not verified"};
  }
  return tls::judge_ocsp(der, leaf, issuer);
}

namespace tls {
namespace {

int certificate(SSL* ssl, void* /*argument*/) {
  const auto chosen = ask<std::optional<Credentials>>(
      "the certificate callback, in an ASYNC job of OpenSSL", ssl,
      [&] { return CallbackState::of(ssl).certificate(ConnectionView(ssl)); });
  if (!chosen) return 0;
  if (!*chosen) return 1;
  SSL_certs_clear(ssl);
  return show(ssl, Access::data(**chosen)) ? 1 : 0;
}

using Offered = std::vector<std::string_view>;

Offered parse_protocols(std::string_view wire) {
  Offered all;
  while (!wire.empty()) {  // OpenSSL has checked the lengths.
    const auto size = static_cast<unsigned char>(wire.front());
    all.push_back(wire.substr(1, size));
    wire.remove_prefix(1 + std::size_t{size});
  }
  return all;
}

int alpn(SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* wire,
         unsigned wire_size, void* state) {
  const auto selected = ask<std::string_view>(
      "the ALPN callback, in an ASYNC job of OpenSSL", ssl, [&]() -> Result<std::string_view> {
        const Offered offered =
            parse_protocols({reinterpret_cast<const char*>(wire), std::size_t{wire_size}});
        const auto wanted =
            static_cast<const CallbackState*>(state)->alpn(ConnectionView(ssl), offered);
        if (!wanted) return wanted.error();
        if (!*wanted) return std::string_view();
        const auto found = std::find(offered.begin(), offered.end(), **wanted);
        if (found != offered.end()) return *found;
        return Error{.code = Errc::kInvalid,
                     .operation = "choose an ALPN protocol",
                     .detail = "the client does not offer it"};
      });
  if (!selected) return SSL_TLSEXT_ERR_ALERT_FATAL;
  if (selected->empty()) return SSL_TLSEXT_ERR_NOACK;
  *out = reinterpret_cast<const unsigned char*>(selected->data());
  *out_size = static_cast<unsigned char>(selected->size());
  return SSL_TLSEXT_ERR_OK;
}

// OpenSSL sends other bytes as they are, and from 3.6 on nothing instead, without a word.
bool is_ocsp_response(std::string_view der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const unsigned char* const end = at + der.size();
  const openssl::Handle<OCSP_RESPONSE, OCSP_RESPONSE_free> parsed(
      d2i_OCSP_RESPONSE(nullptr, &at, static_cast<long>(der.size())));
  return parsed != nullptr && at == end;
}

int ocsp_request(SSL* ssl, void* /*argument*/) {
  using Response = Result<std::optional<std::string>>;
  const auto response = ask<std::optional<std::string>>(
      "the OCSP callback, in an ASYNC job of OpenSSL", ssl, [&]() -> Response {
        Response given = CallbackState::of(ssl).ocsp_request(ConnectionView(ssl));
        if (!given || !*given || is_ocsp_response(**given)) return given;
        return Error{.code = Errc::kInvalid,
                     .operation = "staple an OCSP response",
                     .detail = "what on_ocsp_request() gave is none in DER"};
      });
  if (!response) return SSL_TLSEXT_ERR_ALERT_FATAL;
  if (!*response) return SSL_TLSEXT_ERR_NOACK;
  void* const copy = OPENSSL_memdup((*response)->data(), (*response)->size());
  if (copy == nullptr) return SSL_TLSEXT_ERR_ALERT_FATAL;
  SSL_set_tlsext_status_ocsp_resp(ssl, copy, static_cast<long>((*response)->size()));
  return SSL_TLSEXT_ERR_OK;
}

// Why a response that says so does not suffice; null if it does.
const char* objection(OcspCheck check, const OcspStatus& status, std::int16_t& code) {
  switch (status.verdict) {
    case OcspVerdict::kGood:
      return nullptr;
    case OcspVerdict::kMissing:
      code = X509_V_ERR_OCSP_VERIFY_NEEDED;
      return check == OcspCheck::kRequired ? "the server has stapled none" : nullptr;
    case OcspVerdict::kRevoked:
      code = X509_V_ERR_CERT_REVOKED;
      return "it says that the certificate is revoked";
    case OcspVerdict::kUnknown:
      code = X509_V_ERR_OCSP_CERT_UNKNOWN;
      return "the responder does not know the certificate";
    default:
      code = X509_V_ERR_OCSP_VERIFY_FAILED;
      return status.detail;
  }
}

bool passes(SSL* ssl, OcspCheck check, std::string_view der) {
  std::int16_t code = X509_V_OK;
  const auto passed = ask<bool>("the OCSP check", ssl, [&]() -> Result<bool> {
    const OcspStatus status = ocsp_status(ConnectionView(ssl), der);
    const char* const why_not = objection(check, status, code);
    if (why_not == nullptr) return true;
    return Error{.code = Errc::kUntrusted,
                 .verify_depth = 0,
                 .verify_code = code,
                 .operation = "verify the stapled OCSP response",
                 .detail = why_not};
  });
  return passed.has_value();
}

int ocsp_response(SSL* ssl, void* /*argument*/) {
  const unsigned char* bytes = nullptr;
  const long size = SSL_get_tlsext_status_ocsp_resp(ssl, &bytes);
  const std::string_view der(reinterpret_cast<const char*>(bytes),
                             size > 0 ? static_cast<std::size_t>(size) : 0);
  const CallbackState& state = CallbackState::of(ssl);
  if (state.ocsp_check != OcspCheck::kNone && !passes(ssl, state.ocsp_check, der)) return 0;
  if (!state.ocsp_response) return 1;
  const auto good = ask<bool>("the OCSP callback, in an ASYNC job of OpenSSL", ssl, [&] {
    return CallbackState::of(ssl).ocsp_response(ConnectionView(ssl), der);
  });
  if (!good) return -1;
  return *good ? 1 : 0;
}

// Asks for a response if there is anybody to judge it.
void install_ocsp_response(SSL_CTX* ctx) {
  const CallbackState& state = CallbackState::of(ctx);
  const bool wanted = state.ocsp_response || state.ocsp_check != OcspCheck::kNone;
  SSL_CTX_set_tlsext_status_type(ctx, wanted ? TLSEXT_STATUSTYPE_ocsp : -1);
  auto* const function = wanted ? ocsp_response : nullptr;  // The next is a macro.
  SSL_CTX_set_tlsext_status_cb(ctx, function);
}

int verify(X509_STORE_CTX* store, void* /*argument*/) {
  SSL* const ssl = ssl_of(store);
  const auto verdict =
      ask<int>("the verify callback, in an ASYNC job of OpenSSL", ssl, [&]() -> Result<int> {
        // In here, since a verdict that is overruled must leave no entry behind.
        if (X509_verify_cert(store) < 0) {
          return openssl::error_from_queue(Errc::kExhausted, "X509_verify_cert");
        }
        return CallbackState::of(ssl).verify(ConnectionView(ssl), PeerChain(store));
      });
  // The one whose alert is internal_error.
  const int code = verdict.value_or(X509_V_ERR_UNSPECIFIED);
  X509_STORE_CTX_set_error(store, code);
  note_verdict(ssl, store, code);
  return verdict == X509_V_OK ? 1 : 0;
}

}  // namespace
}  // namespace tls

void Context::on_certificate(CertificateCallback callback) {
  auto& held = tls::CallbackState::of(native_handle()).certificate;
  held = std::move(callback);
  SSL_CTX_set_cert_cb(native_handle(), held ? tls::certificate : nullptr, nullptr);
}

Result<void> Context::on_alpn(AlpnCallback callback) {
  tls::only_for(Role::kServer, *this, "Context::on_alpn()");
  tls::CallbackState& state = tls::CallbackState::of(native_handle());
  if (callback && !state.alpn_protocols.empty()) {
    return Error{.code = Errc::kInvalid,
                 .operation = "Context::on_alpn()",
                 .detail = "set_alpn_protocols() was called, and one of them decides"};
  }
  // An empty one leaves what set_alpn_protocols() has installed.
  if (!callback && !state.alpn) return {};
  state.alpn = std::move(callback);
  SSL_CTX_set_alpn_select_cb(native_handle(), state.alpn ? tls::alpn : nullptr, &state);
  return {};
}

void Context::on_ocsp_request(OcspRequestCallback callback) {
  tls::only_for(Role::kServer, *this, "Context::on_ocsp_request()");
  auto& held = tls::CallbackState::of(native_handle()).ocsp_request;
  held = std::move(callback);
  auto* const function = held ? tls::ocsp_request : nullptr;  // The next is a macro.
  SSL_CTX_set_tlsext_status_cb(native_handle(), function);
}

void Context::on_ocsp_response(OcspResponseCallback callback) {
  tls::only_for(Role::kClient, *this, "Context::on_ocsp_response()");
  tls::CallbackState::of(native_handle()).ocsp_response = std::move(callback);
  tls::install_ocsp_response(native_handle());
}

Result<void> Context::set_ocsp_check(OcspCheck check) {
  constexpr const char* kCall = "Context::set_ocsp_check()";
  tls::only_for(Role::kClient, *this, kCall);
  tls::CallbackState& state = tls::CallbackState::of(native_handle());
  if (!state.is_ours) {
    return Error{.code = Errc::kInvalid,
                 .operation = kCall,
                 .detail = "sessions of an adopted SSL_CTX do not say what was verified"};
  }
  state.ocsp_check = check;
  tls::install_ocsp_response(native_handle());
  return {};
}

OcspCheck Context::ocsp_check() const {
  return tls::CallbackState::of(native_handle()).ocsp_check;
}

void Context::on_verify(VerifyCallback callback) {
  auto& held = tls::CallbackState::of(native_handle()).verify;
  held = std::move(callback);
  SSL_CTX_set_cert_verify_callback(native_handle(), held ? tls::verify : nullptr, nullptr);
  if (role() == Role::kClient) return;
  tls::install_ticket_callback(native_handle());
  // What is in OpenSSL's own cache cannot be asked about.
  SSL_CTX_set_session_cache_mode(native_handle(), SSL_CTX_get_session_cache_mode(native_handle()) |
                                                      SSL_SESS_CACHE_NO_INTERNAL_LOOKUP);
}

}  // namespace heddle
