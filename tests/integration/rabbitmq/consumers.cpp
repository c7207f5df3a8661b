// A consumer's life, and the book of all of them.
#include "integration/rabbitmq/consumers.h"

#include <chrono>
#include <utility>

namespace heddle::test {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);  // Only a failing test waits so long.
constexpr const char* kStop = "stop";

}  // namespace

Consumers::Consumers(Runtime& runtime, const Broker& broker, std::string prefix, std::size_t count)
    : runtime_(runtime), broker_(broker), prefix_(std::move(prefix)), count_(count) {}

Result<void> Consumers::start(Scope& fibers) {
  for (std::size_t consumer = 0; consumer < count_; ++consumer) {
    const auto started = fibers.spawn("consumer", [this, consumer] { run(consumer); });
    if (!started) return started.error();
  }
  return {};
}

std::string Consumers::queue(std::size_t consumer) const {
  return prefix_ + "-" + std::to_string(consumer);
}

std::vector<Message> Consumers::make_messages() {
  std::vector<Message> messages;
  for (std::size_t consumer = 0; consumer < count_; ++consumer) {
    const std::string number = std::to_string(times_delivered_.size());
    messages.push_back({.queue = queue(consumer), .body = number});
    times_delivered_.push_back(0);
    ++undelivered_;
  }
  return messages;
}

std::vector<Message> Consumers::make_stops() const {
  std::vector<Message> messages;
  for (std::size_t consumer = 0; consumer < count_; ++consumer) {
    messages.push_back({.queue = queue(consumer), .body = kStop});
  }
  return messages;
}

void Consumers::run(std::size_t consumer) {
  while (!this_fiber::cancelled()) {
    const auto connection =
        AmqpConnection::connect(runtime_, broker_, this_fiber::after(kPatience));
    if (!connection) {
      // A handshake starts with an empty error queue, so this is the broker's own trouble.
      given_up_ = connection.error();
      changed_.wake_all();
      return;
    }
    const Result<Life> life = live(*connection, consumer);
    if (life && *life == Life::kStopped) break;
    if (!life && life.error().code != Errc::kCancelled) note_failure(life.error(), *connection);
  }
  ++stopped_;
  changed_.wake_all();
}

Result<Consumers::Life> Consumers::live(AmqpConnection& connection, std::size_t consumer) {
  const Deadline deadline = this_fiber::after(kPatience);
  if (const auto done = connection.log_in(deadline); !done) return done.error();
  const std::string name = queue(consumer);
  if (const auto done = connection.declare_queue(name, deadline); !done) return done.error();
  if (const auto done = connection.consume(name, deadline); !done) return done.error();
  ++idle_;
  changed_.wake_all();
  const Result<Life> life = consume(connection);
  --idle_;
  return life;
}

// Takes all that has come, then acknowledges it in one go. A consumer that is declared dead is so
// when it looks whether there is more, and has not written anything then. That is as well: RabbitMQ
// (3.10 on Erlang 25) can miss an end that comes right behind data, and keeps the dead consumer.
Result<Consumers::Life> Consumers::consume(AmqpConnection& connection) {
  for (;;) {
    std::vector<Delivery> batch;
    Result<Delivery> next = connection.receive(Deadline::never());
    for (; next; next = connection.receive(Deadline::at(this_fiber::now()))) {
      batch.push_back(*std::move(next));
    }
    if (batch.empty() || next.error().code != Errc::kTimedOut) return next.error();
    const Deadline deadline = this_fiber::after(kPatience);
    const auto acknowledged = connection.acknowledge(batch.back(), deadline);
    if (!acknowledged) return acknowledged.error();
    for (const Delivery& delivery : batch) {
      if (delivery.body != kStop) note_delivered(delivery.body);
    }
    if (batch.back().body != kStop) continue;
    const auto closed = connection.close(deadline);
    if (!closed) note_failure(closed.error(), connection);
    return Life::kStopped;
  }
}

void Consumers::note_delivered(const std::string& body) {
  if (++times_delivered_.at(std::stoul(body)) > 1) {
    ++tally_.duplicates;
    return;
  }
  ++tally_.delivered;
  --undelivered_;
  changed_.wake_all();
}

void Consumers::note_failure(const Error& error, const AmqpConnection& connection) {
  ++(connection.socket_is_healthy() ? tally_.spurious : tally_.broken);
  ++tally_.reasons[error.message()];
}

template <typename Condition>
Result<void> Consumers::await(const char* what, Deadline deadline, Condition condition) {
  while (!condition()) {
    if (given_up_) return *given_up_;
    const Wake wake = changed_.wait(deadline);
    if (wake == Wake::kTimedOut) return Error{.code = Errc::kTimedOut, .operation = what};
    if (wake == Wake::kCancelled) return Error{.code = Errc::kCancelled, .operation = what};
  }
  return {};
}

Result<void> Consumers::await_idle(Deadline deadline) {
  return await("wait for idle consumers", deadline, [&] { return idle_ == count_; });
}

Result<void> Consumers::await_delivered(Deadline deadline) {
  return await("wait for deliveries", deadline, [&] { return undelivered_ == 0; });
}

Result<void> Consumers::await_stopped(Deadline deadline) {
  return await("wait for consumers to stop", deadline, [&] { return stopped_ == count_; });
}

Tally Consumers::take_tally() {
  return std::exchange(tally_, {});
}

}  // namespace heddle::test
