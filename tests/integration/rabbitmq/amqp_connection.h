// An AMQP 0-9-1 connection on a heddle::Stream. The frames are rabbitmq-c's: it decodes what was
// read and encodes what will be written, and never sees the socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#else
#include <amqp.h>  // Before 0.12.
#endif

#include "heddle/address.h"
#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/runtime.h"
#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"

namespace heddle::test {

// Where RabbitMQ listens, and whom to trust there.
struct Broker {
  Address address;
  const Context& context;
};

// One message as a consumer gets it.
struct Delivery {
  std::uint64_t tag = 0;
  std::string body;
};

// AmqpConnection speaks for one consumer or one publisher, on channel 1, without heartbeats.
//
// Fibers:   one at a time. Everything that takes a Deadline parks.
// Errors:   those of its Stream; kProtocol if the broker says something else than AMQP or than what
//   was asked for, such as connection.close: the broker's log has the reason.
class AmqpConnection {
 public:
  // Connects and shakes hands by TLS; nothing of AMQP yet.
  static Result<std::unique_ptr<AmqpConnection>> connect(Runtime& runtime, const Broker& broker,
                                                         Deadline deadline);

  AmqpConnection(const AmqpConnection&) = delete;
  AmqpConnection& operator=(const AmqpConnection&) = delete;
  ~AmqpConnection() = default;

  // Logs in as guest, and opens the channel.
  Result<void> log_in(Deadline deadline);

  Result<void> declare_queue(std::string_view name, Deadline deadline);
  // Returns how many messages were left in it.
  Result<std::uint32_t> delete_queue(std::string_view name, Deadline deadline);

  Result<void> consume(std::string_view queue, Deadline deadline);
  // Receives the next message. `deadline` is for its beginning.
  Result<Delivery> receive(Deadline deadline);
  // Acknowledges this one and all before it.
  Result<void> acknowledge(const Delivery& delivery, Deadline deadline);

  // From now on the broker confirms what is published.
  Result<void> expect_confirms(Deadline deadline);
  Result<void> publish(std::string_view queue, std::string_view body, Deadline deadline);
  // Waits until all that was published is confirmed.
  Result<void> await_confirms(Deadline deadline);

  // Ends the session in order, so that what was acknowledged has arrived.
  Result<void> close(Deadline deadline);

  // What the kernel says: no error, and the broker has not ended the connection.
  bool socket_is_healthy() const;

 private:
  struct DestroyState {
    void operator()(amqp_connection_state_t state) const { amqp_destroy_connection(state); }
  };
  using State = std::unique_ptr<amqp_connection_state_t_, DestroyState>;

  AmqpConnection(Stream stream, int descriptor, State state)
      : stream_(std::move(stream)), descriptor_(descriptor), state_(std::move(state)) {}

  void put_frame(std::uint8_t type, amqp_channel_t channel, std::string_view payload);
  Result<void> put_method(amqp_method_number_t id, void* method);
  Result<void> put_content(std::string_view body);
  Result<void> send(Deadline deadline);

  Result<amqp_frame_t> next_frame(Deadline deadline);
  Result<void*> await_method(amqp_method_number_t id, Deadline deadline);
  Result<void*> call(amqp_method_number_t id, void* method, amqp_method_number_t answer,
                     Deadline deadline);

  std::optional<Stream> stream_;
  const int descriptor_;  // The stream's socket.
  State state_;
  std::vector<std::byte> input_;
  std::size_t input_used_ = 0;  // Bytes at its front that rabbitmq-c has got.
  std::string output_;
  std::uint64_t published_ = 0;
  std::set<std::uint64_t> unconfirmed_;  // By number; the broker confirms in any order.
};

}  // namespace heddle::test
