// One step at a time: what Stream's loop does, without the loop.
#include "heddle/tls/ssl_object.h"

#include <optional>
#include <utility>

#include <openssl/ssl.h>

#include "heddle/error_queue.h"

#include "tls/callback_state.h"
#include "tls/connection_info.h"
#include "tls/engine.h"
#include "tls/memory_link.h"
#include "tls/new_ssl.h"

namespace heddle {

class SslObject::Impl {
 public:
  Impl(openssl::SslPtr ssl, std::shared_ptr<const tls::ContextState> context, MemoryBio& incoming,
       MemoryBio& outgoing)
      : context_(std::move(context)),
        link_{incoming, outgoing},
        engine_(std::move(ssl), tls::make_bio(link_), link_.state) {}

  Result<Progress> handshake();
  using ReadFunction = int (*)(SSL* ssl, void* into, std::size_t size, std::size_t* count);
  Result<Progress> read(ReadFunction function, const char* name, std::span<std::byte> into);
  Result<Progress> write(std::span<const std::byte> from);
  Result<Progress> shutdown();

  SSL* ssl() const noexcept { return engine_.ssl(); }

 private:
  template <typename Op>
  Result<Progress> step(const char* name, Op op);
  template <typename Op>
  std::optional<Result<Progress>> share(const char* name, Op& op);
  Result<Progress> unended(const char* name, Result<Progress> progress);
  bool awaits_client() const;
  // Not from inside a callback, where OpenSSL may hold locks.
  void tell_removals() {
    if (!engine_.busy()) tls::deliver_removals(context_->ctx, Deadline::never());
  }
  Error fail(const Error& error);

  std::shared_ptr<const tls::ContextState> context_;
  tls::MemoryLink link_;
  tls::Engine engine_;            // After link_: freed first, as its BIO points there.
  std::optional<Error> failure_;  // Of the connection: final for all calls.
  bool write_ended_ = false;      // close_notify is written, or never will be.
};

Error SslObject::Impl::fail(const Error& error) {
  failure_ = error;
  return error;
}

// A server has nothing to do before the client speaks, and OpenSSL would take 40 KiB to find that
// out: many may connect and never speak.
bool SslObject::Impl::awaits_client() const {
  return context_->role == Role::kServer && link_.incoming.pending() == 0 &&
         !link_.incoming.eof() && SSL_in_before(ssl()) != 0;
}

// `incoming` holds only so much, and the engine refuses a peer that never comes to the point.
template <typename Op>
Result<Progress> SslObject::Impl::step(const char* name, Op op) {
  for (;;) {
    const auto progress = share(name, op);
    if (progress) return *progress;
  }
}

// One share of the work; nothing if there may be more of it.
template <typename Op>
std::optional<Result<Progress>> SslObject::Impl::share(const char* name, Op& op) {
  if (const auto turn = engine_.try_turn(); !turn) return turn.error();
  if (failure_) return *failure_;
  if (link_.outgoing.pending() > kOutgoingBytesMax) return Progress{Progress::Kind::kWantWrite};
  if (awaits_client()) return Progress{Progress::Kind::kWantRead};
  const tls::Step step = engine_.call(name, op);
  if (engine_.has_exception()) [[unlikely]] {
    // Whatever threw left OpenSSL with half a truth.
    fail({.code = Errc::kDisconnected, .operation = "an exception of a callback"});
    engine_.rethrow();
  }
  switch (step.kind) {
    case tls::Step::Kind::kDone:
      return Progress{Progress::Kind::kDone};
    case tls::Step::Kind::kEnd:
      return Progress{Progress::Kind::kEnd};
    case tls::Step::Kind::kWantRead:
      return Progress{Progress::Kind::kWantRead};
    case tls::Step::Kind::kWantWrite:
      return Progress{Progress::Kind::kWantWrite};
    case tls::Step::Kind::kAgain:
      return std::nullopt;
    case tls::Step::Kind::kFailed:
      break;
  }
  return fail(step.error);
}

// In the middle of a handshake even close_notify comes too early.
Result<Progress> SslObject::Impl::unended(const char* name, Result<Progress> progress) {
  if (!progress || progress->kind != Progress::Kind::kEnd) return progress;
  return fail({.code = Errc::kDisconnected, .operation = name});
}

Result<Progress> SslObject::Impl::handshake() {
  constexpr const char* kName = "SSL_do_handshake";
  Result<Progress> progress = unended(kName, step(kName, SSL_do_handshake));
  if (!progress || progress->kind == Progress::Kind::kDone) tell_removals();
  return progress;
}

Result<Progress> SslObject::Impl::read(ReadFunction function, const char* name,
                                       std::span<std::byte> into) {
  if (into.empty()) return Progress{Progress::Kind::kDone};
  std::size_t count = 0;
  Result<Progress> progress =
      step(name, [&](SSL* ssl) { return function(ssl, into.data(), into.size(), &count); });
  if (progress) progress->bytes = count;
  if (count > 0) engine_.got_data();
  return progress;
}

Result<Progress> SslObject::Impl::write(std::span<const std::byte> from) {
  constexpr const char* kName = "SSL_write";
  if (failure_) return *failure_;
  if (write_ended_) return Error{.code = Errc::kDisconnected, .operation = "write after our end"};
  if (from.empty()) return Progress{Progress::Kind::kDone};
  std::size_t count = 0;
  Result<Progress> progress = unended(kName, step(kName, [&](SSL* ssl) {
                                        return SSL_write_ex(ssl, from.data(), from.size(), &count);
                                      }));
  if (progress) progress->bytes = count;
  return progress;
}

// What SSL_shutdown() does when it is called again, but for data that comes first: that ends the
// connection there, and the data is lost.
Result<Progress> SslObject::Impl::shutdown() {
  constexpr const char* kName = "SSL_shutdown";
  tell_removals();
  if (failure_) return *failure_;
  if (SSL_in_before(ssl()) != 0) return Progress{Progress::Kind::kDone};
  std::byte next{};
  std::size_t unread = 0;
  Result<Progress> progress = step(kName, [&](SSL* ssl) {
    // Half a message after the handshake counts as one, in which SSL_shutdown() is an error.
    if (SSL_in_init(ssl) != 0) {
      const int rc = SSL_do_handshake(ssl);
      if (rc <= 0) return rc;
    }
    if (!write_ended_) {
      write_ended_ = true;
      if (const int rc = SSL_shutdown(ssl); rc != 0) return rc;
    }
    return SSL_peek_ex(ssl, &next, 1, &unread);
  });
  if (!progress) return progress;
  if (unread != 0) return Error{.code = Errc::kInvalid, .operation = "shutdown before all is read"};
  if (progress->kind == Progress::Kind::kEnd) progress->kind = Progress::Kind::kDone;
  return progress;
}

Result<std::unique_ptr<SslObject>> SslObject::create(const Context& context, MemoryBio& incoming,
                                                     MemoryBio& outgoing,
                                                     const StreamOptions& options) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  auto ssl = tls::new_ssl(*context.state_, options);
  if (!ssl) return ssl.error();
  return std::unique_ptr<SslObject>(
      new SslObject(std::make_unique<Impl>(*std::move(ssl), context.state_, incoming, outgoing)));
}

SslObject::SslObject(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SslObject::~SslObject() = default;

Result<Progress> SslObject::handshake() {
  return impl_->handshake();
}

Result<Progress> SslObject::read(std::span<std::byte> into) {
  return impl_->read(SSL_read_ex, "SSL_read", into);
}

Result<Progress> SslObject::peek(std::span<std::byte> into) {
  return impl_->read(SSL_peek_ex, "SSL_peek", into);
}

Result<Progress> SslObject::write(std::span<const std::byte> from) {
  return impl_->write(from);
}

Result<Progress> SslObject::shutdown() {
  return impl_->shutdown();
}

std::size_t SslObject::pending() const noexcept {
  return tls::pending(native_handle());
}

std::string_view SslObject::version() const {
  return tls::version(native_handle());
}

std::string_view SslObject::cipher() const {
  return tls::cipher(native_handle());
}

std::string SslObject::group() const {
  return tls::group(native_handle());
}

std::string_view SslObject::alpn() const {
  return tls::alpn(native_handle());
}

bool SslObject::session_reused() const {
  return tls::session_reused(native_handle());
}

std::string_view SslObject::server_name() const {
  return tls::server_name(native_handle());
}

std::vector<Certificate> SslObject::peer_certificates() const {
  return tls::peer_certificates(native_handle());
}

SSL* SslObject::native_handle() const noexcept {
  return impl_->ssl();
}

}  // namespace heddle
