// What is read out of a histogram: see load_histogram.h.
#include "cli/load_histogram.h"

#include <cmath>

namespace heddle::cli {

std::uint64_t LoadHistogram::highest_of(std::size_t bucket) noexcept {
  if (bucket < 2 * kParts) return bucket;
  const std::size_t halvings = bucket / kParts - 1;
  const std::uint64_t halved = bucket - halvings * kParts;
  return ((halved + 1) << halvings) - 1;
}

void LoadHistogram::add(const LoadHistogram& other) noexcept {
  for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
    counts_[bucket] += other.counts_[bucket];
  }
  count_ += other.count_;
  sum_ += other.sum_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

std::uint64_t LoadHistogram::percentile(double percent) const noexcept {
  if (count_ == 0) return 0;
  const double exact = std::ceil(percent / 100 * static_cast<double>(count_));
  const std::uint64_t wanted =
      std::clamp<std::uint64_t>(static_cast<std::uint64_t>(exact), 1, count_);
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
    seen += counts_[bucket];
    if (seen >= wanted) return std::min(highest_of(bucket), max_);
  }
  return max_;
}

}  // namespace heddle::cli
