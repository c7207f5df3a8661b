// LoadHistogram: how often which latency was seen, in little memory and with a known error.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace heddle::cli {

// LoadHistogram counts values in buckets as HdrHistogram does: each power of two is divided into
// 1024 buckets of equal width. So a value is known to one part in 1024, however large it is (three
// digits), and record() is a few instructions and no allocation. 264 KiB, whatever is recorded.
//
// Threads: any, one at a time.
class LoadHistogram {
 public:
  // What is above is recorded as this: 2^42 - 1 nanoseconds are 73 minutes.
  static constexpr std::uint64_t kMax = (std::uint64_t{1} << 42) - 1;
  // The width of a bucket, divided by its lowest value, is at most 1 / kParts.
  static constexpr std::uint64_t kParts = 1024;

  LoadHistogram() : counts_(bucket_of(kMax) + 1) {}

  void record(std::uint64_t value) noexcept {
    value = std::min(value, kMax);
    ++counts_[bucket_of(value)];
    ++count_;
    sum_ += static_cast<double>(value);
    min_ = std::min(min_, value);
    max_ = std::max(max_, value);
  }

  // Adds what another one has recorded, as if it had been recorded here.
  void add(const LoadHistogram& other) noexcept;

  std::uint64_t count() const noexcept { return count_; }
  // Exact; 0 if nothing was recorded.
  std::uint64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
  std::uint64_t max() const noexcept { return max_; }
  double mean() const noexcept { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

  // The value that `percent` of those recorded do not exceed: the highest of its bucket, but not
  // above max(). 0 if nothing was recorded. Precondition: 0 <= percent <= 100.
  std::uint64_t percentile(double percent) const noexcept;

 private:
  // Below 2 * kParts each value has a bucket of its own. From there on a value is halved until it
  // is below, and each halving begins a new series of kParts buckets.
  static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
    const int halvings = std::max(0, static_cast<int>(std::bit_width(value / (2 * kParts))));
    return static_cast<std::size_t>(halvings) * kParts + (value >> halvings);
  }
  static std::uint64_t highest_of(std::size_t bucket) noexcept;

  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  double sum_ = 0;
  std::uint64_t min_ = kMax;
  std::uint64_t max_ = 0;
};

}  // namespace heddle::cli
