// Status lines, heads and error pages: see response.h.
#include "http/response.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "http/date.h"

namespace heddle::http {
namespace {

struct Status {
  int code;
  std::string_view text;
};

constexpr std::array kStatuses = std::to_array<Status>({
    {200, "200 OK"},
    {206, "206 Partial Content"},
    {301, "301 Moved Permanently"},
    {304, "304 Not Modified"},
    {400, "400 Bad Request"},
    {403, "403 Forbidden"},
    {404, "404 Not Found"},
    {405, "405 Method Not Allowed"},
    {408, "408 Request Timeout"},
    {412, "412 Precondition Failed"},
    {413, "413 Content Too Large"},
    {414, "414 URI Too Long"},
    {416, "416 Range Not Satisfiable"},
    {417, "417 Expectation Failed"},
    {431, "431 Request Header Fields Too Large"},
    {500, "500 Internal Server Error"},
    {501, "501 Not Implemented"},
    {503, "503 Service Unavailable"},
    {505, "505 HTTP Version Not Supported"},
});

std::string_view status_text(int code) noexcept {
  const auto* const found = std::ranges::find(kStatuses, code, &Status::code);
  return found != kStatuses.end() ? found->text : "500 Internal Server Error";
}

// HeadWriter appends to a span, and stops at its end.
class HeadWriter {
 public:
  explicit HeadWriter(std::span<char> into) noexcept : into_(into) {}

  // Inlined, so that a literal costs a few moves instead of a call of memcpy().
  [[gnu::always_inline]] HeadWriter& operator<<(std::string_view text) noexcept {
    if (text.size() > into_.size() - size_) [[unlikely]]
      return cut_short(text);
    std::memcpy(into_.data() + size_, text.data(), text.size());
    size_ += text.size();
    return *this;
  }

  HeadWriter& operator<<(std::uint64_t number) noexcept {
    std::array<char, 20> digits;
    const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    return *this << std::string_view(digits.data(), end);
  }

  std::string_view written() const noexcept { return {into_.data(), size_}; }

 private:
  [[gnu::noinline]] HeadWriter& cut_short(std::string_view text) noexcept {
    return *this << text.substr(0, into_.size() - size_);
  }

  std::span<char> into_;
  std::size_t size_ = 0;
};

void write_content_range(HeadWriter& head, const Response& response) noexcept {
  head << "Content-Range: bytes ";
  if (response.status == 206) {
    head << response.offset << "-" << response.offset + response.length - 1;
  } else {
    head << "*";
  }
  head << "/" << *response.file_size << "\r\n";
}

void write_validators(HeadWriter& head, const Validators& validators) noexcept {
  head << "Last-Modified: " << kept_date(validators.modified_seconds())
       << "\r\nETag: " << validators.etag() << "\r\nAccept-Ranges: bytes\r\n";
}

}  // namespace

Response error_response(int status) {
  Response response{.status = status};
  const std::string_view what = status_text(status);
  response.text.reserve(2 * what.size() + 64);
  response.text += "<!DOCTYPE html>\n<title>";
  response.text += what;
  response.text += "</title>\n<h1>";
  response.text += what;
  response.text += "</h1>\n";
  response.length = response.text.size();
  return response;
}

std::string_view write_head(const Response& response, Persistence persistence,
                            std::string_view date, std::span<char> into) noexcept {
  HeadWriter head(into);
  head << "HTTP/1.1 " << status_text(response.status) << "\r\nDate: " << date << "\r\n";
  // A 304 describes the body that the client has, and must not be taken to have one.
  if (response.status != 304) {
    head << "Content-Type: " << response.content_type << "\r\nContent-Length: " << response.length
         << "\r\n";
  }
  if (response.validators) write_validators(head, *response.validators);
  if (response.file_size) write_content_range(head, response);
  if (!response.location.empty()) head << "Location: " << response.location << "\r\n";
  if (response.status == 405) head << "Allow: GET, HEAD\r\n";
  if (response.status == 503) head << "Retry-After: 1\r\n";
  if (persistence == Persistence::kClose) head << "Connection: close\r\n";
  if (persistence == Persistence::kKeepAndSay) head << "Connection: keep-alive\r\n";
  head << "\r\n";
  return head.written();
}

}  // namespace heddle::http
