// What a Stream is made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "heddle/error_queue.h"
#include "heddle/tls/stream.h"
#include "heddle/wait_queue.h"

#include "base/hidden.h"
#include "openssl/handles.h"
#include "tls/kernel/ktls.h"
#include "tls/machine/machine.h"
#include "tls/state/context_state.h"
#include "tls/wire/link.h"
#include "tls/wire/pieces.h"

namespace heddle {

class HEDDLE_HIDDEN Stream::Impl {
 public:
  static Result<Stream> create(std::shared_ptr<const tls::ContextState> context,
                               Transport& transport, std::unique_ptr<Transport> owned,
                               const StreamOptions& options);

  static Result<Stream> adopt(NakedConnection connection, Transport& transport,
                              std::unique_ptr<Transport> owned);

  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  Impl(openssl::SslPtr ssl, std::shared_ptr<const tls::ContextState> context, Transport& transport,
       std::unique_ptr<Transport> owned);

  Result<void> handshake(Deadline deadline);
  using ReadStep = tls::Step (tls::Machine::*)(std::span<std::byte> into, std::size_t& count);
  Result<std::size_t> read_with(ReadStep step, const char* name, std::span<std::byte> into,
                                Deadline deadline);
  Result<void> write(std::span<const std::span<const std::byte>> pieces, Deadline deadline);
  Result<std::size_t> sendfile(int file, std::uint64_t offset, std::size_t count,
                               Deadline deadline);
  Result<void> announce(tls::Machine::Announcement what, Deadline deadline);
  Result<void> end(Deadline deadline);
  Result<void> close(Deadline deadline);
  Result<Released> release();

  // What StreamTransport is made of. These three never park, and no callback runs in the first two,
  // which do no more than take what is decrypted and encrypt what is given: the rest is left to
  // await(). Encrypted bytes stay in the link until flush() has sent them.
  IoResult take(std::span<std::byte> into);
  IoResult encrypt(std::span<const std::byte> from);
  IoResult flush();

  // Parks until take() has bytes (kRead), encrypt() would take some and flush() has nothing left
  // (kWrite), or either. Returns false at the peer's end. An interruption leaves all as it was.
  Result<bool> await(Interest interest, Deadline deadline);

  // Sends close_notify and the transport's end as far as that is possible without waiting. Returns
  // whether it is done; if not, to be repeated after await(kWrite).
  bool try_end();

  const tls::Machine& machine() const noexcept { return machine_; }
  tls::KernelTlsStates kernel_states() const noexcept {
    return link_.kernel() != nullptr ? link_.kernel()->states() : without_kernel_;
  }
  Transport& transport() const noexcept { return link_.transport(); }

 private:
  // Takes `step`, a step of the machine, until it is done, parking whenever it wants the
  // transport: the only loop that does. Returns false if the peer has sent close_notify. Only a
  // failure of the connection sticks.
  //
  // When the transport fails to take output, a reader goes on: the peer may have
  // sent its answer before it went away.
  enum class OnWriteFailure : bool { kFail, kGoOn };
  enum class Until : bool { kDone, kDoneOrWritable };
  template <typename TakeStep>
  Result<bool> drive(const char* name, Deadline deadline, OnWriteFailure on_write_failure,
                     TakeStep take_step, Until until = Until::kDone);

  Result<bool> drive_handshake(Deadline deadline, OnWriteFailure on_write_failure);
  Result<void> shake_hands(Deadline deadline);
  Result<void> send_rest_of_handshake(Deadline deadline);
  void tell_removals(Deadline deadline) const;
  // Kernel TLS: offers it if the context asks for it. Fails if the context insists.
  Result<void> offer_kernel();
  // Whether it is still open who does the encryption: only a finished handshake tells.
  bool undecided() const noexcept {
    return link_.kernel() != nullptr && !link_.kernel()->settled();
  }
  Result<void> decide(Deadline deadline, OnWriteFailure on_write_failure);
  Result<void> settle_kernel();

  // As Machine::refused_write(), for a call to return: see again().
  Error refused_write() const;
  // One piece of a file: 0 at its end.
  struct Piece {
    int file;
    std::uint64_t offset;
    std::size_t bytes;
  };
  Result<std::size_t> send_piece(const Piece& piece, Deadline deadline);
  Result<std::size_t> copy_piece(const Piece& piece, Deadline deadline);

  IoResult outcome(tls::Step step, std::size_t count);

  Result<void> shutdown_write(Deadline deadline);
  Result<void> await_client(Deadline deadline);
  // Sends what the transport takes now. False if it has failed: see output_failed().
  bool offer_output() { return link_.flush().kind != IoResult::Kind::kFailed; }
  Error output_failed(const char* name);
  // Parks until at most `until_bytes` of output are left.
  Result<void> drain_output(const char* name, Deadline deadline, std::size_t until_bytes = 0);
  Wake wait(Interest interest, Deadline deadline);

  // Whether a write would have nothing to do before it.
  bool writable() const noexcept { return machine_.writable() && link_.output_bytes() == 0; }

  // The connection is over by `error`: the alert that says why is offered to the transport. Throws
  // what a transport or a callback has thrown.
  Error over(const Error& error);
  static fiber::Fiber* running_fiber() noexcept {
    const fiber::Scheduler* const scheduler = fiber::Scheduler::current_or_null();
    return scheduler != nullptr ? scheduler->running() : nullptr;
  }
  // Ends what other fibers wait for in calls of this stream, and lets them leave.
  Result<void> end_other_calls(Deadline deadline);

  // `error` again, which a call has found that came too late. Others may run first: a loop over a
  // connection that has failed must not keep them from it.
  static Error again(const Error& error);

  // One way of the transport, for which one fiber waits at a time.
  struct Direction {
    fiber::Fiber* fiber = nullptr;  // That fiber, if one waits.
    WaitQueue others{"for another fiber's call of its stream"};
  };

  // Waiting is a fiber's wait for both of its directions, which may be the same one.
  class Waiting {
   public:
    Waiting(Direction& first, Direction& second) : first_(first), second_(second) {
      first_.fiber = second_.fiber = running_fiber();
    }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting() {
      first_.fiber = second_.fiber = nullptr;
      for (WaitQueue* const others : {&first_.others, &second_.others}) {
        if (!others->empty()) [[unlikely]]
          others->wake_all();
      }
    }

   private:
    Direction& first_;
    Direction& second_;
  };

  // Call is a fiber's stay in a call that may park, other than close().
  class Call {
   public:
    explicit Call(Impl& stream) noexcept : stream_(stream) { ++stream_.calls_; }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    ~Call() {
      if (--stream_.calls_ == 0 && stream_.closing_) [[unlikely]]
        stream_.no_calls_.wake_all();
    }

   private:
    Impl& stream_;
  };

  // Closing is a fiber's stay in close().
  class Closing {
   public:
    explicit Closing(Impl& stream) noexcept : stream_(stream) {
      stream_.closing_ = true;
      stream_.closer_ = running_fiber();
    }
    Closing(const Closing&) = delete;
    Closing& operator=(const Closing&) = delete;
    ~Closing() { stream_.closer_ = nullptr; }

   private:
    Impl& stream_;
  };

  std::unique_ptr<Transport> owned_transport_;  // Before machine_, which uses it.
  std::shared_ptr<const tls::ContextState> context_;
  tls::Link link_;
  tls::Machine machine_;                 // After link_: freed first, as its BIO points there.
  tls::KernelTlsStates without_kernel_;  // If link_ has no kernel.
  Direction readable_;
  Direction writable_;
  unsigned calls_ = 0;  // How many Calls there are.
  WaitQueue no_calls_{"for the other calls of its stream to end"};
  bool closing_ = false;            // close() was called: others do not wait any more.
  fiber::Fiber* closer_ = nullptr;  // Who is in close().
  bool released_ = false;           // The transport is somebody else's.
};

}  // namespace heddle
