// Configuring an SSL_CTX.
#include "heddle/tls/context.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "heddle/error_queue.h"

#include "base/die.h"
#include "openssl/error.h"
#include "openssl/handles.h"
#include "tls/kernel/ktls.h"
#include "tls/keys/credentials.h"
#include "tls/state/access.h"
#include "tls/state/callback_state.h"
#include "tls/state/context_state.h"
#include "tls/x509/pem.h"

namespace heddle {
namespace {

using openssl::error_from_queue;

constexpr const char* kLoadTrusted = "load trusted certificates";

int version_number(TlsVersion version) {
  return version == TlsVersion::kTls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
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

// CPython's (PY_SSL_DEFAULT_CIPHERS in Modules/_ssl.c), where the security level stands in the
// list: AEAD or SHA-2, and forward secrecy.
constexpr const char* kCiphers =
    "ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM";

// Those that browsers offer. A server computes with a group that the client chooses, before it
// knows anything of the client: a replayed hello with ffdhe8192 costs it 120 ms (D(HE)at,
// CVE-2002-20001), with X25519 0.1 ms. OpenSSL has the first from 3.5 on, together with the syntax:
// a client sends key shares for those with an asterisk, and a server prefers what stands before a
// slash even if that takes a HelloRetryRequest.
constexpr std::array kGroups = {"*X25519MLKEM768 / *X25519:P-256 / P-384", "X25519:P-256:P-384",
                                "P-256:P-384"};

void set_defaults(SSL_CTX* ctx, Role role) {
  // OpenSSL of another version, or with another provider, may lack some.
  (void)std::any_of(kGroups.begin(), kGroups.end(),
                    [&](const char* groups) { return SSL_CTX_set1_groups_list(ctx, groups) == 1; });
  SSL_CTX_set_cipher_list(ctx, kCiphers);
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_security_level(ctx, 2);
  SSL_CTX_set_options(
      ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // An idle connection gives its record buffers back. A write that is repeated may
  // come from another address: small pieces are gathered anew.
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_TRUSTED_FIRST |
                                                           X509_V_FLAG_PARTIAL_CHAIN |
                                                           X509_V_FLAG_X509_STRICT);
  if (role == Role::kClient) SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr);
}

// OpenSSL looks for a certificate or CRL when it needs it, by a name such as "5ed36f99.0" or
// "5ed36f99.r0" (openssl-rehash(1)), and calls any folder a success.
Result<void> check_folder(const std::filesystem::path& folder) {
  std::error_code failed;
  const std::filesystem::directory_iterator files(folder, failed);
  if (failed) {
    return Error{.code = Errc::kInvalid, .sys_errno = failed.value(), .operation = kLoadTrusted};
  }
  const bool found = std::any_of(begin(files), end(files), [](const auto& entry) {
    const std::string name = entry.path().filename();
    constexpr std::size_t kHashBytes = 8;
    if (name.find_first_not_of("0123456789abcdef") != kHashBytes) return false;
    const std::size_t number = kHashBytes + (name.compare(kHashBytes, 2, ".r") == 0 ? 2 : 1);
    return name[kHashBytes] == '.' && name.size() > number &&
           name.find_first_not_of("0123456789", number) == std::string::npos;
  });
  if (found) return {};
  return Error{.code = Errc::kInvalid,
               .operation =
                   "load trusted certificates: none under a hash name in the folder, "
                   "openssl rehash makes them"};
}

Result<void> use_credentials(SSL_CTX* ctx, const tls::CredentialsData& data) {
  if (SSL_CTX_use_cert_and_key(ctx, data.leaf.get(), data.key.get(), data.rest.get(), 1) != 1) {
    return error_from_queue(Errc::kInvalid, tls::kUseChain);
  }
  return {};
}

}  // namespace

Context::Context(std::shared_ptr<tls::ContextState> state) : state_(std::move(state)) {}
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;
Context::~Context() = default;

Result<Context> Context::create(Role role) {
  return create(role, role == Role::kClient ? Trust::kSystem : Trust::kNothing);
}

Result<Context> Context::create(Role role, Trust trust) {
  // SSL_CTX_new() can succeed and leave entries, under a bad openssl.cnf for one.
  const ErrorQueueScope scope(Leftovers::kDrop);
  openssl::SslCtxPtr ctx(
      SSL_CTX_new(role == Role::kClient ? TLS_client_method() : TLS_server_method()));
  if (!ctx) return error_from_queue(Errc::kExhausted, "SSL_CTX_new");
  set_defaults(ctx.get(), role);
  auto state = tls::state_of(std::move(ctx), role);
  if (!state) return state.error();
  Context context(*std::move(state));
  tls::CallbackState::of(context.native_handle()).is_ours = true;
  if (role == Role::kServer) {
    tls::install_hello_callback(context.native_handle());
    tls::install_ticket_callback(context.native_handle());
  }
  if (trust == Trust::kSystem) {
    const Result<void> loaded = context.load_default_certs();
    if (!loaded) return loaded.error();
  }
  return context;
}

Result<Context> Context::adopt(Role role, SSL_CTX* ctx) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const SSL_METHOD* const method = SSL_CTX_get_ssl_method(ctx);
  // Neither DTLS nor QUIC, nor the method of the other role, which fails at the handshake only.
  if (method != TLS_method() &&
      method != (role == Role::kClient ? TLS_client_method() : TLS_server_method())) {
    return Error{.code = Errc::kInvalid, .operation = "adopt an SSL_CTX: not TLS in this role"};
  }
  if (SSL_CTX_up_ref(ctx) != 1) return error_from_queue(Errc::kInternal, "SSL_CTX_up_ref");
  auto state = tls::state_of(openssl::SslCtxPtr(ctx), role);
  if (!state) return state.error();
  return Context(*std::move(state));
}

Result<void> Context::load_cert_chain(const std::filesystem::path& chain,
                                      const std::filesystem::path& key, std::string_view password) {
  auto chain_pem = tls::read_file(chain, "read the certificate chain file");
  if (!chain_pem) return chain_pem.error();
  auto key_pem = tls::read_file(key, "read the private key file");
  if (!key_pem) return key_pem.error();
  return use_cert_chain(chain_pem->text(), key_pem->text(), password);
}

Result<void> Context::use_cert_chain(std::string_view chain_pem, std::string_view key_pem,
                                     std::string_view password) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto parsed = Credentials::parse(chain_pem, key_pem, password);
  if (!parsed) return parsed.error();
  return use_credentials(native_handle(), tls::Access::data(*parsed));
}

Result<void> Context::use_cert_chain(std::string_view chain_pem, std::shared_ptr<Signer> signer) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto parsed = Credentials::with_signer(chain_pem, std::move(signer));
  if (!parsed) return parsed.error();
  return use_credentials(native_handle(), tls::Access::data(*parsed));
}

Result<void> Context::load_verify_locations(const std::filesystem::path& file_or_folder) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::error_code failed;
  const auto status = std::filesystem::status(file_or_folder, failed);
  if (failed || !std::filesystem::exists(status)) {
    return Error{.code = Errc::kInvalid,
                 .sys_errno = failed ? failed.value() : ENOENT,
                 .operation = kLoadTrusted};
  }
  // OpenSSL would wait for whoever writes to a FIFO.
  if (!std::filesystem::is_directory(status) && !std::filesystem::is_regular_file(status)) {
    return Error{.code = Errc::kInvalid, .sys_errno = EINVAL, .operation = kLoadTrusted};
  }
  X509_STORE* const store = SSL_CTX_get_cert_store(native_handle());
  tls::TrustDigest& digest = tls::CallbackState::of(native_handle()).trust;
  if (std::filesystem::is_directory(status)) {
    if (const auto usable = check_folder(file_or_folder); !usable) return usable;
    digest.add_folder(store, std::filesystem::absolute(file_or_folder).lexically_normal());
    return SSL_CTX_load_verify_dir(native_handle(), file_or_folder.c_str()) == 1
               ? Result<void>()
               : error_from_queue(Errc::kExhausted, kLoadTrusted);
  }
  digest.before_addition(store);
  const int loaded = SSL_CTX_load_verify_file(native_handle(), file_or_folder.c_str());
  digest.after_addition(store);
  if (loaded != 1) return error_from_queue(Errc::kInvalid, kLoadTrusted);
  return {};
}

Result<void> Context::add_trusted_certificates(std::span<const std::byte> pem_or_der) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  constexpr const char* kOperation = "parse trusted certificates";
  const std::string_view text(reinterpret_cast<const char*>(pem_or_der.data()), pem_or_der.size());
  std::vector<openssl::X509Ptr> certificates;
  if (text.find("-----BEGIN ") != std::string_view::npos) {
    auto parsed = tls::parse_chain(text, kOperation);
    if (!parsed) return parsed.error();
    certificates = *std::move(parsed);
  } else {
    auto parsed = tls::parse_der(pem_or_der, kOperation);
    if (!parsed) return parsed.error();
    certificates.push_back(*std::move(parsed));
  }
  X509_STORE* const store = SSL_CTX_get_cert_store(native_handle());
  tls::TrustDigest& digest = tls::CallbackState::of(native_handle()).trust;
  digest.before_addition(store);
  const bool added = std::all_of(certificates.begin(), certificates.end(), [&](const auto& each) {
    return X509_STORE_add_cert(store, each.get()) == 1;
  });
  digest.after_addition(store);
  if (!added) return error_from_queue(Errc::kExhausted, "trust a certificate");
  return {};
}

Result<void> Context::load_default_certs() {
  const ErrorQueueScope scope(Leftovers::kDrop);
  X509_STORE* const store = SSL_CTX_get_cert_store(native_handle());
  tls::TrustDigest& digest = tls::CallbackState::of(native_handle()).trust;
  digest.before_addition(store);
  const int loaded = SSL_CTX_set_default_verify_paths(native_handle());
  digest.after_addition(store);
  if (loaded != 1) {
    return error_from_queue(Errc::kInvalid, "load the system's trusted certificates");
  }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): OpenSSL reads it here, too.
  const char* const folder = std::getenv(X509_get_default_cert_dir_env());
  digest.add_folder(store, folder != nullptr ? folder : X509_get_default_cert_dir());
  return {};
}

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
  if (SSL_CTX_set1_groups_list(native_handle(), std::string(names).c_str()) != 1) {
    return error_from_queue(Errc::kInvalid, "set the key exchange groups");
  }
  return {};
}

Result<void> Context::set_alpn_protocols(std::span<const std::string_view> protocols) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::string wire;
  for (const std::string_view protocol : protocols) {
    if (protocol.empty() || protocol.size() > 255) {
      return Error{.code = Errc::kInvalid,
                   .operation = "set the ALPN protocols: each has 1 to 255 bytes"};
    }
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  // RFC 7301's list and the extension around it have 16-bit lengths.
  if (wire.size() > 0xffff - 2) {
    return Error{.code = Errc::kInvalid, .operation = "set the ALPN protocols: too many"};
  }
  tls::CallbackState& callbacks = tls::CallbackState::of(native_handle());
  if (callbacks.alpn) {
    return Error{.code = Errc::kInvalid,
                 .operation = "set_alpn_protocols(), and on_alpn() is set: one of them decides"};
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
    return error_from_queue(Errc::kExhausted, "set the ALPN protocols");
  }
  return {};
}

void Context::set_verify_mode(VerifyMode mode) {
  int flags = SSL_VERIFY_NONE;
  if (mode != VerifyMode::kNone) flags |= SSL_VERIFY_PEER;
  if (mode == VerifyMode::kRequired) flags |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(native_handle(), flags, nullptr);
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

void Context::set_num_tickets(std::size_t count) {
  SSL_CTX_set_num_tickets(native_handle(), count);
}

Result<void> Context::set_kernel_tls(KernelTls mode) {
  const KernelTlsState can = kernel_tls_support().state;
  if (mode == KernelTls::kOn && can != KernelTlsState::kActive) return tls::kernel_tls_error(can);
  state_->kernel_tls = mode;
  return {};
}

KernelTls Context::kernel_tls() const {
  return state_->kernel_tls;
}

Role Context::role() const {
  return state_->role;
}

SSL_CTX* Context::native_handle() const noexcept {
  return state_->ctx;
}

}  // namespace heddle
