// What HTTP does with text: dates, targets, escapes, ranges, conditions, types.
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "http/content_type.h"
#include "http/date.h"
#include "http/escape.h"
#include "http/range.h"
#include "http/request.h"
#include "http/validators.h"

namespace heddle::http {
namespace {

std::string formatted(std::int64_t seconds) {
  const DateText text = format_date(seconds);
  return {text.data(), text.size()};
}

TEST(HttpDate, IsInTheFixedForm) {
  EXPECT_EQ(formatted(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(formatted(951782400), "Tue, 29 Feb 2000 00:00:00 GMT");
}

TEST(HttpDate, BeyondFourDigitYearsIsMovedToTheBound) {
  EXPECT_EQ(formatted(-1), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(formatted(std::numeric_limits<std::int64_t>::max()), "Fri, 31 Dec 9999 23:59:59 GMT");
}

TEST(HttpDate, KeptOneIsTheSameTextWhicheverWasAskedForBefore) {
  for (const std::int64_t seconds : {784111777, 784111777 + 64, 784111777, 784111778, 0, -1, 64}) {
    EXPECT_EQ(kept_date(seconds), formatted(seconds)) << seconds;
  }
}

constexpr std::int64_t kNow = 1'800'000'000;  // 15 Jan 2027.

std::optional<std::int64_t> date_of(std::string_view text) {
  return parse_date(text, kNow);
}

TEST(HttpDate, IsReadInAllThreeForms) {
  EXPECT_EQ(date_of("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
  EXPECT_EQ(date_of("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
  EXPECT_EQ(date_of("Sun Nov  6 08:49:37 1994"), 784111777);
  EXPECT_EQ(date_of("Wed Nov 16 08:49:37 1994"), 784111777 + 10 * 86400);
  EXPECT_EQ(date_of("Wednesday, 16-Nov-94 08:49:37 GMT"), 784111777 + 10 * 86400);
  EXPECT_EQ(date_of("Sat, 31 Dec 2016 23:59:60 GMT"), 1483228799) << "a leap second";
}

// RFC 9110, 5.6.7: what seems to be more than 50 years ahead has passed.
TEST(HttpDate, YearsOfTwoDigitsAreNear) {
  EXPECT_EQ(date_of("Friday, 01-Jan-77 00:00:00 GMT"), 3376684800) << "2077";
  EXPECT_EQ(date_of("Friday, 01-Jan-78 00:00:00 GMT"), 252460800) << "1978";
}

TEST(HttpDate, WhatIsNoneIsNotRead) {
  for (const char* text : {"",
                           "yesterday",
                           "Sun, 06 Nov 1994 08:49:37 GMT, and more",
                           "Sun, 06 Nov 1994 08:49:37",
                           "Sun, 6 Nov 1994 08:49:37 GMT",
                           "Sun,  06 Nov 1994 08:49:37 GMT",
                           "Sun, 06 Nov 1994 08:49:37 UTC",
                           "Sun, 06 Nov 1994 08:49:37 gmt",
                           "sun, 06 Nov 1994 08:49:37 GMT",
                           "Sunday, 06 Nov 1994 08:49:37 GMT",
                           "Mun, 06 Nov 1994 08:49:37 GMT",
                           "Sun, 30 Feb 1994 08:49:37 GMT",
                           "Sun, 00 Nov 1994 08:49:37 GMT",
                           "Sun, 06 Nov 1994 24:00:00 GMT",
                           "Sun, 06 Nov 1994 08:60:37 GMT",
                           "Sun, 06 Nov 1994 08:49:61 GMT",
                           "Sun, 06 Foo 1994 08:49:37 GMT",
                           "Sun, 06 Nov 94 08:49:37 GMT",
                           "Sun, 06-Nov-94 08:49:37 GMT",
                           "Sun Nov 6 08:49:37 1994",
                           "Sun Nov  6 08:49:37 94",
                           "Sun, -6 Nov 1994 08:49:37 GMT",
                           "Sun, 06 Nov +994 08:49:37 GMT"}) {
    EXPECT_EQ(date_of(text), std::nullopt) << text;
  }
  EXPECT_EQ(date_of(std::string(1000, 'x')), std::nullopt);
}

TEST(HttpDate, CacheHoldsADate) {
  DateCache cache;
  EXPECT_TRUE(date_of(cache.now()).has_value());
}

TEST(HttpTarget, IsTakenApart) {
  const auto plain = split_target("/a/b?c=d?e");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->path, "/a/b");
  EXPECT_EQ(plain->query, "?c=d?e");
}

TEST(HttpTarget, InAbsoluteFormLosesItsAuthority) {
  EXPECT_EQ(split_target("https://host:1/a?b")->path, "/a");
  EXPECT_EQ(split_target("HTTP://host")->path, "/");
  EXPECT_EQ(split_target("http://host?b")->path, "/");
  EXPECT_EQ(split_target("http://host?b")->query, "?b");
}

TEST(HttpTarget, OtherFormsAreRefused) {
  for (const char* target : {"", "*", "host:443", "a", "https:///a", "/a#b", "ftp://host/a"}) {
    EXPECT_FALSE(split_target(target)) << target;
  }
}

struct Decoded {
  Decoding result;
  std::string text;
};

Decoded decoded(std::string_view encoded) {
  std::array<char, 16> buffer;
  buffer.fill('!');
  std::size_t size = 0;
  const Decoding result = percent_decode(encoded, buffer, size);
  EXPECT_TRUE(result != Decoding::kOk || buffer.at(size) == '\0');
  return {result, std::string(buffer.data(), size)};
}

TEST(PercentDecoding, ReplacesEachEscapeOnce) {
  EXPECT_EQ(decoded("/a%20b").text, "/a b");
  EXPECT_EQ(decoded("%c3%A4").text, "\xC3\xA4");
  EXPECT_EQ(decoded("/%252e").text, "/%2e");
  EXPECT_EQ(decoded("/%2e%2e/").text, "/../");
  EXPECT_EQ(decoded("a+b").text, "a+b");
}

TEST(PercentDecoding, RefusesWhatIsNoEscape) {
  for (const char* text : {"%", "%2", "%zz", "%2g", "% 20", "%-1", "a%"}) {
    EXPECT_EQ(decoded(text).result, Decoding::kMalformed) << text;
  }
}

TEST(PercentDecoding, RefusesZeroBytesAndEncodedSlashes) {
  EXPECT_EQ(decoded("/a%00").result, Decoding::kMalformed);
  EXPECT_EQ(decoded("/a%2fb").result, Decoding::kEncodedSlash);
  EXPECT_EQ(decoded("/a%2Fb").result, Decoding::kEncodedSlash);
}

TEST(PercentDecoding, StaysWithinTheBuffer) {
  EXPECT_EQ(decoded(std::string(15, 'a')).result, Decoding::kOk);
  EXPECT_EQ(decoded(std::string(16, 'a')).result, Decoding::kTooLong);
  std::size_t size = 0;
  EXPECT_EQ(percent_decode("", {}, size), Decoding::kTooLong);
}

TEST(Escaping, LeavesNoMarkupAndNoControlCharacters) {
  std::string html;
  append_html(html, "<a href=\"x\">'&\n");
  EXPECT_EQ(html, "&lt;a href=&quot;x&quot;&gt;&#39;&amp;\xEF\xBF\xBD");
  std::string url;
  append_percent_encoded(url, "a b/\"<%\xC3\r\n:");
  EXPECT_EQ(url, "a%20b/%22%3C%25%C3%0D%0A%3A");
}

using Kind = ByteRange::Kind;

void expect_part(std::string_view field, std::uint64_t size, std::uint64_t offset,
                 std::uint64_t length) {
  const ByteRange range = parse_range(field, size);
  EXPECT_EQ(range.kind, Kind::kPart) << field;
  EXPECT_EQ(range.offset, offset) << field;
  EXPECT_EQ(range.length, length) << field;
}

TEST(HttpRange, IsCutToTheFile) {
  expect_part("bytes=0-0", 10, 0, 1);
  expect_part("bytes=3-5", 10, 3, 3);
  expect_part("bytes=3-", 10, 3, 7);
  expect_part("bytes=3-99", 10, 3, 7);
  expect_part("bytes=9-9", 10, 9, 1);
  expect_part("bytes=-4", 10, 6, 4);
  expect_part("bytes=-99", 10, 0, 10);
  expect_part("BYTES= 3-5 ", 10, 3, 3);
  expect_part("bytes=3-99999999999999999999999999", 10, 3, 7);
}

TEST(HttpRange, OutsideOfTheFileIsUnsatisfiable) {
  EXPECT_EQ(parse_range("bytes=10-", 10).kind, Kind::kUnsatisfiable);
  EXPECT_EQ(parse_range("bytes=-0", 10).kind, Kind::kUnsatisfiable);
  EXPECT_EQ(parse_range("bytes=0-", 0).kind, Kind::kUnsatisfiable);
  EXPECT_EQ(parse_range("bytes=99999999999999999999999-", 10).kind, Kind::kUnsatisfiable);
}

TEST(HttpRange, MalformedOrSeveralMeansTheWhole) {
  for (const char* field :
       {"", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-3", "lines=1-2", "bytes=1-2,4-5",
        "bytes=-1-2", "bytes=+1-2", "bytes=1 - 2", "bytes=0x1-", "=1-2"}) {
    EXPECT_EQ(parse_range(field, 10).kind, Kind::kWhole) << field;
  }
  EXPECT_EQ(parse_range("bytes=-5", 0).kind, Kind::kWhole);
}

constexpr std::int64_t kModified = 784111777;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr FileVersion kVersion{.modified = kModified * kSecond + 5,
                               .changed = kModified * kSecond + 5,
                               .inode = 7,
                               .size = 1234};

Validators validators() {
  return {kVersion, kNow};
}

std::string etag(FileVersion version) {
  return std::string(Validators(version, kNow).etag());
}

TEST(Validators, DifferByAllThatTellsVersionsApart) {
  EXPECT_EQ(validators().modified_seconds(), kModified);
  FileVersion other = kVersion;
  EXPECT_EQ(etag(other), etag(kVersion));
  other.size = 1235;
  EXPECT_NE(etag(other), etag(kVersion));
  other = kVersion;
  other.modified += 1;
  EXPECT_NE(etag(other), etag(kVersion));
  other = kVersion;
  other.changed += 1;
  EXPECT_NE(etag(other), etag(kVersion)) << "the time was set back";
  other = kVersion;
  other.inode = 8;
  EXPECT_NE(etag(other), etag(kVersion)) << "a file in its place";
  EXPECT_TRUE(etag(kVersion).starts_with('"') && etag(kVersion).ends_with('"'));
  constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
  EXPECT_TRUE(etag({.modified = -1, .changed = -2, .inode = kMost, .size = kMost}).ends_with('"'));
}

// RFC 9110, 8.8.1: what may change again within the same moment has no strong validator.
TEST(Validators, AreWeakForFilesThatJustChanged) {
  const auto strong = [](std::int64_t now) { return Validators(kVersion, now).is_strong(); };
  EXPECT_FALSE(strong(kModified));
  EXPECT_FALSE(strong(kModified + 1));
  EXPECT_TRUE(strong(kModified + 2));
  EXPECT_FALSE(strong(kModified - 1000)) << "changed in the future";
  EXPECT_TRUE(Validators(kVersion, kModified).etag().starts_with("W/\""));
}

TEST(Validators, DatesAreStrongOnlyIfNobodySetThem) {
  EXPECT_TRUE(validators().date_is_strong());
  FileVersion copied = kVersion;
  copied.changed += 5 * kSecond;
  EXPECT_FALSE(Validators(copied, kNow).date_is_strong());
  EXPECT_FALSE(Validators(kVersion, kModified + 1).date_is_strong());
}

// RFC 9110, 8.8.2.1
TEST(Validators, LastModifiedIsNotInTheFuture) {
  EXPECT_EQ(Validators(kVersion, kModified - 10).modified_seconds(), kModified - 10);
}

TEST(Conditions, WeakTagsMatchWeaklyOnly) {
  const Validators current(kVersion, kModified);
  const std::string tag(current.etag());
  EXPECT_EQ(check_conditions({.if_none_match = tag}, current), Verdict::kNotModified);
  EXPECT_EQ(check_conditions({.if_none_match = tag.substr(2)}, current), Verdict::kNotModified);
  EXPECT_EQ(check_conditions({.if_match = tag}, current), Verdict::kPreconditionFailed);
  EXPECT_EQ(check_conditions({.if_match = "*"}, current), Verdict::kProceed);
  EXPECT_FALSE(range_applies({.if_range = tag}, current));
  EXPECT_FALSE(range_applies({.if_range = tag.substr(2)}, current));
  EXPECT_FALSE(range_applies({.if_range = "Sun, 06 Nov 1994 08:49:37 GMT"}, current));
}

TEST(Conditions, IfNoneMatchComparesWeaklyAndWinsOverDates) {
  const Validators current = validators();
  const std::string tag(current.etag());
  const auto verdict = [&](const std::string& field) {
    return check_conditions(
        {.if_none_match = field, .if_modified_since = "Sun, 06 Nov 1994 08:49:37 GMT"}, current);
  };
  EXPECT_EQ(verdict(tag), Verdict::kNotModified);
  EXPECT_EQ(verdict("W/" + tag), Verdict::kNotModified);
  EXPECT_EQ(verdict("\"x\" , " + tag), Verdict::kNotModified);
  EXPECT_EQ(verdict("*"), Verdict::kNotModified);
  EXPECT_EQ(verdict("\"x\""), Verdict::kProceed);
  EXPECT_EQ(verdict("junk, " + tag), Verdict::kProceed);
  EXPECT_EQ(verdict("\"x\" " + tag), Verdict::kProceed);
}

TEST(Conditions, IfModifiedSinceCountsSeconds) {
  const auto verdict = [](std::string_view field) {
    return check_conditions({.if_modified_since = field}, validators());
  };
  EXPECT_EQ(verdict("Sun, 06 Nov 1994 08:49:37 GMT"), Verdict::kNotModified);
  EXPECT_EQ(verdict("Sun, 06 Nov 1994 08:49:38 GMT"), Verdict::kNotModified);
  EXPECT_EQ(verdict("Sun, 06 Nov 1994 08:49:36 GMT"), Verdict::kProceed);
  EXPECT_EQ(verdict("nonsense"), Verdict::kProceed);
}

TEST(Conditions, IfMatchComparesStronglyAndWinsOverDates) {
  const Validators current = validators();
  const std::string tag(current.etag());
  const auto verdict = [&](const std::string& field) {
    return check_conditions(
        {.if_match = field, .if_unmodified_since = "Sun, 06 Nov 1994 08:49:36 GMT"}, current);
  };
  EXPECT_EQ(verdict(tag), Verdict::kProceed);
  EXPECT_EQ(verdict("*"), Verdict::kProceed);
  EXPECT_EQ(verdict("W/" + tag), Verdict::kPreconditionFailed);
  EXPECT_EQ(verdict("\"x\""), Verdict::kPreconditionFailed);
}

TEST(Conditions, IfUnmodifiedSinceFailsForAChangedFile) {
  const auto verdict = [](std::string_view field) {
    return check_conditions({.if_unmodified_since = field}, validators());
  };
  EXPECT_EQ(verdict("Sun, 06 Nov 1994 08:49:37 GMT"), Verdict::kProceed);
  EXPECT_EQ(verdict("Sun, 06 Nov 1994 08:49:36 GMT"), Verdict::kPreconditionFailed);
}

TEST(Conditions, IfRangeNeedsExactlyThisVersion) {
  const Validators current = validators();
  const std::string tag(current.etag());
  const auto applies = [&](std::string_view field) {
    return range_applies({.if_range = field}, current);
  };
  EXPECT_TRUE(applies(""));
  EXPECT_TRUE(applies(tag));
  EXPECT_TRUE(applies("Sun, 06 Nov 1994 08:49:37 GMT"));
  EXPECT_FALSE(applies("W/" + tag));
  EXPECT_FALSE(applies("\"x\""));
  EXPECT_FALSE(applies("Sun, 06 Nov 1994 08:49:38 GMT"));
  EXPECT_FALSE(applies("nonsense"));
}

TEST(ContentType, IsFoundBySuffixInAnyCase) {
  EXPECT_EQ(content_type("a/b.html"), "text/html; charset=utf-8");
  EXPECT_EQ(content_type("a.tar.GZ"), "application/gzip");
  EXPECT_EQ(content_type("x.7z"), "application/x-7z-compressed");
  EXPECT_EQ(content_type("x.zst"), "application/zstd");
  for (const char* path : {"", "a", "a.", "dir.html/a", "a.unknown", "a.averyveryverylongsuffix"}) {
    EXPECT_EQ(content_type(path), "application/octet-stream") << path;
  }
}

}  // namespace
}  // namespace heddle::http
