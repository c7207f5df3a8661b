// The park loop of a TLS connection, and what is known of it.
#include <algorithm>
#include <cerrno>
#include <utility>

#include <unistd.h>

#include "base/die.h"
#include "base/handle.h"
#include "base/interruption.h"
#include "fiber/breathe.h"
#include "fiber/user_code.h"
#include "tls/connection/stream_impl.h"
#include "tls/context/new_ssl.h"
#include "tls/state/callback_state.h"
#include "transport/drain.h"

namespace heddle {
namespace {

using tls::kWriteBytesMax;
using tls::Machine;

// Small pieces of a write that are as long as this together make one record.
constexpr std::size_t kGatherBytes = std::size_t{16} * 1024;

// Output that the transport does not take, beyond which reading stops: a peer that
// asks for answers (KeyUpdate) and does not read them must not fill our memory.
constexpr std::size_t kOutputBytesMax = std::size_t{256} * 1024;

}  // namespace

Stream::Impl::Impl(openssl::SslPtr ssl, std::shared_ptr<const tls::ContextState> context,
                   Transport& transport, std::unique_ptr<Transport> owned)
    : owned_transport_(std::move(owned)),
      context_(std::move(context)),
      link_(transport),
      machine_(std::move(ssl), tls::make_bio(link_), link_.state()) {}

Stream::Impl::~Impl() {
  if (calls_ == 0) return;
  const fiber::Fiber* const waits = readable_.fiber != nullptr ? readable_.fiber : writable_.fiber;
  die("a stream is destroyed while a fiber ('%s') is inside a call of it: close() the stream, or "
      "cancel and join the fiber before",
      waits != nullptr ? waits->name.c_str() : "in a callback");
}

Error Stream::Impl::over(const Error& error) {
  (void)link_.flush();
  if (machine_.has_exception()) [[unlikely]]
    machine_.rethrow();
  return error;
}

Error Stream::Impl::again(const Error& error) {
  fiber::breathe();
  return error;
}

// Whoever waits first waits on the transport; others of this stream that want the
// same wait for that one to come back, and then look again. So a writer that OpenSSL
// makes wait for the peer (half a post-handshake message has come) and a reader
// can both wait, on a transport that knows one waiter per direction.
Wake Stream::Impl::wait(Interest interest, Deadline deadline) {
  const bool write_is_taken = writable_.fiber != nullptr;
  if (interest == Interest::kReadOrWrite && write_is_taken) interest = Interest::kRead;
  Direction& first = interest == Interest::kWrite ? writable_ : readable_;
  if (closing_ && running_fiber() != closer_) return Wake::kCancelled;
  if (first.fiber != nullptr) return first.others.wait(deadline);
  Direction& second = interest == Interest::kReadOrWrite ? writable_ : first;
  const Waiting here(first, second);
  try {
    return fiber::call_user(&Transport::wait, link_.transport(), interest, deadline);
  } catch (...) {  // tidy: thrown on, and the connection is over.
    (void)machine_.fail_by_exception();
    throw;
  }
}

// Offers the output to the transport without waiting for it.
Error Stream::Impl::output_failed(const char* name) {
  if (machine_.has_exception()) return over(machine_.fail_by_exception());
  return machine_.fail_writing(link_.state().failure_in(name));
}

Result<void> Stream::Impl::drain_output(const char* name, Deadline deadline,
                                        std::size_t until_bytes) {
  while (link_.output_bytes() > until_bytes) {
    if (!offer_output()) [[unlikely]]
      return output_failed(name);
    if (link_.output_bytes() <= until_bytes) break;
    const Wake wake = wait(Interest::kWrite, deadline);
    if (wake != Wake::kReady) return interruption(wake, name);
  }
  // There may be none left because another fiber's call has found that the transport takes no more.
  if (link_.output_broken()) [[unlikely]]
    return machine_.fail_writing(link_.state().failure_in(name));
  return {};
}

template <typename TakeStep>
Result<bool> Stream::Impl::drive(const char* name, Deadline deadline,
                                 OnWriteFailure on_write_failure, TakeStep take_step, Until until) {
  for (;;) {
    if (machine_.failure()) return over(again(*machine_.failure()));
    if (machine_.awaits_client()) [[unlikely]] {
      if (const auto spoken = await_client(deadline); !spoken) return spoken.error();
    }
    if (link_.output_bytes() > kOutputBytesMax) [[unlikely]] {
      const auto room = drain_output(name, deadline, kOutputBytesMax);
      if (!room && on_write_failure == OnWriteFailure::kFail) return room.error();
      if (!room && room.error().code != Errc::kDisconnected) return room.error();
    }
    if (const auto turn = machine_.await_turn(name, deadline); !turn) return turn.error();
    machine_.set_deadline(deadline);
    const tls::Step step = take_step();
    switch (step.kind) {
      case tls::Step::Kind::kDone:
        return true;
      case tls::Step::Kind::kEnd:
        return false;
      case tls::Step::Kind::kFailed:
        return over(*step.error);
      case tls::Step::Kind::kWantRead:
      case tls::Step::Kind::kWantWrite:
      case tls::Step::Kind::kAgain:
        break;
    }
    // What OpenSSL wants is not what we asked of it: a read may have to write.
    if (!offer_output()) [[unlikely]] {
      const Error failed = output_failed(name);
      if (on_write_failure == OnWriteFailure::kFail) return failed;
    }
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

// A server has nothing to do before the client has said hello, and OpenSSL would take 36 KiB
// to find that out: many may connect and never speak, or never finish.
Result<void> Stream::Impl::await_client(Deadline deadline) {
  // Another fiber may do the handshake while this one waits.
  while (machine_.awaits_client() && !link_.has_first_message()) {
    const IoResult io = link_.read_ahead();
    if (io.kind == IoResult::Kind::kEnd) break;  // OpenSSL says what that means.
    if (io.kind == IoResult::Kind::kFailed) {
      return over(machine_.has_exception()
                      ? machine_.fail_by_exception()
                      : machine_.fail(link_.state().failure_in(Machine::kHandshake)));
    }
    const Wake wake =
        io.kind == IoResult::Kind::kBytes ? fiber::breathe() : wait(Interest::kRead, deadline);
    if (wake != Wake::kReady) return interruption(wake, Machine::kHandshake);
  }
  return {};
}

Result<void> Stream::Impl::handshake(Deadline deadline) {
  const Call call(*this);
  const Result<void> done = shake_hands(deadline);
  tell_removals(deadline);
  return done;
}

// Not from inside a callback, where OpenSSL may hold locks.
void Stream::Impl::tell_removals(Deadline deadline) const {
  if (!machine_.busy()) tls::deliver_removals(context_->ctx, deadline);
}

Result<bool> Stream::Impl::drive_handshake(Deadline deadline, OnWriteFailure on_write_failure) {
  return drive(Machine::kHandshake, deadline, on_write_failure,
               [&] { return machine_.handshake(); });
}

// What a server of TLS 1.3 writes last is tickets. It does not wait for a transport to take them:
// the client may write before it reads, and would wait for us meanwhile. (Before the kernel gets
// keys, what is under the old ones has left.)
Result<void> Stream::Impl::send_rest_of_handshake(Deadline deadline) {
  const bool tickets_only = context_->role == Role::kServer &&
                            SSL_version(machine_.ssl()) >= TLS1_3_VERSION && !link_.kernel();
  if (!tickets_only) return drain_output(Machine::kHandshake, deadline);
  if (!offer_output()) return output_failed(Machine::kHandshake);
  return {};
}

Result<void> Stream::Impl::shake_hands(Deadline deadline) {
  const Result<bool> shaken = drive_handshake(deadline, OnWriteFailure::kFail);
  Result<void> done = shaken ? send_rest_of_handshake(deadline) : shaken.error();
  if (done) done = settle_kernel();
  if (!done) return machine_.failure() ? done.error() : machine_.fail(done.error());
  return {};
}

Result<bool> Stream::Impl::await(Interest interest, Deadline deadline) {
  const Call call(*this);
  if (interest != Interest::kRead && writable()) return true;
  if (interest == Interest::kWrite) {
    const auto settled =
        drive(Machine::kWrite, deadline, OnWriteFailure::kFail, [&] { return machine_.settle(); });
    if (!settled) return settled;
    if (const auto sent = drain_output(Machine::kWrite, deadline); !sent) return sent.error();
    return true;
  }
  const bool settles = interest == Interest::kReadOrWrite;
  const auto until = settles ? Until::kDoneOrWritable : Until::kDone;
  const auto open = drive(
      Machine::kPeek, deadline, OnWriteFailure::kGoOn, [&] { return machine_.await_data(settles); },
      until);
  fiber::breathe();
  return open;
}

// What reads or writes first does the handshake first.
Result<void> Stream::Impl::decide(Deadline deadline, OnWriteFailure on_write_failure) {
  const Result<bool> open = drive_handshake(deadline, on_write_failure);
  if (!open) return open.error();
  return settle_kernel();
}

Result<std::size_t> Stream::Impl::read_with(ReadStep step, const char* name,
                                            std::span<std::byte> into, Deadline deadline) {
  const Call call(*this);
  if (into.empty()) return std::size_t{0};
  if (undecided()) [[unlikely]] {
    if (const auto known = decide(deadline, OnWriteFailure::kGoOn); !known) return known.error();
  }
  std::size_t count = 0;
  const Result<bool> open =
      drive(name, deadline, OnWriteFailure::kGoOn, [&] { return (machine_.*step)(into, count); });
  if (!open) return open.error();
  // Such as our Finished, if this read has done the handshake.
  if (link_.output_bytes() > 0 && !offer_output()) (void)output_failed(name);
  fiber::breathe();
  return *open ? count : std::size_t{0};
}

Error Stream::Impl::refused_write() const {
  return again(machine_.refused_write());
}

Result<void> Stream::Impl::write(std::span<const std::span<const std::byte>> pieces,
                                 Deadline deadline) {
  const Call call(*this);
  if (machine_.refuses_write()) return refused_write();
  tls::Pieces rest(pieces);
  if (undecided() && !rest.empty()) [[unlikely]] {
    const auto known = decide(deadline, OnWriteFailure::kFail);
    if (!known) return machine_.report_write(known.error());
  }
  while (!rest.empty()) {
    std::size_t count = 0;
    // Gathered again at each try, so that no buffer is held while the fiber waits.
    const auto write = [&](SSL* ssl) {
      std::optional<tls::ScratchBuffer> scratch;
      std::span<std::byte> gather;
      if (rest.gathers(kGatherBytes)) gather = scratch.emplace().bytes().first(kGatherBytes);
      const auto chunk = rest.front(kWriteBytesMax, gather);
      return SSL_write_ex(ssl, chunk.data(), chunk.size(), &count);
    };
    const Result<bool> written = drive(Machine::kWrite, deadline, OnWriteFailure::kFail,
                                       [&] { return machine_.write(write); });
    if (!written) return machine_.report_write(written.error());
    rest.remove(count);
    const std::size_t leave = rest.empty() ? 0 : kWriteBytesMax - 1;
    if (const auto sent = drain_output(Machine::kWrite, deadline, leave); !sent) {
      return machine_.fail_writing(sent.error());
    }
    fiber::breathe();
  }
  return {};
}

// Reads the piece and writes it. A file that cannot be read leaves the stream as it was.
Result<std::size_t> Stream::Impl::copy_piece(const Piece& piece, Deadline deadline) {
  constexpr const char* kRead = "read the file to send";
  ssize_t got = 0;
  int failed = 0;
  std::size_t count = 0;
  // Read again at each try, so that no buffer is held while the fiber waits.
  const auto copy = [&](SSL* ssl) {
    const tls::ScratchBuffer scratch;
    const auto buffer = scratch.bytes().first(std::min(piece.bytes, scratch.bytes().size()));
    do {
      got = ::pread(piece.file, buffer.data(), buffer.size(), static_cast<off_t>(piece.offset));
      failed = errno;
    } while (got < 0 && failed == EINTR);
    return got <= 0 ? 1 : SSL_write_ex(ssl, buffer.data(), static_cast<std::size_t>(got), &count);
  };
  const Result<bool> copied =
      drive(Machine::kWrite, deadline, OnWriteFailure::kFail, [&] { return machine_.write(copy); });
  if (!copied) return machine_.report_write(copied.error());
  if (got < 0) return Error{.code = Errc::kInvalid, .sys_errno = failed, .operation = kRead};
  if (const auto sent = drain_output(Machine::kWrite, deadline, kWriteBytesMax - 1); !sent) {
    return machine_.fail_writing(sent.error());
  }
  tls::count_sendfile(/*by_kernel=*/false, count);
  return count;
}

Result<void> Stream::Impl::announce(tls::Machine::Announcement what, Deadline deadline) {
  const Call call(*this);
  if (machine_.refuses_write()) return refused_write();
  if (kernel_states().send == KernelTlsState::kActive) {
    return Error{.code = Errc::kInvalid,
                 .operation = "send a message of TLS itself",
                 .detail = "the kernel encrypts (KernelTls)"};
  }
  const auto settle = [&] {
    return drive(tls::Machine::kWrite, deadline, OnWriteFailure::kFail,
                 [&] { return machine_.settle(); });
  };
  for (bool is_owed = machine_.handshake_done(); is_owed;) {
    if (const auto settled = settle(); !settled) return machine_.report_write(settled.error());
    const auto turn = machine_.await_turn(tls::Machine::kWrite, deadline);
    if (!turn) return turn.error();
    is_owed = !machine_.writable();  // Another fiber may have read meanwhile.
  }
  if (const auto begun = machine_.announce(what); !begun) return begun;
  if (const auto written = settle(); !written) return machine_.report_write(written.error());
  if (const auto sent = drain_output(tls::Machine::kWrite, deadline); !sent) {
    return machine_.fail_writing(sent.error());
  }
  return {};
}

Result<void> Stream::Impl::shutdown_write(Deadline deadline) {
  // Our own flag: OpenSSL sets SSL_SENT_SHUTDOWN before the alert has left.
  if (!machine_.write_ended()) {
    if (machine_.refuses_write()) return refused_write();
    // Before the client's hello there is nothing to end, and so nothing to wait for.
    const Result<bool> ended =
        machine_.awaits_client()
            ? Result<bool>(true)
            : drive(Machine::kEnd, deadline, OnWriteFailure::kFail, [&] { return machine_.end(); });
    if (!ended) {
      return is_interruption(ended.error()) ? ended.error() : machine_.report_write(ended.error());
    }
    machine_.give_up_writing();
  }
  // An interruption leaves close_notify where it is, for the next call to send.
  return drain_output(Machine::kEnd, deadline);
}

Result<void> Stream::Impl::end(Deadline deadline) {
  const Call call(*this);
  return shutdown_write(deadline);
}

// They find closing_ set when they would wait, or have waited.
Result<void> Stream::Impl::end_other_calls(Deadline deadline) {
  for (const Direction* way : {&readable_, &writable_}) {
    if (way->fiber != nullptr) way->fiber->scheduler->interrupt(*way->fiber);
  }
  while (calls_ > 0) {
    const Wake wake = no_calls_.wait(deadline);
    if (wake != Wake::kReady) return interruption(wake, "close");
  }
  return {};
}

Result<void> Stream::Impl::close(Deadline deadline) {
  if (released_) return again(*machine_.failure());
  if (closer_ != nullptr && closer_ != running_fiber()) {
    return Error{.code = Errc::kInvalid, .operation = "close", .detail = "another fiber does that"};
  }
  if (const auto turn = machine_.await_turn("close", deadline); !turn) return turn;
  const Closing closing(*this);
  if (const auto ended = end_other_calls(deadline); !ended) return ended;
  // What goes wrong here has been said, or ends the connection as well.
  (void)shutdown_write(deadline);
  if (machine_.failure()) (void)drain_output("close", deadline);  // An alert that had to wait.
  tell_removals(deadline);
  return link_.finish(deadline);
}

Result<Stream::Released> Stream::Impl::release() {
  const auto refuse = [](const char* why) {
    return Error{.code = Errc::kInvalid, .operation = "release a stream", .detail = why};
  };
  if (machine_.failure()) return again(*machine_.failure());
  if (machine_.busy()) return refuse("it is in the middle of a call");
  if ((SSL_get_shutdown(machine_.ssl()) & SSL_RECEIVED_SHUTDOWN) == 0) {
    return refuse("the peer's close_notify was not read");
  }
  if (!machine_.write_ended() || machine_.write_failure() || link_.output_bytes() > 0) {
    return refuse("our close_notify was not sent");
  }
  if (link_.kernel() != nullptr && (link_.kernel()->sends() || link_.kernel()->receives())) {
    return refuse("its socket has kernel TLS, which cannot be taken away");
  }
  (void)machine_.fail(
      {.code = Errc::kDisconnected, .operation = "use a stream", .detail = "it has been released"});
  released_ = true;
  return Released{.transport = std::move(owned_transport_), .unread = link_.take_unread()};
}

Result<Stream> Stream::create(const Context& context, std::unique_ptr<Transport> transport,
                              const StreamOptions& options) {
  if (!transport) {
    return Error{
        .code = Errc::kInvalid, .operation = "make a stream", .detail = "its transport is null"};
  }
  Transport& below = *transport;
  return Impl::create(context.state_, below, std::move(transport), options);
}

Result<Stream> Stream::create(const Context& context, Transport& transport,
                              const StreamOptions& options) {
  return Impl::create(context.state_, transport, nullptr, options);
}

Result<Stream> Stream::Impl::create(std::shared_ptr<const tls::ContextState> context,
                                    Transport& transport, std::unique_ptr<Transport> owned,
                                    const StreamOptions& options) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  auto ssl = tls::new_ssl(*context, options);
  if (!ssl) return ssl.error();
  auto made =
      std::make_unique<Impl>(*std::move(ssl), std::move(context), transport, std::move(owned));
  if (const auto offered = made->offer_kernel(); !offered) return offered.error();
  return Stream(std::move(made));
}

Stream::Stream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Stream::Stream(Stream&& other) noexcept = default;
Stream& Stream::operator=(Stream&& other) noexcept = default;
Stream::~Stream() = default;

Stream::Impl& Stream::impl(const char* call) const noexcept {
  return behind(impl_, "Stream", call);
}

Result<void> Stream::handshake(Deadline deadline) {
  return impl().handshake(deadline);
}

Result<std::size_t> Stream::read(std::span<std::byte> into, Deadline deadline) {
  return impl().read_with(&Machine::read, Machine::kRead, into, deadline);
}

Result<std::size_t> Stream::peek(std::span<std::byte> into, Deadline deadline) {
  return impl().read_with(&Machine::peek, Machine::kPeek, into, deadline);
}

Result<void> Stream::write(std::span<const std::byte> from, Deadline deadline) {
  return impl().write(std::span(&from, 1), deadline);
}

Result<void> Stream::write(std::span<const std::span<const std::byte>> pieces, Deadline deadline) {
  return impl().write(pieces, deadline);
}

Result<void> Stream::shutdown_write(Deadline deadline) {
  return impl().end(deadline);
}

Result<void> Stream::close(Deadline deadline) {
  return impl().close(deadline);
}

Result<Stream::Released> Stream::release() {
  return impl().release();
}

Transport& Stream::transport() noexcept {
  return impl().transport();
}

SSL* Stream::native_handle() const noexcept {
  return impl().machine().ssl();
}

}  // namespace heddle
