// Reads the thread's error queue: see queue.h.
#include "guard/queue.h"

#include <cstring>

namespace heddle::guard {
namespace {

const char* or_empty(const char* text) {
  return text == nullptr ? "" : text;
}

const char* data_text(const char* data, int flags) {
  return (flags & ERR_TXT_STRING) != 0 ? or_empty(data) : "";
}

Entry entry_at(const ErrorState& state, std::size_t slot) {
  return {.code = state.codes[slot],
          .file = or_empty(state.file[slot]),
          .line = state.line[slot],
          .function = or_empty(state.function[slot]),
          .data = data_text(state.data[slot], state.data_flags[slot]),
          .slot = slot};
}

Entries read_state(const ErrorState& state) {
  Entries found;
  auto slot = static_cast<std::size_t>(state.bottom) % kEntriesMax;
  const auto top = static_cast<std::size_t>(state.top) % kEntriesMax;
  while (slot != top) {
    slot = (slot + 1) % kEntriesMax;
    if ((state.flags[slot] & kDeadEntry) != 0) continue;
    found.entries[found.count++] = entry_at(state, slot);
  }
  return found;
}

Entry peek(decltype(&ERR_peek_error_all) peek_error_all) {
  Entry entry;
  int flags = 0;
  entry.code = peek_error_all(&entry.file, &entry.line, &entry.function, &entry.data, &flags);
  entry.data = data_text(entry.data, flags);
  entry.file = or_empty(entry.file);
  entry.function = or_empty(entry.function);
  return entry;
}

Ends ends_of(const ErrorState& state) {
  constexpr std::size_t kLast = kEntriesMax - 1;
  const auto is_dead = [&](std::size_t slot) { return (state.flags[slot] & kDeadEntry) != 0; };
  auto first = (static_cast<std::size_t>(state.bottom) + 1) & kLast;
  auto last = static_cast<std::size_t>(state.top) & kLast;
  while (first != last && is_dead(first)) first = (first + 1) & kLast;
  while (last != first && is_dead(last)) last = (last + kLast) & kLast;
  if (state.top == state.bottom || is_dead(first)) return {};
  return {.oldest = entry_at(state, first), .newest = entry_at(state, last)};
}

}  // namespace

bool same(const Entry& left, const Entry& right) {
  // OpenSSL keeps a copy of the file name per entry: different entries, different addresses.
  return left.code == right.code && left.file == right.file && left.line == right.line;
}

Entry read_oldest(const Library& library) {
  return peek(library.peek_error_all);
}

Entry read_newest(const Library& library) {
  return peek(library.peek_last_error_all);
}

Ends read_ends(const Library& library, const ErrorState* state) {
  if (state != nullptr) return ends_of(*state);
  return {.oldest = read_oldest(library), .newest = read_newest(library)};
}

Entry entry_in_making(const ErrorState& state) {
  const auto slot = static_cast<std::size_t>(state.top) % kEntriesMax;
  return {.file = or_empty(state.file[slot]), .line = state.line[slot], .slot = slot};
}

Entries read_queue(const Library& library) {
  if (const ErrorState* const state = state_of(library); state != nullptr) {
    return read_state(*state);
  }
  Entries found;
  found.entries[found.count++] = read_oldest(library);
  const Entry newest = read_newest(library);
  if (!same(found.entries[0], newest)) {
    found.entries[found.count++] = newest;
    found.complete = false;
  }
  return found;
}

namespace {

// ERR_clear_error() begins with this slot anew. It is the last to be used then, and
// ERR_clear_error() writes another line number into it.
constexpr std::size_t kMarkedSlot = 0;
constexpr int kMark = 0x4d41524b;  // No file has that many lines.

}  // namespace

void mark_emptied(const Library& library) {
  if (library.get_state == nullptr) return;
  auto* const state = static_cast<ErrorState*>(library.get_state());
  if (state != nullptr) state->line[kMarkedSlot] = kMark;
}

bool is_marked_emptied(const Library& library) {
  const ErrorState* const state = state_of(library);
  // Whoever takes an entry out moves the bottom.
  return state != nullptr && state->bottom == int{kMarkedSlot} && state->line[kMarkedSlot] == kMark;
}

const char* library_text(const Library& library, unsigned long code) {
  return or_empty(library.lib_error_string(code));
}

const char* reason_text(const Library& library, unsigned long code) {
  if (ERR_SYSTEM_ERROR(code)) return or_empty(strerrordesc_np(ERR_GET_REASON(code)));
  return or_empty(library.reason_error_string(code));
}

}  // namespace heddle::guard
