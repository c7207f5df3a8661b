// Where CPython keeps its frames: see python_layout.h.
#include "guard/python_layout.h"

#include <atomic>
#include <cstring>

#include "guard/elf.h"

namespace heddle::guard {
namespace {

enum class Search : std::uint8_t { kWanted, kUnderWay, kDone };

constinit std::atomic<Search> search{Search::kWanted};
constinit std::atomic<const Python*> found{nullptr};
constinit Python room{};

template <typename Function>
void assign(Function& function, void* symbol) {
  function = reinterpret_cast<Function>(symbol);
}

// "3.11.2 (main, ...": the minor version, or 0.
unsigned minor_version(const char* version) {
  if (version[0] != '3' || version[1] != '.') return 0;
  unsigned number = 0;
  for (const char* digit = version + 2; *digit >= '0' && *digit <= '9'; ++digit) {
    number = number * 10 + static_cast<unsigned>(*digit - '0');
  }
  return number;
}

// What _PyRuntime begins with: the version's own account of itself. Its members are numbered.
class DebugOffsets {
 public:
  explicit DebugOffsets(const void* runtime) : words_(static_cast<const std::uint64_t*>(runtime)) {}

  [[nodiscard]] bool usable(unsigned minor) const {
    constexpr std::size_t kVersion = 1;
    constexpr std::size_t kFreeThreaded = 2;
    return std::memcmp(words_, "xdebugpy", 8) == 0 && words_[kVersion] >> 16 == (0x300U | minor) &&
           words_[kFreeThreaded] == 0;
  }
  template <typename Number>
  void get(std::size_t index, Number& number) const {
    number = static_cast<Number>(words_[index]);
  }

 private:
  const std::uint64_t* words_;
};

// From 3.13 on. 3.14 has three members more before those that matter, and two in the frame.
bool ask_runtime(const void* runtime, unsigned minor, PythonLayout& layout) {
  if (runtime == nullptr) return false;
  const DebugOffsets offsets(runtime);
  if (!offsets.usable(minor)) return false;
  const std::size_t thread = minor == 13 ? 19 : 22;  // Where _thread_state begins.
  const std::size_t frame = thread + 9;
  const std::size_t code = frame + (minor == 13 ? 6 : 8);
  offsets.get(thread + 4, layout.thread_frame);
  offsets.get(frame + 1, layout.previous);
  offsets.get(frame + 2, layout.code);
  offsets.get(frame + 3, layout.instruction);
  offsets.get(frame + 5, layout.owner);
  offsets.get(code + 1, layout.filename);
  offsets.get(code + 3, layout.name);
  layout.ascii_size = 40;
  layout.compact_size = 56;
  layout.state_shift = minor == 13 ? 2 : 16;
  return true;
}

bool find_layout(unsigned minor, const void* runtime, PythonLayout& layout) {
  switch (minor) {
    case 8:
    case 9:
    case 10:
      layout = {.thread_frame = 24,
                .previous = 24,
                .code = 32,
                .instruction = static_cast<std::uint16_t>(minor == 10 ? 96 : 104),
                .filename = 104,
                .name = 112,
                .ascii_size = 48,
                .compact_size = 72};
      return true;
    case 11:
      layout = {.thread_frame = 56,
                .holder_frame = 8,
                .previous = 48,
                .code = 32,
                .instruction = 56,
                .filename = 112,
                .name = 128,
                .first_instruction = 184,
                .ascii_size = 48,
                .compact_size = 72};
      return true;
    case 12:
      layout = {.thread_frame = 56,
                .holder_frame = 0,
                .previous = 8,
                .code = 0,
                .instruction = 56,
                .owner = 70,
                .filename = 112,
                .name = 128,
                .ascii_size = 40,
                .compact_size = 56};
      return true;
    case 13:
    case 14:
      return ask_runtime(runtime, minor, layout);
    default:
      return false;
  }
}

void find_greenlet_tools(const Object& object) {
  assign(room.module_dict, find_symbol(object, "PyImport_GetModuleDict"));
  assign(room.dict_item, find_symbol(object, "PyDict_GetItemString"));
  assign(room.attribute, find_symbol(object, "PyObject_GetAttrString"));
  assign(room.capsule, find_symbol(object, "PyCapsule_GetPointer"));
  assign(room.release, find_symbol(object, "Py_DecRef"));
  assign(room.fetch_exception, find_symbol(object, "PyErr_Fetch"));
  assign(room.restore_exception, find_symbol(object, "PyErr_Restore"));
}

bool open_python(const Object& object) {
  const char* (*version)() = nullptr;
  assign(version, find_symbol(object, "Py_GetVersion"));
  if (version == nullptr) return false;
  room.minor = minor_version(version());
  if (!find_layout(room.minor, find_variable(object, "_PyRuntime"), room.layout)) return false;
  room.code_type = find_variable(object, "PyCode_Type");
  room.text_type = find_variable(object, "PyUnicode_Type");
  assign(room.this_thread, find_symbol(object, "PyGILState_GetThisThreadState"));
  assign(room.current_thread, find_symbol(object, "_PyThreadState_UncheckedGet"));
  if (room.current_thread == nullptr) {
    assign(room.current_thread, find_symbol(object, "PyThreadState_GetUnchecked"));
  }
  assign(room.address_to_line, find_symbol(object, "PyCode_Addr2Line"));
  assign(room.frame_to_line, find_symbol(object, "PyUnstable_InterpreterFrame_GetLine"));
  find_greenlet_tools(object);
  const bool has_lines = room.minor < 12 || room.frame_to_line != nullptr;
  return room.code_type != nullptr && room.text_type != nullptr && room.this_thread != nullptr &&
         room.address_to_line != nullptr && has_lines;
}

Object find_python() {
  Object object;
  for_each_object(
      [](const Object& candidate, void* data) {
        if (find_symbol(candidate, "PyGILState_GetThisThreadState") == nullptr) return false;
        *static_cast<Object*>(data) = candidate;
        return true;
      },
      &object);
  return object;
}

}  // namespace

const Python* python() {
  if (search.load(std::memory_order_acquire) == Search::kDone) [[likely]] {
    return found.load(std::memory_order_relaxed);
  }
  Search wanted = Search::kWanted;
  if (!search.compare_exchange_strong(wanted, Search::kUnderWay)) return found.load();
  const Object object = find_python();
  if (object && open_python(object)) found.store(&room);
  // Unless look_for_python_again() was called meanwhile.
  Search under_way = Search::kUnderWay;
  (void)search.compare_exchange_strong(under_way, Search::kDone, std::memory_order_release);
  return found.load();
}

void look_for_python_again() {
  if (found.load(std::memory_order_relaxed) == nullptr) search.store(Search::kWanted);
}

}  // namespace heddle::guard
