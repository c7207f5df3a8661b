// Puts places in code into words: see spots.h.
#include "guard/spots.h"

#include <array>

#include <limits.h>
#include <unistd.h>

#include "guard/elf.h"

namespace heddle::guard {
namespace {

// A return address may lie behind the end of its function, if the call was the last thing in it.
struct Spot {
  explicit Spot(std::uintptr_t return_address) : object(object_at(return_address - 1)) {
    if (!object) return;
    offset = return_address - object.base;
    function = function_at(object, return_address - 1, function_offset);
    ++function_offset;
  }

  Object object;
  std::uintptr_t offset = 0;
  std::string_view function;
  std::uintptr_t function_offset = 0;
};

// The dynamic linker has no path for the program itself.
void write_path_json(Text& text, const Object& object) {
  if (*object.path != 0) {
    (text << ",\"path\":").quoted(object.path);
    return;
  }
  std::array<char, PATH_MAX> path;
  const ssize_t size = readlink("/proc/self/exe", path.data(), path.size());
  (text << ",\"path\":").quoted({path.data(), size < 0 ? 0 : static_cast<std::size_t>(size)});
}

}  // namespace

void write_spot_text(Text& text, std::uintptr_t return_address) {
  const Spot spot(return_address);
  if (!spot.object) {
    text.address(return_address);
    return;
  }
  text.printable(short_name(spot.object)) << "+";
  text.address(spot.offset);
  if (spot.function.empty()) return;
  (text << " (").printable(spot.function) << "+";
  text.address(spot.function_offset) << ")";
}

void write_spot_json(Text& text, std::uintptr_t return_address) {
  const Spot spot(return_address);
  (text << "{\"address\":\"").address(return_address) << "\"";
  if (spot.object) {
    (text << ",\"module\":").quoted(short_name(spot.object));
    write_path_json(text, spot.object);
    (text << ",\"offset\":\"").address(spot.offset) << "\"";
  }
  if (!spot.function.empty()) (text << ",\"function\":").quoted(spot.function);
  text << "}";
}

void write_spots_json(Text& text, std::span<const std::uintptr_t> return_addresses) {
  text << "[";
  for (std::size_t i = 0; i < return_addresses.size(); ++i) {
    if (i > 0) text << ",";
    write_spot_json(text, return_addresses[i]);
  }
  text << "]";
}

void write_python_frame_text(Text& text, const PythonFrame& frame) {
  (text.printable(frame.file) << ":").integer(frame.line) << " in ";
  text.printable(frame.function);
}

void write_python_json(Text& text, const PythonStack& stack) {
  text << "[";
  for (std::size_t i = 0; i < stack.size(); ++i) {
    const PythonFrame frame = stack[i];
    ((text << (i > 0 ? ",{\"file\":" : "{\"file\":")).quoted(frame.file) << ",\"line\":")
        .integer(frame.line);
    (text << ",\"function\":").quoted(frame.function) << "}";
  }
  text << "]";
}

}  // namespace heddle::guard
