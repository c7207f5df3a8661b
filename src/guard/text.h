// Text in a fixed buffer: what does not fit is left out. No allocation, no locale, no lock, so it
// may be written in a signal handler.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace heddle::guard {

class Text {
 public:
  explicit Text(std::span<char> room) : room_(room) {}

  Text& operator<<(std::string_view text) {
    for (const char character : text) put(character);
    return *this;
  }
  // A null pointer counts as "".
  Text& operator<<(const char* text) {
    return *this << (text == nullptr ? std::string_view() : std::string_view(text));
  }

  Text& decimal(std::uint64_t number, std::size_t digits_min = 1) {
    return digits(number, 10, digits_min);
  }
  Text& integer(std::int64_t number) {
    if (number < 0) put('-');
    return decimal(number < 0 ? 0 - static_cast<std::uint64_t>(number)
                              : static_cast<std::uint64_t>(number));
  }
  Text& hexadecimal(std::uint64_t number, std::size_t digits_min = 1) {
    return digits(number, 16, digits_min);
  }
  Text& address(std::uintptr_t number) { return (*this << "0x").hexadecimal(number); }

  // What comes from outside and goes to a terminal: control characters become '?'.
  Text& printable(std::string_view text) {
    for (const char character : text) put(is_control(character) ? '?' : character);
    return *this;
  }

  // A JSON string with its quotes. Bytes beyond ASCII become '?': they need not be UTF-8.
  Text& quoted(std::string_view text) {
    put('"');
    for (const char character : text) {
      if (character == '"' || character == '\\') put('\\');
      put(is_control(character) || static_cast<signed char>(character) < 0 ? '?' : character);
    }
    put('"');
    return *this;
  }

  [[nodiscard]] std::string_view view() const { return {room_.data(), length_}; }
  void clear() { length_ = 0; }

 private:
  static bool is_control(char character) {
    return static_cast<unsigned char>(character) < 0x20 || character == 0x7f;
  }

  void put(char character) {
    if (length_ < room_.size()) room_[length_++] = character;
  }

  Text& digits(std::uint64_t number, unsigned base, std::size_t digits_min) {
    std::array<char, 24> reversed{};
    std::size_t count = 0;
    while (number != 0 || count < digits_min) {
      reversed[count++] = "0123456789abcdef"[number % base];
      number /= base;
    }
    while (count > 0) put(reversed[--count]);
    return *this;
  }

  std::span<char> room_;
  std::size_t length_ = 0;
};

}  // namespace heddle::guard
