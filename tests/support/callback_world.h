// A world for callbacks that park: meanwhile a bystander makes TLS progress on the same thread, and
// real operations of its own fail and leave entries in the error queue.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"
#include "heddle/wait_queue.h"

#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle::test {

// One connection, from handshake to close, and how each end found it.
struct Conversation {
  struct End {
    std::optional<Stream> stream;
    std::optional<Error> error;  // Of the first call that failed.
    std::string thrown;          // what() of what a call threw.

    bool well() const { return !error && thrown.empty(); }
    std::string message() const { return error ? error->message() : thrown; }
  };

  explicit Conversation(sim::World& world) : pipe(world) {}

  // Asserts that nothing went wrong.
  void expect_well() const {
    EXPECT_TRUE(client.well()) << client.message();
    EXPECT_TRUE(server.well()) << server.message();
  }

  sim::Pipe pipe;
  End client;
  End server;
};

class CallbackWorld {
 public:
  explicit CallbackWorld(std::uint64_t seed, Isolation isolation = Isolation::kIsolated)
      : world_(seed, isolation) {}

  sim::World& world() { return world_; }

  // Runs `body` in a fiber, beside the bystander.
  template <typename Body>
  void run(Body body) {
    world_.run([&] {
      scope([&](Scope& fibers) {
        ASSERT_TRUE(fibers.spawn("bystander", [this] { stand_by(); }));
        body();
        over_ = true;
        asked_.wake_all();
      });
    });
    over_ = false;
  }

  // For callbacks: leaves an entry in the error queue, parks until the bystander has talked over
  // its own TLS connection and left entries too, and leaves another. Asserts that the queue is the
  // callback's own.
  void park();
  int parks() const { return parks_; }

  // A client and a server.
  std::unique_ptr<Conversation> open(const Context& server, const Context& client,
                                     const StreamOptions& options = {.server_name = kServerName});
  // They say "ping" and "pong" and close.
  void converse(Conversation& talk);
  // Both.
  std::unique_ptr<Conversation> talk(const Context& server, const Context& client,
                                     const StreamOptions& options = {.server_name = kServerName});

 private:
  void stand_by();

  sim::World world_;
  bool over_ = false;
  bool wanted_ = false;
  int parks_ = 0;
  WaitQueue asked_;
  WaitQueue answered_;
};

}  // namespace heddle::test
