// Numbers and lengths in messages of the handshake (RFC 8446, section 3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace heddle::tls {

// Reader takes apart what is in extensions. It never fails: what is cut short is empty, and OpenSSL
// refuses it later.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  bool empty() const { return rest_.empty(); }

  unsigned number(std::size_t bytes) {
    unsigned value = 0;
    for (const char each : take(bytes)) value = value << 8 | static_cast<unsigned char>(each);
    return value;
  }

  // What follows a length of so many bytes.
  std::string_view counted(std::size_t length_bytes) { return take(number(length_bytes)); }

  std::vector<std::uint16_t> numbers() {
    std::vector<std::uint16_t> all;
    while (rest_.size() >= 2) all.push_back(static_cast<std::uint16_t>(number(2)));
    return all;
  }

 private:
  std::string_view take(std::size_t bytes) {
    if (bytes > rest_.size()) {
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }

  std::string_view rest_;
};

}  // namespace heddle::tls
