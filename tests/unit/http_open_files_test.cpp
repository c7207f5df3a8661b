// OpenFiles: what is kept open is never taken for what is there now.
#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "http/open_files.h"

namespace heddle::http {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kNow = 1'000'000;

void write_file(const fs::path& path, std::string_view text) {
  std::ofstream(path) << text;
}

class OpenFilesTest : public testing::TestWithParam<Lookup> {
 protected:
  OpenFilesTest() {
    std::string name = (fs::temp_directory_path() / "heddle-files-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    folder_ = name;
    fs::create_directories(folder_ / "root" / "sub");
    write_file(folder_ / "root" / "a", "old");
    root_.emplace(Root::create(folder_ / "root", GetParam()).value());
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path at(std::string_view name) const { return folder_ / "root" / name; }

  Result<OpenFile> open(const char* path, std::int64_t now = kNow) {
    return files_.get(*root_, path, status_, now);
  }
  int descriptor(const char* path, std::int64_t now = kNow) {
    const Result<OpenFile> file = open(path, now);
    return file ? file->get() : -1;
  }
  std::string content(const char* path) {
    const Result<OpenFile> file = open(path);
    if (!file) return "errno " + std::to_string(file.error().sys_errno);
    std::array<char, 100> bytes{};
    const ssize_t got = ::pread(file->get(), bytes.data(), bytes.size(), 0);
    EXPECT_EQ(got, status_.st_size);
    return {bytes.data(), static_cast<std::size_t>(got)};
  }
  bool is_open(int descriptor) const { return ::fcntl(descriptor, F_GETFD) >= 0; }

  fs::path folder_;
  std::optional<Root> root_;
  OpenFiles files_{2};
  struct stat status_ {};
};

TEST_P(OpenFilesTest, FileIsOpenedOnce) {
  const int first = descriptor("a");
  ASSERT_GE(first, 0);
  EXPECT_TRUE(is_open(first));
  EXPECT_EQ(descriptor("a"), first);
  EXPECT_EQ(content("a"), "old");
}

// Changes within one tick of the kernel's clock leave all times the same: nearly every round does.
constexpr int kRounds = 20;

// Of the same size and time, as deployments make them.
TEST_P(OpenFilesTest, ReplacedFileIsSeenAtOnce) {
  for (int round = 0; round < kRounds; ++round) {
    write_file(at("a"), "old");
    EXPECT_EQ(content("a"), "old");
    write_file(at("b"), "new");
    fs::last_write_time(at("b"), fs::last_write_time(at("a")));
    fs::rename(at("b"), at("a"));
    EXPECT_EQ(content("a"), "new");
    EXPECT_EQ(content("a"), "new");
  }
}

TEST_P(OpenFilesTest, ReplacedFolderIsSeenAtOnce) {
  write_file(at("sub") / "c", "old");
  EXPECT_EQ(content("sub/c"), "old");
  fs::rename(at("sub"), at("gone"));
  EXPECT_EQ(content("sub/c"), "errno " + std::to_string(ENOENT));
  fs::create_directories(at("sub"));
  write_file(at("sub") / "c", "new");
  EXPECT_EQ(content("sub/c"), "new");
}

TEST_P(OpenFilesTest, ContentIsThatOfNow) {
  EXPECT_EQ(content("a"), "old");
  write_file(at("a"), "new");
  EXPECT_EQ(content("a"), "new");
  write_file(at("a"), "longer");
  EXPECT_EQ(content("a"), "longer");
}

TEST_P(OpenFilesTest, DeletedFileIsGone) {
  EXPECT_EQ(content("a"), "old");
  fs::remove(at("a"));
  EXPECT_EQ(content("a"), "errno " + std::to_string(ENOENT));
}

// A name that has come to lead outside.
TEST_P(OpenFilesTest, LinkToOutsideIsRefused) {
  write_file(folder_ / "secret", "old");
  EXPECT_EQ(content("a"), "old");
  fs::remove(at("a"));
  fs::create_symlink("../secret", at("a"));
  EXPECT_FALSE(open("a"));
}

TEST_P(OpenFilesTest, ChangedRightsAreAskedForAgain) {
  for (int round = 0; round < kRounds; ++round) {
    write_file(at("a"), "old");
    const Result<OpenFile> before = open("a");
    ASSERT_TRUE(before);
    ASSERT_EQ(::chmod(at("a").c_str(), 0), 0);
    const Result<OpenFile> after = open("a");  // Which root may.
    EXPECT_TRUE(after ? after->get() != before->get() : after.error().sys_errno == EACCES);
    ASSERT_EQ(::chmod(at("a").c_str(), 0644), 0);
  }
}

TEST_P(OpenFilesTest, FoldersAreNotKept) {
  const int folder = descriptor("sub");
  ASSERT_GE(folder, 0);
  EXPECT_FALSE(is_open(folder));
  EXPECT_TRUE(S_ISDIR(status_.st_mode));
}

TEST_P(OpenFilesTest, OldestGivesWayUnlessAllAreInUse) {
  for (const char* name : {"b", "c", "d"}) write_file(at(name), name);
  const int a = descriptor("a", kNow);
  const int b = descriptor("b", kNow + 1);
  EXPECT_FALSE(is_open(descriptor("c", kNow)));
  const int c = descriptor("c", kNow + 1);
  EXPECT_TRUE(is_open(c));
  EXPECT_FALSE(is_open(a));
  EXPECT_FALSE(is_open(descriptor("d", kNow + 1)));
  EXPECT_EQ(descriptor("b", kNow + 1), b);
  EXPECT_EQ(descriptor("c", kNow + 1), c);
}

TEST_P(OpenFilesTest, AnswerKeepsItsFile) {
  const Result<OpenFile> file = open("a");
  ASSERT_TRUE(file);
  files_.close_idle(kNow + OpenFiles::kIdleSeconds);
  EXPECT_TRUE(is_open(file->get()));
}

TEST_P(OpenFilesTest, IdleFilesAreClosed) {
  const int file = descriptor("a");
  files_.close_idle(kNow + OpenFiles::kIdleSeconds - 1);
  EXPECT_TRUE(is_open(file));
  files_.close_idle(kNow + OpenFiles::kIdleSeconds);
  EXPECT_FALSE(is_open(file));
}

TEST_P(OpenFilesTest, LongNamesAreNotKept) {
  std::string name = "a";
  while (name.size() <= OpenFiles::kPathBytesMax) name.insert(0, "./");
  EXPECT_FALSE(is_open(descriptor(name.c_str())));
}

TEST_P(OpenFilesTest, ThreadsGetWhatTheyAskFor) {
  for (const char* name : {"b", "c", "d"}) write_file(at(name), name);
  const auto work = [&](int first) {
    for (int i = first; i < first + 200; ++i) {
      const std::string name(1, static_cast<char>('b' + i % 3));
      struct stat status {};
      const Result<OpenFile> file = files_.get(*root_, name.c_str(), status, kNow + i / 10);
      ASSERT_TRUE(file);
      char byte = 0;
      EXPECT_EQ(::pread(file->get(), &byte, 1, 0), 1);
      EXPECT_EQ(byte, name.front());
      files_.close_idle(kNow + i);
    }
  };
  const std::jthread other(work, 0);
  work(1);
}

// NoMoreDescriptors leaves the process no descriptor but those that it has.
class NoMoreDescriptors {
 public:
  NoMoreDescriptors() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const UniqueFd next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(next.get());
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  NoMoreDescriptors(const NoMoreDescriptors&) = delete;
  NoMoreDescriptors& operator=(const NoMoreDescriptors&) = delete;
  ~NoMoreDescriptors() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
};

TEST_P(OpenFilesTest, GivesUpItsDescriptorsWhereOneIsNeeded) {
  write_file(at("b"), "b");
  ASSERT_GE(descriptor("a"), 0);
  const NoMoreDescriptors none;
  EXPECT_EQ(content("b"), "b");
}

INSTANTIATE_TEST_SUITE_P(All, OpenFilesTest, testing::Values(Lookup::kBeneath, Lookup::kStepwise),
                         [](const auto& chosen) {
                           return chosen.param == Lookup::kBeneath ? "Beneath" : "Stepwise";
                         });

}  // namespace
}  // namespace heddle::http
