// Shared buffers, and what goes through them.
#include "tls/wire/link.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <memory>
#include <new>
#include <utility>

#include "fiber/no_park.h"
#include "fiber/user_code.h"
#include "transport/drain.h"

namespace heddle::tls {

// ThreadBuffers is what the links of one thread share. A link owns a buffer while
// its bytes are in it.
class ThreadBuffers {
 public:
  static constexpr std::size_t kBytes = std::size_t{128} * 1024;
  static constexpr std::size_t kRecordBytes = std::size_t{16} * 1024;

  static const std::shared_ptr<ThreadBuffers>& of_thread() {
    thread_local const auto buffers = std::make_shared<ThreadBuffers>();
    return buffers;
  }

  // Loan is the time in which a transport reads into a buffer for `link`: the shared one, out of
  // which the last owner's bytes have moved. A transport that is made of TLS itself reads another
  // link meanwhile; the shared buffer is taken then, and that link gets memory of its own. Nobody
  // may park meanwhile.
  class Loan {
   public:
    Loan(ThreadBuffers& lender, Link& link)
        : lender_(lender),
          is_shared_(!lender.input_lent_),
          buffer_(is_shared_ ? lender.claim_input(link) : own_buffer(link)) {
      lender.input_lent_ = true;
    }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() {
      if (is_shared_) lender_.input_lent_ = false;
    }

    std::span<std::byte> buffer() const noexcept { return buffer_; }

   private:
    static std::span<std::byte> own_buffer(Link& link) {
      link.kept_input_.resize(kRecordBytes);
      return link.kept_input_;
    }

    const fiber::NoParkScope no_park_{"a transport's try_read() into the thread's buffer"};
    ThreadBuffers& lender_;
    const bool is_shared_;
    const std::span<std::byte> buffer_;
  };

  // Room for `bytes` more of `link`'s output, or nothing. Another owner is in the middle of a call,
  // parked in a callback, and may stay there long: what it has written moves out.
  // While it is being sent it stays where it is: the transport below may be TLS itself, and write.
  std::byte* claim_output(Link& link, std::size_t bytes) {
    if (output_is_leaving_) return nullptr;
    if (output_owner_ != nullptr && output_owner_ != &link) {
      output_owner_->kept_output_.assign(output_.begin(), output_.begin() + output_used_);
      release_output();
    }
    if (output_.size() - output_used_ < bytes) return nullptr;
    output_owner_ = &link;
    return output_.data() + std::exchange(output_used_, output_used_ + bytes);
  }

  std::span<const std::byte> output_of(const Link& link) const noexcept {
    return output_owner_ == &link ? std::span(output_).first(output_used_)
                                  : std::span<const std::byte>();
  }

  // Leaving is the time in which a transport takes output out of the shared buffer. Nobody may park
  // meanwhile.
  class Leaving {
   public:
    explicit Leaving(ThreadBuffers& buffers) noexcept : buffers_(buffers) {
      buffers_.output_is_leaving_ = true;
    }
    Leaving(const Leaving&) = delete;
    Leaving& operator=(const Leaving&) = delete;
    ~Leaving() { buffers_.output_is_leaving_ = false; }

   private:
    const fiber::NoParkScope no_park_{"a transport's try_write() from the thread's buffer"};
    ThreadBuffers& buffers_;
  };

  void release_output() noexcept {
    output_owner_ = nullptr;
    output_used_ = 0;
  }

  void forget(const Link& link) noexcept {
    if (input_owner_ == &link) input_owner_ = nullptr;
    if (output_owner_ == &link) release_output();
  }

  // The memory of ScratchBuffers that is not in use.
  std::unique_ptr<ScratchBuffer::Memory> spare;

 private:
  std::span<std::byte> claim_input(Link& link) {
    if (input_owner_ != nullptr && input_owner_ != &link && !input_owner_->input_.empty() &&
        !input_owner_->input_is_kept()) {
      Link& owner = *input_owner_;
      owner.kept_input_.assign(owner.input_.begin(), owner.input_.end());
      owner.input_ = owner.kept_input_;
    }
    input_owner_ = &link;
    return input_;
  }

  Link* input_owner_ = nullptr;
  bool input_lent_ = false;
  Link* output_owner_ = nullptr;
  std::size_t output_used_ = 0;
  bool output_is_leaving_ = false;
  std::array<std::byte, kBytes> input_;
  std::array<std::byte, kBytes> output_;
};

Link::~Link() {
  if (buffers_) buffers_->forget(*this);
}

ThreadBuffers& Link::buffers() const {
  if (!buffers_) buffers_ = ThreadBuffers::of_thread();
  return *buffers_;
}

IoResult Link::prefetch() noexcept {
  return input_.empty() ? fill() : IoResult{IoResult::Kind::kBytes, input_.size()};
}

IoResult Link::read(std::span<std::byte> into) noexcept {
  if (const auto refused = state_.refuse_read(into.size())) return *refused;
  const IoResult io = hand_out(into);
  if (io.kind == IoResult::Kind::kBytes) state_.intake.took(into.first(io.bytes));
  return io;
}

IoResult Link::hand_out(std::span<std::byte> into) noexcept {
  if (kernel_ && !kernel_->may_read_ahead() && input_.empty()) [[unlikely]] {
    return read_no_further(into);
  }
  if (const IoResult filled = prefetch(); filled.kind != IoResult::Kind::kBytes) return filled;
  const std::size_t count = std::min(into.size(), input_.size());
  std::copy_n(input_.begin(), count, into.begin());
  input_ = input_.subspan(count);
  if (input_.empty() && kept_input_.capacity() != 0) kept_input_ = {};
  return {IoResult::Kind::kBytes, count};
}

// Asks the transport. It is somebody else's code: what it throws waits in state_ until OpenSSL
// has returned.
template <typename Try>
IoResult Link::attempt(const char* what, Try attempt) noexcept {
  const fiber::NoParkScope no_park(what);
  const fiber::UserCodeScope user_code;
  IoResult io{IoResult::Kind::kFailed};
  try {
    io = attempt();
    if (io.kind != IoResult::Kind::kFailed) return io;
    state_.failure = transport_.failure();
  } catch (...) {  // tidy: thrown again by Engine::rethrow().
    if (!state_.thrown) state_.thrown = std::current_exception();
  }
  if (!state_.failure) {
    state_.failure = Error{.code = Errc::kDisconnected, .sys_errno = io.sys_errno};
  }
  return io;
}

IoResult Link::fill() noexcept {
  if (state_.at_end) return {IoResult::Kind::kEnd};
  const IoResult io = attempt("a transport's try_read() called by OpenSSL", [&] {
    const ThreadBuffers::Loan loan(buffers(), *this);
    const IoResult read = transport_.try_read(loan.buffer());
    if (read.kind == IoResult::Kind::kBytes) input_ = loan.buffer().first(read.bytes);
    return read;
  });
  if (input_.empty() && kept_input_.capacity() != 0) kept_input_ = {};
  if (io.kind == IoResult::Kind::kEnd) state_.at_end = true;
  return io;
}

// What was there stays in front: bytes that are in two places come together in memory of this
// link's own.
IoResult Link::read_ahead() noexcept {
  if (input_.empty()) return fill();
  try {
    if (!input_is_kept()) kept_input_.assign(input_.begin(), input_.end());
    std::vector<std::byte> all = std::exchange(kept_input_, {});
    all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(input_.size()));
    input_ = {};
    const IoResult io = fill();
    all.insert(all.end(), input_.begin(), input_.end());
    kept_input_ = std::move(all);
    input_ = kept_input_;
    return io;
  } catch (const std::bad_alloc&) {
    state_.failure = Error{.code = Errc::kExhausted, .sys_errno = ENOMEM};
    return {IoResult::Kind::kFailed, 0, ENOMEM};
  }
}

// Just what OpenSSL asks for: what comes behind a Finished is for the kernel to read.
IoResult Link::read_no_further(std::span<std::byte> into) noexcept {
  if (state_.at_end) return {IoResult::Kind::kEnd};
  const IoResult io = attempt("a transport's try_read() called by OpenSSL", [&] {
    return kernel_->receives() ? kernel_->read(into) : transport_.try_read(into);
  });
  if (io.kind == IoResult::Kind::kEnd) state_.at_end = true;
  return io;
}

IoResult Link::write(std::span<const std::byte> from) {
  if (output_broken_ || state_.ended) return {IoResult::Kind::kBytes, from.size()};
  if (record_type_) [[unlikely]]
    return write_typed(*record_type_, from);
  collect(from);
  return {IoResult::Kind::kBytes, from.size()};
}

IoResult Link::write_typed(std::uint8_t type, std::span<const std::byte> from) {
  if (KernelRecords::is_key_update(type, from)) return write_key_update(type, from);
  typed_output_.reserve(typed_output_.size() + 1);  // Bytes without their type would be data.
  const std::uint64_t at = output_begin_ + output_bytes();
  collect(from);
  typed_output_.push_back({.at = at, .size = from.size(), .type = type});
  record_type_.reset();
  return {IoResult::Kind::kBytes, from.size()};
}

// What OpenSSL writes behind it is under the next keys. So all before it has to be gone, and it as
// well, when OpenSSL hands them over; and where the kernel will not get them, it must not leave.
IoResult Link::write_key_update(std::uint8_t type, std::span<const std::byte> from) noexcept {
  if (!kernel_->survives_key_update()) {
    count_refused_key_update();
    state_.failure = Error{.code = Errc::kDisconnected,
                           .operation = "answer a KeyUpdate",
                           .detail = "the kernel would keep the old keys"};
    return {IoResult::Kind::kFailed};
  }
  IoResult io = flush(OnFailure::kKeep);
  if (io.kind != IoResult::Kind::kBytes) return io;
  io = attempt("sendmsg() called by OpenSSL", [&] { return kernel_->write(type, from); });
  if (io.kind != IoResult::Kind::kBytes) return io;
  output_begin_ += io.bytes;
  record_type_.reset();
  return io;
}

// While the kernel may get keys: what is under the old ones must have left by then.
IoResult Link::flush_for_openssl() noexcept {
  if (!kernel_ || kernel_->settled()) return {IoResult::Kind::kBytes};
  return flush(OnFailure::kKeep);
}

// OpenSSL flushes before it hands keys over, or has sent a KeyUpdate.
bool Link::hand_keys_to_kernel(bool for_sending, void* keys) noexcept {
  if (!kernel_) return false;
  const bool busy = for_sending ? output_bytes() > 0 : !input_.empty();
  if (busy) kernel_->refuse_keys(for_sending, KernelTlsState::kBusy);
  return !busy && kernel_->take_keys(for_sending, keys);
}

void Link::collect(std::span<const std::byte> from) {
  ThreadBuffers& shared = buffers();
  // Order: what is kept from before goes first, so new bytes go behind it.
  if (kept_output_.empty()) {
    if (std::byte* const room = shared.claim_output(*this, from.size())) {
      std::copy(from.begin(), from.end(), room);
      return;
    }
    const std::span<const std::byte> collected = shared.output_of(*this);
    kept_output_.assign(collected.begin(), collected.end());
    if (!collected.empty()) shared.release_output();
  }
  kept_output_.insert(kept_output_.end(), from.begin(), from.end());
}

void Link::carry_over(std::vector<std::byte> unread, std::vector<std::byte> unsent) noexcept {
  kept_input_ = std::move(unread);
  input_ = kept_input_;
  kept_output_ = std::move(unsent);
}

std::vector<std::byte> Link::take_unread() {
  std::vector<std::byte> unread(input_.begin(), input_.end());
  input_ = {};
  kept_input_ = {};
  return unread;
}

std::size_t Link::output_bytes() const noexcept {
  return kept_output_.size() - kept_output_sent_ +
         (buffers_ ? buffers_->output_of(*this).size() : 0);
}

IoResult Link::offer(std::span<const std::byte> from) noexcept {
  if (!typed_output_.empty()) [[unlikely]]
    return offer_typed(from);
  return attempt("a transport's try_write()", [&] { return transport_.try_write(from); });
}

// The data before the first record that has a type, or else that record.
IoResult Link::offer_typed(std::span<const std::byte> from) noexcept {
  TypedOutput& first = typed_output_.front();
  const std::uint64_t data = first.at - output_begin_;
  if (data > 0) {
    return attempt("a transport's try_write()", [&] {
      return transport_.try_write(from.first(std::min<std::uint64_t>(data, from.size())));
    });
  }
  const IoResult io =
      attempt("sendmsg()", [&] { return kernel_->write(first.type, from.first(first.size)); });
  if (io.kind != IoResult::Kind::kBytes) return io;
  first.at += io.bytes;
  first.size -= io.bytes;
  if (first.size == 0) typed_output_.erase(typed_output_.begin());
  return io;
}

IoResult Link::send(std::span<const std::byte>& from, OnFailure on_failure) noexcept {
  IoResult io{IoResult::Kind::kBytes};
  while (!from.empty() && io.kind == IoResult::Kind::kBytes) {
    io = offer(from);
    if (io.kind != IoResult::Kind::kBytes) break;
    from = from.subspan(io.bytes);
    output_begin_ += io.bytes;
  }
  if (io.kind == IoResult::Kind::kFailed && on_failure == OnFailure::kDrop) {
    output_broken_ = true;
    from = {};  // Nobody will ever take the rest.
  }
  return io;
}

// Leaves nothing in the shared buffer: the next link may need it at once.
IoResult Link::flush(OnFailure on_failure) noexcept {
  if (!kept_output_.empty()) {
    auto rest = std::span<const std::byte>(kept_output_).subspan(kept_output_sent_);
    const IoResult io = send(rest, on_failure);
    kept_output_sent_ = kept_output_.size() - rest.size();
    if (rest.empty()) {
      kept_output_ = {};
      kept_output_sent_ = 0;
    }
    return io;
  }
  if (!buffers_) return {IoResult::Kind::kBytes};
  auto rest = buffers_->output_of(*this);
  if (rest.empty()) return {IoResult::Kind::kBytes};
  const IoResult io = [&] {
    const ThreadBuffers::Leaving leaving(*buffers_);
    return send(rest, on_failure);
  }();
  try {
    kept_output_.assign(rest.begin(), rest.end());
  } catch (const std::bad_alloc&) {
    buffers_->release_output();
    return out_of_memory();
  }
  buffers_->release_output();
  return io;
}

// Output that can be kept nowhere is lost, and the connection with it.
IoResult Link::out_of_memory() noexcept {
  output_broken_ = true;
  state_.failure = Error{.code = Errc::kExhausted, .sys_errno = ENOMEM};
  return {IoResult::Kind::kFailed, 0, ENOMEM};
}

Result<void> Link::finish(Deadline deadline) {
  if (!kernel_ || !kernel_->receives()) return finish_and_drain(transport_, deadline);
  KernelDrain drain(*kernel_, transport_);
  return finish_and_drain(drain, deadline);
}

ScratchBuffer::ScratchBuffer() : memory_(std::move(ThreadBuffers::of_thread()->spare)) {
  if (!memory_) memory_.reset(new Memory);  // NOLINT: make_unique() would fill it with zeros.
}

ScratchBuffer::~ScratchBuffer() {
  std::unique_ptr<Memory>& spare = ThreadBuffers::of_thread()->spare;
  if (!spare) spare = std::move(memory_);
}

}  // namespace heddle::tls
