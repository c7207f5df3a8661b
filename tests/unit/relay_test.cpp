// Two connections joined by relay(): every byte and every end is passed on, and silence is judged
// of both directions together.
#include "heddle/relay.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

#include "heddle/channel.h"
#include "heddle/socket.h"
#include "heddle/tls/stream.h"

#include "support/sim.h"

namespace heddle {
namespace {

using std::chrono::seconds;

static_assert(RelayStream<Socket> && RelayStream<Stream>);

constexpr auto kNever = Deadline::never();

// One end of a connection in memory, of which the test is the other end.
class Wire {
 public:
  Result<std::size_t> read(std::span<std::byte> into, Deadline deadline) {
    auto piece = sent.pop(deadline);
    if (!piece) return piece.error();
    if (!*piece) return std::size_t{0};
    if (**piece == "break") return Error{.code = Errc::kDisconnected, .operation = "read of wire"};
    EXPECT_LE((*piece)->size(), into.size());
    std::copy_n(std::as_bytes(std::span(**piece)).begin(), (*piece)->size(), into.begin());
    return (*piece)->size();
  }

  Result<void> write(std::span<const std::byte> from, Deadline deadline) {
    return received.push({reinterpret_cast<const char*>(from.data()), from.size()}, deadline);
  }

  void shutdown_write() { received.close(); }

  Channel<std::string> sent{8};      // By the test; closed: its end.
  Channel<std::string> received{8};  // By the test; closed: the end that was passed on to it.
};

// The same, but its end takes time, as TLS's does.
class SlowEnd : public Wire {
 public:
  Result<void> shutdown_write(Deadline deadline) {
    (void)this_fiber::sleep_until(deadline);
    return Error{.code = Errc::kTimedOut, .operation = "shutdown_write of wire"};
  }
};

std::optional<std::string> next(Wire& wire) {
  return wire.received.pop(kNever).value();
}

class Relay : public testing::Test {
 protected:
  // Runs relay() beside `test`, and returns what it returned.
  Result<void> relay_beside(const std::function<void()>& test, Deadline deadline = kNever) {
    Result<void> outcome = Error{};
    world_.run([&] {
      scope([&](Scope& fibers) {
        fibers.spawn("test", test).value();
        outcome = relay(one_, other_, seconds(10), deadline);
        lasted_ = elapsed();
      });
    });
    return outcome;
  }

  Duration elapsed() const { return world_.now() - TimePoint{}; }

  sim::World world_{1};
  Wire one_;
  Wire other_;
  Duration lasted_{};
};

TEST_F(Relay, BytesAndEndsArePassedOnBothWays) {
  const auto outcome = relay_beside([&] {
    one_.sent.push("question").value();
    EXPECT_EQ(next(other_), "question");
    one_.sent.close();
    EXPECT_EQ(next(other_), std::nullopt);
    other_.sent.push("answer").value();  // Behind the other direction's end.
    EXPECT_EQ(next(one_), "answer");
    other_.sent.close();
    EXPECT_EQ(next(one_), std::nullopt);
  });
  EXPECT_TRUE(outcome.has_value());
}

TEST_F(Relay, FailureOfOneDirectionEndsBothAndPassesOnNoEnd) {
  const auto outcome = relay_beside([&] { other_.sent.push("break").value(); });
  EXPECT_EQ(outcome.error().code, Errc::kDisconnected);
  EXPECT_FALSE(one_.received.closed());
  EXPECT_FALSE(other_.received.closed());
  EXPECT_EQ(elapsed(), Duration::zero());
}

TEST_F(Relay, DirectionMayBeSilentWhileTheOtherIsBusy) {
  const auto outcome = relay_beside([&] {
    for (int i = 0; i < 10; ++i) {
      (void)this_fiber::sleep_until(this_fiber::after(seconds(7)));
      other_.sent.push("more").value();
      EXPECT_EQ(next(one_), "more");
    }
    one_.sent.push("thanks").value();  // 70 seconds after the last byte of this direction.
    EXPECT_EQ(next(other_), "thanks");
    one_.sent.close();
    other_.sent.close();
  });
  EXPECT_TRUE(outcome.has_value());
}

TEST_F(Relay, BytesThatTheReceiverDoesNotTakeYetAreNoSilence) {
  const auto outcome = relay_beside([&] {
    for (int i = 0; i < 8; ++i) other_.sent.push("all that fits").value();
    (void)this_fiber::sleep_until(this_fiber::after(seconds(7)));
    other_.sent.push("more").value();
    (void)this_fiber::sleep_until(this_fiber::after(seconds(5)));
    for (int i = 0; i < 9; ++i) EXPECT_TRUE(next(one_).has_value());
    one_.sent.close();
    other_.sent.close();
  });
  EXPECT_TRUE(outcome.has_value());
}

TEST_F(Relay, SilenceOfBothDirectionsTimesOut) {
  const auto outcome = relay_beside([&] {
    (void)this_fiber::sleep_until(this_fiber::after(seconds(7)));
    other_.sent.push("last").value();
  });
  EXPECT_EQ(outcome.error().code, Errc::kTimedOut);
  EXPECT_EQ(elapsed(), seconds(17));
}

TEST_F(Relay, ReceiverThatReadsNothingTimesOutHoweverBusyTheOtherDirectionIs) {
  const auto outcome = relay_beside([&] {
    for (int i = 0; i < 9; ++i) one_.sent.push("unread").value();  // One more than fits.
    for (int i = 0; i < 5; ++i) {
      (void)this_fiber::sleep_until(this_fiber::after(seconds(3)));
      other_.sent.push("busy").value();
    }
  });
  EXPECT_EQ(outcome.error().code, Errc::kTimedOut);
  EXPECT_LT(elapsed(), seconds(16));
}

TEST_F(Relay, DeadlineHoldsHoweverBusyBothAre) {
  const auto outcome = relay_beside(
      [&] {
        for (int i = 0; i < 20; ++i) {
          (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
          (void)other_.sent.try_push("more");
          (void)one_.received.try_pop();
        }
      },
      world_.after(seconds(15)));
  EXPECT_EQ(outcome.error().code, Errc::kTimedOut);
  EXPECT_EQ(lasted_, seconds(15));
}

TEST_F(Relay, EndThatCannotBePassedOnIsAFailure) {
  SlowEnd slow;
  Result<void> outcome;
  world_.run([&] {
    one_.sent.close();
    outcome = relay(one_, slow, seconds(10));
  });
  EXPECT_EQ(outcome.error().code, Errc::kTimedOut);
  EXPECT_EQ(elapsed(), seconds(10));
}

TEST_F(Relay, CancelledRelayEndsBothDirections) {
  Result<void> outcome;
  world_.run([&] {
    scope([&](Scope& fibers) {
      auto task =
          fibers.spawn("relay", [&] { outcome = relay(one_, other_, seconds(10)); }).value();
      (void)this_fiber::yield();
      (void)this_fiber::yield();
      task.cancel();
    });
  });
  EXPECT_EQ(outcome.error().code, Errc::kCancelled);
  EXPECT_EQ(elapsed(), Duration::zero());
}

}  // namespace
}  // namespace heddle
