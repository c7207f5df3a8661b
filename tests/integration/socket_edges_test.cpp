// Sockets where the kernel, the peer or the program does what is not usual.
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"

#include "base/unique_fd.h"
#include "io/sockets.h"

namespace heddle {
namespace {

using std::chrono::seconds;

// Long enough that only a bug reaches it.
constexpr Duration kPatience = seconds(60);

class SocketEdgesTest : public testing::Test {
 protected:
  // Runs `body` in a fiber.
  void run(std::function<void()> body) {
    ASSERT_TRUE(runtime_.spawn("test", std::move(body)));
    runtime_.run();
  }

  Deadline patience() const { return runtime_.after(kPatience); }

  // A socket of ours, and the peer's end of it, on which tests do as they like.
  Socket make_pair(int family, UniqueFd& peer) {
    if (family == AF_UNIX) {
      std::array<int, 2> ends{};
      EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
      peer.reset(ends[1]);
      return Socket::adopt(runtime_, ends[0]).value();
    }
    auto listener = Listener::create(runtime_, Address::parse("127.0.0.1:0").value()).value();
    peer.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const Address address = listener.address();
    EXPECT_EQ(::connect(peer.get(), address.data(), address.size()), 0);
    return listener.accept(patience()).value();
  }

  static void send(const UniqueFd& peer, std::string_view text, int flags = 0) {
    EXPECT_EQ(::send(peer.get(), text.data(), text.size(), flags),
              static_cast<ssize_t>(text.size()));
  }

  // Reads `count` bytes. What has come already must not need an event of its own.
  std::string read(Socket& socket, std::size_t count) {
    std::string text;
    while (text.size() < count) {
      std::array<std::byte, 4096> buffer;
      const auto got = socket.read(buffer, patience());
      EXPECT_TRUE(got) << got.error().message();
      if (!got || *got == 0) break;
      text.append(reinterpret_cast<const char*>(buffer.data()), *got);
    }
    return text;
  }

  // Lets the runtime hear of what has come.
  void look_for_events() { (void)this_fiber::sleep_until(Deadline::at(runtime_.now())); }

  Runtime runtime_ = Runtime::create().value();
};

// The kernel tells an address of its own kind for these.
TEST_F(SocketEdgesTest, AddressOfAnotherFamilyIsAnErrorAndNoEnd) {
  const UniqueFd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  ASSERT_TRUE(netlink);
  const auto address = io::ask_address(netlink.get(), ::getsockname, "ask for an address");
  ASSERT_FALSE(address);
  EXPECT_EQ(address.error().code, Errc::kInvalid);
  EXPECT_EQ(address.error().sys_errno, EAFNOSUPPORT);
}

TEST_F(SocketEdgesTest, WhatCarriesNoStreamIsNotAdopted) {
  for (const auto& [family, type] :
       {std::pair{AF_INET, SOCK_DGRAM}, {AF_UNIX, SOCK_SEQPACKET}, {AF_NETLINK, SOCK_RAW}}) {
    const int descriptor = ::socket(family, type | SOCK_CLOEXEC, 0);
    ASSERT_GE(descriptor, 0);
    const auto refused = Socket::adopt(runtime_, descriptor);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid);
    EXPECT_EQ(refused.error().sys_errno, EPROTOTYPE);
    EXPECT_EQ(::fcntl(descriptor, F_GETFD), -1) << "left open";
  }
}

// CPython: ThreadedTests.test_do_handshake_enotconn, BasicSocketTests.test_wrapped_unconnected.
TEST_F(SocketEdgesTest, WhatIsNotConnectedIsNotAdopted) {
  const UniqueFd listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::listen(listening.get(), 1), 0);
  const int listener = ::dup(listening.get());
  for (const int descriptor : {::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                               ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), listener}) {
    const auto refused = Socket::adopt(runtime_, descriptor);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kDisconnected);
    EXPECT_EQ(refused.error().sys_errno, ENOTCONN);
    EXPECT_EQ(::fcntl(descriptor, F_GETFD), -1) << "left open";
  }
}

TEST_F(SocketEdgesTest, UrgentDataDoesNotHideWhatFollows) {
  run([this] {
    UniqueFd peer;
    auto socket = make_pair(AF_INET, peer);
    for (int round = 0; round < 3; ++round) {
      send(peer, "abc");
      send(peer, "!", MSG_OOB);
      send(peer, "defghi");
      if (round > 0) look_for_events();
      EXPECT_EQ(read(socket, 9), "abcdefghi");
    }
  });
}

TEST_F(SocketEdgesTest, PassedDescriptorDoesNotHideWhatFollows) {
  run([this] {
    UniqueFd peer;
    auto socket = make_pair(AF_UNIX, peer);
    const UniqueFd passed(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int number = passed.get();
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(number))> control{};
    std::string text = "abc";
    iovec vector{text.data(), text.size()};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(number));
    std::memcpy(CMSG_DATA(header), &number, sizeof(number));
    ASSERT_EQ(::sendmsg(peer.get(), &message, 0), 3);
    send(peer, "defghi");
    look_for_events();
    EXPECT_EQ(read(socket, 9), "abcdefghi");
  });
}

TEST_F(SocketEdgesTest, WhatAPeerDoesNotReadWaitsInTheProgramAndNotInTheKernel) {
  run([this] {
    UniqueFd peer;
    auto socket = make_pair(AF_INET, peer);
    const std::vector<std::byte> block(65536, std::byte{'x'});
    while (socket.wait(Interest::kWrite, runtime_.after(std::chrono::milliseconds(20))) ==
           Wake::kReady) {
      while (socket.try_write(block).kind == IoResult::Kind::kBytes) {
      }
    }
    int unsent = -1;
    ASSERT_EQ(::ioctl(socket.native_handle(), SIOCOUTQNSD, &unsent), 0);
    EXPECT_LE(unsent, 256 * 1024);
    // And it goes on once the peer reads.
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("writer", [&] {
        EXPECT_TRUE(socket.write(block, patience()));
        socket.shutdown_write();
      }));
      auto reader = Socket::adopt(runtime_, ::dup(peer.get())).value();
      std::array<std::byte, 65536> buffer;
      while (reader.read(buffer, patience()).value() > 0) {
      }
    });
  });
}

// As a program does that watches the socket of a library, which has closed it meanwhile.
TEST_F(SocketEdgesTest, DuplicateMayBeAdoptedAgainAndAgain) {
  run([this] {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    const UniqueFd owned(ends[0]);
    const UniqueFd peer(ends[1]);
    int number = -1;
    for (int round = 0; round < 3; ++round) {
      auto socket = Socket::adopt(runtime_, ::dup(owned.get()));
      ASSERT_TRUE(socket) << socket.error().message();
      EXPECT_TRUE(number < 0 || number == socket->native_handle()) << "shows nothing";
      number = socket->native_handle();
      send(peer, "hello");
      EXPECT_EQ(read(*socket, 5), "hello");
    }
  });
}

TEST_F(SocketEdgesTest, CancelledReaderWhosePeerAlwaysHasDataEndsAndLetsOthersRun) {
  run([this] {
    UniqueFd peer;
    auto socket = make_pair(AF_UNIX, peer);
    send(peer, std::string(10'000, 'x'));
    std::size_t bytes = 0;
    bool other_ran = false;
    scope([&](Scope& fibers) {
      auto reader = fibers.spawn("reader", [&] {
        std::array<std::byte, 1> byte;
        for (;;) {
          const auto got = socket.read(byte, Deadline::never());
          if (!got) return got.error().code;
          bytes += *got;
        }
      });
      reader->cancel();
      ASSERT_TRUE(fibers.spawn("other", [&] { other_ran = true; }));
      EXPECT_EQ(reader->join().value(), Errc::kCancelled);
    });
    EXPECT_TRUE(other_ran);
    EXPECT_LT(bytes, 100U);
  });
}

// A connection that is over, and a loop that does not see it.
TEST_F(SocketEdgesTest, RepeatingACallThatFailsForGoodLetsOthersRun) {
  run([this] {
    UniqueFd peer;
    auto socket = make_pair(AF_UNIX, peer);
    peer.reset();
    const auto nobody = [this] {
      auto gone = Listener::create(runtime_, Address::parse("127.0.0.1:0").value()).value();
      return gone.address();
    }();
    std::array<std::byte, 1> byte{};
    const std::vector<std::function<void()>> calls = {
        [&] { (void)socket.read(byte, patience()); },
        [&] { (void)socket.write(byte, patience()); },
        [&] { (void)socket.close(patience()); },
        [&] { (void)connect(runtime_, nobody, patience()); },
        [&] { (void)connect(runtime_, Address::from_unix_path("/none").value(), patience()); },
    };
    for (std::size_t i = 0; i < calls.size(); ++i) {
      bool other_ran = false;
      scope([&](Scope& fibers) {
        ASSERT_TRUE(fibers.spawn("other", [&] { other_ran = true; }));
        for (int done = 0; done < 1000 && !other_ran; ++done) calls[i]();
        EXPECT_TRUE(other_ran) << "call " << i;
      });
    }
  });
}

}  // namespace
}  // namespace heddle
