// The histogram of `heddle load`: its error is bounded, and it can be added up.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "cli/load_histogram.h"

namespace heddle::cli {
namespace {

constexpr double kErrorMax = 1.0 / LoadHistogram::kParts;

// Values of every size, as many of one as of another.
std::vector<std::uint64_t> values_of_all_sizes(std::size_t count) {
  std::mt19937_64 random(20240607);
  std::uniform_real_distribution<double> exponent(0, 42);
  std::vector<std::uint64_t> values(count);
  for (std::uint64_t& value : values) {
    value = std::min(static_cast<std::uint64_t>(std::exp2(exponent(random))), LoadHistogram::kMax);
  }
  return values;
}

// As HdrHistogram defines it: the smallest value that so many do not exceed.
std::uint64_t exact_percentile(std::vector<std::uint64_t> values, double percent) {
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(percent / 100 * static_cast<double>(values.size()));
  return values.at(std::max<std::size_t>(static_cast<std::size_t>(rank), 1) - 1);
}

TEST(LoadHistogramTest, EmptyHistogramHasNothingToSay) {
  const LoadHistogram histogram;
  EXPECT_EQ(0U, histogram.count());
  EXPECT_EQ(0U, histogram.min());
  EXPECT_EQ(0U, histogram.max());
  EXPECT_EQ(0, histogram.mean());
  EXPECT_EQ(0U, histogram.percentile(50));
}

TEST(LoadHistogramTest, SmallValuesAreExact) {
  for (std::uint64_t value = 0; value < 2 * LoadHistogram::kParts; value += 31) {
    LoadHistogram histogram;
    histogram.record(value);
    histogram.record(LoadHistogram::kMax);
    EXPECT_EQ(value, histogram.percentile(50));
  }
}

TEST(LoadHistogramTest, EveryValueIsKnownToOnePartIn1024) {
  for (const std::uint64_t value : values_of_all_sizes(300)) {
    LoadHistogram histogram;
    histogram.record(value);
    histogram.record(
        LoadHistogram::kMax);  // Else the maximum, which is exact, would be the answer.
    const std::uint64_t seen = histogram.percentile(50);
    ASSERT_GE(seen, value);
    ASSERT_LE(static_cast<double>(seen - value), kErrorMax * static_cast<double>(value)) << value;
  }
}

TEST(LoadHistogramTest, BucketsMeetWithoutGapOrOverlap) {
  for (int power = 10; power < 42; ++power) {
    const std::uint64_t edge = std::uint64_t{1} << power;
    LoadHistogram histogram;
    histogram.record(edge - 1);
    histogram.record(edge);
    histogram.record(LoadHistogram::kMax);
    EXPECT_EQ(edge - 1, histogram.percentile(33));
    EXPECT_GE(histogram.percentile(66), edge);
  }
}

TEST(LoadHistogramTest, PercentilesAreThoseOfTheValues) {
  const std::vector<std::uint64_t> values = values_of_all_sizes(5000);
  LoadHistogram histogram;
  for (const std::uint64_t value : values) histogram.record(value);
  for (const double percent : {0.0, 0.02, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
    const std::uint64_t exact = exact_percentile(values, percent);
    const std::uint64_t seen = histogram.percentile(percent);
    EXPECT_GE(seen, exact) << percent;
    EXPECT_LE(static_cast<double>(seen - exact), kErrorMax * static_cast<double>(exact)) << percent;
  }
  EXPECT_EQ(exact_percentile(values, 100), histogram.percentile(100));
}

TEST(LoadHistogramTest, PercentilesDoNotExceedTheMaximum) {
  LoadHistogram histogram;
  histogram.record(1'000'000'001);
  EXPECT_EQ(1'000'000'001U, histogram.percentile(50));
  EXPECT_EQ(1'000'000'001U, histogram.percentile(100));
}

TEST(LoadHistogramTest, MeanAndExtremesAreExact) {
  LoadHistogram histogram;
  for (const std::uint64_t value : {1'000'003U, 5U, 2'000'000U}) histogram.record(value);
  EXPECT_EQ(5U, histogram.min());
  EXPECT_EQ(2'000'000U, histogram.max());
  EXPECT_DOUBLE_EQ(3'000'008.0 / 3, histogram.mean());
}

TEST(LoadHistogramTest, WhatIsTooLongCountsAsTheLongest) {
  LoadHistogram histogram;
  histogram.record(UINT64_MAX);
  EXPECT_EQ(1U, histogram.count());
  EXPECT_EQ(LoadHistogram::kMax, histogram.max());
  EXPECT_EQ(LoadHistogram::kMax, histogram.percentile(50));
}

TEST(LoadHistogramTest, AddedHistogramsAreAsOneThatHasSeenAll) {
  const std::vector<std::uint64_t> values = values_of_all_sizes(3000);
  LoadHistogram all;
  LoadHistogram parts[3];
  for (std::size_t index = 0; index < values.size(); ++index) {
    all.record(values[index]);
    parts[index % 3].record(values[index]);
  }
  LoadHistogram sum;
  for (const LoadHistogram& part : parts) sum.add(part);
  EXPECT_EQ(all.count(), sum.count());
  EXPECT_EQ(all.min(), sum.min());
  EXPECT_EQ(all.max(), sum.max());
  EXPECT_NEAR(all.mean(), sum.mean(), all.mean() * 1e-9);
  for (double percent = 0; percent <= 100; percent += 0.5) {
    EXPECT_EQ(all.percentile(percent), sum.percentile(percent)) << percent;
  }
}

}  // namespace
}  // namespace heddle::cli
