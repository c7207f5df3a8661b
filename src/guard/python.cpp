// The Python stack of the calling thread: see python.h.
#include "guard/python.h"

#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include <unistd.h>

#include "guard/hash.h"
#include "guard/python_layout.h"

namespace heddle::guard {

void PythonStack::clear() {
  size_ = 0;
  omitted_ = 0;
  text_size_ = 0;
}

PythonStack::Piece PythonStack::keep(std::string_view text) {
  // One file has many functions.
  for (std::size_t i = 0; i < size_; ++i) {
    const Piece known = frames_[i].file;
    if (known.size == text.size() &&
        std::memcmp(view(known).data(), text.data(), text.size()) == 0) {
      return known;
    }
  }
  const std::size_t size = std::min(text.size(), text_.size() - text_size_);
  std::memcpy(text_.data() + text_size_, text.data(), size);
  const Piece piece{.start = text_size_, .size = static_cast<std::uint16_t>(size)};
  text_size_ = static_cast<std::uint16_t>(text_size_ + size);
  return piece;
}

void PythonStack::add(int line, std::string_view file, std::string_view function) {
  if (full()) --size_;
  frames_[size_].line = line;
  frames_[size_].file = keep(file);
  frames_[size_].function = keep(function);
  ++size_;
}

PythonFrame PythonStack::operator[](std::size_t index) const {
  const Frame& frame = frames_[index];
  return {.file = view(frame.file), .function = view(frame.function), .line = frame.line};
}

namespace {

// Until a whole stack has been read that made sense, nothing is believed: this build may have
// another layout than its version has elsewhere. Then the kernel reads, and reports bad addresses.
constinit std::atomic<bool> layout_is_right{false};

bool copy_from(std::uintptr_t address, void* to, std::size_t size) {
  constexpr std::uintptr_t kFirstPage = 4096;
  if (address < kFirstPage) return false;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): that is how it was read.
  auto* const from = reinterpret_cast<void*>(address);
  if (layout_is_right.load(std::memory_order_relaxed)) [[likely]] {
    std::memcpy(to, from, size);
    return true;
  }
  const iovec local{.iov_base = to, .iov_len = size};
  const iovec remote{.iov_base = from, .iov_len = size};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

std::uintptr_t word_at(std::uintptr_t address) {
  std::uintptr_t word = 0;
  return copy_from(address, &word, sizeof(word)) ? word : 0;
}

std::uintptr_t number_of(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

bool is_of_type(std::uintptr_t object, const void* type) {
  constexpr std::size_t kType = 8;  // PyObject::ob_type
  return object != 0 && word_at(object + kType) == number_of(type);
}

// One frame after the other, innermost first.
class Walk {
 public:
  explicit Walk(const Python& python) : python_(&python) {
    const auto thread = number_of(python.this_thread());
    if (thread == 0) return;
    std::uintptr_t holder = thread + layout().thread_frame;
    if (layout().holder_frame >= 0) {
      holder = word_at(holder);
      if (holder == 0) return;
      holder += static_cast<std::uintptr_t>(layout().holder_frame);
    }
    frame_ = word_at(holder);
    skip_foreign();
  }

  [[nodiscard]] bool at_end() const { return frame_ == 0; }
  void next() {
    frame_ = word_at(frame_ + layout().previous);
    skip_foreign();
  }

  [[nodiscard]] std::uintptr_t frame() const { return frame_; }
  [[nodiscard]] std::uintptr_t code() const { return code_; }
  [[nodiscard]] std::uintptr_t instruction() const {
    const std::uintptr_t word = word_at(frame_ + layout().instruction);
    return python_->minor <= 10 ? static_cast<std::uint32_t>(word) : word;
  }

 private:
  // Frames that C functions have, between those of Python's.
  void skip_foreign() {
    constexpr int kOwnedByC = 3;         // And above.
    constexpr std::uintptr_t kTags = 7;  // 3.14 marks its references.
    constexpr int kForeignMax = 1000;
    for (int i = 0; frame_ != 0 && i < kForeignMax; ++i) {
      code_ = word_at(frame_ + layout().code) & ~kTags;
      if (owner() < kOwnedByC && is_of_type(code_, python_->code_type)) return;
      frame_ = word_at(frame_ + layout().previous);
    }
    frame_ = 0;
  }

  [[nodiscard]] int owner() const {
    if (layout().owner < 0) return 0;
    unsigned char owner = 0;
    (void)copy_from(frame_ + static_cast<std::uintptr_t>(layout().owner), &owner, 1);
    return owner;
  }

  [[nodiscard]] const PythonLayout& layout() const { return python_->layout; }

  const Python* python_;
  std::uintptr_t frame_ = 0;
  std::uintptr_t code_ = 0;
};

int line_of(const Python& python, const Walk& walk) {
  // NOLINTBEGIN(performance-no-int-to-ptr): so CPython takes them.
  if (python.minor >= 12) return python.frame_to_line(reinterpret_cast<void*>(walk.frame()));
  auto offset = static_cast<std::int64_t>(walk.instruction());
  if (python.minor == 10) offset *= 2;  // It counts instructions, not bytes.
  if (python.minor == 11) {
    offset -= static_cast<std::int64_t>(walk.code() + python.layout.first_instruction);
  }
  return python.address_to_line(reinterpret_cast<void*>(walk.code()), static_cast<int>(offset));
  // NOLINTEND(performance-no-int-to-ptr)
}

// A buffer for one text, which may be longer.
class TextOfPython {
 public:
  TextOfPython(const Python& python, std::uintptr_t object) {
    if (!is_of_type(object, python.text_type)) return;
    constexpr std::size_t kLength = 16;
    constexpr std::size_t kState = 32;
    std::uint32_t state = 0;
    (void)copy_from(object + kState, &state, sizeof(state));
    const std::uint32_t facts = state >> python.layout.state_shift;
    const std::uint32_t kind = facts & 7U;
    const bool is_compact = (facts & 8U) != 0;
    const bool is_ascii = (facts & 16U) != 0;
    if (!is_compact || (kind != 1 && kind != 2 && kind != 4)) return;
    const std::size_t start = is_ascii ? python.layout.ascii_size : python.layout.compact_size;
    read(object + start, word_at(object + kLength), kind);
  }

  [[nodiscard]] std::string_view view() const { return {bytes_.data(), size_}; }

 private:
  // Beyond ASCII a '?' has to do.
  void read(std::uintptr_t start, std::size_t length, std::uint32_t kind) {
    // Of a long path the end says more.
    const std::size_t skipped = length > bytes_.size() ? length - bytes_.size() : 0;
    for (std::size_t i = skipped; i < length; ++i) {
      std::uint32_t character = 0;
      if (!copy_from(start + i * kind, &character, kind)) return;
      bytes_[size_++] = character < 0x80 ? static_cast<char>(character) : '?';
    }
  }

  std::array<char, 256> bytes_;
  std::size_t size_ = 0;
};

void add_frame(const Python& python, const Walk& walk, PythonStack& stack) {
  const TextOfPython file(python, word_at(walk.code() + python.layout.filename));
  const TextOfPython function(python, word_at(walk.code() + python.layout.name));
  stack.add(line_of(python, walk), file.view(), function.view());
}

}  // namespace

void read_python_stack(PythonStack& stack) {
  stack.clear();
  const Python* const known = python();
  if (known == nullptr) return;
  constexpr std::size_t kDepthMax = 1000;
  std::size_t depth = 0;
  Walk walk(*known);
  Walk outermost = walk;
  for (; !walk.at_end() && depth < kDepthMax; walk.next(), ++depth) {
    if (!stack.full()) add_frame(*known, walk, stack);
    outermost = walk;
  }
  if (depth > PythonStack::kFramesMax) {
    add_frame(*known, outermost, stack);
    stack.count_omitted(depth - PythonStack::kFramesMax);
  }
  if (stack.size() > 0 && !stack[0].file.empty()) layout_is_right.store(true);
}

std::uint64_t python_place() {
  const Python* const known = python();
  if (known == nullptr || !layout_is_right.load(std::memory_order_relaxed)) return 0;
  constexpr int kFrames = 3;
  Walk walk(*known);
  std::uint64_t place = 0;
  for (int i = 0; i < kFrames && !walk.at_end(); ++i, walk.next()) {
    place = mixed(mixed(place, walk.code()), walk.instruction());
  }
  return place;
}

namespace {

// What greenlet.h has at the fourth place of its table.
constexpr std::size_t kGetCurrent = 4;
using GetCurrent = void*();
constinit std::atomic<GetCurrent*> get_current_greenlet{nullptr};

// The program may be about to raise something.
class ExceptionKept {
 public:
  explicit ExceptionKept(const Python& python) : python_(python) {
    python_.fetch_exception(&type_, &value_, &trace_);
  }
  ~ExceptionKept() { python_.restore_exception(type_, value_, trace_); }
  ExceptionKept(const ExceptionKept&) = delete;
  ExceptionKept& operator=(const ExceptionKept&) = delete;

 private:
  const Python& python_;
  void* type_ = nullptr;
  void* value_ = nullptr;
  void* trace_ = nullptr;
};

// Only if the program has imported it. Nothing is imported, and nothing of Python's runs.
GetCurrent* find_get_current(const Python& python) {
  if (python.module_dict == nullptr || python.dict_item == nullptr || python.capsule == nullptr ||
      python.attribute == nullptr || python.release == nullptr ||
      python.fetch_exception == nullptr || python.restore_exception == nullptr) {
    return nullptr;
  }
  const ExceptionKept kept(python);
  void* const modules = python.module_dict();
  void* const module = modules == nullptr ? nullptr : python.dict_item(modules, "greenlet");
  void* const capsule = module == nullptr ? nullptr : python.attribute(module, "_C_API");
  if (capsule == nullptr) return nullptr;
  auto* const table = static_cast<void**>(python.capsule(capsule, "greenlet._C_API"));
  python.release(capsule);  // The module keeps it.
  return table == nullptr ? nullptr : reinterpret_cast<GetCurrent*>(table[kGetCurrent]);
}

}  // namespace

Greenlet current_greenlet() {
  const Python* const known = python();
  if (known == nullptr || known->current_thread == nullptr) return {};
  void* const thread = known->this_thread();
  if (thread == nullptr || known->current_thread() != thread) return {};  // It has no lock.
  GetCurrent* get_current = get_current_greenlet.load(std::memory_order_relaxed);
  if (get_current == nullptr) {
    get_current = find_get_current(*known);
    if (get_current == nullptr) return {};
    get_current_greenlet.store(get_current);
  }
  void* const greenlet = get_current();
  if (greenlet == nullptr) return {};
  constexpr std::size_t kType = 8;       // PyObject::ob_type
  constexpr std::size_t kTypeName = 24;  // PyTypeObject::tp_name
  const std::uintptr_t name = word_at(word_at(number_of(greenlet) + kType) + kTypeName);
  known->release(greenlet);  // It runs, so it stays.
  // NOLINTNEXTLINE(performance-no-int-to-ptr): that is how it was read.
  return {.address = number_of(greenlet), .type = reinterpret_cast<const char*>(name)};
}

}  // namespace heddle::guard
