// Response: what will be sent, and how its head is written.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "http/open_files.h"
#include "http/validators.h"

namespace heddle::http {

// Response is a status, fields, and a body that is either in a file or in memory.
struct Response {
  int status = 200;
  std::string_view content_type = "text/html; charset=utf-8";  // Static text.
  std::uint64_t length = 0;                                    // Of the body that GET receives.

  // The body: `length` bytes of the file from `offset`, or, without a file, body_text().
  OpenFile file;
  std::uint64_t offset = 0;
  std::string text;
  std::shared_ptr<const std::string> page;  // Instead of `text`, shared with other answers.

  std::string_view body_text() const noexcept { return page ? *page : text; }

  std::optional<Validators> validators;    // Of a file.
  std::optional<std::uint64_t> file_size;  // For Content-Range, with status 206 and 416.
  std::string location;                    // Of a redirect.
};

// A page that says no more than the status.
Response error_response(int status);

// What becomes of the connection after a response.
enum class Persistence : std::uint8_t {
  kKeep,
  kKeepAndSay,  // HTTP/1.0, where keeping is the exception.
  kClose,
};

// Writes the head of `response` into `into` and returns it; a head that does not fit
// is cut short. `date` is the Date field's value.
std::string_view write_head(const Response& response, Persistence persistence,
                            std::string_view date, std::span<char> into) noexcept;

}  // namespace heddle::http
