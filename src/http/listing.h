// The page that lists a folder without an index.html.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "heddle/result.h"

#include "base/unique_fd.h"

namespace heddle::http {

// Whether `one` comes before `other` where people look for it: in any case, and "a2" before "a10".
bool comes_before(std::string_view one, std::string_view other) noexcept;

// Makes the page for the open folder `folder`, whose name is `title`: folders first, then files
// with size and date, none whose name begins with a dot. Fails with kExhausted or kInvalid. Never
// parks, and reads at most some thousands of names.
Result<std::string> list_folder(UniqueFd folder, std::string_view title);

// Listings keeps the pages that were asked for last, for a second or two: making one takes
// milliseconds for a large folder, in which nobody else on the thread gets a turn.
//
// Threads:  any, at the same time.
class Listings {
 public:
  using Page = std::shared_ptr<const std::string>;

  // As list_folder(); `now` in seconds. A page may be as old as kKeptSeconds.
  Result<Page> get(UniqueFd folder, std::string_view title, std::int64_t now);

  static constexpr std::int64_t kKeptSeconds = 2;

 private:
  struct Entry {
    dev_t device = 0;
    ino_t inode = 0;
    std::int64_t made = -1 - kKeptSeconds;
    std::string title;
    Page page;
  };

  Page find(const struct stat& status, std::string_view title, std::int64_t now);

  std::mutex mutex_;  // Protects entries_; pages are made without it.
  std::array<Entry, 8> entries_;
};

}  // namespace heddle::http
