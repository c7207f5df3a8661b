// The Python stack of the calling thread: file, line and function.
//
// It is read where CPython keeps it (python_layout.h). The interpreter's lock is neither needed nor
// taken: OpenSSL is often called without it, and to wait for it there, with OpenSSL's own locks
// held, could block the program for ever. A thread's frames, and what hangs on them, stay as they
// are while it is inside a C function. No object is touched, and no Python code runs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace heddle::guard {

struct PythonFrame {
  std::string_view file;
  std::string_view function;
  int line = 0;
};

// The innermost frames, and the outermost one: in a greenlet, the function it runs.
class PythonStack {
 public:
  void clear();
  // The room is fixed: what does not fit is left out.
  void add(int line, std::string_view file, std::string_view function);
  void count_omitted(std::size_t count) { omitted_ = static_cast<std::uint16_t>(count); }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] PythonFrame operator[](std::size_t index) const;
  // How many there are between the last but one and the last.
  [[nodiscard]] std::size_t omitted() const { return omitted_; }
  [[nodiscard]] bool full() const { return size_ == kFramesMax; }

  static constexpr std::size_t kFramesMax = 24;

 private:
  struct Piece {
    std::uint16_t start = 0;
    std::uint16_t size = 0;
  };
  struct Frame {
    int line = 0;
    Piece file;
    Piece function;
  };

  Piece keep(std::string_view text);
  [[nodiscard]] std::string_view view(Piece piece) const {
    return {text_.data() + piece.start, piece.size};
  }

  std::array<Frame, kFramesMax> frames_;
  std::uint16_t size_ = 0;
  std::uint16_t omitted_ = 0;
  std::uint16_t text_size_ = 0;
  std::array<char, 2600> text_;
};

// Leaves `stack` empty if this thread is not in Python.
void read_python_stack(PythonStack& stack);

// A number for where in Python this thread is: its three innermost frames, and the instruction in
// each. 0: nowhere. Some ten loads, for calls that are made often.
std::uint64_t python_place();

// The greenlet that runs, by greenlet's own interface. That may only be called with the
// interpreter's lock held; without, and in a program without greenlets, the address is 0.
struct Greenlet {
  std::uintptr_t address = 0;  // What repr() shows.
  const char* type = "";       // Of CPython's; good while the greenlet is.
};
Greenlet current_greenlet();

}  // namespace heddle::guard
