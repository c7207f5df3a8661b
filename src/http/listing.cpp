// Making a folder's page: see listing.h.
#include "http/listing.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>

#include "http/date.h"
#include "http/escape.h"
#include "http/text.h"

namespace heddle::http {
namespace {

// Bounds the time for which other connections wait.
constexpr std::size_t kNamesMax = 5000;

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

struct Item {
  std::string name;
  bool is_folder = false;
  bool is_file = false;
  std::uint64_t size = 0;
  std::int64_t modified = 0;  // Seconds since 1970.
};

Item item_of(int folder, const char* name) {
  Item item{.name = name};
  struct stat status {};
  // What a link leads to may be outside, and none of anybody's business.
  if (::fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return item;
  item.is_folder = S_ISDIR(status.st_mode);
  item.is_file = S_ISREG(status.st_mode);
  item.size = static_cast<std::uint64_t>(status.st_size);
  item.modified = status.st_mtim.tv_sec;
  return item;
}

// Says whether that is all.
bool read_items(DIR* directory, std::vector<Item>& items) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads this directory stream.
  while (const dirent* entry = ::readdir(directory)) {
    const auto* name = static_cast<const char*>(entry->d_name);
    if (name[0] == '.') continue;
    if (items.size() == kNamesMax) return false;
    items.push_back(item_of(::dirfd(directory), name));
  }
  std::ranges::sort(items, [](const Item& one, const Item& other) {
    if (one.is_folder != other.is_folder) return one.is_folder;
    return comes_before(one.name, other.name);
  });
  return true;
}

void append_size(std::string& page, std::uint64_t size) {
  constexpr std::string_view kUnits = "BKMGTPE";
  std::size_t unit = 0;
  std::uint64_t tenths = size < (std::uint64_t{1} << 60U) ? size * 10 : size;
  while (tenths >= 10240 && unit + 1 < kUnits.size()) {
    tenths /= 1024;
    ++unit;
  }
  page += std::to_string(tenths / 10);
  if (unit > 0 && tenths < 100) page.append(".").append(std::to_string(tenths % 10));
  page.append(" ").append(1, kUnits[unit]);
  if (unit > 0) page += "iB";
}

void append_item(std::string& page, const Item& item) {
  const std::string_view slash = item.is_folder ? "/" : "";
  page += "<tr><td><a href=\"./";  // Without "./", a colon in the name would end a scheme.
  append_percent_encoded(page, item.name);
  page.append(slash).append("\">");
  append_html(page, item.name);
  page.append(slash).append("</a><td>");
  if (item.is_file) append_size(page, item.size);
  page += "<td>";
  if (item.is_file || item.is_folder) {
    const DateText date = format_date(item.modified);
    page.append(date.data() + 5, date.size() - 5 - 7);  // Without weekday, seconds and "GMT".
  }
  page += '\n';
}

// Takes the digits at the front of `text`, without leading zeros.
std::string_view take_digits(std::string_view& text) noexcept {
  std::size_t size = 0;
  while (size < text.size() && is_digit(text[size])) ++size;
  std::string_view digits = text.substr(0, size);
  text.remove_prefix(size);
  while (digits.size() > 1 && digits.front() == '0') digits.remove_prefix(1);
  return digits;
}

// Below, equal to or above zero, as strcmp(3).
int compare_naturally(std::string_view one, std::string_view other) noexcept {
  while (!one.empty() && !other.empty()) {
    if (is_digit(one.front()) && is_digit(other.front())) {
      const std::string_view number = take_digits(one);
      const std::string_view other_number = take_digits(other);
      if (number.size() != other_number.size()) return number.size() < other_number.size() ? -1 : 1;
      if (const int order = number.compare(other_number); order != 0) return order;
      continue;
    }
    const int order = static_cast<unsigned char>(to_lower(one.front())) -
                      static_cast<unsigned char>(to_lower(other.front()));
    if (order != 0) return order;
    one.remove_prefix(1);
    other.remove_prefix(1);
  }
  return static_cast<int>(!one.empty()) - static_cast<int>(!other.empty());
}

}  // namespace

bool comes_before(std::string_view one, std::string_view other) noexcept {
  const int order = compare_naturally(one, other);
  return order != 0 ? order < 0 : one < other;
}

Result<std::string> list_folder(UniqueFd folder, std::string_view title) {
  const Directory directory(::fdopendir(folder.get()));
  if (!directory) {
    const int failure = errno;
    return Error{.code = failure == ENOMEM ? Errc::kExhausted : Errc::kInvalid,
                 .sys_errno = failure,
                 .operation = "fdopendir"};
  }
  static_cast<void>(folder.release());  // Closed with `directory`.
  std::vector<Item> items;
  const bool complete = read_items(directory.get(), items);

  std::string page =
      "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<style>td{padding-right:2em}"
      "td:nth-child(2){text-align:right}</style>\n<title>";
  append_html(page, title);
  page += "</title>\n<h1>";
  append_html(page, title);
  page += "</h1>\n<table>\n";
  if (title != "/") page += "<tr><td><a href=\"../\">../</a>\n";
  for (const Item& item : items) append_item(page, item);
  page += complete ? "</table>\n" : "</table>\n<p>There are more.\n";
  return page;
}

Listings::Page Listings::find(const struct stat& status, std::string_view title, std::int64_t now) {
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : entries_) {
    const bool fresh = entry.made <= now && now - entry.made < kKeptSeconds;
    if (fresh && entry.device == status.st_dev && entry.inode == status.st_ino &&
        entry.title == title) {
      return entry.page;
    }
  }
  return nullptr;
}

Result<Listings::Page> Listings::get(UniqueFd folder, std::string_view title, std::int64_t now) {
  struct stat status {};
  if (::fstat(folder.get(), &status) != 0) {
    return Error{.code = Errc::kInvalid, .sys_errno = errno, .operation = "fstat"};
  }
  if (Page kept = find(status, title, now)) return kept;
  Result<std::string> made = list_folder(std::move(folder), title);
  if (!made) return made.error();
  Page page = std::make_shared<const std::string>(std::move(*made));
  Entry entry{status.st_dev, status.st_ino, now, std::string(title), page};
  const std::lock_guard lock(mutex_);
  std::swap(*std::ranges::min_element(entries_, {}, &Entry::made), entry);
  return page;
}

}  // namespace heddle::http
