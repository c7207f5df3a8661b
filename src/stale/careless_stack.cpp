// Plain OpenSSL calls, as they stand in many programs: the queue is neither cleared before a call
// nor drained after one, and SSL_get_error() is believed.
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "base/unique_fd.h"
#include "openssl/handles.h"
#include "stale/fiber_stack.h"
#include "stale/materials.h"

namespace heddle::stale {
namespace {

openssl::BioPtr bio_of(std::string_view text) {
  return openssl::BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

void load_chain(SSL_CTX* ctx, const Endpoint& endpoint) {
  const openssl::BioPtr chain = bio_of(endpoint.chain_pem);
  const openssl::X509Ptr leaf(PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr));
  require(leaf && SSL_CTX_use_certificate(ctx, leaf.get()) == 1, "cannot use the certificate");
  openssl::X509Ptr next(PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr));
  require(next && SSL_CTX_add0_chain_cert(ctx, next.get()) == 1, "cannot use the chain");
  X509* const owned_by_ctx = next.release();
  (void)owned_by_ctx;
  const openssl::KeyPtr key(
      PEM_read_bio_PrivateKey(bio_of(endpoint.key_pem).get(), nullptr, nullptr, nullptr));
  require(key && SSL_CTX_use_PrivateKey(ctx, key.get()) == 1, "cannot use the key");
}

openssl::SslPtr make_ssl(const Endpoint& endpoint) {
  const bool server = endpoint.role == Role::kServer;
  const openssl::SslCtxPtr ctx(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
  require(ctx != nullptr, "cannot make a context");
  SSL_CTX_set_mode(ctx.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (server) {
    load_chain(ctx.get(), endpoint);
  } else {
    SSL_CTX_set_verify(ctx.get(), SSL_VERIFY_PEER, nullptr);
  }
  if (!endpoint.trusted_pem.empty()) {
    const openssl::X509Ptr trusted(
        PEM_read_bio_X509(bio_of(endpoint.trusted_pem).get(), nullptr, nullptr, nullptr));
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx.get()), trusted.get());
  }
  openssl::SslPtr ssl(SSL_new(ctx.get()));
  require(ssl && SSL_set_fd(ssl.get(), endpoint.descriptor) == 1, "cannot make an SSL object");
  if (server) {
    SSL_set_accept_state(ssl.get());
  } else {
    SSL_set_connect_state(ssl.get());
    const std::string name(endpoint.server_name);
    require(SSL_set_tlsext_host_name(ssl.get(), name.c_str()) == 1, "cannot set the server's name");
  }
  return ssl;
}

class CarelessConnection final : public StackConnection {
 public:
  CarelessConnection(Stack& stack, const Endpoint& endpoint)
      : stack_(stack), socket_(endpoint.descriptor), ssl_(make_ssl(endpoint)) {}

  Outcome handshake() override {
    return repeat(Patience::kForever, [](SSL* ssl) { return SSL_do_handshake(ssl); });
  }
  Outcome read(std::span<std::byte> into, Patience patience) override {
    return repeat(patience, [&](SSL* ssl) {
      return SSL_read(ssl, into.data(), static_cast<int>(into.size()));
    });
  }
  Outcome peek(std::span<std::byte> into) override {
    return repeat(Patience::kNone, [&](SSL* ssl) {
      return SSL_peek(ssl, into.data(), static_cast<int>(into.size()));
    });
  }
  Outcome write(std::span<const std::byte> from) override {
    while (!from.empty()) {
      Outcome some = repeat(Patience::kForever, [&](SSL* ssl) {
        return SSL_write(ssl, from.data(), static_cast<int>(from.size()));
      });
      if (some.answer != Answer::kDone) return some;
      from = from.subspan(some.bytes);
    }
    return {};
  }
  Outcome shutdown() override {
    const int rc = SSL_shutdown(ssl_.get());
    return rc == 0 ? Outcome{Answer::kWaiting, 0, ""} : outcome_of(rc, errno);
  }
  SSL* native_handle() noexcept override { return ssl_.get(); }

 private:
  template <typename Op>
  Outcome repeat(Patience patience, Op op) {
    for (;;) {
      const int rc = op(ssl_.get());
      Outcome outcome = outcome_of(rc, errno);
      if (outcome.answer != Answer::kWaiting || patience == Patience::kNone) return outcome;
      stack_.yield();
    }
  }

  Outcome outcome_of(int rc, int saved_errno) const {
    // tidy: this is how careless programs do it.
    switch (SSL_get_error(ssl_.get(), rc)) {
      case SSL_ERROR_NONE:
        return {Answer::kDone, static_cast<std::size_t>(rc), ""};
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        return {Answer::kWaiting, 0, ""};
      case SSL_ERROR_ZERO_RETURN:
        return {Answer::kEnd, 0, ""};
      case SSL_ERROR_SYSCALL:
        return {Answer::kTransportFailed, 0,
                "SSL_ERROR_SYSCALL: " + std::generic_category().message(saved_errno)};
      default:
        break;
    }
    const unsigned long code = ERR_peek_error();
    const bool untrusted =
        ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    return {untrusted ? Answer::kUntrusted : Answer::kTlsFailed, 0,
            "SSL_ERROR_SSL: " + ErrorEntry{code}.message()};
  }

  Stack& stack_;
  UniqueFd socket_;  // Outlives ssl_, which uses it.
  openssl::SslPtr ssl_;
};

class CarelessStack final : public FiberStack {
 public:
  CarelessStack() : FiberStack(Isolation::kShared) {}

  std::string_view name() const override { return "openssl"; }

  std::unique_ptr<StackConnection> connect(const Endpoint& endpoint) override {
    return std::make_unique<CarelessConnection>(*this, endpoint);
  }
};

}  // namespace

std::unique_ptr<Stack> make_careless_stack() {
  return std::make_unique<CarelessStack>();
}

}  // namespace heddle::stale
