// What a Context negotiates: versions, ciphers, groups, signatures, protocols, tickets.
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <openssl/ssl.h>

#include "heddle/error_queue.h"
#include "heddle/tls/context.h"

#include "base/die.h"
#include "openssl/error.h"
#include "openssl/handles.h"
#include "tls/context/defaults.h"
#include "tls/state/callback_state.h"
#include "tls/state/context_state.h"
#include "tls/state/for_role.h"
#include "tls/x509/pem.h"

namespace heddle {
namespace {

using openssl::error_from_queue;
using ConfigurationPtr = openssl::Handle<SSL_CONF_CTX, SSL_CONF_CTX_free>;

constexpr const char* kSetAlpn = "Context::set_alpn_protocols()";
constexpr const char* kConfigure = "configure a context";

int version_number(TlsVersion version) {
  return version == TlsVersion::kTls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

// The nearest that TlsVersion has; OpenSSL's 0 is the oldest or newest that there is.
TlsVersion nearest_version(long number, TlsVersion if_any) {
  if (number == 0) return if_any;
  return number >= TLS1_3_VERSION ? TlsVersion::kTls13 : TlsVersion::kTls12;
}

// The server's choice: its own preference among what the client offers.
int select_alpn(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size,
                const unsigned char* offered, unsigned int offered_size, void* context) {
  const std::string& ours = static_cast<const tls::CallbackState*>(context)->alpn_protocols;
  const auto* const preferred = reinterpret_cast<const unsigned char*>(ours.data());
  unsigned char* selected = nullptr;
  const int outcome = SSL_select_next_proto(
      &selected, out_size, preferred, static_cast<unsigned>(ours.size()), offered, offered_size);
  if (outcome != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

// From 3.3 on OpenSSL itself ignores a group that it does not know, if '?' stands before the name.
std::string without_unknown_groups(std::string_view names) {
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
  return std::string(names);
#else
  std::string known;
  const openssl::SslCtxPtr scratch(SSL_CTX_new(TLS_method()));
  while (!names.empty()) {
    std::string name(names.substr(0, names.find(':')));
    names.remove_prefix(std::min(name.size() + 1, names.size()));
    const bool optional = name.starts_with('?');
    if (optional) name.erase(0, 1);
    if (optional && (!scratch || SSL_CTX_set1_groups_list(scratch.get(), name.c_str()) != 1)) {
      continue;
    }
    if (!known.empty()) known += ':';
    known += name;
  }
  return known;
#endif
}

CipherInfo describe_cipher(const SSL_CIPHER* cipher) {
  const char* const standard = SSL_CIPHER_standard_name(cipher);
  return {.name = SSL_CIPHER_get_name(cipher),
          .standard_name = standard != nullptr ? standard : "",
          .version = SSL_CIPHER_get_version(cipher),
          .id = SSL_CIPHER_get_protocol_id(cipher),
          .strength_bits = SSL_CIPHER_get_bits(cipher, nullptr)};
}

// Mozilla's, in its order.
constexpr const char* kIntermediateCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr const char* kSuites =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

std::size_t counter(long value) {
  return static_cast<std::size_t>(std::max(value, 0L));
}

}  // namespace

Result<void> Context::set_versions(TlsVersion oldest, TlsVersion newest) {
  if (oldest > newest) {
    die("Context::set_versions() from a newer version to an older one: the oldest comes first");
  }
  const ErrorQueueScope scope(Leftovers::kDrop);
  if (SSL_CTX_set_min_proto_version(native_handle(), version_number(oldest)) != 1 ||
      SSL_CTX_set_max_proto_version(native_handle(), version_number(newest)) != 1) {
    return error_from_queue(Errc::kInvalid, "set the TLS versions");
  }
  return {};
}

Result<void> Context::set_ciphers(std::string_view list) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const std::string text(list);
  // On another context first: a list in which nothing is known also drops what was set.
  const openssl::SslCtxPtr scratch(SSL_CTX_new(TLS_method()));
  if (!scratch || SSL_CTX_set_cipher_list(scratch.get(), text.c_str()) != 1 ||
      SSL_CTX_set_cipher_list(native_handle(), text.c_str()) != 1) {
    return error_from_queue(Errc::kInvalid, "set the TLS 1.2 ciphers");
  }
  return {};
}

Result<void> Context::set_ciphersuites(std::string_view names) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  if (SSL_CTX_set_ciphersuites(native_handle(), std::string(names).c_str()) != 1) {
    return error_from_queue(Errc::kInvalid, "set the TLS 1.3 ciphersuites");
  }
  return {};
}

Result<void> Context::set_groups(std::string_view names) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const std::string known = without_unknown_groups(names);
  if (SSL_CTX_set1_groups_list(native_handle(), known.c_str()) != 1) {
    return error_from_queue(Errc::kInvalid, "set the key exchange groups");
  }
  return {};
}

Result<void> Context::set_alpn_protocols(std::span<const std::string_view> protocols) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::string wire;
  for (const std::string_view protocol : protocols) {
    if (protocol.empty() || protocol.size() > 255) {
      return Error{
          .code = Errc::kInvalid, .operation = kSetAlpn, .detail = "each has 1 to 255 bytes"};
    }
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  // RFC 7301's list and the extension around it have 16-bit lengths.
  if (wire.size() > 0xffff - 2) {
    return Error{.code = Errc::kInvalid, .operation = kSetAlpn, .detail = "too many"};
  }
  tls::CallbackState& callbacks = tls::CallbackState::of(native_handle());
  if (callbacks.alpn) {
    return Error{.code = Errc::kInvalid,
                 .operation = kSetAlpn,
                 .detail = "on_alpn() is set, and one of them decides"};
  }
  callbacks.alpn_protocols = std::move(wire);
  if (role() == Role::kServer) {
    SSL_CTX_set_alpn_select_cb(native_handle(), protocols.empty() ? nullptr : select_alpn,
                               &callbacks);
    return {};
  }
  // Unlike its neighbours, this one returns 0 for success.
  if (SSL_CTX_set_alpn_protos(
          native_handle(), reinterpret_cast<const unsigned char*>(callbacks.alpn_protocols.data()),
          static_cast<unsigned>(callbacks.alpn_protocols.size())) != 0) {
    return error_from_queue(Errc::kExhausted, kSetAlpn);
  }
  return {};
}

void Context::set_num_tickets(std::size_t count) {
  SSL_CTX_set_num_tickets(native_handle(), count);
}

TlsVersion Context::oldest_version() const {
  return nearest_version(SSL_CTX_get_min_proto_version(native_handle()), TlsVersion::kTls12);
}

TlsVersion Context::newest_version() const {
  return nearest_version(SSL_CTX_get_max_proto_version(native_handle()), TlsVersion::kTls13);
}

std::vector<CipherInfo> Context::ciphers() const {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<CipherInfo> all;
  // Those that versions and security level leave.
  const openssl::SslPtr ssl(SSL_new(native_handle()));
  STACK_OF(SSL_CIPHER)* const ciphers = ssl ? SSL_get1_supported_ciphers(ssl.get()) : nullptr;
  all.reserve(static_cast<std::size_t>(std::max(sk_SSL_CIPHER_num(ciphers), 0)));
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); ++i) {
    all.push_back(describe_cipher(sk_SSL_CIPHER_value(ciphers, i)));
  }
  sk_SSL_CIPHER_free(ciphers);
  return all;
}

Result<void> Context::set_signature_algorithms(std::string_view names) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  if (SSL_CTX_set1_sigalgs_list(native_handle(), std::string(names).c_str()) != 1) {
    return error_from_queue(Errc::kInvalid, "set the signature algorithms");
  }
  return {};
}

Result<void> Context::set_client_signature_algorithms(std::string_view names) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  if (SSL_CTX_set1_client_sigalgs_list(native_handle(), std::string(names).c_str()) != 1) {
    return error_from_queue(Errc::kInvalid, "set the signature algorithms of clients");
  }
  return {};
}

Result<void> Context::set_dh_parameters(std::string_view pem) {
  tls::only_for(Role::kServer, *this, "Context::set_dh_parameters()");
  const ErrorQueueScope scope(Leftovers::kDrop);
  constexpr const char* kOperation = "set the DH parameters";
  auto parameters = tls::parse_parameters(pem, kOperation);
  if (!parameters) return parameters.error();
  if (SSL_CTX_set0_tmp_dh_pkey(native_handle(), parameters->get()) != 1) {
    return error_from_queue(Errc::kInvalid, kOperation);
  }
  (void)parameters->release();
  return {};
}

Result<void> Context::use_profile(Profile profile) {
  const bool modern = profile == Profile::kModern;
  auto done = set_versions(modern ? TlsVersion::kTls13 : TlsVersion::kTls12, TlsVersion::kTls13);
  if (done) done = set_ciphers(kIntermediateCiphers);
  if (done) done = set_ciphersuites(kSuites);
  if (!done) return done;
  const ErrorQueueScope scope(Leftovers::kDrop);
  if (!tls::set_default_groups(native_handle())) {
    return error_from_queue(Errc::kInvalid, "set the key exchange groups");
  }
  // All of them are good: a client knows best what it is quick with.
  SSL_CTX_clear_options(native_handle(), SSL_OP_CIPHER_SERVER_PREFERENCE);
  return {};
}

Result<void> Context::set_record_padding(std::size_t block) {
  constexpr const char* kCall = "Context::set_record_padding()";
  if (block != 0 && kernel_tls() != KernelTls::kOff) {
    return Error{.code = Errc::kInvalid,
                 .operation = kCall,
                 .detail = "set_kernel_tls() was called, and the kernel does not pad"};
  }
  if (block > SSL3_RT_MAX_PLAIN_LENGTH || SSL_CTX_set_block_padding(native_handle(), block) != 1) {
    return Error{.code = Errc::kInvalid, .operation = kCall, .detail = "at most 16384 bytes"};
  }
  state_->record_padding = block;
  return {};
}

Result<void> Context::set_max_fragment_length(std::size_t bytes) {
  constexpr const char* kCall = "Context::set_max_fragment_length()";
  tls::only_for(Role::kClient, *this, kCall);
  using Code = std::pair<std::size_t, std::uint8_t>;
  constexpr std::array kCodes = {
      Code{0, TLSEXT_max_fragment_length_DISABLED}, Code{512, TLSEXT_max_fragment_length_512},
      Code{1024, TLSEXT_max_fragment_length_1024}, Code{2048, TLSEXT_max_fragment_length_2048},
      Code{4096, TLSEXT_max_fragment_length_4096}};
  const auto* const found = std::find_if(kCodes.begin(), kCodes.end(),
                                         [=](const Code& each) { return each.first == bytes; });
  if (found == kCodes.end() ||
      SSL_CTX_set_tlsext_max_fragment_length(native_handle(), found->second) != 1) {
    return Error{
        .code = Errc::kInvalid, .operation = kCall, .detail = "there are 512, 1024, 2048 and 4096"};
  }
  return {};
}

Result<void> Context::configure(std::string_view command, std::string_view value) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const ConfigurationPtr configuration(SSL_CONF_CTX_new());
  if (!configuration) return error_from_queue(Errc::kExhausted, kConfigure);
  const unsigned role_flag = role() == Role::kServer ? SSL_CONF_FLAG_SERVER : SSL_CONF_FLAG_CLIENT;
  SSL_CONF_CTX_set_flags(configuration.get(),
                         SSL_CONF_FLAG_FILE | SSL_CONF_FLAG_SHOW_ERRORS | role_flag);
  SSL_CONF_CTX_set_ssl_ctx(configuration.get(), native_handle());
  const int done =
      SSL_CONF_cmd(configuration.get(), std::string(command).c_str(), std::string(value).c_str());
  if (done == -2) {
    const Error error{
        .code = Errc::kInvalid, .operation = kConfigure, .detail = "no such command for this role"};
    return error.with(command);
  }
  if (done <= 0 || SSL_CONF_CTX_finish(configuration.get()) != 1) {
    return error_from_queue(Errc::kInvalid, kConfigure).with(command);
  }
  return {};
}

std::size_t Context::num_tickets() const {
  return SSL_CTX_get_num_tickets(native_handle());
}

SessionStatistics Context::session_statistics() const {
  SSL_CTX* const ctx = native_handle();
  return {.cached = counter(SSL_CTX_sess_number(ctx)),
          .connects = counter(SSL_CTX_sess_connect(ctx)),
          .connects_done = counter(SSL_CTX_sess_connect_good(ctx)),
          .accepts = counter(SSL_CTX_sess_accept(ctx)),
          .accepts_done = counter(SSL_CTX_sess_accept_good(ctx)),
          .resumed = counter(SSL_CTX_sess_hits(ctx)),
          .misses = counter(SSL_CTX_sess_misses(ctx)),
          .timeouts = counter(SSL_CTX_sess_timeouts(ctx)),
          .evicted = counter(SSL_CTX_sess_cache_full(ctx))};
}

}  // namespace heddle
