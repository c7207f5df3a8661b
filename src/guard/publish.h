// Writes records: to the log in its format, and to the tally in JSON.
#pragma once

#include "guard/settings.h"
#include "guard/sink.h"
#include "guard/text.h"

namespace heddle::guard {

template <typename JsonWriter>
void publish_in_tally(JsonWriter write_json) {
  const Room room;
  Text record(room.get());
  write_json(record);
  write_tally(record.view());
}

template <typename TextWriter, typename JsonWriter>
void publish(TextWriter write_text, JsonWriter write_json) {
  const Room room;
  Text record(room.get());
  if (log_format() == Format::kText) {
    write_text(record);
    write_log(record.view());
    record.clear();
  }
  if (log_format() == Format::kText && tally_file().path == nullptr) return;
  write_json(record);
  if (log_format() == Format::kJson) write_log(record.view());
  write_tally(record.view());
}

}  // namespace heddle::guard
