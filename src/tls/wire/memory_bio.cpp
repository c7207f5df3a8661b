// A queue of bytes that uses one block of memory, and none while it is empty.
#include "heddle/tls/memory_bio.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/die.h"

namespace heddle {
namespace {

constexpr std::size_t kCapacityMin = 512;

}  // namespace

Result<void> MemoryBio::write(std::span<const std::byte> from) {
  if (ended_) {
    return Error{
        .code = Errc::kInvalid, .operation = "write to a MemoryBio", .detail = "it has ended"};
  }
  const std::span<std::byte> room = prepare(from.size());
  std::copy(from.begin(), from.end(), room.begin());
  commit(from.size());
  return {};
}

std::span<std::byte> MemoryBio::prepare(std::size_t bytes) {
  reserve(bytes);
  prepared_ = bytes;
  return {storage_.get() + end_, bytes};
}

void MemoryBio::commit(std::size_t bytes) noexcept {
  if (bytes > prepared_) {
    die("MemoryBio::commit() of %zu bytes where prepare() gave room for %zu: commit once, before "
        "any other call",
        bytes, prepared_);
  }
  if (bytes != 0 && ended_)
    die("MemoryBio::commit() after write_eof(): nothing comes behind the end");
  end_ += bytes;
  prepared_ = 0;
  release_if_empty();
}

// Makes room for `bytes` behind end_. Moves what is there to the front only if at least as much
// has been read before it: so each byte is moved a constant number of times, on average.
void MemoryBio::reserve(std::size_t bytes) {
  if (capacity_ - end_ >= bytes) return;
  const std::size_t held = pending();
  if (bytes > SIZE_MAX / 2 - held) throw std::bad_alloc();
  if (begin_ >= held && capacity_ - held >= bytes) {
    std::copy_n(storage_.get() + begin_, held, storage_.get());
  } else {
    const std::size_t capacity = std::max({kCapacityMin, 2 * capacity_, held + bytes});
    std::unique_ptr<std::byte[]> larger(
        new std::byte[capacity]);  // Not zeroed, unlike make_unique.
    std::copy_n(storage_.get() + begin_, held, larger.get());
    storage_ = std::move(larger);
    capacity_ = capacity;
  }
  begin_ = 0;
  end_ = held;
}

std::size_t MemoryBio::read(std::span<std::byte> into) noexcept {
  const std::span<const std::byte> from = readable();
  const std::size_t count = std::min(into.size(), from.size());
  std::copy_n(from.begin(), count, into.begin());
  consume(count);
  return count;
}

std::span<const std::byte> MemoryBio::readable() const noexcept {
  return {storage_.get() + begin_, pending()};
}

void MemoryBio::consume(std::size_t bytes) noexcept {
  if (bytes > pending()) {
    die("MemoryBio::consume() of %zu bytes where %zu can be read: ask readable() again after any "
        "other call",
        bytes, pending());
  }
  begin_ += bytes;
  prepared_ = 0;
  release_if_empty();
}

MemoryBio MemoryBio::take() noexcept {
  MemoryBio taken(std::move(*this));
  ended_ = std::exchange(taken.ended_, false);
  return taken;
}

void MemoryBio::swap(MemoryBio& other) noexcept {
  std::swap(storage_, other.storage_);
  std::swap(capacity_, other.capacity_);
  std::swap(begin_, other.begin_);
  std::swap(end_, other.end_);
  std::swap(prepared_, other.prepared_);
  std::swap(ended_, other.ended_);
}

void MemoryBio::release_if_empty() noexcept {
  if (begin_ != end_) return;
  storage_.reset();
  capacity_ = begin_ = end_ = 0;
}

}  // namespace heddle
