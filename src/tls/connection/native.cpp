// Giving SSL objects away and taking them in.
#include "heddle/tls/native.h"

#include <array>
#include <utility>
#include <vector>

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "heddle/error_queue.h"

#include "openssl/error.h"
#include "openssl/handles.h"
#include "tls/connection/stream_impl.h"
#include "tls/context/new_ssl.h"

namespace heddle {
namespace {

// What lies in a BIO that only holds bytes. Others are somebody's descriptor.
std::vector<std::byte> drain(BIO* bio) {
  std::vector<std::byte> all;
  if (bio == nullptr) return all;
  if (const int type = BIO_method_type(bio); type != BIO_TYPE_BIO && type != BIO_TYPE_MEM) {
    return all;
  }
  std::size_t size = 0;
  for (std::array<std::byte, 4096> some{};
       BIO_read_ex(bio, some.data(), some.size(), &size) == 1;) {
    all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(size));
  }
  return all;
}

// The keys are in the kernel, and OpenSSL cannot get them back: it would write plain records into
// the BIO that takes the socket's place.
bool kernel_encrypts(SSL* ssl) {
  BIO* const from = SSL_get_rbio(ssl);
  BIO* const to = SSL_get_wbio(ssl);
  return (from != nullptr && BIO_ctrl(from, BIO_CTRL_GET_KTLS_RECV, 0, nullptr) > 0) ||
         (to != nullptr && BIO_ctrl(to, BIO_CTRL_GET_KTLS_SEND, 0, nullptr) > 0);
}

Error refuse_adoption(const char* why) {
  return {.code = Errc::kInvalid, .operation = "adopt an SSL", .detail = why};
}

}  // namespace

void FreeSsl::operator()(SSL* ssl) const noexcept {
  SSL_free(ssl);
}

void FreeBio::operator()(BIO* bio) const noexcept {
  BIO_vfree(bio);
}

Result<NakedConnection> NakedConnection::create(const Context& context,
                                                const StreamOptions& options,
                                                std::size_t pair_bytes) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  auto ssl = tls::new_ssl(*context.state_, options);
  if (!ssl) return ssl.error();
  BIO* internal = nullptr;
  BIO* network = nullptr;
  if (BIO_new_bio_pair(&internal, pair_bytes, &network, pair_bytes) != 1) {
    return openssl::error_from_queue(Errc::kExhausted, "BIO_new_bio_pair");
  }
  SSL_set_bio(ssl->get(), internal, internal);
  return NakedConnection{.ssl = UniqueSsl(ssl->release()), .network = UniqueBio(network)};
}

Result<Stream> Stream::adopt(NakedConnection connection, std::unique_ptr<Transport> transport) {
  if (!transport) return refuse_adoption("its transport is null");
  Transport& below = *transport;
  return Impl::adopt(std::move(connection), below, std::move(transport));
}

Result<Stream> Stream::adopt(NakedConnection connection, Transport& transport) {
  return Impl::adopt(std::move(connection), transport, nullptr);
}

Result<Stream> Stream::Impl::adopt(NakedConnection connection, Transport& transport,
                                   std::unique_ptr<Transport> owned) {
  if (!connection.ssl) return refuse_adoption("it is null");
  const ErrorQueueScope scope(Leftovers::kDrop);
  SSL* const ssl = connection.ssl.get();
  if (SSL_version(ssl) >> 8 != TLS1_VERSION_MAJOR) {
    return refuse_adoption("it is not TLS");
  }
  if (kernel_encrypts(ssl)) {
    return refuse_adoption("its socket has kernel TLS");
  }
  SSL_CTX* const ctx = SSL_get_SSL_CTX(ssl);
  if (SSL_CTX_up_ref(ctx) != 1) return openssl::error_from_queue(Errc::kInternal, "SSL_CTX_up_ref");
  const Role role = SSL_is_server(ssl) != 0 ? Role::kServer : Role::kClient;
  auto state = tls::state_of(openssl::SslCtxPtr(ctx), role);
  if (!state) return state.error();
  // Before the engine's BIO takes their place.
  std::vector<std::byte> unread = drain(SSL_get_rbio(ssl));
  std::vector<std::byte> unsent =
      drain(connection.network ? connection.network.get() : SSL_get_wbio(ssl));
  auto impl = std::make_unique<Impl>(openssl::SslPtr(connection.ssl.release()), *std::move(state),
                                     transport, std::move(owned));
  impl->link_.carry_over(std::move(unread), std::move(unsent));
  return Stream(std::move(impl));
}

}  // namespace heddle
