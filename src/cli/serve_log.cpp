// Lines, and how they are escaped: see serve_log.h.
#include "cli/serve_log.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "http/date.h"
#include "http/server.h"

namespace heddle::cli {
namespace {

void append_escaped(std::string& to, std::string_view text) {
  for (const char c : text) {
    if (c < ' ' || c > '~' || c == '"' || c == '\\') {
      to += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      to += c;
    }
  }
}

constexpr std::size_t kLoggedBytesMax = 2000;  // Of a target.

std::string line_begin(std::string_view peer) {
  const http::DateText date = http::format_date(std::time(nullptr));
  return fmt::format("{} [{}] ", peer, std::string_view(date.data(), date.size()));
}

// Text is a line that is put together without memory, and cut where it would be too long.
class Text {
 public:
  template <typename... Arguments>
  explicit Text(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    end_ = fmt::format_to_n(characters_.data(), characters_.size(), format,
                            std::forward<Arguments>(arguments)...)
               .out;
  }

  std::string_view view() const noexcept {
    return {characters_.data(), static_cast<std::size_t>(end_ - characters_.data())};
  }

 private:
  std::array<char, 400> characters_{};
  char* end_ = nullptr;
};

// Where that needs no memory; strerror() may take some.
const char* describe(int sys_errno) noexcept {
  const char* const text = ::strerrordesc_np(sys_errno);
  return text != nullptr ? text : "unknown error";
}

}  // namespace

void log_request(LogWriter& log, const http::AccessRecord& record) {
  std::string line = line_begin(record.peer);
  line += '"';
  append_escaped(line, record.method.substr(0, kLoggedBytesMax));
  line += ' ';
  append_escaped(line, record.target.substr(0, kLoggedBytesMax));
  if (record.target.size() > kLoggedBytesMax) line += "...";
  line += fmt::format("\" {} {}{}", record.status, record.body_bytes,
                      record.complete ? "" : " cut short");
  if (!record.client.empty()) {
    line += " client \"";
    append_escaped(line, record.client.substr(0, kLoggedBytesMax));
    line += '"';
  }
  line += '\n';
  log.add(line);
}

void log_handshake(LogWriter& log, std::string_view peer, const Error& error) {
  std::string line = line_begin(peer);
  line += "handshake failed: ";
  append_escaped(line, error.message());
  line += '\n';
  log.add(line);
}

void log_fibers(LogWriter& log, std::span<const FiberInfo> fibers) {
  for (const FiberInfo& fiber : fibers) {
    std::string line = "fiber ";
    append_escaped(line, to_string(fiber));
    line += '\n';
    log.add(line);
  }
}

// What there is too little of decides what helps.
void say_exhausted(LogWriter& log, const Error& error, std::size_t connections_max) {
  constexpr fmt::string_view kLine = "heddle serve: new connections have to wait: {}; {}\n";
  const int failed = error.sys_errno;
  if (error.detail == std::string_view(http::kConnectionLimit)) {
    const Text why("{}, {} at most for this thread", error.detail, connections_max);
    return log.add(Text(kLine, why.view(), "raise --max-connections").view());
  }
  if (failed == EMFILE || failed == ENFILE) {
    constexpr const char* kRemedy =
        "raise the limit on open descriptors (ulimit -n), or lower --max-connections";
    return log.add(Text(kLine, describe(failed), kRemedy).view());
  }
  // Whom this hits need not be new.
  constexpr fmt::string_view kEndLine = "heddle serve: connections are ended: {}; {}\n";
  const Text why("{} ({})", failed != 0 ? describe(failed) : "out of memory", error.operation);
  log.add(Text(kEndLine, why.view(), "give it more memory, or lower --max-connections").view());
}

}  // namespace heddle::cli
