// The park loop of a TLS connection, and what is known of it.
#include <algorithm>
#include <cerrno>
#include <utility>

#include <unistd.h>

#include "base/interruption.h"
#include "fiber/breathe.h"
#include "fiber/drain.h"
#include "fiber/user_code.h"
#include "tls/callback_state.h"
#include "tls/new_ssl.h"
#include "tls/stream_impl.h"

namespace heddle {
namespace {

using tls::kWriteBytesMax;

constexpr const char* kHandshake = "SSL_do_handshake";

// Small pieces of a write that are as long as this together make one record.
constexpr std::size_t kGatherBytes = std::size_t{16} * 1024;

// Output that the transport does not take, beyond which reading stops: a peer that
// asks for answers (KeyUpdate) and does not read them must not fill our memory.
constexpr std::size_t kOutputBytesMax = std::size_t{256} * 1024;

constexpr Error kAnException{.code = Errc::kDisconnected,
                             .operation = "an exception of a transport or a callback"};

}  // namespace

Stream::Impl::Impl(openssl::SslPtr ssl, std::shared_ptr<const tls::ContextState> context,
                   Transport& transport, std::unique_ptr<Transport> owned)
    : owned_transport_(std::move(owned)),
      context_(std::move(context)),
      link_(transport),
      engine_(std::move(ssl), tls::make_bio(link_), link_.state()) {}

Error Stream::Impl::for_good(const Error& error) noexcept {
  Error kept = error;
  if (is_interruption(error)) kept.code = Errc::kDisconnected;
  return kept;
}

Error Stream::Impl::fail(const Error& error) {
  failure_ = for_good(error);
  return error;
}

Error Stream::Impl::again(const Error& error) {
  fiber::breathe();
  return error;
}

// Whatever threw left OpenSSL with half a truth.
void Stream::Impl::rethrow() {
  fail(kAnException);
  (void)link_.flush();
  engine_.rethrow();
}

Error Stream::Impl::fail_writing(const Error& error) {
  write_failure_ = for_good(error);
  return error;
}

// Whoever waits first waits on the transport; others of this stream that want the
// same wait for that one to come back, and then look again. So a writer that OpenSSL
// makes wait for the peer (half a post-handshake message has come) and a reader
// can both wait, on a transport that knows one waiter per direction.
Wake Stream::Impl::wait(Interest interest, Deadline deadline) {
  const bool write_is_taken = writable_.waiting;
  if (interest == Interest::kReadOrWrite && write_is_taken) interest = Interest::kRead;
  Direction& first = interest == Interest::kWrite ? writable_ : readable_;
  if (first.waiting) return first.others.wait(deadline);
  Direction& second = interest == Interest::kReadOrWrite ? writable_ : first;
  const Waiting here(first, second);
  try {
    return fiber::call_user(&Transport::wait, link_.transport(), interest, deadline);
  } catch (...) {  // tidy: thrown on, and the connection is over.
    if (!failure_) fail(kAnException);
    throw;
  }
}

// Offers the output to the transport without waiting for it.
Result<void> Stream::Impl::offer_output(const char* name) {
  const IoResult io = link_.flush();
  if (io.kind != IoResult::Kind::kFailed) return {};
  if (engine_.has_exception()) [[unlikely]]
    rethrow();
  return fail_writing(link_.state().failure_in(name));
}

Result<void> Stream::Impl::drain_output(const char* name, Deadline deadline,
                                        std::size_t until_bytes) {
  while (link_.output_bytes() > until_bytes) {
    if (const auto offered = offer_output(name); !offered) return offered;
    if (link_.output_bytes() <= until_bytes) break;
    const Wake wake = wait(Interest::kWrite, deadline);
    if (wake != Wake::kReady) return interruption(wake, name);
  }
  // There may be none left because another fiber's call has found that the transport takes no more.
  if (link_.output_broken()) [[unlikely]]
    return fail_writing(link_.state().failure_in(name));
  return {};
}

template <typename Op>
Result<bool> Stream::Impl::drive(const char* name, Deadline deadline,
                                 OnWriteFailure on_write_failure, Op op, Until until) {
  for (;;) {
    if (failure_) return again(*failure_);
    if (awaits_client()) [[unlikely]] {
      if (const auto spoken = await_client(deadline); !spoken) return spoken.error();
    }
    if (link_.output_bytes() > kOutputBytesMax) [[unlikely]] {
      const auto room = drain_output(name, deadline, kOutputBytesMax);
      if (!room && on_write_failure == OnWriteFailure::kFail) return room.error();
      if (!room && room.error().code != Errc::kDisconnected) return room.error();
    }
    if (const auto turn = engine_.await_turn(name, deadline); !turn) return turn.error();
    if (failure_) return *failure_;  // Which the fiber that was inside has found out.
    engine_.set_deadline(deadline);
    const tls::Step step = call(name, op);
    switch (step.kind) {
      case tls::Step::Kind::kDone:
        return true;
      case tls::Step::Kind::kEnd:
        return false;
      case tls::Step::Kind::kFailed:
        (void)link_.flush();  // The alert that says why. The failure stands anyway.
        return fail(step.error);
      case tls::Step::Kind::kWantRead:
      case tls::Step::Kind::kWantWrite:
      case tls::Step::Kind::kAgain:
        break;
    }
    // What OpenSSL wants is not what we asked of it: a read may have to write.
    const Result<void> offered = offer_output(name);
    if (!offered && on_write_failure == OnWriteFailure::kFail) return offered.error();
    if (until == Until::kDoneOrWritable && writable()) return true;
    if (step.kind == tls::Step::Kind::kAgain) {
      const Wake wake = fiber::give_way(deadline);
      if (wake != Wake::kReady) return interruption(wake, name);
      continue;
    }
    const bool pending = link_.output_bytes() > 0;
    const Interest interest = step.kind == tls::Step::Kind::kWantWrite ? Interest::kWrite
                              : pending                                ? Interest::kReadOrWrite
                                                                       : Interest::kRead;
    const Wake wake = wait(interest, deadline);
    if (wake != Wake::kReady) return interruption(wake, name);
  }
}

bool Stream::Impl::awaits_client() const noexcept {
  return !engine_.established() && context_->role == Role::kServer &&
         SSL_in_before(engine_.ssl()) != 0;
}

// A server has nothing to do before the client speaks, and OpenSSL would take 40 KiB
// to find that out: many may connect and never speak.
Result<void> Stream::Impl::await_client(Deadline deadline) {
  // Another fiber may do the handshake while this one waits.
  while (awaits_client() && link_.prefetch().kind == IoResult::Kind::kWouldBlock) {
    const Wake wake = wait(Interest::kRead, deadline);
    if (wake != Wake::kReady) return interruption(wake, kHandshake);
  }
  return {};
}

Result<void> Stream::Impl::handshake(Deadline deadline) {
  const Result<void> done = shake_hands(deadline);
  tls::deliver_removals(context_->ctx, deadline);
  return done;
}

Result<void> Stream::Impl::shake_hands(Deadline deadline) {
  const Result<bool> open = drive(kHandshake, deadline, OnWriteFailure::kFail, SSL_do_handshake);
  Result<void> done = open ? drain_output(kHandshake, deadline) : open.error();
  if (done && !*open) done = Error{.code = Errc::kDisconnected, .operation = kHandshake};
  if (done) done = settle_kernel();
  if (!done) return failure_ ? done.error() : fail(done.error());
  return {};
}

bool Stream::Impl::writable() const noexcept {
  const SSL* const ssl = engine_.ssl();
  return !engine_.busy() && SSL_in_init(ssl) == 0 &&
         SSL_get_key_update_type(ssl) == SSL_KEY_UPDATE_NONE && link_.output_bytes() == 0;
}

Result<bool> Stream::Impl::await(Interest interest, Deadline deadline) {
  if (interest != Interest::kRead && writable()) return true;
  if (interest == Interest::kWrite) {
    const auto shaken = drive(kHandshake, deadline, OnWriteFailure::kFail, tls::settle);
    if (!shaken) return shaken;
    if (!*shaken) return fail_writing({.code = Errc::kDisconnected, .operation = "SSL_write"});
    if (const auto sent = drain_output("SSL_write", deadline); !sent) return sent.error();
    return true;
  }
  const auto peek = [&](SSL* ssl) {
    std::byte byte{};
    std::size_t count = 0;
    if (interest == Interest::kReadOrWrite) {
      if (const int settled = tls::settle(ssl); settled <= 0) return settled;
    }
    return SSL_peek_ex(ssl, &byte, sizeof(byte), &count);
  };
  const auto until = interest == Interest::kRead ? Until::kDone : Until::kDoneOrWritable;
  const auto open = drive("SSL_peek", deadline, OnWriteFailure::kGoOn, peek, until);
  if (open && *open && SSL_pending(engine_.ssl()) > 0) engine_.got_data();
  fiber::breathe();
  return open;
}

// What reads or writes first does the handshake first.
Result<void> Stream::Impl::decide(Deadline deadline, OnWriteFailure on_write_failure) {
  const Result<bool> open = drive(kHandshake, deadline, on_write_failure, SSL_do_handshake);
  if (!open) return open.error();
  return settle_kernel();
}

Result<std::size_t> Stream::Impl::read(std::span<std::byte> into, Deadline deadline) {
  return read_with(SSL_read_ex, "SSL_read", into, deadline);
}

Result<std::size_t> Stream::Impl::peek(std::span<std::byte> into, Deadline deadline) {
  return read_with(SSL_peek_ex, "SSL_peek", into, deadline);
}

Result<std::size_t> Stream::Impl::read_with(ReadFunction function, const char* name,
                                            std::span<std::byte> into, Deadline deadline) {
  if (into.empty()) return std::size_t{0};
  if (undecided()) [[unlikely]] {
    if (const auto known = decide(deadline, OnWriteFailure::kGoOn); !known) return known.error();
  }
  std::size_t count = 0;
  const Result<bool> open = drive(name, deadline, OnWriteFailure::kGoOn, [&](SSL* ssl) {
    return function(ssl, into.data(), into.size(), &count);
  });
  if (!open) return open.error();
  if (*open) engine_.got_data();
  // Such as our Finished, if this read has done the handshake.
  if (link_.output_bytes() > 0) (void)offer_output(name);
  fiber::breathe();
  return *open ? count : std::size_t{0};
}

std::optional<Error> Stream::Impl::refuse_write() const {
  if (failure_) return again(*failure_);
  if (write_failure_) return again(*write_failure_);
  if (!write_ended_) return std::nullopt;
  return again({.code = Errc::kDisconnected, .operation = "write after our end"});
}

Result<void> Stream::Impl::write(std::span<const std::span<const std::byte>> pieces,
                                 Deadline deadline) {
  constexpr const char* kName = "SSL_write";
  if (const auto refused = refuse_write()) return *refused;
  tls::Pieces rest(pieces);
  if (undecided() && !rest.empty()) [[unlikely]] {
    const auto known = decide(deadline, OnWriteFailure::kFail);
    if (!known) return report_write(known.error());
  }
  while (!rest.empty()) {
    std::size_t count = 0;
    // Gathered again at each try, so that no buffer is held while the fiber waits.
    const Result<bool> open = drive(kName, deadline, OnWriteFailure::kFail, [&](SSL* ssl) {
      if (const int settled = tls::settle(ssl); settled <= 0) return settled;
      std::optional<tls::ScratchBuffer> scratch;
      std::span<std::byte> gather;
      if (rest.gathers(kGatherBytes)) gather = scratch.emplace().bytes().first(kGatherBytes);
      const auto chunk = rest.front(kWriteBytesMax, gather);
      return SSL_write_ex(ssl, chunk.data(), chunk.size(), &count);
    });
    if (!open) return report_write(open.error());
    if (!*open) return fail_writing({.code = Errc::kDisconnected, .operation = kName});
    rest.remove(count);
    const std::size_t leave = rest.empty() ? 0 : kWriteBytesMax - 1;
    if (const auto sent = drain_output(kName, deadline, leave); !sent) {
      return fail_writing(sent.error());
    }
    fiber::breathe();
  }
  return {};
}

// Reads the piece and writes it. A file that cannot be read leaves the stream as it was.
Result<std::size_t> Stream::Impl::copy_piece(const Piece& piece, Deadline deadline) {
  constexpr const char* kName = "SSL_write";
  constexpr const char* kRead = "read the file to send";
  ssize_t got = 0;
  int failed = 0;
  std::size_t count = 0;
  // Read again at each try, so that no buffer is held while the fiber waits.
  const Result<bool> open = drive(kName, deadline, OnWriteFailure::kFail, [&](SSL* ssl) {
    if (const int settled = tls::settle(ssl); settled <= 0) return settled;
    const tls::ScratchBuffer scratch;
    const auto buffer = scratch.bytes().first(std::min(piece.bytes, scratch.bytes().size()));
    do {
      got = ::pread(piece.file, buffer.data(), buffer.size(), static_cast<off_t>(piece.offset));
      failed = errno;
    } while (got < 0 && failed == EINTR);
    return got <= 0 ? 1 : SSL_write_ex(ssl, buffer.data(), static_cast<std::size_t>(got), &count);
  });
  if (!open) return report_write(open.error());
  if (!*open) return fail_writing({.code = Errc::kDisconnected, .operation = kName});
  if (got < 0) return Error{.code = Errc::kInvalid, .sys_errno = failed, .operation = kRead};
  if (const auto sent = drain_output(kName, deadline, kWriteBytesMax - 1); !sent) {
    return fail_writing(sent.error());
  }
  tls::count_sendfile(/*by_kernel=*/false, count);
  return count;
}

Result<void> Stream::Impl::shutdown_write(Deadline deadline) {
  constexpr const char* kName = "SSL_shutdown";
  // Our own flag: OpenSSL sets SSL_SENT_SHUTDOWN before the alert has left.
  if (!write_ended_) {
    if (failure_) return again(*failure_);
    if (write_failure_) return again(*write_failure_);
    // In the middle of a handshake SSL_shutdown() is an error, and there is nothing to end.
    const Result<bool> sent = drive(kName, deadline, OnWriteFailure::kFail, [](SSL* ssl) {
      return SSL_in_init(ssl) != 0 ? 1 : send_close_notify(ssl);
    });
    if (!sent) return is_interruption(sent.error()) ? sent.error() : report_write(sent.error());
    write_ended_ = true;
  }
  // An interruption leaves close_notify where it is, for the next call to send.
  return drain_output(kName, deadline);
}

Result<void> Stream::Impl::close(Deadline deadline) {
  // What goes wrong here has been said, or ends the connection as well.
  (void)shutdown_write(deadline);
  if (failure_) (void)drain_output("close", deadline);  // An alert that had to wait.
  tls::deliver_removals(context_->ctx, deadline);
  return link_.finish(deadline);
}

Result<std::unique_ptr<Stream>> Stream::create(const Context& context,
                                               std::unique_ptr<Transport> transport,
                                               const StreamOptions& options) {
  Transport& below = *transport;
  return Impl::create(context.state_, below, std::move(transport), options);
}

Result<std::unique_ptr<Stream>> Stream::create(const Context& context, Transport& transport,
                                               const StreamOptions& options) {
  return Impl::create(context.state_, transport, nullptr, options);
}

Result<std::unique_ptr<Stream>> Stream::Impl::create(
    std::shared_ptr<const tls::ContextState> context, Transport& transport,
    std::unique_ptr<Transport> owned, const StreamOptions& options) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  auto ssl = tls::new_ssl(*context, options);
  if (!ssl) return ssl.error();
  auto made =
      std::make_unique<Impl>(*std::move(ssl), std::move(context), transport, std::move(owned));
  if (const auto offered = made->offer_kernel(); !offered) return offered.error();
  return std::unique_ptr<Stream>(new Stream(std::move(made)));
}

Stream::Stream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Stream::~Stream() = default;

Result<void> Stream::handshake(Deadline deadline) {
  return impl_->handshake(deadline);
}

Result<std::size_t> Stream::read(std::span<std::byte> into, Deadline deadline) {
  return impl_->read(into, deadline);
}

Result<std::size_t> Stream::peek(std::span<std::byte> into, Deadline deadline) {
  return impl_->peek(into, deadline);
}

Result<void> Stream::write(std::span<const std::byte> from, Deadline deadline) {
  return impl_->write(std::span(&from, 1), deadline);
}

Result<void> Stream::write(std::span<const std::span<const std::byte>> pieces, Deadline deadline) {
  return impl_->write(pieces, deadline);
}

Result<void> Stream::shutdown_write(Deadline deadline) {
  return impl_->shutdown_write(deadline);
}

Result<void> Stream::close(Deadline deadline) {
  return impl_->close(deadline);
}

Transport& Stream::transport() noexcept {
  return impl_->transport();
}

SSL* Stream::native_handle() const noexcept {
  return impl_->engine().ssl();
}

}  // namespace heddle
