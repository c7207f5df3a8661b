// The files that the processes of a watched command write: the log, and the tally that the summary
// is made of. Nobody else can read them, write them, or put another file in their place.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace heddle::cli {

// An open file that is appended to.
struct LogFile {
  UniqueFd descriptor;
  std::string error;  // Why it cannot be used, if there is no descriptor.
};

// Opens the log at `path`; a new one gets mode 0600. Refuses symbolic links, files with a second
// name, and files of other users (but root's): what is written there would be theirs.
LogFile open_log(const std::string& path);

// A file in a folder of its own that goes away with this. Both are this user's alone.
class TallyFile {
 public:
  TallyFile();
  ~TallyFile();
  TallyFile(const TallyFile&) = delete;
  TallyFile& operator=(const TallyFile&) = delete;

  [[nodiscard]] bool valid() const { return static_cast<bool>(descriptor_); }
  [[nodiscard]] std::string path() const { return folder_ + "/tally"; }
  [[nodiscard]] int descriptor() const { return descriptor_.get(); }

  // Calls `take` with each line that is there, without its end.
  void for_each_line(const std::function<void(std::string_view)>& take) const;

 private:
  std::string folder_;
  UniqueFd descriptor_;
};

// A copy of `descriptor`, for writing, that commands inherit; none if there is none to copy.
UniqueFd inheritable(int descriptor);

// How a command is told of an inherited descriptor: "NUMBER:DEVICE:INODE". The latter two, since
// programs close descriptors that they do not know.
std::string name_of_inherited(const UniqueFd& descriptor);

}  // namespace heddle::cli
