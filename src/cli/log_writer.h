// LogWriter: lines to a descriptor that may be slow, full or dead, without waiting for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace heddle::cli {

// LogWriter writes lines on a thread of its own, which starts with the first line: a process that
// logs nothing keeps to the threads that it has. While no thread can be had, lines wait in the
// queue. What does not fit into its queue, or finds no memory, is dropped and counted, and a line
// says how many once there is room. A reader that stops costs lines, and nobody's time.
//
// Threads:  add() from any.
// Lifetime: the descriptor must outlive it. Destruction tries for a second to write what is left.
class LogWriter {
 public:
  static constexpr std::size_t kQueuedBytesMax = std::size_t{1024} * 1024;

  // Throws std::system_error if there is no descriptor.
  explicit LogWriter(int descriptor);

  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;
  ~LogWriter();  // NOLINT(bugprone-exception-escape): fmt throws for bad formats, known here.

  // Adds `line`, which ends with a line feed. Neither blocks nor throws.
  void add(std::string_view line) noexcept;

 private:
  struct State;

  std::unique_ptr<State> state_;
};

}  // namespace heddle::cli
