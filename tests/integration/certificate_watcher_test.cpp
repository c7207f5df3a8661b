// Certificates that are replaced on disk in each of the ways in which that is done.
#include "heddle/tls/certificate_watcher.h"

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "heddle/channel.h"
#include "heddle/fiber.h"
#include "heddle/runtime.h"

#include "support/chain.h"
#include "support/handshake_outcome.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

// As in the README.
Result<void> keep_certificate(Context& tls, Runtime& runtime) {
  auto made = CertificateWatcher::create({{.chain = "cert.pem", .key = "key.pem"}});
  if (!made) return made.error();
  auto watcher = std::make_shared<CertificateWatcher>(std::move(*made));
  tls.on_certificate(watcher->callback());
  const auto watching = runtime.spawn("certificate", [watcher] {
    (void)watcher->run([](const WatcherEvent& event) {
      if (event.kind == WatcherEvent::Kind::kRefused) std::puts(event.error.message().c_str());
    });
  });
  return watching ? Result<void>() : watching.error();
}

namespace fs = std::filesystem;
using Kind = WatcherEvent::Kind;
using std::chrono::milliseconds;

class CertificateWatcherTest : public testing::Test {
 protected:
  CertificateWatcherTest() {
    std::string folder = testing::TempDir() + "/heddle-watch-XXXXXX";
    EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  ~CertificateWatcherTest() override { fs::remove_all(folder_); }
  CertificateWatcherTest(const CertificateWatcherTest&) = delete;
  CertificateWatcherTest& operator=(const CertificateWatcherTest&) = delete;

  static Identity fresh(int days = 365) {
    return make_self_signed({test::kServerName}, KeyType::kEcdsaP256, days).value();
  }
  static void put(const fs::path& file, std::string_view text) {
    std::ofstream(file, std::ios::binary) << text;
  }
  // As careful programs do it.
  static void replace(const fs::path& file, std::string_view text) {
    put(file.string() + ".new", text);
    fs::rename(file.string() + ".new", file);
  }
  void put_pair(const Identity& identity, void (*how)(const fs::path&, std::string_view) = put) {
    how(folder_ / "cert.pem", identity.certificate_pem);
    how(folder_ / "key.pem", identity.key_pem);
  }

  Result<CertificateWatcher> watch(const fs::path& chain, const fs::path& key,
                                   std::chrono::hours expiring = std::chrono::hours(0)) {
    return CertificateWatcher::create(
        {{.chain = chain, .key = key, .password = {}}},
        {.settle = milliseconds(20), .look = std::chrono::minutes(10), .expiring = expiring});
  }

  // Runs the watcher, and `body` beside it.
  void run(CertificateWatcher& watcher, const std::function<void()>& body) {
    auto runtime = Runtime::create().value();
    const auto in_fiber = [&] {
      scope([&](Scope& fibers) {
        auto running = fibers.spawn("watcher", [&] {
          const auto ended = watcher.run([&](const WatcherEvent& event) {
            ASSERT_TRUE(events_.push(event, Deadline::never()));
          });
          EXPECT_EQ(ended.error().code, Errc::kCancelled);
        });
        ASSERT_TRUE(running);
        body();
        running->cancel();
      });
    };
    runtime.spawn("test", in_fiber).value();
    runtime.run();
  }
  WatcherEvent next() {
    auto event = events_.pop(this_fiber::after(std::chrono::seconds(30)));
    const bool is_told = event && *event;
    EXPECT_TRUE(is_told) << "nothing was told";
    return is_told ? **event : WatcherEvent();
  }

  // Whether a server that asks the watcher shows the certificate of `identity`.
  static bool shows(const CertificateWatcher& watcher, const Identity& identity) {
    Context server = Context::create(Role::kServer).value();
    server.on_certificate(watcher.callback());
    Context client = Context::create(Role::kClient, Trust::kNothing).value();
    client.add_trusted_certificates(test::bytes(identity.certificate_pem)).value();
    test::HandshakeOutcome outcome;
    test::connect(outcome, server, client);
    return outcome.well();
  }

  fs::path folder_;
  Channel<WatcherEvent> events_{16};
};

TEST_F(CertificateWatcherTest, FilesThatCannotBeUsedAreRefusedAtFirst) {
  EXPECT_EQ(watch(folder_ / "cert.pem", {}).error().sys_errno, ENOENT);
  put_pair(fresh());
  put(folder_ / "key.pem", fresh().key_pem);
  EXPECT_EQ(watch(folder_ / "cert.pem", folder_ / "key.pem").error().code, Errc::kInvalid);
}

TEST_F(CertificateWatcherTest, FilesMayBeWrittenOrRenamed) {
  for (auto* const how : {put, replace}) {
    const Identity before = fresh();
    const Identity after = fresh();
    put_pair(before);
    auto watcher = watch(folder_ / "cert.pem", folder_ / "key.pem").value();
    EXPECT_TRUE(shows(watcher, before));
    run(watcher, [&] {
      put_pair(after, how);
      WatcherEvent event = next();
      // Chain and key are two files: between them they do not fit.
      while (event.kind == Kind::kRefused) event = next();
      EXPECT_EQ(event.kind, Kind::kReplaced);
      EXPECT_GT(event.not_after, std::chrono::system_clock::now() + std::chrono::hours(24));
      EXPECT_TRUE(shows(watcher, after));
      EXPECT_FALSE(shows(watcher, before));
    });
  }
}

// As a secret that is mounted: the files are links through a link, which is exchanged.
TEST_F(CertificateWatcherTest, LinkOnTheWayMayBeExchanged) {
  const Identity before = fresh();
  const Identity after = fresh();
  const auto version = [&](const char* name, const Identity& identity) {
    fs::create_directory(folder_ / name);
    put(folder_ / name / "tls.pem", identity.certificate_pem + identity.key_pem);
  };
  version("..1", before);
  fs::create_symlink("..1", folder_ / "..data");
  fs::create_symlink("..data/tls.pem", folder_ / "tls.pem");
  auto watcher = watch(folder_ / "tls.pem", {}).value();
  run(watcher, [&] {
    version("..2", after);
    fs::create_symlink("..2", folder_ / "..tmp");
    fs::rename(folder_ / "..tmp", folder_ / "..data");
    EXPECT_EQ(next().kind, Kind::kReplaced);
    EXPECT_TRUE(shows(watcher, after));
    // What it watches has moved along.
    replace(folder_ / "..2" / "tls.pem", before.certificate_pem + before.key_pem);
    EXPECT_EQ(next().kind, Kind::kReplaced);
    EXPECT_TRUE(shows(watcher, before));
  });
}

// As certbot: a link in one folder to a file in another.
TEST_F(CertificateWatcherTest, LinkToAnotherFolderMayBeExchanged) {
  const Identity before = fresh();
  const Identity after = fresh();
  for (const char* const name : {"live", "archive"}) fs::create_directory(folder_ / name);
  put(folder_ / "archive" / "1.pem", before.certificate_pem + before.key_pem);
  put(folder_ / "archive" / "2.pem", after.certificate_pem + after.key_pem);
  fs::create_symlink("../archive/1.pem", folder_ / "live" / "all.pem");
  auto watcher = watch(folder_ / "live" / "all.pem", {}).value();
  run(watcher, [&] {
    fs::remove(folder_ / "live" / "all.pem");
    fs::create_symlink("../archive/2.pem", folder_ / "live" / "all.pem");
    WatcherEvent event = next();
    while (event.kind == Kind::kRefused) event = next();
    EXPECT_TRUE(shows(watcher, after));
    put(folder_ / "archive" / "2.pem", before.certificate_pem + before.key_pem);
    event = next();
    while (event.kind == Kind::kRefused) event = next();
    EXPECT_TRUE(shows(watcher, before)) << "in the folder that the link points to";
  });
}

TEST_F(CertificateWatcherTest, WhatCannotBeUsedLeavesWhatIsInUse) {
  const Identity good = fresh();
  const fs::path file = folder_ / "all.pem";
  put(file, good.certificate_pem + good.key_pem);
  auto watcher = watch(file, {}).value();
  const Identity other = fresh();
  const test::Issued expired = test::issue({.common_name = "old", .has_expired = true});
  const std::string half =
      other.certificate_pem.substr(0, other.certificate_pem.size() / 2) + other.key_pem;
  run(watcher, [&] {
    for (const std::string& bad : {std::string(), half, other.certificate_pem + good.key_pem,
                                   other.key_pem, test::pem_of(expired)}) {
      replace(file, bad);
      const WatcherEvent event = next();
      EXPECT_EQ(event.kind, Kind::kRefused);
      EXPECT_EQ(event.error.code, Errc::kInvalid) << event.error.message();
      EXPECT_TRUE(shows(watcher, good));
    }
    fs::remove(file);
    EXPECT_EQ(next().error.sys_errno, ENOENT);
    EXPECT_TRUE(shows(watcher, good));
    put(file, other.certificate_pem + other.key_pem);
    WatcherEvent event = next();
    while (event.kind == Kind::kRefused) event = next();
    EXPECT_TRUE(shows(watcher, other));
  });
}

// Without a change of the files.
TEST_F(CertificateWatcherTest, OneThatWasNotValidYetIsTakenUpWhenItIs) {
  const fs::path file = folder_ / "all.pem";
  put(file, fresh().certificate_pem + fresh().key_pem);
  const Identity good = fresh();
  put(file, good.certificate_pem + good.key_pem);
  auto watcher = CertificateWatcher::create({{.chain = file, .key = {}, .password = {}}},
                                            {.settle = milliseconds(20), .look = milliseconds(50)})
                     .value();
  const test::Issued soon = test::issue({.common_name = "soon", .valid_in_seconds = 4});
  run(watcher, [&] {
    replace(file, test::pem_of(soon));
    EXPECT_EQ(next().kind, Kind::kRefused);
    EXPECT_EQ(next().kind, Kind::kReplaced);
  });
}

TEST_F(CertificateWatcherTest, ExpiredOneIsBetterThanNone) {
  const test::Issued expired = test::issue({.common_name = "old", .has_expired = true});
  const fs::path file = folder_ / "all.pem";
  put(file, test::pem_of(expired));
  auto watcher = watch(file, {});
  ASSERT_TRUE(watcher) << watcher.error().message();
  EXPECT_TRUE(watcher->reload()) << "an expired one in place of an expired one";
}

TEST_F(CertificateWatcherTest, EndIsToldInAdvance) {
  put_pair(fresh(10));
  auto watcher =
      watch(folder_ / "cert.pem", folder_ / "key.pem", std::chrono::hours(24 * 14)).value();
  run(watcher, [&] {
    EXPECT_EQ(next().kind, Kind::kExpiring);
    put_pair(fresh(365), replace);
    WatcherEvent event = next();
    while (event.kind == Kind::kRefused) event = next();
    EXPECT_EQ(event.kind, Kind::kReplaced);
    put_pair(fresh(5), replace);
    event = next();
    while (event.kind == Kind::kRefused) event = next();
    EXPECT_EQ(event.kind, Kind::kReplaced);
    EXPECT_EQ(next().kind, Kind::kExpiring) << "of the new one";
  });
}

TEST_F(CertificateWatcherTest, ChangeBetweenCreateAndRunIsSeen) {
  put_pair(fresh());
  auto watcher = watch(folder_ / "cert.pem", folder_ / "key.pem").value();
  const Identity after = fresh();
  put_pair(after, replace);
  run(watcher, [&] {
    EXPECT_EQ(next().kind, Kind::kReplaced);
    EXPECT_TRUE(shows(watcher, after));
  });
}

TEST_F(CertificateWatcherTest, ServerOfTheReadmeKeepsItsCertificate) {
  Context server = Context::create(Role::kServer).value();
  auto runtime = Runtime::create().value();
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  EXPECT_FALSE(keep_certificate(server, runtime)) << "there is none";
  put_pair(fresh());
  EXPECT_TRUE(keep_certificate(server, runtime));
  const auto in_fiber = [&] { runtime.stop(); };
  runtime.spawn("test", in_fiber).value();
  runtime.run();
  fs::current_path(before);
}

TEST_F(CertificateWatcherTest, ReloadReadsAtOnce) {
  put_pair(fresh());
  auto watcher = watch(folder_ / "cert.pem", folder_ / "key.pem").value();
  const Identity after = fresh();
  put_pair(after);
  ASSERT_TRUE(watcher.reload());
  EXPECT_TRUE(shows(watcher, after));
  put(folder_ / "key.pem", "text");
  EXPECT_EQ(watcher.reload().error().code, Errc::kInvalid);
  EXPECT_TRUE(shows(watcher, after));
}

// What is in use is asked for by connections of other threads, in the middle of exchanges.
TEST_F(CertificateWatcherTest, ThreadsAskWhileItIsExchanged) {
  const std::array<Identity, 2> both = {fresh(), fresh()};
  const fs::path file = folder_ / "all.pem";
  const auto text = [&](std::size_t i) { return both.at(i).certificate_pem + both.at(i).key_pem; };
  put(file, text(0));
  auto watcher = watch(file, {}).value();
  std::atomic<bool> over = false;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const CertificateCallback callback = watcher.callback();
      Context server = Context::create(Role::kServer).value();
      server.on_certificate(callback);
      Context client = Context::create(Role::kClient, Trust::kNothing).value();
      for (const Identity& each : both) {
        client.add_trusted_certificates(test::bytes(each.certificate_pem)).value();
      }
      while (!over) {
        test::HandshakeOutcome outcome;
        test::connect(outcome, server, client);
        EXPECT_TRUE(outcome.well());
      }
    });
  }
  for (std::size_t i = 0; i < 40; ++i) {
    replace(file, i % 5 == 4 ? "broken" : text(i % 2));
    EXPECT_EQ(watcher.reload().has_value(), i % 5 != 4);
  }
  over = true;
}

}  // namespace
}  // namespace heddle
