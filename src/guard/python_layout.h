// Where CPython 3.8 to 3.14 keeps the frames of a thread, and the names that are in them.
//
// These are its internals, which stay the same within a minor version; 3.13 and later say
// themselves where things are (_Py_DebugOffsets). Debuggers and profilers go by them, too.
#pragma once

#include <cstdint>

namespace heddle::guard {

// Offsets in bytes.
struct PythonLayout {
  std::uint16_t thread_frame = 0;  // In PyThreadState: the innermost frame, or ...
  std::int16_t holder_frame =
      -1;                      // ... what holds it at this offset (3.11, 3.12), if it is not -1.
  std::uint16_t previous = 0;  // In a frame.
  std::uint16_t code = 0;
  std::uint16_t instruction = 0;
  std::int16_t owner = -1;     // -1: all frames are Python's.
  std::uint16_t filename = 0;  // In a code object.
  std::uint16_t name = 0;
  std::uint16_t first_instruction = 0;  // 3.11 only.
  std::uint8_t ascii_size = 0;          // The size of PyASCIIObject, behind which ASCII begins ...
  std::uint8_t compact_size = 0;        // ... and of PyCompactUnicodeObject: any other text.
  std::uint8_t state_shift = 2;         // In the state of a text: where its kind is.
};

// A CPython that is loaded into this process.
struct Python {
  unsigned minor = 0;
  PythonLayout layout;
  const void* code_type = nullptr;  // PyCode_Type
  const void* text_type = nullptr;  // PyUnicode_Type
  // The state of the calling thread, or null. Takes no lock and needs none.
  void* (*this_thread)() = nullptr;
  // The state of the thread that has the lock (3.8 to 3.11), or of this one if it has it.
  void* (*current_thread)() = nullptr;
  int (*address_to_line)(void* code, int address) = nullptr;
  int (*frame_to_line)(void* frame) = nullptr;  // 3.12 and later.

  // For greenlets; null if there are none.
  void* (*module_dict)() = nullptr;
  void* (*dict_item)(void* dict, const char* name) = nullptr;
  void* (*attribute)(void* object, const char* name) = nullptr;
  void* (*capsule)(void* object, const char* name) = nullptr;
  void (*release)(void* object) = nullptr;
  void (*fetch_exception)(void**, void**, void**) = nullptr;
  void (*restore_exception)(void*, void*, void*) = nullptr;
};

// Null if there is none, or one that this does not know: older than 3.8, newer than 3.14, or
// without its global lock.
const Python* python();

// Lets the next call of python() look again, if it has found none: something is being loaded.
void look_for_python_again();

}  // namespace heddle::guard
