// Puts places in code into words: return addresses, and frames of Python's.
#pragma once

#include <cstdint>
#include <span>

#include "guard/python.h"
#include "guard/text.h"

namespace heddle::guard {

// "libssl.so.3+0x3a2b1 (SSL_read+0x21)", by what the object exports.
void write_spot_text(Text& text, std::uintptr_t return_address);

// An object with address, module, path, offset and function, as far as they are known.
void write_spot_json(Text& text, std::uintptr_t return_address);

// An array of such objects.
void write_spots_json(Text& text, std::span<const std::uintptr_t> return_addresses);

// "consumer.py:17 in Consumer.run".
void write_python_frame_text(Text& text, const PythonFrame& frame);

// An array of objects with file, line and function, innermost first.
void write_python_json(Text& text, const PythonStack& stack);

}  // namespace heddle::guard
