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
#include "tls/context/defaults.h"
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
               .operation = kLoadTrusted,
               .detail = "the folder has none under a hash name, which openssl rehash makes"};
}

Result<void> load_trusted(SSL_CTX* ctx, const std::filesystem::path& file_or_folder) {
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
  X509_STORE* const store = SSL_CTX_get_cert_store(ctx);
  tls::TrustDigest& digest = tls::CallbackState::of(ctx).trust;
  if (std::filesystem::is_directory(status)) {
    if (const auto usable = check_folder(file_or_folder); !usable) return usable;
    digest.add_folder(store, std::filesystem::absolute(file_or_folder).lexically_normal());
    return SSL_CTX_load_verify_dir(ctx, file_or_folder.c_str()) == 1
               ? Result<void>()
               : error_from_queue(Errc::kExhausted, kLoadTrusted);
  }
  digest.before_addition(store);
  const int loaded = SSL_CTX_load_verify_file(ctx, file_or_folder.c_str());
  digest.after_addition(store);
  if (loaded != 1) return error_from_queue(Errc::kInvalid, kLoadTrusted);
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
  tls::set_defaults(ctx.get(), role);
  auto state = tls::state_of(std::move(ctx), role);
  if (!state) return state.error();
  Context context(*std::move(state));
  tls::CallbackState::of(context.native_handle()).is_ours = true;
  if (role == Role::kServer) {
    tls::install_hello_callback(context.native_handle());
    tls::install_ticket_callback(context.native_handle());
    tls::install_ticket_rotation(context.native_handle());
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
    return Error{.code = Errc::kInvalid,
                 .operation = "adopt an SSL_CTX",
                 .detail = "it is not for TLS in this role"};
  }
  if (SSL_CTX_up_ref(ctx) != 1) return error_from_queue(Errc::kInternal, "SSL_CTX_up_ref");
  auto state = tls::state_of(openssl::SslCtxPtr(ctx), role);
  if (!state) return state.error();
  return Context(*std::move(state));
}

Result<void> Context::load_cert_chain(const std::filesystem::path& chain,
                                      const std::filesystem::path& key, std::string_view password) {
  const auto loaded = Credentials::load(chain, key, password);
  if (!loaded) return loaded.error();
  return use_credentials(*loaded);
}

Result<void> Context::use_cert_chain(std::string_view chain_pem, std::string_view key_pem,
                                     std::string_view password) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto parsed = Credentials::parse(chain_pem, key_pem, password);
  if (!parsed) return parsed.error();
  return use_credentials(*parsed);
}

Result<void> Context::use_cert_chain(std::string_view chain_pem, std::shared_ptr<Signer> signer) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto parsed = Credentials::with_signer(chain_pem, std::move(signer));
  if (!parsed) return parsed.error();
  return use_credentials(*parsed);
}

Result<void> Context::use_credentials(const Credentials& credentials) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  // On a connection of nobody's first: one that is refused must not leave the others here.
  const openssl::SslPtr scratch(SSL_new(native_handle()));
  if (!scratch) return error_from_queue(Errc::kExhausted, tls::kUseChain);
  if (!tls::show(scratch.get(), tls::Access::data(credentials))) {
    return error_from_queue(Errc::kInvalid, tls::kUseChain);
  }
  for (const auto& chain : tls::Access::data(credentials).chains) {
    if (SSL_CTX_use_cert_and_key(native_handle(), chain->leaf.get(), chain->key.get(),
                                 chain->rest.get(), 1) != 1) {
      return error_from_queue(Errc::kInvalid, tls::kUseChain);
    }
  }
  return {};
}

Result<void> Context::load_verify_locations(const std::filesystem::path& file_or_folder) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const Result<void> loaded = load_trusted(native_handle(), file_or_folder);
  if (!loaded) return loaded.error().with(file_or_folder.native());
  return {};
}

Result<void> Context::add_trusted_certificates(std::span<const std::byte> pem_or_der) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  constexpr const char* kOperation = "parse trusted certificates";
  const std::string_view text(reinterpret_cast<const char*>(pem_or_der.data()), pem_or_der.size());
  const auto certificates = tls::parse_chain_or_der(text, kOperation);
  if (!certificates) return certificates.error();
  X509_STORE* const store = SSL_CTX_get_cert_store(native_handle());
  tls::TrustDigest& digest = tls::CallbackState::of(native_handle()).trust;
  digest.before_addition(store);
  const bool added = std::all_of(certificates->begin(), certificates->end(), [&](const auto& each) {
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

Result<void> Context::set_kernel_tls(KernelTls mode) {
  if (mode != KernelTls::kOff && state_->record_padding != 0) {
    return Error{.code = Errc::kInvalid,
                 .operation = "Context::set_kernel_tls()",
                 .detail = "set_record_padding() was called, and the kernel does not pad"};
  }
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
