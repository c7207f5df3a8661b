// The world outside of the process under test: clients of its web servers that vanish, and a
// publisher. It runs on threads and in runtimes of its own, so nothing that happens to OpenSSL
// there reaches the thread whose error queue matters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "heddle/address.h"
#include "heddle/result.h"
#include "heddle/runtime.h"
#include "heddle/tls/context.h"

#include "integration/rabbitmq/amqp_connection.h"

namespace heddle::test {

// What the clients of a web server do.
enum class Leave : std::uint8_t {
  kDuringAnswer,   // Ask for much, read its beginning, and vanish: the kernel sends a reset.
  kWithoutGoodbye  // Read a small answer to its end, then close the socket without close_notify.
};

struct WebClients {
  Address server;
  const Context& context;
  Leave leave;
  std::size_t count;
};

struct Message {
  std::string queue;
  std::string body;
};

// Runs `work` in a fiber elsewhere: on a thread and in a runtime of its own. Parks the calling
// fiber, which belongs to `here`, until that is over.
Result<void> elsewhere(Runtime& here, const std::function<Result<void>(Runtime&)>& work);

// First all clients get their (part of an) answer, then all leave. Fails if one gets none.
Result<void> ask_and_leave(Runtime& runtime, const WebClients& clients);

// Returns when the broker has confirmed all of `messages`.
Result<void> publish(Runtime& runtime, const Broker& broker, const std::vector<Message>& messages);

}  // namespace heddle::test
