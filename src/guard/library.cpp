// Finds the OpenSSL that a call is meant for: see library.h.
#include "guard/library.h"

#include <atomic>

#include <dlfcn.h>

#include "guard/errno_kept.h"
#include "guard/seen.h"
#include "guard/settings.h"
#include "guard/sink.h"
#include "guard/text.h"

namespace heddle::guard {

const Library* last_library = nullptr;

namespace {

constexpr std::size_t kLibrariesMax = 16;

// Slots are taken in order and never given back.
struct Slot {
  std::atomic<std::uintptr_t> taken{0};  // The base of the object whose library this is to be.
  std::atomic<bool> ready{false};
  Library library;
};

constinit std::array<Slot, kLibrariesMax> slots{};

// For calls that arrive while another thread, or the code that a signal interrupted, fills a slot.
constinit thread_local Library scratch{};

template <typename Function>
void assign(Function& function, void* symbol) {
  function = reinterpret_cast<Function>(symbol);
}

bool is_complete(const Library& library) {
  return library.peek_error != nullptr && library.clear_error != nullptr &&
         library.peek_error_all != nullptr && library.peek_last_error_all != nullptr &&
         library.lib_error_string != nullptr && library.reason_error_string != nullptr &&
         library.get_error != nullptr && library.state_string != nullptr &&
         library.get_shutdown != nullptr && library.want != nullptr &&
         library.get_rbio != nullptr && library.get_wbio != nullptr &&
         library.bio_test_flags != nullptr;
}

// What other preloaded libraries, behind the guard, have put before OpenSSL's functions.
struct Interposed {
  std::atomic<bool> known{false};
  bool is_behind = false;  // Of the search for them: the guard has been passed.
  std::array<EntryPoint, kCallCount> calls{};
};

constinit Interposed interposed{};

// They stand between the guard and the first OpenSSL. Libraries that are loaded later do not count,
// so this must come before the program starts.
void find_interposed() {
  for_each_object(
      [](const Object& object, void*) {
        if (object.base == own_object().base) {
          interposed.is_behind = true;
          return false;
        }
        if (!interposed.is_behind) return false;
        if (is_openssl(object)) return true;
        for (std::size_t i = 0; i < kCallCount; ++i) {
          if (interposed.calls[i] != nullptr) continue;
          assign(interposed.calls[i], find_symbol(object, kCallNames[i]));
        }
        return false;
      },
      nullptr);
}

// What a call of the program's is passed on to.
EntryPoint find_call(const Object& object, std::size_t index) {
  if (!interposed.known.exchange(true)) find_interposed();
  EntryPoint call = interposed.calls[index];
  if (call == nullptr) assign(call, find_symbol(object, kCallNames[index]));
  return call;
}

Library opened(const Object& object) {
  Library library;
  library.object = object;
  for (std::size_t i = 0; i < kCallCount; ++i) {
    library.calls[i] = find_call(object, i);
  }
  if (mode() == Mode::kOff) return library;
  assign(library.peek_error, find_below(object, "ERR_peek_error"));
  assign(library.clear_error, find_below(object, "ERR_clear_error"));
  assign(library.peek_error_all, find_below(object, "ERR_peek_error_all"));
  assign(library.peek_last_error_all, find_below(object, "ERR_peek_last_error_all"));
  assign(library.lib_error_string, find_below(object, "ERR_lib_error_string"));
  assign(library.reason_error_string, find_below(object, "ERR_reason_error_string"));
  assign(library.get_error, find_symbol(object, name_of(Call::kGetError)));
  assign(library.state_string, find_symbol(object, "SSL_state_string"));
  assign(library.get_shutdown, find_symbol(object, "SSL_get_shutdown"));
  assign(library.want, find_symbol(object, "SSL_want"));
  assign(library.get_rbio, find_symbol(object, "SSL_get_rbio"));
  assign(library.get_wbio, find_symbol(object, "SSL_get_wbio"));
  assign(library.bio_test_flags, find_below(object, "BIO_test_flags"));
  assign(library.get_rfd, find_symbol(object, "SSL_get_rfd"));
  assign(library.get_servername, find_symbol(object, "SSL_get_servername"));
  assign(library.get_version, find_symbol(object, "SSL_get_version"));
  assign(library.is_server, find_symbol(object, "SSL_is_server"));
  assign(library.state_string_long, find_symbol(object, "SSL_state_string_long"));
  decltype(&OPENSSL_version_major) version_major = nullptr;
  assign(version_major, find_below(object, "OPENSSL_version_major"));
  // Others have an ERR_get_state(), too, and another layout of what it returns.
  library.entries_come_first = version_major != nullptr && version_major() == 3;
  if (library.entries_come_first) {
    assign(library.get_state, find_below(object, "ERR_get_state"));
  }
  // ERR_peek_error_all() is what OpenSSL 1.1 and its other relatives do not have.
  library.watched = is_complete(library);
  return library;
}

// Function pointers into it are kept for ever, so it must not be unloaded.
void keep_loaded(const Object& object) {
  if (!is_permanent(object)) (void)dlopen(object.path, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

void say_not_watched(const Object& object) {
  std::array<char, 512> room{};
  Text text(room);
  text << "the OpenSSL in ";
  text.printable(short_name(object));
  text << " is not watched: it lacks functions that OpenSSL 3 and 4 have";
  write_note(text.view());
}

// Returns the library in `object`, which must be an OpenSSL.
const Library& open_library(const Object& object) {
  for (Slot& slot : slots) {
    std::uintptr_t taken = 0;
    if (slot.taken.compare_exchange_strong(taken, object.start)) {
      slot.library = opened(object);
      slot.ready.store(true);
      keep_loaded(object);
      if (mode() != Mode::kOff && !slot.library.watched) say_not_watched(object);
      return slot.library;
    }
    if (taken == object.start && slot.ready.load()) return slot.library;
    if (taken == object.start) break;
  }
  scratch = opened(object);
  return scratch;
}

// The object of the SSL_METHOD: see Library::owns().
Object owner_of(const SSL* ssl) {
  if (ssl == nullptr) return {};
  const auto* words = reinterpret_cast<const std::uintptr_t*>(ssl);
  for (std::size_t i = 1; i <= 3; ++i) {
    const Object object = object_at(words[i]);
    if (object && is_openssl(object)) return object;
  }
  return {};
}

// The libssl that the code at `site` was linked with, if it was with one.
Object linked_with(const void* site) {
  const Object caller = object_at(reinterpret_cast<std::uintptr_t>(site));
  if (!caller || is_openssl(caller)) return caller;
  const char* name = nullptr;
  for (std::size_t i = 0; (name = needed(caller, i)) != nullptr; ++i) {
    const Object below = find_object(name);
    if (below && is_openssl(below)) return below;
  }
  return {};
}

// The first libssl, whoever loaded it.
Object any_library() {
  Object found;
  for_each_object(
      [](const Object& object, void* data) {
        if (object.base == own_object().base || !is_openssl(object)) return false;
        *static_cast<Object*>(data) = object;
        return true;
      },
      &found);
  return found;
}

const Library& searched_library(const SSL* ssl, const void* site) {
  for (const Slot& slot : slots) {
    if (ssl != nullptr && slot.ready.load(std::memory_order_acquire) && slot.library.owns(ssl)) {
      __atomic_store_n(&last_library, &slot.library, __ATOMIC_RELEASE);
      return slot.library;
    }
  }
  Object object = owner_of(ssl);
  if (!object) object = linked_with(site);
  if (!object) object = any_library();
  if (!object) {
    scratch = Library();
    return scratch;
  }
  return open_library(object);
}

}  // namespace

const Library& find_library(const SSL* ssl, const void* site) {
  const ErrnoKept errno_kept;
  const Library& library = searched_library(ssl, site);
  see_call(library.watched);
  return library;
}

void* find_below(const Object& object, const char* name) {
  void* symbol = find_symbol(object, name);
  const char* next = nullptr;
  for (std::size_t i = 0; symbol == nullptr && (next = needed(object, i)) != nullptr; ++i) {
    if (const Object below = find_object(next)) symbol = find_symbol(below, name);
  }
  return symbol;
}

void* find_for_caller(const void* site, const char* name) {
  const Object caller = object_at(reinterpret_cast<std::uintptr_t>(site));
  void* symbol = caller ? find_below(caller, name) : nullptr;
  if (symbol != nullptr) return symbol;
  // A plugin need not say what it is linked with, if its program is.
  struct Search {
    const char* name;
    void* symbol;
  } search{.name = name, .symbol = nullptr};
  for_each_object(
      [](const Object& object, void* data) {
        auto& sought = *static_cast<Search*>(data);
        if (object.base != own_object().base) {
          sought.symbol = find_symbol(object, sought.name);
        }
        return sought.symbol != nullptr;
      },
      &search);
  return search.symbol;
}

bool is_openssl(const Object& object) {
  return find_symbol(object, name_of(Call::kRead)) != nullptr &&
         find_symbol(object, "SSL_new") != nullptr;
}

void find_loaded_libraries() {
  if (!interposed.known.exchange(true)) find_interposed();
  // Opened only after the walk, during which the dynamic linker's list is locked.
  struct Found {
    std::array<Object, kLibrariesMax> objects;
    std::size_t count = 0;
  } found{};
  for_each_object(
      [](const Object& object, void* data) {
        auto& list = *static_cast<Found*>(data);
        if (object.base != own_object().base && is_openssl(object)) {
          list.objects[list.count++] = object;
        }
        return list.count == list.objects.size();
      },
      &found);
  for (std::size_t i = 0; i < found.count; ++i) (void)open_library(found.objects[i]);
}

void forget_last_library() {
  __atomic_store_n(&last_library, nullptr, __ATOMIC_RELEASE);
}

bool only_wants_to_be_repeated(const Library& library, const SSL* ssl) {
  const int want = library.want(ssl);
  if (want == SSL_NOTHING) return false;
  if (want != SSL_READING && want != SSL_WRITING) return true;  // A callback asked for it.
  // SSL_want() alone does not tell: it also says so of a BIO that has failed for good.
  const BIO* bio = want == SSL_READING ? library.get_rbio(ssl) : library.get_wbio(ssl);
  return bio != nullptr && library.bio_test_flags(bio, BIO_FLAGS_SHOULD_RETRY) != 0;
}

}  // namespace heddle::guard
