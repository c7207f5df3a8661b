// Callbacks of the handshake that choose, provide or judge one thing: certificate, protocol, OCSP
// response, peer.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "heddle/error_queue.h"
#include "heddle/tls/context.h"

#include "openssl/error.h"
#include "openssl/handles.h"
#include "tls/keys/credentials.h"
#include "tls/machine/evidence.h"
#include "tls/state/access.h"
#include "tls/state/callback_scope.h"
#include "tls/state/callback_state.h"
#include "tls/state/for_role.h"
#include "tls/x509/certificate_data.h"

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

int ocsp_response(SSL* ssl, void* /*argument*/) {
  const unsigned char* bytes = nullptr;
  const long size = SSL_get_tlsext_status_ocsp_resp(ssl, &bytes);
  const std::string_view der(reinterpret_cast<const char*>(bytes),
                             size > 0 ? static_cast<std::size_t>(size) : 0);
  const auto good = ask<bool>("the OCSP callback, in an ASYNC job of OpenSSL", ssl, [&] {
    return CallbackState::of(ssl).ocsp_response(ConnectionView(ssl), der);
  });
  if (!good) return -1;
  return *good ? 1 : 0;
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
  auto& held = tls::CallbackState::of(native_handle()).ocsp_response;
  held = std::move(callback);
  SSL_CTX_set_tlsext_status_type(native_handle(), held ? TLSEXT_STATUSTYPE_ocsp : -1);
  auto* const function = held ? tls::ocsp_response : nullptr;  // The next is a macro.
  SSL_CTX_set_tlsext_status_cb(native_handle(), function);
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
