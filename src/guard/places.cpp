// What was found, once per place: see places.h.
#include "guard/places.h"

#include <string_view>

#include <unistd.h>

#include "guard/text.h"

namespace heddle::guard {
namespace {

constexpr std::size_t kPlacesMax = 512;

// A child's places go into the free slots: the process is part of the key.
constinit std::array<Place, kPlacesMax> places{};
constinit std::atomic<std::uint64_t> overflowed{0};

// FNV-1a.
class Hash {
 public:
  template <typename T>
  void add(const T& value) {
    add_bytes({reinterpret_cast<const char*>(&value), sizeof(value)});
  }
  void add_bytes(std::string_view bytes) {
    for (const char byte : bytes) {
      value_ = (value_ ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
    }
  }
  [[nodiscard]] std::uint64_t get() const { return value_ == 0 ? 1 : value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325U;
};

std::uint64_t key_of(pid_t process, Call call, const void* site, const Entry& oldest) {
  Hash hash;
  hash.add(process);
  hash.add(call);
  hash.add(site);
  hash.add(oldest.line);
  hash.add_bytes(oldest.file);
  return hash.get();
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

Place* place_of(Call call, const void* site, const Entry& oldest) {
  const pid_t process = getpid();
  const std::uint64_t key = key_of(process, call, site, oldest);
  for (std::size_t i = 0; i < kPlacesMax; ++i) {
    Place& place = places[(key + i) % kPlacesMax];
    std::uint64_t expected = 0;
    if (!place.key.compare_exchange_strong(expected, key)) {
      if (expected == key) return &place;
      continue;
    }
    place.process = process;
    place.number = next_number(process);
    place.call = call;
    place.site = site;
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
  const pid_t process = getpid();
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
