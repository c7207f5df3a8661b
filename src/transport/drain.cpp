// The lingering close.
#include "transport/drain.h"

#include <array>

#include "heddle/fiber.h"

#include "base/interruption.h"
#include "fiber/breathe.h"
#include "fiber/scheduler.h"
#include "fiber/user_code.h"

namespace heddle {
namespace {

constexpr const char* kOperation = "wait for the peer to close";

// For a peer that sends so fast that nobody has to wait for it.
Result<void> go_on(Deadline deadline) {
  (void)fiber::breathe();
  const fiber::Scheduler* const scheduler = fiber::Scheduler::current_or_null();
  if (scheduler == nullptr || scheduler->running() == nullptr) return {};
  if (this_fiber::cancelled()) return interruption(Wake::kCancelled, kOperation);
  if (scheduler->now() >= deadline.time()) return interruption(Wake::kTimedOut, kOperation);
  return {};
}

}  // namespace

Result<void> finish_and_drain(Transport& transport, Deadline deadline) {
  constexpr std::size_t kBytesMax = std::size_t{1} << 20;
  fiber::call_user(&Transport::shutdown_write, transport);
  std::array<std::byte, 2048> dropped;
  std::size_t total = 0;
  while (!deadline.is_never() || total < kBytesMax) {
    const IoResult io = fiber::call_user(&Transport::try_read, transport, dropped);
    switch (io.kind) {
      case IoResult::Kind::kEnd:
        return {};
      case IoResult::Kind::kFailed:
        return fiber::call_user(&Transport::failure, transport)
            .value_or(Error{
                .code = Errc::kDisconnected, .sys_errno = io.sys_errno, .operation = kOperation});
      case IoResult::Kind::kBytes:
        total += io.bytes;
        if (const auto going = go_on(deadline); !going) return going;
        continue;
      case IoResult::Kind::kWouldBlock:
        break;
    }
    const Wake wake = fiber::call_user(&Transport::wait, transport, Interest::kRead, deadline);
    if (wake != Wake::kReady) return interruption(wake, kOperation);
  }
  return Error{
      .code = Errc::kDisconnected, .operation = kOperation, .detail = "it sends on without end"};
}

}  // namespace heddle
