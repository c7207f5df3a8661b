// From a request to a file: see site.h.
#include "http/site.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "http/content_type.h"
#include "http/escape.h"
#include "http/range.h"

namespace heddle::http {
namespace {

constexpr std::string_view kIndex = "index.html";

int status_of(const Error& error) noexcept {
  if (error.code == Errc::kExhausted) return 503;
  switch (error.sys_errno) {
    case EACCES:
    case EPERM:
      return 403;
    case EIO:
      return 500;
    default:
      // Also what would lead outside: whether there is something is no one's business.
      return 404;
  }
}

std::int64_t nanoseconds(const timespec& time) noexcept {
  // Far beyond what HTTP can say, so that the product fits.
  const std::int64_t seconds = std::clamp<std::int64_t>(time.tv_sec, 0, 9'000'000'000);
  return seconds * 1'000'000'000 + time.tv_nsec;
}

Response file_response(const Request& request, OpenFile file, const struct stat& status,
                       std::string_view path, std::int64_t now) {
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const Validators validators({.modified = nanoseconds(status.st_mtim),
                               .changed = nanoseconds(status.st_ctim),
                               .inode = status.st_ino,
                               .size = size},
                              now);
  switch (check_conditions(request, validators)) {
    case Verdict::kProceed:
      break;
    case Verdict::kNotModified: {
      Response response{.status = 304};
      response.validators = validators;
      return response;
    }
    case Verdict::kPreconditionFailed:
      return error_response(412);
  }
  Response response;
  response.content_type = content_type(path);
  response.validators = validators;
  response.length = size;
  if (request.method == Method::kGet && !request.range.empty() &&
      range_applies(request, validators)) {
    const ByteRange range = parse_range(request.range, size);
    if (range.kind == ByteRange::Kind::kUnsatisfiable) {
      response = error_response(416);
      response.file_size = size;
      return response;
    }
    if (range.kind == ByteRange::Kind::kPart) {
      response.status = 206;
      response.file_size = size;
      response.offset = range.offset;
      response.length = range.length;
    }
  }
  response.file = std::move(file);
  return response;
}

// Made from the decoded path: what a client sends as it is could name another host
// ("//host") or end the field.
Response redirect_to_folder(std::string_view path, std::string_view query) {
  Response response = error_response(301);
  response.location.assign(1, '/');
  append_percent_encoded(response.location, path);
  response.location += '/';
  response.location += query;  // The parser let only visible characters through.
  return response;
}

}  // namespace

Response Site::answer(const Request& request, std::span<char> scratch, std::int64_t now) const {
  if (request.method == Method::kUnknown) return error_response(501);
  if (request.method == Method::kOther) return error_response(405);
  const std::optional<Target> target = split_target(request.target);
  if (!target) return error_response(400);
  return answer_path(request, *target, scratch, now);
}

Response Site::answer_path(const Request& request, const Target& target, std::span<char> scratch,
                           std::int64_t now) const {
  std::size_t size = 0;
  switch (percent_decode(target.path, scratch, size)) {
    case Decoding::kOk:
      break;
    case Decoding::kMalformed:
      return error_response(400);
    case Decoding::kEncodedSlash:
      return error_response(404);
    case Decoding::kTooLong:
      return error_response(414);
  }
  const std::string_view decoded(scratch.data(), size);
  const std::string_view path = decoded.substr(std::min(decoded.find_first_not_of('/'), size));
  if (path.empty() || path.back() == '/') return answer_folder(request, path, now);
  struct stat status {};
  Result<OpenFile> opened = files_.get(root_, path.data(), status, now);
  if (!opened) return error_response(status_of(opened.error()));
  if (S_ISDIR(status.st_mode)) return redirect_to_folder(path, target.query);
  if (!S_ISREG(status.st_mode)) return error_response(403);
  return answer_file(request, std::move(*opened), status, path, now);
}

Response Site::answer_file(const Request& request, OpenFile file, const struct stat& status,
                           std::string_view path, std::int64_t now) const {
  if (private_.contain(status, path)) return error_response(404);
  return file_response(request, std::move(file), status, path, now);
}

Response Site::answer_folder(const Request& request, std::string_view path,
                             std::int64_t now) const {
  std::string name(path);  // "" or "folder/"
  name += kIndex;
  struct stat status {};
  Result<OpenFile> index = files_.get(root_, name.c_str(), status, now);
  if (index) {
    if (S_ISREG(status.st_mode)) return answer_file(request, std::move(*index), status, name, now);
  } else if (index.error().sys_errno != ENOENT) {
    return error_response(status_of(index.error()));
  }
  Result<UniqueFd> opened = root_.open(path.empty() ? "." : name.assign(path).c_str());
  if (!opened) return error_response(status_of(opened.error()));
  Result<Listings::Page> page =
      listings_.get(std::move(*opened), name.assign(1, '/').append(path), now);
  if (!page) return error_response(status_of(page.error()));
  Response response;
  response.page = std::move(*page);
  response.length = response.page->size();
  return response;
}

}  // namespace heddle::http
