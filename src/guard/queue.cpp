// Reads the thread's error queue: see queue.h.
#include "guard/queue.h"

#include <cstring>

namespace heddle::guard {
namespace {

constexpr int kFlagClear = 0x02;  // ERR_FLAG_CLEAR.

// struct err_state_st of OpenSSL 3.0 to 3.6. Copied, as its flag is, because the headers of 4.0 do
// not have it, and the OpenSSL that is watched need not be the one that this is compiled with.
struct State {
  std::array<int, kEntriesMax> flags;
  std::array<int, kEntriesMax> marks;
  std::array<unsigned long, kEntriesMax> codes;
  std::array<const char*, kEntriesMax> data;
  std::array<std::size_t, kEntriesMax> data_size;
  std::array<int, kEntriesMax> data_flags;
  std::array<const char*, kEntriesMax> file;
  std::array<int, kEntriesMax> line;
  std::array<const char*, kEntriesMax> function;
  int top;
  int bottom;
};
#if OPENSSL_VERSION_MAJOR == 3 && !defined(OPENSSL_NO_DEPRECATED_3_0)
static_assert(sizeof(State) == sizeof(err_state_st));
static_assert(kFlagClear == ERR_FLAG_CLEAR);
#endif

const char* or_empty(const char* text) {
  return text == nullptr ? "" : text;
}

const char* data_text(const char* data, int flags) {
  return (flags & ERR_TXT_STRING) != 0 ? or_empty(data) : "";
}

// The slots form a ring: `bottom` is the one before the oldest entry, `top` the newest.
Entries read_state(const State& state) {
  Entries found;
  auto slot = static_cast<std::size_t>(state.bottom) % kEntriesMax;
  const auto top = static_cast<std::size_t>(state.top) % kEntriesMax;
  while (slot != top) {
    slot = (slot + 1) % kEntriesMax;
    // Such entries are dead: OpenSSL skips them. A successful RSA decryption leaves one.
    if ((state.flags[slot] & kFlagClear) != 0) continue;
    found.entries[found.count++] = {.code = state.codes[slot],
                                    .file = or_empty(state.file[slot]),
                                    .line = state.line[slot],
                                    .function = or_empty(state.function[slot]),
                                    .data = data_text(state.data[slot], state.data_flags[slot])};
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

Entries read_queue(const Library& library) {
  if (library.get_state != nullptr) {
    const void* state = library.get_state();
    if (state != nullptr) return read_state(*static_cast<const State*>(state));
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

State* state_of(const Library& library) {
  return library.get_state == nullptr ? nullptr : static_cast<State*>(library.get_state());
}

}  // namespace

void mark_emptied(const Library& library) {
  if (State* const state = state_of(library); state != nullptr) state->line[kMarkedSlot] = kMark;
}

bool is_marked_emptied(const Library& library) {
  const State* const state = state_of(library);
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
