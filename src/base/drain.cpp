// The lingering close.
#include "base/drain.h"

#include <array>

#include "base/interruption.h"

namespace heddle {

Result<void> finish_and_drain(Transport& transport, Deadline deadline) {
  constexpr std::size_t kBytesMax = std::size_t{1} << 20;
  constexpr const char* kOperation = "wait for the peer to close";
  transport.shutdown_write();
  std::array<std::byte, 2048> dropped;
  std::size_t total = 0;
  while (total < kBytesMax) {
    const IoResult io = transport.try_read(dropped);
    switch (io.kind) {
      case IoResult::Kind::kEnd:
        return {};
      case IoResult::Kind::kFailed:
        return transport.failure().value_or(Error{
            .code = Errc::kDisconnected, .sys_errno = io.sys_errno, .operation = kOperation});
      case IoResult::Kind::kBytes:
        total += io.bytes;
        continue;
      case IoResult::Kind::kWouldBlock:
        break;
    }
    const Wake wake = transport.wait(Interest::kRead, deadline);
    if (wake != Wake::kReady) return interruption(wake, kOperation);
  }
  return Error{.code = Errc::kDisconnected, .operation = "the peer sends on after our end"};
}

}  // namespace heddle
