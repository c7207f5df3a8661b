// Many connections are parked in a callback, with output of theirs not yet sent: others on the
// thread go on writing as if they were not there.
#include <atomic>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/sync.h"
#include "heddle/tls/stream.h"

#include "support/sim.h"
#include "support/tls_pair.h"

namespace {

// Allocations that hold a record or more.
std::atomic<std::size_t> large_allocations = 0;

void* counted(std::size_t size) {
  if (size >= 8192) ++large_allocations;
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) {
  return counted(size);
}
void* operator new[](std::size_t size) {
  return counted(size);
}
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  return std::malloc(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*size*/) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t /*size*/) noexcept {
  std::free(memory);
}

namespace heddle {
namespace {

constexpr Deadline kNever = Deadline::never();

// Two streams, connected.
struct Pair {
  Pair(sim::World& world, const Context& server_context, const Context& client_context)
      : pipe(world),
        client(test::client(client_context, pipe.a())),
        server(test::server(server_context, pipe.b())) {}

  void say(const std::string& text) {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn(
          "reader", [&] { EXPECT_EQ(test::read_text(*client, text.size(), kNever), text); }));
      server->write(test::bytes(text), kNever).value();
    });
  }

  sim::Pipe pipe;
  std::optional<Stream> client;
  std::optional<Stream> server;
};

TEST(ParkedOutputSim, FiveHundredParkedHandshakesCostOthersNoAllocation) {
  constexpr std::size_t kParked = 500;
  const Context client_context = test::client_context();
  const Context plain = test::server_context();
  Context parking = test::server_context();
  // Called for each of two tickets, when it is made: at the second call the first lies in the
  // output.
  std::unordered_map<const SSL*, int> tickets;
  std::size_t waiting = 0;
  Semaphore release(0);
  parking
      .set_session_store(
          {.put = [&](const ConnectionView& connection, const Session&) -> Result<void> {
             if (++tickets[connection.native_handle()] < 2) return {};
             ++waiting;
             release.acquire().value();
             return {};
           },
           .get = [](const ConnectionView&, std::string_view) { return std::optional<Session>(); },
           .remove = {}})
      .value();
  sim::World world(1);
  world.run([&] {
    Pair writer(world, plain, client_context);
    const std::string text(16384, 'x');
    std::vector<std::unique_ptr<Pair>> parked;
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("server", [&] { writer.server->handshake(kNever).value(); }));
      writer.client->handshake(kNever).value();
    });
    writer.say(text);
    const auto cost = [&] {
      const std::size_t before = large_allocations;
      for (int i = 0; i < 10; ++i) writer.say(text);
      return large_allocations - before;
    };
    const std::size_t alone = cost();
    scope([&](Scope& fibers) {
      for (std::size_t i = 0; i < kParked; ++i) {
        parked.push_back(std::make_unique<Pair>(world, parking, client_context));
        Pair& pair = *parked.back();
        ASSERT_TRUE(fibers.spawn("client", [&] { pair.client->handshake(kNever).value(); }));
        ASSERT_TRUE(fibers.spawn("server", [&] { pair.server->handshake(kNever).value(); }));
      }
      while (waiting < kParked) ASSERT_TRUE(this_fiber::sleep_until(world.after(Duration(1000))));
      EXPECT_EQ(cost(), alone);
      for (std::size_t i = 0; i < kParked; ++i) release.release();
    });
    for (const auto& pair : parked) pair->say("still in order");
  });
}

}  // namespace
}  // namespace heddle
