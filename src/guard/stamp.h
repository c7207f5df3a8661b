// How each record begins: when, and which thread of which process.
#pragma once

#include "guard/text.h"

namespace heddle::guard {

// "heddle-guard: 2026-02-03T04:05:06.123456Z pid 1 thread 2: "
void write_stamp_text(Text& text);

// {"event":"EVENT","time":"...","pid":1,"thread":2,"program":"..." without the closing brace.
void write_stamp_json(Text& text, std::string_view event);

}  // namespace heddle::guard
