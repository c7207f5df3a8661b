// What connect() and Listener::create() are told about sockets, and what the kernel makes of it.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"

#include "base/unique_fd.h"
#include "io/race.h"

namespace heddle {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

const Address kAnyPort = Address::parse("127.0.0.1:0").value();

constexpr KeepAlive kKeepAlive{.idle = seconds(33), .interval = milliseconds(6001), .probes = 7};

int option(const Socket& socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof(value);
  EXPECT_EQ(::getsockopt(socket.native_handle(), level, name, &value, &size), 0);
  return value;
}

void expect_keep_alive(const Socket& socket) {
  EXPECT_EQ(option(socket, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_KEEPIDLE), 33);
  EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_KEEPINTVL), 7) << "rounded up";
  EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_KEEPCNT), 7);
}

class ConnectOptionsTest : public testing::Test {
 protected:
  // Runs `body` in a fiber.
  void run(std::function<void()> body) {
    ASSERT_TRUE(runtime_.spawn("test", std::move(body)));
    runtime_.run();
  }

  // Long enough that only a bug reaches it.
  Deadline patience() const { return runtime_.after(seconds(60)); }

  Listener listen(const ListenOptions& options = {}) {
    return Listener::create(runtime_, kAnyPort, options).value();
  }
  Result<Socket> to(const Listener& listener, const ConnectOptions& options) {
    return connect(runtime_, listener.address(), options, patience());
  }
  Error refusal(const Listener& listener, const ConnectOptions& options) {
    const Result<Socket> refused = to(listener, options);
    EXPECT_FALSE(refused);
    return refused ? Error{} : refused.error();
  }

  Runtime runtime_ = Runtime::create().value();
};

TEST_F(ConnectOptionsTest, ConnectionComesFromTheLocalAddress) {
  run([this] {
    Listener listener = listen();
    const Address local = Address::parse("127.0.0.2:0").value();
    const Socket client = to(listener, {.local_address = local}).value();
    const Socket server = listener.accept(patience()).value();
    const Address seen = server.peer_address().value();
    EXPECT_EQ(seen, client.local_address().value());
    EXPECT_EQ(seen, Address::from_ip("127.0.0.2", seen.port()).value());
    EXPECT_NE(seen.port(), 0);
    const std::uint16_t port = listener.address().port();
    const Socket by_name =
        connect(runtime_, "localhost", port, {.local_address = local}, patience()).value();
    const Address ours = by_name.local_address().value();
    EXPECT_EQ(ours, Address::from_ip("127.0.0.2", ours.port()).value());
  });
}

TEST_F(ConnectOptionsTest, LocalAddressThatCannotBeHadIsInvalidAndNamed) {
  run([this] {
    Listener listener = listen();
    const Listener other = listen();
    const std::string there = listener.address().to_string();
    const Error taken = refusal(listener, {.local_address = other.address()});
    EXPECT_EQ(taken.message(), there + ": " + other.address().to_string() +
                                   ": bind: not usable: Address already in use");
    const Error foreign =
        refusal(listener, {.local_address = Address::parse("192.0.2.1:0").value()});
    EXPECT_EQ(foreign.code, Errc::kInvalid);
    EXPECT_EQ(foreign.sys_errno, EADDRNOTAVAIL);
    EXPECT_EQ(foreign.context(), there + ": 192.0.2.1:0");
  });
}

TEST_F(ConnectOptionsTest, FamiliesThatExcludeTheAddressAreInvalid) {
  run([this] {
    Listener listener = listen();
    const std::uint16_t port = listener.address().port();
    const Address v6 = Address::parse("[::1]:0").value();
    EXPECT_TRUE(to(listener, {.families = Families::kIpv4Only}));
    EXPECT_TRUE(to(listener, {.families = Families::kIpv6First})) << "there is one address";
    const Error excluded = refusal(listener, {.families = Families::kIpv6Only});
    EXPECT_EQ(excluded.code, Errc::kInvalid);
    EXPECT_STREQ(excluded.detail, "ConnectOptions::families excludes its family");
    const Error other = refusal(listener, {.local_address = v6});
    EXPECT_EQ(other.code, Errc::kInvalid);
    EXPECT_STREQ(other.detail, "ConnectOptions::local_address is of another family");
    const auto literal =
        connect(runtime_, "::1", port, {.families = Families::kIpv4Only}, patience());
    EXPECT_EQ(literal.error().code, Errc::kInvalid);
    EXPECT_STREQ(literal.error().detail, "ConnectOptions::families excludes its family");
  });
}

TEST_F(ConnectOptionsTest, FamiliesAndLocalAddressDecideWhatARaceTries) {
  struct Case {
    Families families;
    std::optional<Address> local;
    int first;
    bool other_family;
  };
  const Address v4 = kAnyPort;
  const Address v6 = Address::parse("[::1]:0").value();
  for (const Case& each : {Case{Families::kIpv6First, std::nullopt, AF_INET6, true},
                           Case{Families::kIpv4First, std::nullopt, AF_INET, true},
                           Case{Families::kIpv6Only, std::nullopt, AF_INET6, false},
                           Case{Families::kIpv4Only, std::nullopt, AF_INET, false},
                           Case{Families::kIpv6First, v4, AF_INET, false},
                           Case{Families::kIpv4First, v6, AF_INET6, false},
                           Case{Families::kIpv4Only, v4, AF_INET, false}}) {
    const auto rules = io::race_rules({.families = each.families,
                                       .local_address = each.local,
                                       .attempt_delay = milliseconds(123)});
    ASSERT_TRUE(rules);
    EXPECT_EQ(rules->first, each.first);
    EXPECT_EQ(rules->other_family, each.other_family);
    EXPECT_EQ(rules->attempt_delay, milliseconds(123));
  }
  EXPECT_EQ(io::race_rules({}).value().attempt_delay, milliseconds(250));
  EXPECT_FALSE(io::race_rules({.families = Families::kIpv4Only, .local_address = v6}));
}

// Only IPv4: c-ares 1.18 leaks when it looks for "localhost" in the other family.
TEST_F(ConnectOptionsTest, FamiliesRestrictTheAddressesOfAName) {
  run([this] {
    const Listener listener = listen();
    const std::uint16_t port = listener.address().port();
    const auto reached =
        connect(runtime_, "localhost", port, {.families = Families::kIpv4Only}, patience());
    ASSERT_TRUE(reached) << reached.error().message();
    EXPECT_EQ(reached->peer_address().value(), listener.address());
    for (const char* const local : {"127.0.0.1:0", "unix:/nowhere"}) {
      const auto nothing_left =
          connect(runtime_, "localhost", port,
                  {.families = Families::kIpv6Only, .local_address = Address::parse(local).value()},
                  patience());
      ASSERT_FALSE(nothing_left);
      EXPECT_EQ(nothing_left.error().code, Errc::kInvalid);
      EXPECT_EQ(nothing_left.error().context(), "localhost:" + std::to_string(port));
      EXPECT_STREQ(nothing_left.error().detail,
                   "ConnectOptions::local_address is of no family that is tried");
    }
  });
}

TEST_F(ConnectOptionsTest, ErrorOfAnAttemptNamesHostAndAddress) {
  run([this] {
    // Nobody listens there, and nobody else can.
    const UniqueFd deaf(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in bound{};
    socklen_t size = sizeof(bound);
    auto* const generic = reinterpret_cast<sockaddr*>(&bound);
    ASSERT_EQ(::bind(deaf.get(), kAnyPort.data(), kAnyPort.size()), 0);
    ASSERT_EQ(::getsockname(deaf.get(), generic, &size), 0);
    const std::string port = std::to_string(ntohs(bound.sin_port));
    const auto refused = connect(runtime_, "localhost", ntohs(bound.sin_port),
                                 {.families = Families::kIpv4Only}, patience());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message(), "localhost:" + port + ": 127.0.0.1:" + port +
                                             ": connect: unreachable: Connection refused");
  });
}

TEST_F(ConnectOptionsTest, TcpIsSetAsAskedAndNotOtherwise) {
  run([this] {
    Listener listener = listen();
    const Socket set =
        to(listener, {.keep_alive = kKeepAlive, .user_timeout = microseconds(12'345'001)}).value();
    expect_keep_alive(set);
    EXPECT_EQ(option(set, IPPROTO_TCP, TCP_USER_TIMEOUT), 12'346) << "milliseconds, rounded up";
    const Socket usual = connect(runtime_, listener.address(), patience()).value();
    EXPECT_EQ(option(usual, SOL_SOCKET, SO_KEEPALIVE), 0);
    EXPECT_EQ(option(usual, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
  });
}

TEST_F(ConnectOptionsTest, AcceptedConnectionsHaveTheSettingsOfTheListener) {
  run([this] {
    Listener listener = listen({.keep_alive = kKeepAlive, .user_timeout = milliseconds(12'345)});
    const Socket client = connect(runtime_, listener.address(), patience()).value();
    const Socket server = listener.accept(patience()).value();
    expect_keep_alive(server);
    EXPECT_EQ(option(server, IPPROTO_TCP, TCP_USER_TIMEOUT), 12'345);
    EXPECT_EQ(option(client, SOL_SOCKET, SO_KEEPALIVE), 0);
  });
}

TEST_F(ConnectOptionsTest, SettingsOfASocketMayChange) {
  run([this] {
    Listener listener = listen();
    Socket socket = connect(runtime_, listener.address(), patience()).value();
    EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_NODELAY), 1);
    ASSERT_TRUE(socket.set_no_delay(false));
    EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_NODELAY), 0);
    ASSERT_TRUE(socket.set_no_delay(true));
    EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_NODELAY), 1);
    ASSERT_TRUE(socket.set_keep_alive(kKeepAlive));
    expect_keep_alive(socket);
    ASSERT_TRUE(socket.set_keep_alive(std::nullopt));
    EXPECT_EQ(option(socket, SOL_SOCKET, SO_KEEPALIVE), 0);
    ASSERT_TRUE(socket.set_user_timeout(seconds(5)));
    EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
    ASSERT_TRUE(socket.set_user_timeout(Duration::zero()));
    EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
  });
}

TEST_F(ConnectOptionsTest, ValuesThatTheKernelDoesNotTakeAreInvalid) {
  run([this] {
    Listener listener = listen();
    const auto says = [&](const ConnectOptions& options) {
      const Error error = refusal(listener, options);
      EXPECT_EQ(error.code, Errc::kInvalid);
      EXPECT_EQ(error.sys_errno, EINVAL);
      EXPECT_EQ(error.context(), listener.address().to_string());
      return std::string(error.operation);
    };
    EXPECT_EQ(says({.keep_alive = KeepAlive{.idle = seconds(0)}}), "set TCP_KEEPIDLE");
    EXPECT_EQ(says({.keep_alive = KeepAlive{.idle = Duration::max()}}), "set TCP_KEEPIDLE");
    EXPECT_EQ(says({.keep_alive = KeepAlive{.interval = seconds(-1)}}), "set TCP_KEEPINTVL");
    EXPECT_EQ(says({.keep_alive = KeepAlive{.probes = 128}}), "set TCP_KEEPCNT");
    EXPECT_EQ(says({.user_timeout = seconds(-1)}), "set TCP_USER_TIMEOUT");
    for (const ListenOptions& options : {ListenOptions{.keep_alive = KeepAlive{.probes = 0}},
                                         ListenOptions{.user_timeout = Duration::min()}}) {
      const auto refused = Listener::create(runtime_, kAnyPort, options);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, Errc::kInvalid);
      EXPECT_EQ(refused.error().context(), "127.0.0.1:0");
    }
  });
}

TEST_F(ConnectOptionsTest, SettingsOfTcpAreInvalidForUnixSockets) {
  std::string folder = testing::TempDir() + "heddle-connect-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const Address path = Address::from_unix_path(folder + "/socket").value();
  run([&] {
    for (const ListenOptions& options :
         {ListenOptions{.keep_alive = kKeepAlive}, ListenOptions{.user_timeout = seconds(1)}}) {
      EXPECT_EQ(Listener::create(runtime_, path, options).error().sys_errno, EOPNOTSUPP);
    }
    Listener listener = Listener::create(runtime_, path).value();
    EXPECT_EQ(refusal(listener, {.keep_alive = kKeepAlive}).sys_errno, EOPNOTSUPP);
    EXPECT_EQ(refusal(listener, {.user_timeout = seconds(1)}).sys_errno, EOPNOTSUPP);
    EXPECT_EQ(refusal(listener, {.local_address = kAnyPort}).code, Errc::kInvalid);
    EXPECT_EQ(refusal(listener, {.local_address = path}).code, Errc::kInvalid);
    Socket socket = to(listener, {.families = Families::kIpv6Only}).value();
    EXPECT_EQ(socket.set_no_delay(true).error().code, Errc::kInvalid);
    EXPECT_EQ(socket.set_keep_alive(std::nullopt).error().code, Errc::kInvalid);
  });
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace heddle
