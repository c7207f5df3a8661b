// BufferPool: large buffers for the few connections that are busy at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace heddle::http {

// BufferPool hands out buffers of one size, the last one returned first: it is in the
// cache. A buffer belongs to one fiber until it is returned, so it may be held across
// calls that park.
//
// Threads:  one.
// Lifetime: outlives its leases.
class BufferPool {
 public:
  class Lease {
   public:
    Lease(BufferPool& pool, std::unique_ptr<char[]> buffer) noexcept
        : pool_(pool), buffer_(std::move(buffer)) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { pool_.put_back(std::move(buffer_)); }

    std::span<char> bytes() const noexcept { return {buffer_.get(), pool_.buffer_bytes_}; }

   private:
    BufferPool& pool_;
    std::unique_ptr<char[]> buffer_;
  };

  explicit BufferPool(std::size_t buffer_bytes) : buffer_bytes_(buffer_bytes) {
    free_.reserve(kKeptMax);
  }

  Lease take() {
    if (free_.empty()) return {*this, std::make_unique_for_overwrite<char[]>(buffer_bytes_)};
    std::unique_ptr<char[]> buffer = std::move(free_.back());
    free_.pop_back();
    return {*this, std::move(buffer)};
  }

 private:
  static constexpr std::size_t kKeptMax = 16;

  void put_back(std::unique_ptr<char[]> buffer) noexcept {
    if (free_.size() < kKeptMax) free_.push_back(std::move(buffer));
  }

  std::size_t buffer_bytes_;
  std::vector<std::unique_ptr<char[]>> free_;
};

}  // namespace heddle::http
