// A client's hello, and what a server makes of it.
//
// Both the client hello and the server name callback run where OpenSSL calls its client hello
// callback: before it looks for a session to resume. Its servername callback comes after that, too
// late to keep a session of one name from being resumed under another (RFC 6066, section 3).
#include <algorithm>
#include <string>
#include <utility>

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "heddle/tls/context.h"

#include "fiber/user_code.h"
#include "tls/callbacks/session_mark.h"
#include "tls/machine/engine.h"
#include "tls/state/access.h"
#include "tls/state/callback_scope.h"
#include "tls/state/callback_state.h"
#include "tls/state/context_state.h"
#include "tls/state/for_role.h"
#include "tls/wire/reader.h"

namespace heddle {
namespace {

using tls::Reader;

std::string_view text_of(const unsigned char* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

std::optional<std::string_view> extension_of(SSL* ssl, unsigned type) {
  const unsigned char* bytes = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, type, &bytes, &size) != 1) return std::nullopt;
  return text_of(bytes, size);
}

// RFC 6066, section 3. OpenSSL has not looked at it yet, and takes the first name as well.
std::string_view server_name_of(SSL* ssl) {
  const auto extension = extension_of(ssl, TLSEXT_TYPE_server_name);
  if (!extension) return {};
  Reader names(Reader(*extension).counted(2));
  if (names.number(1) != TLSEXT_NAMETYPE_host_name) return {};
  const std::string_view name = names.counted(2);
  return name.size() <= TLSEXT_MAXLEN_host_name && name.find('\0') == std::string_view::npos
             ? name
             : std::string_view();
}

}  // namespace

ClientHello::ClientHello(SSL* ssl) : ConnectionView(ssl, server_name_of(ssl)) {}

std::optional<std::string_view> ClientHello::extension(std::uint16_t type) const {
  return extension_of(native_handle(), type);
}

std::vector<std::uint16_t> ClientHello::versions() const {
  const auto extension = this->extension(TLSEXT_TYPE_supported_versions);
  if (extension) return Reader(Reader(*extension).counted(1)).numbers();
  return {static_cast<std::uint16_t>(SSL_client_hello_get0_legacy_version(native_handle()))};
}

std::vector<std::uint16_t> ClientHello::ciphers() const {
  const unsigned char* bytes = nullptr;
  const std::size_t size = SSL_client_hello_get0_ciphers(native_handle(), &bytes);
  return Reader(text_of(bytes, size)).numbers();
}

std::vector<std::uint16_t> ClientHello::groups() const {
  const auto extension = this->extension(TLSEXT_TYPE_supported_groups);
  return Reader(Reader(extension.value_or("")).counted(2)).numbers();
}

std::vector<std::uint16_t> ClientHello::signature_algorithms() const {
  const auto extension = this->extension(TLSEXT_TYPE_signature_algorithms);
  return Reader(Reader(extension.value_or("")).counted(2)).numbers();
}

std::vector<std::string_view> ClientHello::alpn() const {
  const auto extension = this->extension(TLSEXT_TYPE_application_layer_protocol_negotiation);
  Reader names(Reader(extension.value_or("")).counted(2));
  std::vector<std::string_view> all;
  while (!names.empty()) all.push_back(names.counted(1));
  return all;
}

HelloAnswer HelloAnswer::use(const Context& context) {
  tls::only_for(Role::kServer, context, "HelloAnswer::use()");
  HelloAnswer answer;
  answer.context_ = context.state_;
  return answer;
}

HelloAnswer HelloAnswer::refuse(Alert alert) {
  HelloAnswer answer;
  answer.alert_ = alert;
  return answer;
}

namespace tls {
namespace {

constexpr const char* kAnswerHello = "answer a client hello";

void use_verification(SSL* ssl, SSL_CTX* ctx) {
  SSL_verify_cb callback = SSL_CTX_get_verify_callback(ctx);
  if (Engine* const engine = Engine::of(ssl)) {
    engine->set_verify_callback(callback);
    callback = nullptr;  // SSL_set_verify(3) leaves the engine's in place.
  }
  SSL_set_verify(ssl, SSL_CTX_get_verify_mode(ctx), callback);
  // X509_VERIFY_PARAM_set1(3) only adds flags.
  const unsigned long wanted = X509_VERIFY_PARAM_get_flags(SSL_CTX_get0_param(ctx));
  X509_VERIFY_PARAM* const param = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_clear_flags(param, X509_VERIFY_PARAM_get_flags(param) & ~wanted);
}

// SSL_set_SSL_CTX(3) takes certificates, trust, ciphers, the security level and the context's
// callbacks along. The rest was copied into the SSL when it was made.
bool use_context(SSL* ssl, SSL_CTX* ctx) {
  if (SSL_set_SSL_CTX(ssl, ctx) == nullptr) return false;
  use_verification(ssl, ctx);
  // Whether there are tickets is a matter of sessions, which stay with the first context.
  constexpr auto kStays = SSL_OP_NO_TICKET;
  SSL_clear_options(ssl, SSL_get_options(ssl) & ~SSL_CTX_get_options(ctx) & ~kStays);
  // The engine does without the second, whoever configured the context.
  constexpr auto kNever = SSL_OP_IGNORE_UNEXPECTED_EOF;
  SSL_set_options(ssl, SSL_CTX_get_options(ctx) & ~(kStays | kNever));
  set_psk_callbacks(ssl, ctx);
  // What is not set there is not copied.
  SSL_set_purpose(ssl, X509_PURPOSE_SSL_CLIENT);
  if (X509_VERIFY_PARAM_set1(SSL_get0_param(ssl), SSL_CTX_get0_param(ctx)) != 1) return false;
  return SSL_set_min_proto_version(ssl, static_cast<int>(SSL_CTX_get_min_proto_version(ctx))) ==
             1 &&
         SSL_set_max_proto_version(ssl, static_cast<int>(SSL_CTX_get_max_proto_version(ctx))) == 1;
}

Result<HelloAnswer> ask_program(const CallbackState& state, SSL* ssl) {
  const ClientHello hello(ssl);
  ConnectionNotes::attach(ssl).server_name = hello.server_name();
  if (state.client_hello) {
    Result<HelloAnswer> answer = fiber::call_user(state.client_hello, hello);
    if (!answer || !Access::is_go_on(*answer)) return answer;
  }
  if (state.server_name && !hello.server_name().empty()) {
    return fiber::call_user(state.server_name, hello);
  }
  return HelloAnswer::go_on();
}

// Asks the program, and does what it says. False ends the handshake, with `alert`.
bool choose(SSL* ssl, int* alert) {
  const auto answer =
      ask<HelloAnswer>("the client hello or server name callback, in an ASYNC job of OpenSSL", ssl,
                       [&] { return ask_program(CallbackState::of(ssl), ssl); });
  if (!answer) return false;
  if (const auto refusal = Access::alert(*answer)) {
    *alert = static_cast<int>(*refusal);
    keep_failure(ssl, {.code = Errc::kProtocol,
                       .operation = kAnswerHello,
                       .detail = "a callback has refused it"});
    return false;
  }
  const ContextState* const chosen = Access::context(*answer);
  return chosen == nullptr || use_context(ssl, chosen->ctx);
}

// More than anyone has a reason to send. IANA's registry holds some 70 groups, and clients add a
// few that mean nothing (RFC 8701). There is one key share for a group at most (RFC 8446, 4.2.8),
// but that OpenSSL does not check: it looks for each of up to 26,000 shares in up to 32,000 groups.
constexpr std::size_t kGroupsMax = 128;

// The lengths that are in the lists may lie. OpenSSL looks at that later.
bool is_oversized(SSL* ssl) {
  const auto groups = extension_of(ssl, TLSEXT_TYPE_supported_groups);
  if (groups && groups->size() > 2 + 2 * kGroupsMax) return true;
  const auto extension = extension_of(ssl, TLSEXT_TYPE_key_share);
  Reader shares(Reader(extension.value_or("")).counted(2));
  std::size_t count = 0;
  for (; !shares.empty() && count <= kGroupsMax; ++count) {
    (void)shares.number(2);
    (void)shares.counted(2);
  }
  return count > kGroupsMax;
}

// What programs make file names and lines of a log of. A name that is none is not worth more than
// a typing error, and gets the alert that goes with it.
bool is_host_name(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

bool refuse(SSL* ssl, int* alert, int with, const char* detail) {
  *alert = with;
  keep_failure(ssl, {.code = Errc::kProtocol, .operation = kAnswerHello, .detail = detail});
  return false;
}

// Of every hello, the second too.
bool is_acceptable(SSL* ssl, int* alert) {
  if (is_oversized(ssl)) {
    return refuse(ssl, alert, SSL_AD_ILLEGAL_PARAMETER, "it has too many groups");
  }
  if (!is_host_name(server_name_of(ssl))) {
    return refuse(ssl, alert, SSL_AD_UNRECOGNIZED_NAME, "the name in it is not a host name");
  }
  return true;
}

int client_hello(SSL* ssl, int* alert, void* /*argument*/) {
  if (!is_acceptable(ssl, alert)) return SSL_CLIENT_HELLO_ERROR;
  *alert = SSL_AD_INTERNAL_ERROR;
  const ConnectionNotes* const connection = ConnectionNotes::of(ssl);
  // Its second, after a HelloRetryRequest: the choice is made.
  if (connection != nullptr && connection->server_name) return SSL_CLIENT_HELLO_SUCCESS;
  const CallbackState& state = CallbackState::of(ssl);
  const bool asks = state.client_hello || state.server_name;
  if (asks && !choose(ssl, alert)) return SSL_CLIENT_HELLO_ERROR;
  // With what was chosen, and under the name that it was chosen for (RFC 6066, section 3).
  return mark_sessions(ssl, server_name_of(ssl)) ? SSL_CLIENT_HELLO_SUCCESS
                                                 : SSL_CLIENT_HELLO_ERROR;
}

// OpenSSL's servername callback: acknowledges the name. Everything is decided; a client that names
// another one in its second hello must not get what was chosen for the first.
int acknowledge_name(SSL* ssl, int* alert, void* /*argument*/) {
  const ConnectionNotes* const connection = ConnectionNotes::of(ssl);
  const char* const text = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  const std::string_view name = text != nullptr ? text : std::string_view();
  if (connection != nullptr && connection->server_name && *connection->server_name != name) {
    *alert = SSL_AD_ILLEGAL_PARAMETER;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  return name.empty() ? SSL_TLSEXT_ERR_NOACK : SSL_TLSEXT_ERR_OK;
}

void install(SSL_CTX* ctx) {
  const CallbackState& state = CallbackState::of(ctx);
  const bool wanted = state.client_hello || state.server_name;
  SSL_CTX_set_client_hello_cb(ctx, wanted || state.is_ours ? client_hello : nullptr, nullptr);
  auto* const acknowledge = wanted ? acknowledge_name : nullptr;  // The next is a macro.
  SSL_CTX_set_tlsext_servername_callback(ctx, acknowledge);
}

}  // namespace

void install_hello_callback(SSL_CTX* ctx) {
  install(ctx);
}

}  // namespace tls

void Context::on_client_hello(ClientHelloCallback callback) {
  tls::only_for(Role::kServer, *this, "Context::on_client_hello()");
  tls::CallbackState::of(native_handle()).client_hello = std::move(callback);
  tls::install(native_handle());
}

void Context::on_server_name(ServerNameCallback callback) {
  tls::only_for(Role::kServer, *this, "Context::on_server_name()");
  tls::CallbackState::of(native_handle()).server_name = std::move(callback);
  tls::install(native_handle());
}

}  // namespace heddle
