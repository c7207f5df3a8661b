// Reading and writing without TLS: see starttls_dialogue.h.
#include "cli/starttls_dialogue.h"

#include <array>
#include <optional>
#include <utility>

#include <fmt/core.h>

#include "base/printable.h"

namespace heddle::cli {
namespace {

constexpr std::size_t kBytesMax = std::size_t{64} * 1024;  // Of all answers together.
constexpr std::size_t kWordsMax = 200;                     // Of what is shown of one.

Error plain_error(Errc code, const char* detail, int sys_errno = 0) {
  return {.code = code, .sys_errno = sys_errno, .operation = "start TLS", .detail = detail};
}

Error wait_error(Wake wake) {
  return wake == Wake::kTimedOut ? plain_error(Errc::kTimedOut, "")
                                 : plain_error(Errc::kCancelled, "");
}

}  // namespace

Error Dialogue::failed(std::string message) {
  message_ = std::move(message);
  return plain_error(Errc::kProtocol, "");
}

Error Dialogue::refused(std::string_view words) {
  return failed("the server refuses to begin TLS: " + printable(words, kWordsMax));
}

Error Dialogue::no_offer() {
  return failed("the server does not offer TLS");
}

Error Dialogue::unexpected(std::string_view words, std::string_view protocol) {
  return failed(fmt::format("the server does not speak {}: {}", protocol,
                            words.empty() ? "an empty line" : printable(words, kWordsMax)));
}

std::string Dialogue::message(const Error& error) const {
  return message_.empty() ? error.message() : message_;
}

Result<std::size_t> Dialogue::read(std::span<std::byte> into, Deadline deadline) {
  if (received_ >= kBytesMax) {
    return failed(fmt::format("the server has sent {} bytes and not begun TLS", received_));
  }
  for (;;) {
    const IoResult got = transport_.try_read(into);
    if (got.kind == IoResult::Kind::kEnd) return std::size_t{0};
    if (got.kind == IoResult::Kind::kBytes) {
      received_ += got.bytes;
      return got.bytes;
    }
    if (got.kind == IoResult::Kind::kFailed) {
      return transport_.failure().value_or(plain_error(Errc::kDisconnected, "", got.sys_errno));
    }
    const Wake woken = transport_.wait(Interest::kRead, deadline);
    if (woken != Wake::kReady) return wait_error(woken);
  }
}

Result<void> Dialogue::send(std::string_view text) {
  if (!reader_.buffered().empty()) return expect_silence();
  std::span<const std::byte> rest = std::as_bytes(std::span(text));
  while (!rest.empty()) {
    const IoResult sent = transport_.try_write(rest);
    if (sent.kind == IoResult::Kind::kBytes) {
      rest = rest.subspan(sent.bytes);
      continue;
    }
    if (sent.kind != IoResult::Kind::kWouldBlock) {
      return transport_.failure().value_or(plain_error(Errc::kDisconnected, "", sent.sys_errno));
    }
    const Wake woken = transport_.wait(Interest::kWrite, deadline_);
    if (woken != Wake::kReady) return wait_error(woken);
  }
  return {};
}

Result<std::string> Dialogue::taken(Result<std::optional<std::string>> text) {
  if (!text) return text.error();
  if (!*text) {
    message_ = "the server has ended the connection before TLS";
    return plain_error(Errc::kDisconnected, "");
  }
  return **std::move(text);
}

Result<std::string> Dialogue::line() {
  return taken(reader_.read_line(kBytesMax, deadline_));
}

Result<std::string> Dialogue::until(std::string_view delimiter) {
  return taken(reader_.read_until(delimiter, kBytesMax, deadline_));
}

Result<std::string> Dialogue::bytes(std::size_t count) {
  if (count > kBytesMax) {
    return failed(fmt::format("the server announces {} bytes before TLS", count));
  }
  const Result<std::vector<std::byte>> read = reader_.read_exactly(count, deadline_);
  if (!read) return read.error();
  std::string text;
  for (const std::byte each : *read) text += static_cast<char>(each);
  return text;
}

// What the kernel has got meanwhile counts, too: a server has nothing to say before our hello.
Result<void> Dialogue::expect_silence() {
  std::string more;
  for (const std::byte each : reader_.buffered()) more += static_cast<char>(each);
  std::array<std::byte, 64> late{};
  if (more.empty()) {
    const IoResult got = transport_.try_read(late);
    if (got.kind != IoResult::Kind::kBytes) return {};
    for (const std::byte each : std::span(late).first(got.bytes)) more += static_cast<char>(each);
  }
  return failed("bytes that were not asked for came before TLS; somebody may have injected them: " +
                printable(more, kWordsMax));
}

}  // namespace heddle::cli
