// What was found, once per place: see places.h.
#include "guard/places.h"

#include "guard/hash.h"
#include "guard/process.h"
#include "guard/text.h"

namespace heddle::guard {
namespace {

constexpr std::size_t kPlacesMax = 512;

// A child's places go into the free slots: the process is part of the key.
constinit std::array<Place, kPlacesMax> places{};
constinit std::atomic<std::uint64_t> overflowed{0};

// Not the names of file and function: OpenSSL copies them for each entry.
std::uint64_t key_of(pid_t process, const Meeting& meeting) {
  std::uint64_t key = mixed(static_cast<std::uint64_t>(process), index_of(meeting.call));
  key = mixed(key, reinterpret_cast<std::uintptr_t>(meeting.site));
  key = mixed(key, meeting.oldest.code);
  key = mixed(key, static_cast<std::uint64_t>(meeting.oldest.line));
  key = mixed(key, meeting.leaker);
  key = mixed(key, meeting.victim);
  return key == 0 ? 1 : key;
}

template <std::size_t kSize>
void copy(std::array<char, kSize>& to, const char* from) {
  to.fill(0);
  Text({to.data(), kSize - 1}) << from;
}

// The process and the last number it gave out, together, so that a child begins with 1 again.
constinit std::atomic<std::uint64_t> numbering{0};

unsigned next_number(pid_t process) {
  const std::uint64_t first = (static_cast<std::uint64_t>(process) << 32) + 1;
  std::uint64_t last = numbering.load();
  const auto next = [&] { return last >> 32 == first >> 32 ? last + 1 : first; };
  while (!numbering.compare_exchange_weak(last, next())) {
  }
  return static_cast<unsigned>(next());
}

}  // namespace

Place* place_of(const Meeting& meeting) {
  const pid_t process = own_process();
  const std::uint64_t key = key_of(process, meeting);
  const Entry& oldest = meeting.oldest;
  for (std::size_t i = 0; i < kPlacesMax; ++i) {
    Place& place = places[(key + i) % kPlacesMax];
    if (place.key.load(std::memory_order_acquire) == key) return &place;
    std::uint64_t expected = 0;
    if (!place.key.compare_exchange_strong(expected, key)) {
      if (expected == key) return &place;
      continue;
    }
    place.process = process;
    place.number = next_number(process);
    place.call = meeting.call;
    place.site = meeting.site;
    place.code = oldest.code;
    place.line = oldest.line;
    copy(place.file, oldest.file);
    copy(place.function, oldest.function);
    place.ready.store(true, std::memory_order_release);
    return &place;
  }
  overflowed.fetch_add(1, std::memory_order_relaxed);
  return nullptr;
}

void for_each_place(PlaceVisitor visit, void* data) {
  const pid_t process = own_process();
  for (unsigned number = 1; number <= kPlacesMax; ++number) {
    for (const Place& place : places) {
      if (!place.ready.load(std::memory_order_acquire)) continue;
      if (place.process == process && place.number == number) visit(place, data);
    }
  }
}

std::uint64_t calls_without_place() {
  return overflowed.load(std::memory_order_relaxed);
}

}  // namespace heddle::guard
