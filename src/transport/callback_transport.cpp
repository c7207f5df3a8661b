// Two functions that wait, made to look like a transport that can say "not now".
#include "heddle/callback_transport.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "heddle/fiber.h"

#include "base/assert.h"
#include "base/die.h"
#include "fiber/no_park.h"
#include "fiber/scheduler.h"
#include "fiber/user_code.h"

namespace heddle {
namespace {

constexpr std::size_t kInputBytes = std::size_t{16} * 1024;    // About a record.
constexpr std::size_t kOutputBytes = std::size_t{128} * 1024;  // Several.

constexpr Error kThrew{.code = Errc::kDisconnected,
                       .operation = "call a transport's function",
                       .detail = "it threw an exception"};

// Whether `error` says no more than that the wait for it was to end.
bool is_interruption(const Error& error, Deadline deadline) {
  const fiber::Scheduler* const scheduler = fiber::Scheduler::current_or_null();
  const bool in_fiber = scheduler != nullptr && scheduler->running() != nullptr;
  if (error.code == Errc::kCancelled) return in_fiber && this_fiber::cancelled();
  if (error.code != Errc::kTimedOut || deadline.is_never()) return false;
  return scheduler == nullptr || scheduler->now() >= deadline.time();
}

Wake interruption_of(const Error& error) {
  return error.code == Errc::kTimedOut ? Wake::kTimedOut : Wake::kCancelled;
}

[[noreturn]] void refuse_count(const char* function, std::size_t count, std::size_t most) {
  die("a CallbackTransport's %s function returned %zu where it was given %zu bytes: it says how "
      "many of those it has used",
      function, count, most);
}

}  // namespace

CallbackTransport::CallbackTransport(Functions functions) : functions_(std::move(functions)) {
  if (functions_.read && functions_.write) return;
  die("CallbackTransport() without a read or a write function: it needs both");
}

CallbackTransport::CallbackTransport(CallbackTransport&& other) noexcept = default;
CallbackTransport& CallbackTransport::operator=(CallbackTransport&& other) noexcept = default;
CallbackTransport::~CallbackTransport() = default;

IoResult CallbackTransport::fail(const Error& error) {
  failure_ = error;
  return {IoResult::Kind::kFailed, 0, error.sys_errno};
}

IoResult CallbackTransport::try_read(std::span<std::byte> into) {
  if (unread_.empty()) {
    if (read_failure_) return fail(*read_failure_);
    return {at_end_ ? IoResult::Kind::kEnd : IoResult::Kind::kWouldBlock};
  }
  const std::size_t count = std::min(into.size(), unread_.size());
  std::copy_n(unread_.begin(), count, into.begin());
  unread_ = unread_.subspan(count);
  return {IoResult::Kind::kBytes, count};
}

IoResult CallbackTransport::try_write(std::span<const std::byte> from) {
  if (write_failure_) return fail(*write_failure_);
  if (output_.empty()) {
    const auto staged = from.first(std::min(from.size(), kOutputBytes));
    output_.assign(staged.begin(), staged.end());
  }
  if (writing_ || written_ == 0) return {IoResult::Kind::kWouldBlock};
  // After an interruption the rest is given again.
  output_ = {};
  return {IoResult::Kind::kBytes, std::exchange(written_, 0)};
}

// One function at a time: what waits to be written goes first, as the peer may need it in order to
// send what is to be read.
Wake CallbackTransport::wait(Interest interest, Deadline deadline) {
  const bool owes = written_ < output_.size() && !write_failure_;
  if (interest == Interest::kRead || (interest == Interest::kReadOrWrite && !owes)) {
    return read_more(deadline);
  }
  return write_all(deadline);
}

Wake CallbackTransport::read_more(Deadline deadline) {
  if (!unread_.empty() || at_end_ || read_failure_) return Wake::kReady;
  input_.resize(kInputBytes);
  try {
    const Result<std::size_t> got = fiber::call_user(functions_.read, input_, deadline);
    if (got) {
      if (*got > input_.size()) refuse_count("read", *got, input_.size());
      unread_ = std::span(input_).first(*got);
      at_end_ = *got == 0;
      return Wake::kReady;
    }
    if (is_interruption(got.error(), deadline)) return interruption_of(got.error());
    read_failure_ = got.error();
  } catch (...) {  // tidy: thrown on; the functions are not to be called again.
    read_failure_ = write_failure_ = kThrew;
    throw;
  }
  return Wake::kReady;
}

Wake CallbackTransport::write_all(Deadline deadline) {
  HEDDLE_ASSERT(!writing_);
  writing_ = true;
  Wake wake = Wake::kReady;
  try {
    while (wake == Wake::kReady && written_ < output_.size() && !write_failure_) {
      wake = write_some(deadline);
    }
  } catch (...) {  // tidy: thrown on; the functions are not to be called again.
    writing_ = false;
    read_failure_ = write_failure_ = kThrew;
    throw;
  }
  writing_ = false;
  return wake;
}

Wake CallbackTransport::write_some(Deadline deadline) {
  const auto rest = std::span<const std::byte>(output_).subspan(written_);
  const Result<std::size_t> took = fiber::call_user(functions_.write, rest, deadline);
  if (took && *took > 0) {
    if (*took > rest.size()) refuse_count("write", *took, rest.size());
    written_ += *took;
    return Wake::kReady;
  }
  if (!took && is_interruption(took.error(), deadline)) return interruption_of(took.error());
  write_failure_ = took ? Error{.code = Errc::kInvalid,
                                .operation = "call a transport's write function",
                                .detail = "it wrote nothing and did not fail"}
                        : took.error();
  return Wake::kReady;
}

void CallbackTransport::shutdown_write() noexcept {
  const char* const what = "a transport's shutdown_write function";
  const fiber::NoParkScope no_park(what);
  if (!functions_.shutdown_write || write_failure_) return;
  try {
    fiber::call_user(functions_.shutdown_write);
  } catch (const std::exception& thrown) {
    die("%s throws: %s", what, thrown.what());
  } catch (...) {  // tidy: it ends the process, by name.
    die("%s throws", what);
  }
}

}  // namespace heddle
