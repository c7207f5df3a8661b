// Link: the bytes between one SSL object and its transport, and the BIO that
// OpenSSL sees of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/result.h"
#include "heddle/transport.h"

#include "openssl/handles.h"
#include "tls/kernel/ktls.h"
#include "tls/wire/first_message.h"
#include "tls/wire/intake.h"

namespace heddle::tls {

class ThreadBuffers;

// BioState is what a BIO of ours and the engine tell each other past OpenSSL: how much may be read,
// and failure details that a BIO's return value cannot carry.
struct BioState {
  Intake intake;
  bool at_end = false;           // The end has been read: there is nothing more to come.
  bool ended = false;            // Our close_notify is written: nothing may follow it.
  std::optional<Error> failure;  // Of the transport, and OpenSSL was told that there is one.
  std::exception_ptr thrown;  // By a transport or a callback: OpenSSL's frames are no way for it.

  // Why the BIO must not read now, if so.
  std::optional<IoResult> refuse_read(std::size_t wanted) noexcept {
    const Intake::Verdict verdict = intake.ask(wanted);
    if (verdict == Intake::Verdict::kGoOn) [[likely]]
      return std::nullopt;
    if (verdict == Intake::Verdict::kPause) return IoResult{IoResult::Kind::kWouldBlock};
    failure =
        Error{.code = Errc::kProtocol, .detail = "the peer sends handshake messages without end"};
    return IoResult{IoResult::Kind::kFailed};
  }

  // `failure`, which is of the call `name` if it does not say otherwise. Precondition: there is
  // one.
  Error failure_in(const char* name) const {
    Error error = *failure;
    if (*error.operation == '\0') error.operation = name;
    return error;
  }
};

// A question to a BIO of ours (BIO_ctrl(3)): what it has from the peer and OpenSSL has not read
// yet. The pointer is to a std::span<const std::byte>, valid until the next use of the BIO.
inline constexpr int kControlGetUnread = 1200;

// Link lets OpenSSL read and write without ever waiting.
//
// Reading: one read of the transport fills a buffer that all links of the thread
// share, so it brings whole flights and many records, and an idle connection
// holds no buffer. Bytes that OpenSSL has not asked for yet stay there until
// another link needs the buffer; only then are they copied out.
//
// Writing: what OpenSSL writes is collected, and sent by flush(): one system call
// for a flight or for several records. So OpenSSL always gets rid of a record
// whole, and no call of it is ever left half done when a fiber gives up.
//
// Kernel TLS: once the kernel has the keys for sending, what is collected is plain, and the same
// holds. (A socket BIO would let OpenSSL go on from the caller's buffer after a park, where other
// bytes may lie.) Records that are no application data are marked, and sent by calls of their own.
// Once it has the keys for receiving, OpenSSL reads record by record.
class Link {
 public:
  explicit Link(Transport& transport) noexcept : transport_(transport) {}
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link();

  Transport& transport() const noexcept { return transport_; }

  BioState& state() noexcept { return state_; }

  // From now on the kernel may get the keys: until the handshake is done nothing is read ahead, and
  // flushing is not put off. Precondition: nothing has been read or written. Needs a new
  // make_bio().
  void use_kernel(std::unique_ptr<KernelRecords> kernel) noexcept { kernel_ = std::move(kernel); }
  // Null if nobody asked.
  KernelRecords* kernel() const noexcept { return kernel_.get(); }

  // Bytes that OpenSSL has written and the transport has not taken.
  std::size_t output_bytes() const noexcept;

  // Whether the transport has failed to take output: state() says why.
  bool output_broken() const noexcept { return output_broken_; }

  // Bytes of the peer that OpenSSL has not read.
  std::span<const std::byte> unread() const noexcept { return input_; }

  // Offers them to the transport. kWouldBlock: some are left. kBytes: none is.
  // kFailed, once: they are dropped, and so is what OpenSSL writes from then on; state() says why.
  IoResult flush() noexcept { return flush(OnFailure::kDrop); }

  // Reads ahead, unless bytes are left over. kWouldBlock: there are none.
  IoResult prefetch() noexcept;

  // For servers, before OpenSSL is asked: whether the client's first message has come, or something
  // else for OpenSSL to judge; and one read of the transport, behind what has come.
  bool has_first_message() const noexcept { return tls::has_first_message(input_); }
  IoResult read_ahead() noexcept;

  // Begins with what another BIO had: bytes of the peer that were not read, and bytes that were
  // not sent. Precondition: nothing was read or written before.
  void carry_over(std::vector<std::byte> unread, std::vector<std::byte> unsent) noexcept;

  // What was read ahead, and OpenSSL has not asked for: it is no longer here.
  std::vector<std::byte> take_unread();

  // As finish_and_drain(), below TLS.
  Result<void> finish(Deadline deadline);

  // For the BIO. write() takes everything, but for a KeyUpdate under kernel TLS.
  IoResult read(std::span<std::byte> into) noexcept;
  IoResult write(std::span<const std::byte> from);
  IoResult flush_for_openssl() noexcept;
  bool hand_keys_to_kernel(bool for_sending, void* keys) noexcept;
  void set_record_type(std::optional<std::uint8_t> type) noexcept { record_type_ = type; }

 private:
  friend class ThreadBuffers;

  ThreadBuffers& buffers() const;
  // Output that the kernel has to be told the type of: with kernel TLS, whatever is no application
  // data.
  struct TypedOutput {
    std::uint64_t at;  // Of the bytes of output_begin_.
    std::size_t size;
    std::uint8_t type;
  };

  // Within OpenSSL, which may take no notice of a failure, output is kept: offered again, it fails
  // again.
  enum class OnFailure : bool { kDrop, kKeep };

  IoResult flush(OnFailure on_failure) noexcept;
  IoResult hand_out(std::span<std::byte> into) noexcept;
  IoResult fill() noexcept;
  bool input_is_kept() const noexcept {
    const auto* const begin = kept_input_.data();
    return input_.data() >= begin && input_.data() < begin + kept_input_.size();
  }
  IoResult out_of_memory() noexcept;
  IoResult read_no_further(std::span<std::byte> into) noexcept;
  void collect(std::span<const std::byte> from);
  IoResult write_typed(std::uint8_t type, std::span<const std::byte> from);
  IoResult write_key_update(std::uint8_t type, std::span<const std::byte> from) noexcept;
  IoResult offer(std::span<const std::byte> from) noexcept;
  IoResult offer_typed(std::span<const std::byte> from) noexcept;
  IoResult send(std::span<const std::byte>& from, OnFailure on_failure) noexcept;
  template <typename Try>
  IoResult attempt(const char* what, Try attempt) noexcept;

  Transport& transport_;
  // The thread's, from the first use on. Shared, since a link may outlive the thread.
  mutable std::shared_ptr<ThreadBuffers> buffers_;
  BioState state_;
  bool output_broken_ = false;         // The transport failed to write: output is dropped.
  std::span<std::byte> input_;         // Read and not asked for yet, wherever it lies.
  std::vector<std::byte> kept_input_;  // Where it lies when the shared buffer was needed.
  std::vector<std::byte> kept_output_;
  std::size_t kept_output_sent_ = 0;
  std::unique_ptr<KernelRecords> kernel_;
  std::optional<std::uint8_t> record_type_;  // Of what OpenSSL writes next, if that is told.
  std::vector<TypedOutput> typed_output_;    // Oldest first.
  std::uint64_t output_begin_ = 0;           // Bytes sent so far.
};

// Makes a BIO over `link`, which must outlive it. It never speaks of the kernel if the link has
// none now. Throws std::bad_alloc.
openssl::BioPtr make_bio(Link& link);

// ScratchBuffer is memory for the plain text of one call of OpenSSL. It belongs to its holder
// alone: a callback inside that call may park, and another fiber that needs one meanwhile gets
// another. The thread keeps one spare.
//
// Threads: ends on the thread on which it began.
class ScratchBuffer {
 public:
  static constexpr std::size_t kBytes = std::size_t{64} * 1024;

  // Throws std::bad_alloc.
  ScratchBuffer();
  ScratchBuffer(const ScratchBuffer&) = delete;
  ScratchBuffer& operator=(const ScratchBuffer&) = delete;
  ~ScratchBuffer();

  std::span<std::byte> bytes() const noexcept { return *memory_; }

  using Memory = std::array<std::byte, kBytes>;

 private:
  std::unique_ptr<Memory> memory_;
};

}  // namespace heddle::tls
