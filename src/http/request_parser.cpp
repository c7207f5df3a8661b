// The one file that knows Boost.Beast. Its parser calls back for each part of a
// request; what we need is kept as offsets, since the bytes may move while more are
// read. Beast takes care of syntax and of conflicting lengths; what it leaves open is
// decided here: the size of the whole head (its own limit counts from the last
// complete field), the Host field, encodings other than chunked (it would take such a
// request to have no body, and the body for the next request), folded lines.
#include "http/request_parser.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <string>

#include <boost/beast/http/basic_parser.hpp>

namespace heddle::http {
namespace {

namespace beast = boost::beast;
using beast::http::error;
using beast::http::field;
using beast::http::verb;

std::string_view to_std(beast::string_view text) noexcept {
  return {text.data(), text.size()};
}

Method method_of(verb name) noexcept {
  switch (name) {
    case verb::get:
      return Method::kGet;
    case verb::head:
      return Method::kHead;
    case verb::unknown:
      return Method::kUnknown;
    default:
      return Method::kOther;
  }
}

// A host and a port as they may stand in a Host field (RFC 9110, 7.2): strict enough to
// keep out what proxies and servers are known to read in different ways.
bool is_host(std::string_view value) noexcept {
  return value.find_first_of(" \t,/?#@\\\"<>") == std::string_view::npos;
}

// Whether the first line ends with the version of some HTTP, though not one of ours.
bool names_other_version(std::string_view bytes) noexcept {
  const std::string_view line = bytes.substr(0, bytes.find('\r'));
  const std::string_view version = line.substr(line.rfind(' ') + 1);
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return version.size() == 8 && version.starts_with("HTTP/") && is_digit(version[5]) &&
         version[6] == '.' && is_digit(version[7]);
}

struct Part {
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
};

}  // namespace

class RequestParser::Events final : public beast::http::basic_parser<true> {
 public:
  Events() {
    header_limit(kHeadBytesMax);
    body_limit(kBodyBytesMax);
  }

  Step parse(std::string_view bytes);
  Skipped skip(std::string_view bytes);
  Request request(std::string_view bytes) const noexcept;

  std::size_t consumed = 0;  // Of the head, so far.
  Method method = Method::kUnknown;
  int status = 0;  // Of a failure.
  bool expects_continue = false;

 private:
  // The fields that are kept, in the order of kept_.
  static constexpr std::array kKept = {field::if_match,          field::if_none_match,
                                       field::if_modified_since, field::if_unmodified_since,
                                       field::if_range,          field::range};
  struct Kept {
    Part part;
    std::string joined;  // Instead of `part`, if the field came more than once.
    bool present = false;
  };

  void on_request_impl(verb name, beast::string_view method_text, beast::string_view target,
                       int version, beast::error_code& failure) override;
  void on_field_impl(field name, beast::string_view, beast::string_view value,
                     beast::error_code& failure) override;
  // Pure virtual in newer Boost only, where trailers no longer come as fields.
  virtual void on_trailer_field_impl(field, beast::string_view, beast::string_view,
                                     beast::error_code&) {}
  void on_header_impl(beast::error_code& failure) override;
  void on_response_impl(int, beast::string_view, int, beast::error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, beast::error_code&) override {}
  std::size_t on_body_impl(beast::string_view body, beast::error_code&) override {
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, beast::string_view, beast::error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view body,
                                 beast::error_code&) override {
    return body.size();
  }
  void on_finish_impl(beast::error_code&) override {}

  void refuse(int with_status, beast::error_code& failure) noexcept {
    status = with_status;
    failure = error::bad_value;
  }
  Part part_of(std::string_view text) const noexcept;
  void keep(Kept& kept, std::string_view value);
  Step fail(const beast::error_code& failure, std::string_view bytes) noexcept;

  std::string_view bytes_;  // During parse().
  Part method_name_;
  Part target_;
  bool http_1_1_ = false;
  bool in_trailer_ = false;
  unsigned hosts_ = 0;
  std::array<Kept, kKept.size()> kept_;
};

void RequestParser::Events::on_request_impl(verb name, beast::string_view method_text,
                                            beast::string_view target, int version,
                                            beast::error_code& failure) {
  method = method_of(name);
  method_name_ = part_of(to_std(method_text));
  target_ = part_of(to_std(target));
  http_1_1_ = version >= 11;
  if (target.size() > kTargetBytesMax) refuse(414, failure);
}

void RequestParser::Events::on_field_impl(field name, beast::string_view, beast::string_view value,
                                          beast::error_code& failure) {
  if (in_trailer_) return;
  const std::string_view text = to_std(value);
  // A folded line (RFC 9112, 5.2) is joined in a buffer of Beast's that will be gone.
  const std::less<> before;
  if (before(text.data(), bytes_.data()) || before(bytes_.data() + bytes_.size(), text.data())) {
    return refuse(400, failure);
  }
  switch (name) {
    case field::host:
      if (++hosts_ > 1 || !is_host(text)) refuse(400, failure);
      return;
    case field::expect:
      // The only expectation there is; HTTP/1.0 has none (RFC 9110, 10.1.1).
      if (!http_1_1_) return;
      if (!beast::iequals(value, "100-continue")) return refuse(417, failure);
      expects_continue = true;
      return;
    case field::transfer_encoding:
      if (!http_1_1_) return refuse(400, failure);
      if (!beast::iequals(value, "chunked")) refuse(501, failure);
      return;
    default:
      break;
  }
  const auto* const found = std::ranges::find(kKept, name);
  if (found != kKept.end()) keep(kept_[static_cast<std::size_t>(found - kKept.begin())], text);
}

void RequestParser::Events::on_header_impl(beast::error_code& failure) {
  in_trailer_ = true;
  if (http_1_1_ && hosts_ == 0) refuse(400, failure);
}

Part RequestParser::Events::part_of(std::string_view text) const noexcept {
  return {.offset = static_cast<std::uint32_t>(text.data() - bytes_.data()),
          .size = static_cast<std::uint32_t>(text.size())};
}

void RequestParser::Events::keep(Kept& kept, std::string_view value) {
  if (kept.present) {
    if (kept.joined.empty()) kept.joined = bytes_.substr(kept.part.offset, kept.part.size);
    kept.joined += ", ";
    kept.joined += value;
  }
  kept.present = true;
  kept.part = part_of(value);
}

RequestParser::Step RequestParser::Events::fail(const beast::error_code& failure,
                                                std::string_view bytes) noexcept {
  if (status != 0) return Step::kFailed;
  status = 400;
  if (failure == error::header_limit) {
    const bool has_line = bytes.substr(0, kHeadBytesMax).find("\r\n") != std::string_view::npos;
    status = has_line ? 431 : 414;
  }
  if (failure == error::body_limit) status = 413;
  if (failure == error::bad_version && names_other_version(bytes)) status = 505;
  return Step::kFailed;
}

RequestParser::Step RequestParser::Events::parse(std::string_view bytes) {
  bytes_ = bytes;
  if (!got_some()) {
    // Old clients send an empty line behind a body (RFC 9112, 2.2).
    while (bytes.substr(consumed, 2) == "\r\n") consumed += 2;
    if (bytes.substr(consumed) == "\r" && bytes.size() < kHeadBytesMax) return Step::kNeedMore;
  }
  beast::error_code failure;
  do {
    const std::string_view rest = bytes.substr(consumed);
    if (rest.empty()) break;
    consumed += put(boost::asio::const_buffer(rest.data(), rest.size()), failure);
  } while (!failure && !is_header_done());
  if (failure && failure != error::need_more) return fail(failure, bytes);
  const bool done = !failure && is_header_done();
  const std::size_t size = done ? consumed : bytes.size() + 1;  // One more is to come at least.
  if (size > kHeadBytesMax) return fail(error::header_limit, bytes);
  return done ? Step::kDone : Step::kNeedMore;
}

RequestParser::Skipped RequestParser::Events::skip(std::string_view bytes) {
  std::size_t skipped = 0;
  while (!is_done()) {
    const std::string_view rest = bytes.substr(skipped);
    if (rest.empty()) return {Step::kNeedMore, skipped};
    beast::error_code failure;
    skipped += put(boost::asio::const_buffer(rest.data(), rest.size()), failure);
    if (failure == error::need_more) return {Step::kNeedMore, skipped};
    if (failure) return {fail(failure, {}), skipped};
  }
  return {Step::kDone, skipped};
}

Request RequestParser::Events::request(std::string_view bytes) const noexcept {
  const auto text = [bytes](Part part) { return bytes.substr(part.offset, part.size); };
  const auto value = [&](std::size_t index) {
    const Kept& kept = kept_[index];
    return kept.joined.empty() ? text(kept.part) : std::string_view(kept.joined);
  };
  return Request{.method = method,
                 .method_name = text(method_name_),
                 .target = text(target_),
                 .http_1_1 = http_1_1_,
                 .keep_alive = keep_alive(),
                 .if_match = value(0),
                 .if_none_match = value(1),
                 .if_modified_since = value(2),
                 .if_unmodified_since = value(3),
                 .if_range = value(4),
                 .range = value(5)};
}

RequestParser::RequestParser() : events_(std::make_unique<Events>()) {}

RequestParser::~RequestParser() = default;

RequestParser::Step RequestParser::parse_head(std::string_view bytes) {
  return events_->parse(bytes);
}

std::size_t RequestParser::head_bytes() const noexcept {
  return events_->consumed;
}

Request RequestParser::request(std::string_view bytes) const noexcept {
  return events_->request(bytes);
}

bool RequestParser::has_body() const noexcept {
  return !events_->is_done();
}

bool RequestParser::expects_continue() const noexcept {
  return events_->expects_continue;
}

RequestParser::Skipped RequestParser::skip_body(std::string_view bytes) {
  return events_->skip(bytes);
}

int RequestParser::failure_status() const noexcept {
  return events_->status;
}

Method RequestParser::method() const noexcept {
  return events_->method;
}

}  // namespace heddle::http
