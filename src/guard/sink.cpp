// Where reports go: see sink.h. Only what POSIX calls async-signal-safe, and mmap().
#include "guard/sink.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <ctime>

#include <fcntl.h>
#include <unistd.h>

#include "guard/settings.h"
#include "guard/stamp.h"
#include "guard/text.h"

namespace heddle::guard {
namespace {

// Sixteen entries with everything about them, and full backtraces, take a quarter of this. Only the
// pages that are written to exist.
constexpr std::size_t kRecordBytes = std::size_t{1024} * 1024;

struct FileIdentity {
  bool known = false;
  dev_t device = 0;
  ino_t inode = 0;
};

FileIdentity standard_error;

FileIdentity identify(int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return {};
  return {.known = true, .device = status.st_dev, .inode = status.st_ino};
}

bool standard_error_is_what_it_was() {
  const FileIdentity now = identify(STDERR_FILENO);
  return standard_error.known && now.known && now.device == standard_error.device &&
         now.inode == standard_error.inode;
}

// A reader that has gone, or a limit on file sizes, would otherwise end the program.
class DeadlySignalsHeld {
 public:
  DeadlySignalsHeld() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGPIPE);
    sigaddset(&signals_, SIGXFSZ);
    sigset_t pending;
    sigpending(&pending);
    // One that is pending already is the program's, and must not be taken away.
    if (sigismember(&pending, SIGPIPE) == 1) sigdelset(&signals_, SIGPIPE);
    if (sigismember(&pending, SIGXFSZ) == 1) sigdelset(&signals_, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  }
  ~DeadlySignalsHeld() {
    const timespec at_once{};
    while (sigtimedwait(&signals_, nullptr, &at_once) > 0 || errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  DeadlySignalsHeld(const DeadlySignalsHeld&) = delete;
  DeadlySignalsHeld& operator=(const DeadlySignalsHeld&) = delete;

 private:
  sigset_t signals_{};
  sigset_t before_{};
};

// What cannot be written is lost: the program must not suffer for it.
void write_once(int descriptor, std::string_view record) {
  const DeadlySignalsHeld held;
  while (write(descriptor, record.data(), record.size()) < 0 && errno == EINTR) {
  }
}

// Whether others can have put the file there, for us to write into it or for them to read. A device
// is the administrator's, whoever may use it.
bool is_trusted(int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return false;
  if (S_ISCHR(status.st_mode)) return true;
  const bool own = status.st_uid == geteuid() || status.st_uid == 0;
  return own && (!S_ISREG(status.st_mode) || status.st_nlink == 1);
}

// Programs close descriptors they do not know, and use the numbers again. A file without a name is
// one that nobody will read any more.
bool is_still(const Inherited& inherited) {
  struct stat status {};
  return inherited.descriptor >= 0 && fstat(inherited.descriptor, &status) == 0 &&
         status.st_dev == inherited.device && status.st_ino == inherited.inode &&
         status.st_nlink > 0;
}

// Opened anew each time, unless it was inherited: see is_still().
bool append(const Destination& to, int more_flags, std::string_view record) {
  if (to.path == nullptr) return false;
  if (is_still(to.inherited)) {
    write_once(to.inherited.descriptor, record);
    return true;
  }
  constexpr int kFlags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  const int descriptor = open(to.path, kFlags | more_flags, 0600);
  if (descriptor < 0) return false;
  const bool trusted = is_trusted(descriptor);
  if (trusted) write_once(descriptor, record);
  close(descriptor);
  return trusted;
}

}  // namespace

void remember_standard_error() {
  standard_error = identify(STDERR_FILENO);
}

void write_log(std::string_view record) {
  if (append(log_file(), O_CREAT, record)) return;
  if (standard_error_is_what_it_was()) write_once(STDERR_FILENO, record);
}

void write_tally(std::string_view record) {
  (void)append(tally_file(), 0, record);
}

void write_note(std::string_view remark) {
  std::array<char, 1024> room{};
  Text line(room);
  if (log_format() == Format::kJson) {
    write_stamp_json(line, "note");
    (line << ",\"text\":").quoted(remark) << "}\n";
  } else {
    write_stamp_text(line);
    line << remark << "\n";
  }
  write_log(line.view());
}

Room::Room() {
  void* memory =
      mmap(nullptr, kRecordBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;
  start_ = static_cast<char*>(memory);
  size_ = kRecordBytes;
}

Room::~Room() {
  if (size_ > 0) munmap(start_, size_);
}

}  // namespace heddle::guard
