// What the contestants in C++ share, so that they differ in how they do TLS and nothing else: just
// enough HTTP/1.1 to answer /N with N bytes from memory, and to skip the bodies of requests.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace heddle::bench {

struct SmallRequest {
  std::size_t head_bytes = 0;
  std::size_t wants = 0;   // Bytes of the answer's body.
  std::uint64_t body = 0;  // Bytes that follow the head.
  bool close = false;

  // What of it is still to come, when so many bytes are there. Nobody sends a second request before
  // the answer here.
  std::uint64_t missing(std::size_t bytes) const {
    const std::uint64_t all = head_bytes + body;
    return all - std::min<std::uint64_t>(all, bytes);
  }
};

inline std::uint64_t number_at(std::string_view text) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// Reads a head as load generators send it; nothing if its end has not come.
inline std::optional<SmallRequest> parse_small(std::string_view bytes) {
  constexpr std::string_view kEnd = "\r\n\r\n";
  constexpr std::string_view kLength = "\r\nContent-Length: ";
  constexpr std::string_view kClose = "\r\nConnection: close";
  const std::size_t end = bytes.find(kEnd);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view head = bytes.substr(0, end);
  SmallRequest request{.head_bytes = end + kEnd.size()};
  const std::size_t slash = head.find('/');
  if (slash != std::string_view::npos) request.wants = number_at(head.substr(slash + 1));
  const std::size_t length = head.find(kLength);
  if (length != std::string_view::npos) {
    request.body = number_at(head.substr(length + kLength.size()));
  }
  request.close = head.find(kClose) != std::string_view::npos;
  return request;
}

// SmallAnswers makes each answer once. Threads: one.
class SmallAnswers {
 public:
  const std::string& of(std::size_t bytes) {
    if (bytes == last_bytes_ && last_ != nullptr) return *last_;
    bytes = std::min(bytes, kMax);
    auto [found, made] = answers_.try_emplace(bytes);
    if (made) {
      found->second = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(bytes) +
                      "\r\nContent-Type: application/octet-stream\r\n\r\n";
      found->second.append(bytes, 'x');
    }
    last_bytes_ = bytes;
    last_ = &found->second;
    return *last_;
  }

 private:
  static constexpr std::size_t kMax = std::size_t{64} * 1024 * 1024;

  std::map<std::size_t, std::string> answers_;
  std::size_t last_bytes_ = 0;
  const std::string* last_ = nullptr;
};

}  // namespace heddle::bench
