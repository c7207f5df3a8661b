// Where reports go. Each record is one write(), so that processes can share a file.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace heddle::guard {

// Remembers which file standard error is. Programs close it, and then its number is the next
// socket's: nothing is ever written to a file that was not there at the start.
void remember_standard_error();

// Appends to the log (standard error, if there is none), and to the tally.
void write_log(std::string_view record);
void write_tally(std::string_view record);

// Writes a remark that is no finding to the log, as text or JSON.
void write_note(std::string_view remark);

// Room for a record, for as long as this lives. Neither on the stack, which a fiber may have little
// of, nor static, which would need a lock; mmap() is a bare system call.
class Room {
 public:
  Room();
  ~Room();
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;

  // Empty if there is no memory: then the record says nothing.
  [[nodiscard]] std::span<char> get() const { return {start_, size_}; }

 private:
  char* start_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace heddle::guard
