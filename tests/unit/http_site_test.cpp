// Root and Site on a real folder: files, indexes, redirects, and ways out that must not work.
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "http/site.h"

namespace heddle::http {
namespace {

namespace fs = std::filesystem;

// Long after every file of these tests was made.
constexpr std::int64_t kNow = 4'000'000'000;

void write_file(const fs::path& path, std::string_view text) {
  std::ofstream(path) << text;
}

// A folder to serve, and beside it what must stay out of reach.
class SiteTest : public testing::Test {
 protected:
  SiteTest() {
    std::string name = (fs::temp_directory_path() / "heddle-site-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    base_ = name;
    write_file(base_ / "secret.txt", "secret");
    fs::create_directories(root() / "sub" / "deeper");
    fs::create_directories(root() / "indexed");
    write_file(root() / "a.txt", "0123456789");
    write_file(root() / "a b<.txt", "odd");
    write_file(root() / "empty", "");
    write_file(root() / "sub" / "b.html", "<b>");
    write_file(root() / "indexed" / "index.html", "index");
    fs::create_symlink("a.txt", root() / "inside");
    fs::create_symlink("../a.txt", root() / "sub" / "up");
    fs::create_symlink("../secret.txt", root() / "out");
    fs::create_symlink(base_, root() / "out_folder");
    fs::create_symlink("/etc/passwd", root() / "absolute");
    fs::create_symlink("loop", root() / "loop");
    fs::create_symlink("/proc/self/root", root() / "magic");
  }
  void TearDown() override { fs::remove_all(base_); }

  fs::path root() const { return base_ / "root"; }

  Response answer(const Request& request) const {
    Result<Root> opened = Root::create(root());
    const Site site(std::move(*opened));
    std::array<char, 4096> scratch;
    return site.answer(request, scratch, kNow);
  }
  Response get(std::string_view target) const {
    return answer({.method = Method::kGet, .target = target, .http_1_1 = true});
  }
  int status(std::string_view target) const { return get(target).status; }

  fs::path base_;
};

std::string content(const Response& response) {
  std::string bytes(response.length, '\0');
  const ssize_t got =
      ::pread(response.file.get(), bytes.data(), bytes.size(), static_cast<off_t>(response.offset));
  return got == static_cast<ssize_t>(bytes.size()) ? bytes : "unreadable";
}

TEST_F(SiteTest, ServesFiles) {
  const Response response = get("/a.txt?query");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.content_type, "text/plain; charset=utf-8");
  EXPECT_EQ(content(response), "0123456789");
  EXPECT_TRUE(response.validators.has_value());
  EXPECT_EQ(status("/a%20b%3c.txt"), 200);
  EXPECT_EQ(status("/./sub//b.html"), 200);
  EXPECT_EQ(get("/empty").length, 0U);
}

TEST_F(SiteTest, ServesIndexes) {
  EXPECT_EQ(content(get("/indexed/")), "index");
  EXPECT_EQ(get("/indexed/").content_type, "text/html; charset=utf-8");
}

TEST_F(SiteTest, ListsFoldersWithNamesEscaped) {
  const Response response = get("/");
  EXPECT_EQ(response.status, 200);
  EXPECT_NE(response.body_text().find("<a href=\"./a%20b%3C.txt\">a b&lt;.txt</a>"),
            std::string::npos);
  EXPECT_NE(response.body_text().find("<a href=\"./sub/\">sub/</a>"), std::string::npos);
  EXPECT_EQ(response.body_text().find("../"), std::string_view::npos);
  EXPECT_NE(get("/sub/").page->find("<a href=\"../\">"), std::string::npos);
  EXPECT_EQ(response.length, response.body_text().size());
}

TEST_F(SiteTest, ListsFoldersFirstThenFilesAsPeopleCount) {
  for (const char* name : {"B.txt", "a10.txt", "a9.txt", "A2.txt", ".hidden"}) {
    write_file(root() / "sub" / name, name);
  }
  const std::string page = *get("/sub/").page;
  std::size_t last = 0;
  for (const char* name : {"../", "deeper/", "A2.txt", "a9.txt", "a10.txt", "b.html", "B.txt"}) {
    const std::size_t at = page.find(">" + std::string(name) + "</a>");
    ASSERT_NE(at, std::string::npos) << name;
    EXPECT_GT(at, last) << name;
    last = at;
  }
  EXPECT_EQ(page.find("hidden"), std::string::npos);
}

TEST_F(SiteTest, ListsSizesAndDates) {
  write_file(root() / "sub" / "big", std::string(1536, 'x'));
  const timespec time{.tv_sec = 784111777, .tv_nsec = 0};
  const std::array times = {time, time};
  ASSERT_EQ(::utimensat(AT_FDCWD, (root() / "sub" / "big").c_str(), times.data(), 0), 0);
  EXPECT_NE(get("/sub/").page->find("big</a><td>1.5 KiB<td>06 Nov 1994 08:49\n"),
            std::string::npos);
  EXPECT_NE(get("/sub/").page->find("b.html</a><td>3 B<td>"), std::string::npos);
  // Of a link nothing is told but that it is there: it may lead outside.
  EXPECT_NE(get("/").page->find("out</a><td><td>\n"), std::string::npos);
}

TEST_F(SiteTest, ListingsAreKeptForAMoment) {
  Result<Root> opened = Root::create(root());
  const Site site(std::move(*opened));
  std::array<char, 4096> scratch;
  const Request request{.method = Method::kGet, .target = "/sub/"};
  const auto first = site.answer(request, scratch, kNow).page;
  EXPECT_EQ(site.answer(request, scratch, kNow + 1).page, first);
  EXPECT_NE(site.answer(request, scratch, kNow + Listings::kKeptSeconds).page, first);
  EXPECT_NE(site.answer({.method = Method::kGet, .target = "/sub/../sub/"}, scratch, kNow).page,
            first)
      << "under another name";
  for (int i = 0; i < 20; ++i) {
    fs::create_directory(root() / ("f" + std::to_string(i)));
    const std::string target = "/f" + std::to_string(i) + "/";
    EXPECT_EQ(site.answer({.method = Method::kGet, .target = target}, scratch, kNow + 10).status,
              200);
  }
}

TEST_F(SiteTest, GivesNoPrivateFileAway) {
  write_file(root() / "key.pem", "key");
  fs::create_hard_link(root() / "key.pem", root() / "other");
  fs::create_symlink("key.pem", root() / "link");
  Result<Root> opened = Root::create(root());
  const Site site(std::move(*opened), PrivateFiles({root() / "key.pem", root() / "none"}));
  std::array<char, 4096> scratch;
  const auto status = [&](std::string_view target) {
    return site.answer({.method = Method::kGet, .target = target}, scratch, kNow).status;
  };
  for (const char* target : {"/key.pem", "/./key.pem", "/sub/../key.pem", "/other", "/link"}) {
    EXPECT_EQ(status(target), 404) << target;
  }
  EXPECT_EQ(status("/a.txt"), 200);
  write_file(root() / "new", "renewed");
  fs::rename(root() / "new", root() / "key.pem");
  EXPECT_EQ(status("/key.pem"), 404);
}

// A file that is replaced by one of the same size and with the same time.
TEST_F(SiteTest, TellsReplacedFilesApart) {
  const auto set_time = [](const fs::path& path) {
    const std::array times = {timespec{.tv_sec = 499162500}, timespec{.tv_sec = 499162500}};
    EXPECT_EQ(::utimensat(AT_FDCWD, path.c_str(), times.data(), 0), 0);
  };
  set_time(root() / "a.txt");
  const std::string etag(get("/a.txt").validators->etag());
  write_file(root() / "new", "abcdefghij");
  set_time(root() / "new");
  fs::rename(root() / "new", root() / "a.txt");
  EXPECT_EQ(answer({.method = Method::kGet, .target = "/a.txt", .if_none_match = etag}).status,
            200);
  EXPECT_EQ(
      answer({.method = Method::kGet, .target = "/a.txt", .if_range = etag, .range = "bytes=3-"})
          .status,
      200);
}

TEST_F(SiteTest, RedirectsToAFoldersSlashOnThisHost) {
  const Response response = get("/sub/deeper?q=1");
  EXPECT_EQ(response.status, 301);
  EXPECT_EQ(response.location, "/sub/deeper/?q=1");
  EXPECT_EQ(get("//sub").location, "/sub/");
  EXPECT_EQ(get("/sub/.").location, "/sub/./");
}

TEST_F(SiteTest, RefusesWhatIsNotThere) {
  for (const char* target : {"/none", "/none/", "/a.txt/", "/a.txt/b", "/sub/none", "/loop"}) {
    EXPECT_EQ(status(target), 404) << target;
  }
  EXPECT_EQ(status("/" + std::string(300, 'n')), 404);
  EXPECT_EQ(status("/" + std::string(8000, 'n')), 414);
}

TEST_F(SiteTest, RefusesMalformedTargets) {
  for (const char* target : {"/%", "/%zz", "/a.txt%00", "*", "/a#b"}) {
    EXPECT_EQ(status(target), 400) << target;
  }
}

TEST_F(SiteTest, LetsNothingOutOfTheFolder) {
  for (const char* target :
       {"/../secret.txt", "/..", "/../", "/sub/../../secret.txt", "/%2e%2e/secret.txt",
        "/..%2fsecret.txt", "/.%2e/secret.txt", "//../secret.txt", "/sub/..//../secret.txt", "/out",
        "/out_folder/secret.txt", "/out_folder/", "/out_folder", "/absolute", "/magic/etc/passwd",
        "/magic/", "/../root/a.txt"}) {
    EXPECT_EQ(status(target), 404) << target;
  }
}

TEST_F(SiteTest, FollowsLinksThatStayInside) {
  EXPECT_EQ(status("/inside"), 200);
  EXPECT_EQ(status("/sub/up"), 200);
  EXPECT_EQ(status("/sub/../a.txt"), 200);
}

TEST_F(SiteTest, RefusesAFifoAtOnce) {
  ASSERT_EQ(::mkfifo((root() / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(status("/fifo"), 403);
}

TEST_F(SiteTest, RefusesOtherMethods) {
  EXPECT_EQ(answer({.method = Method::kOther, .target = "/a.txt"}).status, 405);
  EXPECT_EQ(answer({.method = Method::kUnknown, .target = "/a.txt"}).status, 501);
}

TEST_F(SiteTest, AnswersRanges) {
  const auto ranged = [this](std::string_view range, std::string_view condition = {}) {
    return answer(
        {.method = Method::kGet, .target = "/a.txt", .if_range = condition, .range = range});
  };
  const Response part = ranged("bytes=2-4");
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(content(part), "234");
  EXPECT_EQ(part.file_size, 10U);
  EXPECT_EQ(content(ranged("bytes=-3")), "789");
  const Response unsatisfiable = ranged("bytes=10-");
  EXPECT_EQ(unsatisfiable.status, 416);
  EXPECT_EQ(unsatisfiable.file_size, 10U);
  EXPECT_EQ(ranged("bytes=1-2,4-5").status, 200);
  EXPECT_EQ(ranged("bytes=1-2", "\"other\"").status, 200);
  EXPECT_EQ(ranged("bytes=1-2", part.validators->etag()).status, 206);
}

TEST_F(SiteTest, IgnoresRangesOfHead) {
  const Response response =
      answer({.method = Method::kHead, .target = "/a.txt", .range = "bytes=2-4"});
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.length, 10U);
}

TEST_F(SiteTest, AnswersConditions) {
  const Response first = get("/a.txt");
  const std::string etag(first.validators->etag());
  const Response second =
      answer({.method = Method::kGet, .target = "/a.txt", .if_none_match = etag});
  EXPECT_EQ(second.status, 304);
  EXPECT_EQ(second.validators->etag(), etag);
  EXPECT_EQ(answer({.method = Method::kGet, .target = "/a.txt", .if_match = "\"other\""}).status,
            412);
}

class RootLookup : public SiteTest, public testing::WithParamInterface<Lookup> {
 protected:
  int failure(const char* path) const {
    const Result<Root> opened = Root::create(root(), GetParam());
    const Result<UniqueFd> file = opened->open(path);
    return file ? 0 : file.error().sys_errno;
  }
};

TEST_P(RootLookup, OpensWhatIsInside) {
  for (const char* path : {"a.txt", "sub/b.html", "sub//b.html", "./sub/./b.html", ".", "sub/",
                           "sub", "sub/deeper/"}) {
    EXPECT_EQ(failure(path), 0) << path;
  }
}

TEST_P(RootLookup, RefusesEveryWayOut) {
  for (const char* path :
       {"..", "../", "../secret.txt", "../root/a.txt", "sub/../../secret.txt", "out",
        "out_folder/secret.txt", "out_folder/", "absolute", "loop", "magic", "magic/etc/passwd"}) {
    const int sys_errno = failure(path);
    EXPECT_TRUE(sys_errno == EXDEV || sys_errno == ELOOP || sys_errno == ENOTDIR)
        << path << ": " << sys_errno;
  }
}

TEST_P(RootLookup, SaysWhatIsMissing) {
  EXPECT_EQ(failure("none"), ENOENT);
  EXPECT_EQ(failure("none/a"), ENOENT);
  EXPECT_EQ(failure("a.txt/b"), ENOTDIR);
}

INSTANTIATE_TEST_SUITE_P(Lookups, RootLookup, testing::Values(Lookup::kBeneath, Lookup::kStepwise),
                         [](const auto& lookup) {
                           return lookup.param == Lookup::kBeneath ? "Beneath" : "Stepwise";
                         });

TEST_F(SiteTest, StepwiseFollowsNoLinks) {
  const Result<Root> opened = Root::create(root(), Lookup::kStepwise);
  EXPECT_EQ(opened->open("inside").error().sys_errno, ELOOP);
  EXPECT_EQ(opened->open("sub/../a.txt").error().sys_errno, EXDEV);
}

TEST_F(SiteTest, MissingFolderIsInvalid) {
  const Result<Root> opened = Root::create(root() / "none");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kInvalid);
  EXPECT_EQ(opened.error().sys_errno, ENOENT);
}

}  // namespace
}  // namespace heddle::http
