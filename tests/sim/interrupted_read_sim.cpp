// A read that times out leaves the connection as it was, wherever in a record or a message after
// the handshake it stood.
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"

#include "support/forwarding_transport.h"
#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using test::bytes;
using test::together;

constexpr Deadline kNever = Deadline::never();

// Trickle lets through only so many bytes to the reader as it has been allowed.
class Trickle final : public test::ForwardingTransport {
 public:
  using ForwardingTransport::ForwardingTransport;

  void allow(std::size_t count) { allowed_ = count; }
  std::size_t passed() const { return passed_; }

  IoResult try_read(std::span<std::byte> into) override {
    if (allowed_ == 0) return {IoResult::Kind::kWouldBlock};
    const IoResult io = below().try_read(into.first(std::min(into.size(), allowed_)));
    allowed_ -= io.bytes;
    passed_ += io.bytes;
    return io;
  }
  Wake wait(Interest interest, Deadline deadline) override {
    if (allowed_ > 0 || interest == Interest::kWrite) return below().wait(interest, deadline);
    return this_fiber::sleep_until(deadline) ? Wake::kTimedOut : Wake::kCancelled;
  }

 private:
  std::size_t allowed_ = SIZE_MAX;
  std::size_t passed_ = 0;
};

class InterruptedReadSim : public testing::TestWithParam<std::tuple<TlsVersion, std::uint64_t>> {
 protected:
  InterruptedReadSim() {
    client_context_.set_versions(version(), version()).value();
    server_context_.set_versions(version(), version()).value();
    pipe_.set_faults({.capacity_of_a = 1'000'000, .capacity_of_b = 1'000'000});
  }

  static TlsVersion version() { return std::get<0>(GetParam()); }

  void handshake() {
    client_ = test::client(client_context_, trickle_);
    server_ = test::server(server_context_, pipe_.b());
    together(
        {[&] { client_->handshake(kNever).value(); }, [&] { server_->handshake(kNever).value(); }});
  }

  // Tickets are on their way already; then data in records of many sizes, and between them, if
  // there is such a thing, new keys, with and without a wish for an answer.
  std::string send_much() {
    std::string text;
    for (int i = 0; i < 12; ++i) {
      std::string part(1 + world_.below(i < 10 ? 60 : 4'000), '\0');
      std::generate(part.begin(), part.end(),
                    [&] { return static_cast<char>('a' + world_.below(26)); });
      server_->write(bytes(part), kNever).value();
      text += part;
      if (version() != TlsVersion::kTls13 || i % 3 != 0) continue;
      const int type = i % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
      EXPECT_EQ(SSL_key_update(server_->native_handle(), type), 1);
      server_->handshake(kNever).value();
    }
    server_->shutdown_write(kNever).value();
    return text;
  }

  Context client_context_ = test::client_context();
  Context server_context_ = test::server_context();
  sim::World world_{std::get<1>(GetParam())};
  sim::Pipe pipe_{world_};
  Trickle trickle_{pipe_.a()};
  std::optional<Stream> client_;
  std::optional<Stream> server_;
};

TEST_P(InterruptedReadSim, NothingIsLostThoughEveryByteIsATimeout) {
  world_.run([&] {
    handshake();
    trickle_.allow(0);
    const std::size_t before = trickle_.passed();
    const std::size_t sent_before = pipe_.sent_by_b();
    const std::string text = send_much();
    const std::size_t wire = pipe_.sent_by_b() - sent_before;
    std::string got;
    std::size_t interruptions = 0;
    std::array<char, 5'000> buffer{};
    for (;;) {
      const auto into = std::as_writable_bytes(std::span(buffer));
      const bool peeks = world_.one_in(3);
      const Deadline soon = this_fiber::after(microseconds(10));
      const auto count = peeks ? client_->peek(into, soon) : client_->read(into, soon);
      if (!count) {
        ASSERT_EQ(count.error().code, Errc::kTimedOut) << count.error().message();
        ++interruptions;
        trickle_.allow(1);
      } else if (*count == 0) {
        break;
      } else if (!peeks) {
        got.append(buffer.data(), *count);
      }
      if (peeks && count) {
        ASSERT_EQ(text.compare(got.size(), *count, buffer.data(), *count), 0);
      }
      // Writing goes on meanwhile, also in the middle of a message that is half read: for that it
      // may have to wait, and an interrupted write would end writing.
      if (world_.one_in(50) && SSL_in_init(client_->native_handle()) == 0) {
        EXPECT_TRUE(client_->write(bytes("!"), kNever));
      }
    }
    EXPECT_EQ(got, text);
    EXPECT_GE(trickle_.passed() - before, wire);
    EXPECT_GE(interruptions, wire) << "one for every byte";
  });
}

// Any size, any time, cancelled readers as well: the next one goes on where they stopped.
TEST_P(InterruptedReadSim, NothingIsLostAtRandomTimes) {
  pipe_.set_faults({.short_io = 2, .would_block = 3, .spurious_wake = 4});
  std::string text(30'000, '\0');
  std::generate(text.begin(), text.end(), [&] { return static_cast<char>(world_.below(256)); });
  std::string got;
  int timeouts = 0;
  int cancellations = 0;
  const auto read_until = [&](Deadline deadline) {
    std::array<char, 3'000> buffer{};
    const auto count = client_->read(std::as_writable_bytes(std::span(buffer)), deadline);
    if (count) return got.append(buffer.data(), *count), true;
    (count.error().code == Errc::kTimedOut ? timeouts : cancellations) += 1;
    return false;
  };
  world_.run([&] {
    handshake();
    together({[&] {
                for (std::size_t at = 0; at < text.size();) {
                  const std::size_t count = std::min(1 + world_.below(2'000), text.size() - at);
                  server_->write(bytes(text).subspan(at, count), kNever).value();
                  at += count;
                  (void)this_fiber::sleep_until(this_fiber::after(world_.up_to(milliseconds(2))));
                }
              },
              [&] {
                while (got.size() < text.size()) {
                  scope([&](Scope& fibers) {
                    auto reader = fibers.spawn("reader", [&] {
                      while (read_until(this_fiber::after(world_.up_to(microseconds(300))))) {
                        if (got.size() >= text.size()) return;
                      }
                    });
                    if (!world_.one_in(4)) return;
                    (void)this_fiber::sleep_until(
                        this_fiber::after(world_.up_to(microseconds(300))));
                    reader->cancel();
                  });
                }
              }});
    EXPECT_TRUE(got == text);
    EXPECT_GT(timeouts, 20);
    EXPECT_GT(cancellations, 0);
  });
}

std::string name(const testing::TestParamInfo<std::tuple<TlsVersion, std::uint64_t>>& info) {
  const bool is13 = std::get<0>(info.param) == TlsVersion::kTls13;
  return std::string(is13 ? "tls13" : "tls12") + "_seed_" + std::to_string(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Seeds, InterruptedReadSim,
                         testing::Combine(testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                                          test::seeds(1, 33)),
                         name);

}  // namespace
}  // namespace heddle
