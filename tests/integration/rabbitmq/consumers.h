// AMQP consumers, each in a fiber, that live as those of a production program do: when a connection
// fails they make a new one and go on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/fiber.h"
#include "heddle/result.h"
#include "heddle/runtime.h"
#include "heddle/wait_queue.h"

#include "integration/rabbitmq/amqp_connection.h"
#include "integration/rabbitmq/outside.h"

namespace heddle::test {

// What happened to all consumers.
struct Tally {
  std::uint64_t delivered = 0;   // Messages acknowledged, each counted once.
  std::uint64_t duplicates = 0;  // Acknowledged again, after a connection had failed.
  std::uint64_t spurious = 0;    // Connections declared dead while the kernel saw nothing wrong.
  std::uint64_t broken = 0;      // Connections that failed in earnest.
  std::map<std::string, std::uint64_t> reasons;
};

// Consumers consume from a queue each, from "PREFIX-0" on, and acknowledge.
//
// Fibers:   what takes a Deadline parks one fiber at a time.
// Lifetime: outlives the scope that it is started in.
class Consumers {
 public:
  Consumers(Runtime& runtime, const Broker& broker, std::string prefix, std::size_t count);

  Result<void> start(Scope& fibers);

  // Makes one message for each consumer. Its body is a number of its own.
  std::vector<Message> make_messages();
  // Makes the messages after which the consumers end.
  std::vector<Message> make_stops() const;

  // Parks until all wait for messages, or until all messages made so far were acknowledged, or
  // until all have stopped. Fails with what made a consumer give up: an unreachable broker.
  Result<void> await_idle(Deadline deadline);
  Result<void> await_delivered(Deadline deadline);
  Result<void> await_stopped(Deadline deadline);

  // Returns what happened since the last call.
  Tally take_tally();

  std::string queue(std::size_t consumer) const;
  std::size_t size() const noexcept { return count_; }

 private:
  enum class Life : std::uint8_t { kGoesOn, kStopped };

  void run(std::size_t consumer);
  Result<Life> live(AmqpConnection& connection, std::size_t consumer);
  Result<Life> consume(AmqpConnection& connection);
  void note_delivered(const std::string& body);
  void note_failure(const Error& error, const AmqpConnection& connection);

  template <typename Condition>
  Result<void> await(const char* what, Deadline deadline, Condition condition);

  Runtime& runtime_;
  const Broker& broker_;
  const std::string prefix_;
  const std::size_t count_;

  std::vector<std::uint64_t> times_delivered_;  // By the number of the message.
  std::size_t undelivered_ = 0;
  std::size_t idle_ = 0;
  std::size_t stopped_ = 0;
  std::optional<Error> given_up_;
  Tally tally_;
  WaitQueue changed_;
};

}  // namespace heddle::test
