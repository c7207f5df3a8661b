// TLS connections over real TCP sockets, both ends in one runtime, with kernel TLS or without.
#pragma once

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/ktls.h"
#include "heddle/tls/stream.h"

#include "base/unique_fd.h"
#include "support/tls_pair.h"

namespace heddle::test {

struct Connection {
  std::optional<Stream> client;
  std::optional<Stream> server;
};

// Text in which no two pieces of some length are the same.
inline std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  std::uint32_t state = 1;
  for (char& each : text) {
    state = state * 1664525 + 1013904223;
    each = static_cast<char>(state >> 24);
  }
  return text;
}

// A file without a name.
class ScratchFile {
 public:
  explicit ScratchFile(std::string_view content) {
    std::string name = testing::TempDir() + "heddle-file-XXXXXX";
    fd_ = UniqueFd(::mkstemp(name.data()));
    if (!fd_ || ::unlink(name.c_str()) != 0) std::abort();
    append(content);
  }

  int fd() const { return fd_.get(); }
  void append(std::string_view content) {
    if (::write(fd_.get(), content.data(), content.size()) !=
        static_cast<ssize_t>(content.size())) {
      std::abort();
    }
  }
  void truncate(std::size_t bytes) {
    if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0) std::abort();
  }

 private:
  UniqueFd fd_;
};

class TlsOverTcp : public testing::Test {
 protected:
  static constexpr Deadline kNever = Deadline::never();

  // Long enough that only a bug reaches it.
  Deadline patience() const { return runtime_.after(std::chrono::seconds(60)); }

  // Runs `body` in a fiber.
  void run(std::function<void()> body) {
    ASSERT_TRUE(runtime_.spawn("test", std::move(body)));
    runtime_.run();
  }

  // Runs both beside each other.
  static void together(const std::function<void()>& a, const std::function<void()>& b) {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("a", a));
      ASSERT_TRUE(fibers.spawn("b", b));
    });
  }

  std::pair<Socket, Socket> sockets(const std::string& on = "127.0.0.1:0") {
    auto listener = Listener::create(runtime_, Address::parse(on).value()).value();
    auto client = connect(runtime_, listener.address(), patience()).value();
    auto server = listener.accept(patience()).value();
    // Small, so that whoever sends much has to wait.
    for (const int fd : {client.native_handle(), server.native_handle()}) {
      constexpr int kBytes = 64 * 1024;
      EXPECT_EQ(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kBytes, sizeof(kBytes)), 0);
      EXPECT_EQ(::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kBytes, sizeof(kBytes)), 0);
    }
    return {std::move(client), std::move(server)};
  }

  Connection open(const std::string& on = "127.0.0.1:0") {
    auto [client, server] = sockets(on);
    return {
        .client = Stream::create(client_context_, std::move(client), {.server_name = kServerName})
                      .value(),
        .server = Stream::create(server_context_, std::move(server)).value()};
  }

  Connection connected(const std::string& on = "127.0.0.1:0") {
    Connection made = open(on);
    together([&] { EXPECT_TRUE(made.server->handshake(patience())); },
             [&] { EXPECT_TRUE(made.client->handshake(patience())); });
    return made;
  }

  void use_version(TlsVersion version) { server_context_.set_versions(version, version).value(); }

  // All that comes until the end, or until it fails.
  struct Received {
    std::string text;
    Result<void> end;
  };
  Received receive(Stream& stream, std::size_t bytes_max = SIZE_MAX) const {
    Received received;
    std::array<std::byte, 32768> buffer;
    while (received.text.size() < bytes_max) {
      const std::size_t room = std::min(buffer.size(), bytes_max - received.text.size());
      const auto got = stream.read(std::span(buffer).first(room), patience());
      if (!got) received.end = got.error();
      if (!got || *got == 0) break;
      received.text.append(reinterpret_cast<const char*>(buffer.data()), *got);
    }
    return received;
  }

  Result<std::size_t> read_some(Stream& stream) const {
    std::array<std::byte, 1000> buffer;
    return stream.read(buffer, patience());
  }

  Runtime runtime_ = Runtime::create().value();
  Context server_context_ = server_context();
  Context client_context_ = client_context();
};

}  // namespace heddle::test
