// Lines, the request line and the fields that a file server needs: see request_parser.h.
#include "http/request_parser.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>

#include "http/text.h"

namespace heddle::http {

// The first six are kept, in the order of kept_.
enum class RequestParser::Field : std::uint8_t {
  kIfMatch,
  kIfNoneMatch,
  kIfModifiedSince,
  kIfUnmodifiedSince,
  kIfRange,
  kRange,
  kConnection,
  kContentLength,
  kTransferEncoding,
  kExpect,
};

namespace {

constexpr std::array kFieldNames = std::to_array<std::string_view>(
    {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range",
     "connection", "content-length", "transfer-encoding", "expect"});

// Of IANA's registry, besides GET and HEAD. Methods are case-sensitive.
constexpr std::array kOtherMethods = std::to_array<std::string_view>({"ACL",
                                                                      "BASELINE-CONTROL",
                                                                      "BIND",
                                                                      "CHECKIN",
                                                                      "CHECKOUT",
                                                                      "CONNECT",
                                                                      "COPY",
                                                                      "DELETE",
                                                                      "LABEL",
                                                                      "LINK",
                                                                      "LOCK",
                                                                      "MERGE",
                                                                      "MKACTIVITY",
                                                                      "MKCALENDAR",
                                                                      "MKCOL",
                                                                      "MKREDIRECTREF",
                                                                      "MKWORKSPACE",
                                                                      "MOVE",
                                                                      "OPTIONS",
                                                                      "ORDERPATCH",
                                                                      "PATCH",
                                                                      "POST",
                                                                      "PRI",
                                                                      "PROPFIND",
                                                                      "PROPPATCH",
                                                                      "PUT",
                                                                      "QUERY",
                                                                      "REBIND",
                                                                      "REPORT",
                                                                      "SEARCH",
                                                                      "TRACE",
                                                                      "UNBIND",
                                                                      "UNCHECKOUT",
                                                                      "UNLINK",
                                                                      "UNLOCK",
                                                                      "UPDATE",
                                                                      "UPDATEREDIRECTREF",
                                                                      "VERSION-CONTROL"});

Method method_of(std::string_view name) noexcept {
  if (name == "GET") return Method::kGet;
  if (name == "HEAD") return Method::kHead;
  const bool known = std::ranges::find(kOtherMethods, name) != kOtherMethods.end();
  return known ? Method::kOther : Method::kUnknown;
}

// What proxies and servers are known to read in different ways.
constexpr std::array kNotInHosts = [] {
  std::array<bool, 256> table{};
  for (const char c : std::string_view(" \t,/?#@\\\"<>"))
    table[static_cast<unsigned char>(c)] = true;
  return table;
}();

// A host and a port as they may stand in a Host field (RFC 9110, 7.2): strict enough.
bool is_host(std::string_view value) noexcept {
  return std::ranges::none_of(value,
                              [](char c) { return kNotInHosts[static_cast<unsigned char>(c)]; });
}

// Bytes above 0x7f are no part of a URI, but clients send names as they are.
bool is_target(std::string_view target) noexcept {
  return !target.empty() && std::ranges::all_of(target, [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != 0x7f;
  });
}

// The high bit of each byte of `word` that is a control character, tabs among them. Above the
// lowest one that is set others may be set in error: a borrow.
constexpr std::uint64_t control_characters(std::uint64_t word) noexcept {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kHighBits = 0x80 * kOnes;
  const std::uint64_t no_delete = word ^ 0x7f * kOnes;
  const std::uint64_t below_space = (word - 0x20 * kOnes) & ~word;
  const std::uint64_t is_delete = (no_delete - kOnes) & ~no_delete;
  return (below_space | is_delete) & kHighBits;
}

// How many bytes at the front of `text` may be in a line. Eight at a time, since hardly one may
// not.
std::size_t count_line_chars(std::string_view text) noexcept {
  std::size_t at = 0;
  while (text.size() - at >= sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + at, sizeof(word));
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    const std::uint64_t found = control_characters(word);
    at += found == 0 ? sizeof(word) : static_cast<std::size_t>(std::countr_zero(found)) / 8;
    if (found == 0) continue;
    if (text[at] != '\t') return at;
    ++at;
  }
  while (at < text.size() && is_line_char(text[at])) ++at;
  return at;
}

}  // namespace

std::size_t RequestParser::empty_lines(std::string_view bytes) noexcept {
  std::size_t size = 0;
  while (bytes.substr(size, 2) == "\r\n") size += 2;
  return size;
}

RequestParser::Step RequestParser::fail(int status) noexcept {
  status_ = status;
  return Step::kFailed;
}

// The limit is reached within the request line, or behind it.
RequestParser::Step RequestParser::fail_for_size(std::string_view head) noexcept {
  if (has_request_line_) return fail(431);
  // For the log: what would have become method and target.
  const std::string_view line = head.substr(line_);
  const std::size_t space = line.find(' ');
  if (space != std::string_view::npos) {
    const std::size_t target = line_ + space + 1;
    const std::size_t size = std::min(head.find(' ', target), head.size()) - target;
    method_name_ = {static_cast<std::uint32_t>(line_), static_cast<std::uint32_t>(space)};
    target_ = {static_cast<std::uint32_t>(target), static_cast<std::uint32_t>(size)};
  }
  return fail(414);
}

RequestParser::Step RequestParser::parse_head(std::string_view bytes) {
  // What lies beyond the limit has no influence, whether it is there already or not.
  const std::string_view head = bytes.substr(0, kHeadBytesMax);
  while (true) {
    Step step = scan_line(head);
    if (step == Step::kFailed) return step;
    if (step == Step::kNeedMore) return head.size() < kHeadBytesMax ? step : fail_for_size(head);
    step = read_line(head);
    if (step != Step::kNeedMore) return step;
  }
}

// kDone: the line ends at scanned_. Bytes are looked at once, however they come.
RequestParser::Step RequestParser::scan_line(std::string_view head) noexcept {
  const std::size_t at = scanned_ + count_line_chars(head.substr(scanned_));
  scanned_ = at;
  if (at == head.size()) return Step::kNeedMore;
  if (head[at] != '\r') return fail(400);
  if (at + 1 == head.size()) return Step::kNeedMore;
  return head[at + 1] == '\n' ? Step::kDone : fail(400);
}

// Reads the line that has been found: kNeedMore if it is not the head's last.
RequestParser::Step RequestParser::read_line(std::string_view head) {
  const std::string_view line = head.substr(line_, scanned_ - line_);
  Step step = Step::kNeedMore;
  if (!line.empty()) {
    step = has_request_line_ ? read_field(head, line) : read_request_line(line);
  } else if (has_request_line_) {
    step = finish();
  }
  if (step == Step::kFailed) return step;
  line_ = scanned_ + 2;
  scanned_ = line_;
  return step;
}

RequestParser::Step RequestParser::read_request_line(std::string_view line) {
  const std::size_t first = line.find(' ');
  if (first == std::string_view::npos) return fail(400);
  const std::string_view name = line.substr(0, first);
  if (!is_token(name)) return fail(400);
  const std::string_view rest = line.substr(first + 1);
  const std::size_t second = rest.find(' ');
  const std::string_view target = rest.substr(0, second);
  method_ = method_of(name);
  method_name_ = {static_cast<std::uint32_t>(line_), static_cast<std::uint32_t>(name.size())};
  target_ = {static_cast<std::uint32_t>(line_ + first + 1),
             static_cast<std::uint32_t>(target.size())};
  if (second == std::string_view::npos || !is_target(target)) return fail(400);
  if (const Step step = read_version(rest.substr(second + 1)); step == Step::kFailed) return step;
  if (target.size() > kTargetBytesMax) return fail(414);
  has_request_line_ = true;
  return Step::kNeedMore;
}

// A later minor version means what 1.1 does to whoever knows only that (RFC 9110, 2.5).
RequestParser::Step RequestParser::read_version(std::string_view version) {
  const bool is_version = version.size() == 8 && version.starts_with("HTTP/") &&
                          is_digit(version[5]) && version[6] == '.' && is_digit(version[7]);
  if (!is_version) return fail(400);
  if (version[5] != '1') return fail(505);
  http_1_1_ = version[7] != '0';
  return Step::kNeedMore;
}

RequestParser::Step RequestParser::read_field(std::string_view head, std::string_view line) {
  // A folded line (RFC 9112, 5.2) begins with a space, which is in no name.
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return fail(400);
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (equals_ignoring_case(name, "host")) return read_host(value);  // Which each request has.
  const auto* const known = std::ranges::find_if(
      kFieldNames, [name](std::string_view other) { return equals_ignoring_case(name, other); });
  switch (static_cast<Field>(known - kFieldNames.begin())) {
    case Field::kConnection:
      read_connection(value);
      return Step::kNeedMore;
    case Field::kContentLength:
      return read_length(value);
    case Field::kTransferEncoding:
      return read_encoding(value);
    case Field::kExpect:
      return read_expectation(value);
    case Field::kIfMatch:
    case Field::kIfNoneMatch:
    case Field::kIfModifiedSince:
    case Field::kIfUnmodifiedSince:
    case Field::kIfRange:
    case Field::kRange:
      keep(head, kept_.at(static_cast<std::size_t>(known - kFieldNames.begin())), value);
      break;
  }
  return Step::kNeedMore;  // Of the others, nothing is needed.
}

RequestParser::Step RequestParser::read_host(std::string_view value) {
  if (has_host_ || !is_host(value)) return fail(400);
  has_host_ = true;
  return Step::kNeedMore;
}

void RequestParser::read_connection(std::string_view value) noexcept {
  while (!value.empty()) {
    const std::size_t comma = std::min(value.find(','), value.size());
    const std::string_view option = trim(value.substr(0, comma));
    if (equals_ignoring_case(option, "close")) says_close_ = true;
    if (equals_ignoring_case(option, "keep-alive")) says_keep_alive_ = true;
    value.remove_prefix(std::min(comma + 1, value.size()));
  }
}

RequestParser::Step RequestParser::read_length(std::string_view value) {
  // Repeated values, which RFC 9110, 8.6 allows to be joined, come from no honest client.
  if (has_length_ || chunked_ || value.empty()) return fail(400);
  if (!std::ranges::all_of(value, is_digit)) return fail(400);
  has_length_ = true;
  for (const char c : value) {
    body_left_ = body_left_ * 10 + static_cast<unsigned>(c - '0');
    if (body_left_ > kBodyBytesMax) return fail(413);
  }
  return Step::kNeedMore;
}

RequestParser::Step RequestParser::read_encoding(std::string_view value) {
  if (!http_1_1_ || has_length_ || chunked_) return fail(400);
  // The end of a body in another coding could not be found.
  if (!equals_ignoring_case(value, "chunked")) return fail(501);
  chunked_ = true;
  return Step::kNeedMore;
}

RequestParser::Step RequestParser::read_expectation(std::string_view value) {
  // The only expectation there is; HTTP/1.0 has none (RFC 9110, 10.1.1).
  if (!http_1_1_) return Step::kNeedMore;
  if (!equals_ignoring_case(value, "100-continue")) return fail(417);
  expects_continue_ = true;
  return Step::kNeedMore;
}

void RequestParser::keep(std::string_view head, Kept& kept, std::string_view value) {
  if (kept.present) {
    if (kept.joined == 0) {
      joined_.emplace_back(head.substr(kept.part.offset, kept.part.size));
      kept.joined = static_cast<std::uint8_t>(joined_.size());
    }
    joined_[kept.joined - std::size_t{1}].append(", ").append(value);
  }
  kept.present = true;
  kept.part = {static_cast<std::uint32_t>(value.data() - head.data()),
               static_cast<std::uint32_t>(value.size())};
}

RequestParser::Step RequestParser::finish() {
  return http_1_1_ && !has_host_ ? fail(400) : Step::kDone;
}

RequestParser::Skipped RequestParser::skip_body(std::string_view bytes) noexcept {
  if (chunked_) {
    const std::size_t skipped = chunks_.skip(bytes);
    if (chunks_.failure_status() != 0) return {fail(chunks_.failure_status()), skipped};
    return {chunks_.done() ? Step::kDone : Step::kNeedMore, skipped};
  }
  const auto skipped = static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, bytes.size()));
  body_left_ -= skipped;
  return {body_left_ == 0 ? Step::kDone : Step::kNeedMore, skipped};
}

Request RequestParser::request(std::string_view bytes) const noexcept {
  const auto text = [bytes](Part part) { return bytes.substr(part.offset, part.size); };
  const auto value = [&](Field field) {
    const Kept& kept = kept_[static_cast<std::size_t>(field)];
    return kept.joined == 0 ? text(kept.part)
                            : std::string_view(joined_[kept.joined - std::size_t{1}]);
  };
  return Request{.method = method_,
                 .method_name = text(method_name_),
                 .target = text(target_),
                 .http_1_1 = http_1_1_,
                 .keep_alive = !says_close_ && (http_1_1_ || says_keep_alive_),
                 .if_match = value(Field::kIfMatch),
                 .if_none_match = value(Field::kIfNoneMatch),
                 .if_modified_since = value(Field::kIfModifiedSince),
                 .if_unmodified_since = value(Field::kIfUnmodifiedSince),
                 .if_range = value(Field::kIfRange),
                 .range = value(Field::kRange)};
}

}  // namespace heddle::http
