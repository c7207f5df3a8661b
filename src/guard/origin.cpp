// Who pushed an entry: see origin.h.
#include "guard/origin.h"

#include <sys/mman.h>

#include <atomic>

#include <pthread.h>

#include "guard/elf.h"
#include "guard/errno_kept.h"
#include "guard/hash.h"
#include "guard/library.h"
#include "guard/settings.h"
#include "guard/unwind.h"

namespace heddle::guard {
namespace {

// Code that pushes entries, and the libcrypto that it pushes them with.
struct Caller {
  Object object;
  bool is_openssl = false;
  decltype(&ERR_set_debug) set_debug = nullptr;
  void* (*get_state)() = nullptr;  // Null: pushes are not noted.
  decltype(&ERR_peek_error_all) peek_error_all = nullptr;
};

struct CallerSlot {
  std::atomic<std::uintptr_t> taken{0};
  std::atomic<bool> ready{false};
  Caller caller;
};

// Slots are taken in order and never given back. There may be more callers: they take longer.
constinit std::array<CallerSlot, 32> callers{};

template <typename Function>
void assign(Function& function, void* symbol) {
  function = reinterpret_cast<Function>(symbol);
}

// The first libcrypto, if the caller is not linked with one.
Object any_crypto() {
  Object found;
  for_each_object(
      [](const Object& object, void* data) {
        const bool is_it =
            object.base != own_object().base && find_symbol(object, "ERR_set_debug") != nullptr;
        if (is_it) *static_cast<Object*>(data) = object;
        return is_it;
      },
      &found);
  return found;
}

Caller described(const Object& object) {
  Caller caller{.object = object};
  // The guard's functions stand between the program and OpenSSL.
  caller.is_openssl = find_symbol(object, "ERR_new") != nullptr || is_openssl(object) ||
                      object.base == own_object().base;
  Object where = object;
  assign(caller.set_debug, find_below(where, "ERR_set_debug"));
  if (caller.set_debug == nullptr) {
    where = any_crypto();
    if (where) assign(caller.set_debug, find_symbol(where, "ERR_set_debug"));
  }
  decltype(&OPENSSL_version_major) version_major = nullptr;
  if (where) assign(version_major, find_below(where, "OPENSSL_version_major"));
  // Others have an ERR_get_state(), too, and another layout of what it returns.
  if (mode() != Mode::kOff && version_major != nullptr && version_major() == 3) {
    assign(caller.get_state, find_below(where, "ERR_get_state"));
  }
  if (mode() != Mode::kOff && where) {
    assign(caller.peek_error_all, find_below(where, "ERR_peek_error_all"));
  }
  return caller;
}

Caller caller_at(std::uintptr_t address) {
  for (const CallerSlot& slot : callers) {
    if (!slot.ready.load(std::memory_order_acquire)) break;
    if (slot.caller.object.contains(address)) return slot.caller;
  }
  const Object object = object_at(address);
  if (!object) return {};
  for (CallerSlot& slot : callers) {
    std::uintptr_t taken = 0;
    if (slot.taken.compare_exchange_strong(taken, object.start)) {
      slot.caller = described(object);
      slot.ready.store(true, std::memory_order_release);
      return slot.caller;
    }
    if (taken == object.start) break;  // Another thread fills it.
  }
  return described(object);
}

// --- What a thread keeps -------------------------------------------------------------------------

// One origin for each slot of the queue, and one for a queue whose slots cannot be seen.
struct Store {
  WalkRoom walk;
  std::array<Origin, kEntriesMax + 1> origins;
};

constinit thread_local Store* store = nullptr;
constinit thread_local bool is_noting = false;  // A signal may come, and its handler push.

constinit std::atomic<bool> has_key{false};
pthread_key_t key_of_store;

void free_store(void* memory) {
  store = nullptr;
  munmap(memory, sizeof(Store));
}

// Not in the thread's own memory: most threads push nothing. mmap() is a bare system call.
Store* own_store() {
  if (store != nullptr || !has_key.load(std::memory_order_acquire)) return store;
  void* memory =
      mmap(nullptr, sizeof(Store), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  // What cannot be freed at the thread's end must not be there.
  if (pthread_setspecific(key_of_store, memory) != 0) {
    munmap(memory, sizeof(Store));
    return nullptr;
  }
  store = static_cast<Store*>(memory);
  return store;
}

// --- Noting --------------------------------------------------------------------------------------

// Where the program's own code begins.
std::uint8_t first_outside(std::span<const std::uintptr_t> frames) {
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (!caller_at(frames[i] - 1).is_openssl) return static_cast<std::uint8_t>(i);
  }
  return 0;
}

// In Python the frames of native code are the interpreter's, and say little.
std::uint64_t leaker_of_origin(const Origin& origin) {
  const std::uint64_t place = python_place();
  const std::size_t native = place == 0 ? 3 : 1;
  std::uint64_t leaker = mixed(place, origin.frame_count == 0 ? 0 : 1);
  for (std::size_t i = 0; i < native; ++i) {
    const std::size_t frame = origin.first_outside + i;
    if (frame < origin.frame_count) leaker = mixed(leaker, origin.frames[frame]);
  }
  return leaker == 0 ? 1 : leaker;
}

// Of native code that calls OpenSSL for Python, some frames are enough: above are the
// interpreter's.
bool are_enough_for_python(std::span<const std::uintptr_t> frames) {
  constexpr std::size_t kOutside = 3;
  return frames.size() >= kOutside && !caller_at(frames[frames.size() - kOutside] - 1).is_openssl;
}

void note(Store& own, Origin& origin, How how, const Entry& entry, const void* site) {
  origin.how = how;
  origin.file = entry.file;
  origin.line = entry.line;
  read_python_stack(origin.python);
  const Enough enough = origin.python.size() > 0 ? are_enough_for_python : nullptr;
  origin.frame_count = static_cast<std::uint8_t>(walk_stack(site, origin.frames, own.walk, enough));
  origin.first_outside =
      first_outside(std::span<const std::uintptr_t>(origin.frames).first(origin.frame_count));
  origin.greenlet = origin.python.size() == 0 ? Greenlet() : current_greenlet();
  origin.leaker = leaker_of_origin(origin);
}

void note_entry(How how, const Entry& entry, const void* site) {
  if (is_noting) return;
  Store* const own = own_store();
  if (own == nullptr) return;
  is_noting = true;
  note(*own, own->origins[entry.slot], how, entry, site);
  is_noting = false;
}

// The queue of the libcrypto that the caller uses; code 0 if it is empty, or is not looked at.
Entry oldest_of(const Caller& caller) {
  if (caller.peek_error_all == nullptr) return {};
  Library library;
  library.get_state = caller.get_state;
  library.peek_error_all = caller.peek_error_all;
  library.peek_last_error_all = caller.peek_error_all;
  return read_ends(library, state_of(library)).oldest;
}

Origin* known_origin(const Entry& entry) {
  if (store == nullptr) return nullptr;
  Origin& origin = store->origins[entry.slot];
  // A queue that is exchanged with a fiber's has other entries in the same slots.
  return origin.file == entry.file && origin.line == entry.line ? &origin : nullptr;
}

}  // namespace

const Origin* origin_of(const Entry& entry) {
  return known_origin(entry);
}

std::uint64_t leaker_of(const Entry& entry) {
  const Origin* const origin = origin_of(entry);
  return origin == nullptr ? 0 : origin->leaker;
}

void note_call(const Entry& oldest, const void* site) {
  if (origin_of(oldest) == nullptr) note_entry(How::kCalled, oldest, site);
}

CallWatch::CallWatch(const void* site) {
  const Caller caller = caller_at(reinterpret_cast<std::uintptr_t>(site));
  if (caller.is_openssl || oldest_of(caller).code != 0) return;
  site_ = site;
}

CallWatch::~CallWatch() {
  if (site_ == nullptr) return;
  const ErrnoKept errno_kept;
  const Entry oldest = oldest_of(caller_at(reinterpret_cast<std::uintptr_t>(site_)));
  if (oldest.code != 0) note_call(oldest, site_);
}

void note_provoked(const Entry& entry, const void* site) {
  note_entry(How::kProvoked, entry, site);
  // Else each point at which one was left would be a leaker of its own.
  if (Origin* const origin = known_origin(entry); origin != nullptr) origin->leaker = 1;
}

PushesIgnored::PushesIgnored() {
  is_noting = true;
}

PushesIgnored::~PushesIgnored() {
  is_noting = false;
}

bool is_openssl_code(const void* site) {
  return caller_at(reinterpret_cast<std::uintptr_t>(site)).is_openssl;
}

void begin_noting_origins() {
  if (mode() == Mode::kOff || pthread_key_create(&key_of_store, free_store) != 0) return;
  has_key.store(true, std::memory_order_release);
}

extern "C" {

// NOLINTNEXTLINE(readability-identifier-naming): it is OpenSSL's.
[[gnu::visibility("default")]] void ERR_set_debug(const char* file, int line,
                                                  const char* function) {
  const void* const site = __builtin_return_address(0);
  const Caller caller = caller_at(reinterpret_cast<std::uintptr_t>(site));
  if (caller.set_debug == nullptr) return;
  caller.set_debug(file, line, function);
  if (caller.get_state == nullptr) return;
  const ErrnoKept errno_kept;
  const auto* const state = static_cast<const ErrorState*>(caller.get_state());
  if (state != nullptr) note_entry(How::kPushed, entry_in_making(*state), site);
}
}

}  // namespace heddle::guard
