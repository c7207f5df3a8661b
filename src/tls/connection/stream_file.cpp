// Sending files, and who encrypts: the kernel or OpenSSL.
#include <algorithm>
#include <utility>

#include "base/interruption.h"
#include "fiber/breathe.h"
#include "tls/connection/stream_impl.h"

namespace heddle {
namespace {

// So much at once goes to the kernel, which encrypts it before it returns: others wait meanwhile.
// Whole records.
constexpr std::size_t kKernelBytesMax = std::size_t{256} * 1024;

}  // namespace

Result<void> Stream::Impl::offer_kernel() {
  const KernelTls mode = context_->kernel_tls;
  if (mode == KernelTls::kOff) return {};
  const KernelTlsState can = tls::kernel_tls_obstacle(link_.transport());
  if (can == KernelTlsState::kActive) {
    link_.use_kernel(std::make_unique<tls::KernelRecords>(mode, machine_.ssl(), link_.transport()));
    machine_.replace_bio(tls::make_bio(link_));
    return {};
  }
  if (mode == KernelTls::kOn) return tls::kernel_tls_error(can);
  without_kernel_ = {.send = can, .receive = can};
  tls::count_kernel_connection(without_kernel_);
  return {};
}

Result<void> Stream::Impl::settle_kernel() {
  if (!undecided()) return {};
  const Result<void> settled = link_.kernel()->settle();
  return settled ? settled : machine_.fail(settled.error());
}

// sendfile(2) says little of what it cannot do, and of which end has failed. So whatever it fails
// with, reading and writing is tried next, and the outcome is theirs.
Result<std::size_t> Stream::Impl::send_piece(const Piece& piece, Deadline deadline) {
  constexpr const char* kName = "sendfile";
  tls::KernelRecords& kernel = *link_.kernel();
  for (;;) {
    if (machine_.refuses_write()) return refused_write();
    // What OpenSSL has written comes first, and a call of it that is not over may write more.
    if (const auto sent = drain_output(kName, deadline); !sent)
      return machine_.fail_writing(sent.error());
    if (const auto turn = machine_.await_turn(kName, deadline); !turn) {
      return machine_.fail_writing(turn.error());
    }
    const std::size_t bytes = std::min(piece.bytes, kKernelBytesMax);
    const IoResult io = kernel.sendfile(piece.file, piece.offset, bytes);
    if (io.kind == IoResult::Kind::kBytes) tls::count_sendfile(/*by_kernel=*/true, io.bytes);
    if (io.kind == IoResult::Kind::kFailed) return copy_piece(piece, deadline);
    if (io.kind != IoResult::Kind::kWouldBlock) return io.bytes;
    const Wake wake = wait(Interest::kWrite, deadline);
    if (wake != Wake::kReady) return machine_.fail_writing(interruption(wake, kName));
  }
}

Result<std::size_t> Stream::Impl::sendfile(int file, std::uint64_t offset, std::size_t count,
                                           Deadline deadline) {
  const Call call(*this);
  if (machine_.refuses_write()) return refused_write();
  if (undecided() && count > 0) {
    const auto known = decide(deadline, OnWriteFailure::kFail);
    if (!known) return machine_.report_write(known.error());
  }
  const bool by_kernel = kernel_states().send == KernelTlsState::kActive;
  std::size_t sent = 0;
  while (sent < count) {
    const Piece rest{.file = file, .offset = offset + sent, .bytes = count - sent};
    const Result<std::size_t> piece =
        by_kernel ? send_piece(rest, deadline) : copy_piece(rest, deadline);
    if (!piece) {
      const bool is_cut = sent > 0 && !machine_.refuses_write();
      return is_cut ? machine_.fail_writing(piece.error()) : piece.error();
    }
    if (*piece == 0) break;
    sent += *piece;
    fiber::breathe();
  }
  if (const auto drained = drain_output("sendfile", deadline); !drained) {
    return machine_.fail_writing(drained.error());
  }
  return sent;
}

Result<std::size_t> Stream::sendfile(int file, std::uint64_t offset, std::size_t count,
                                     Deadline deadline) {
  return impl().sendfile(file, offset, count, deadline);
}

KernelTlsState Stream::ktls_send() const noexcept {
  return impl().kernel_states().send;
}

KernelTlsState Stream::ktls_recv() const noexcept {
  return impl().kernel_states().receive;
}

}  // namespace heddle
