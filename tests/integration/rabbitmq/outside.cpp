// Clients that vanish, and a publisher.
#include "integration/rabbitmq/outside.h"

#include <array>
#include <chrono>
#include <string_view>
#include <thread>
#include <utility>

#include "heddle/fiber.h"
#include "heddle/socket.h"
#include "heddle/tls/stream.h"
#include "heddle/wait_queue.h"

#include "integration/rabbitmq/web_servers.h"

namespace heddle::test {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);  // Only a failing test waits so long.

Result<void> run_in_own_runtime(const std::function<Result<void>(Runtime&)>& work) {
  auto runtime = Runtime::create();
  if (!runtime) return runtime.error();
  auto task = runtime->spawn("outside", [&] { return work(*runtime); });
  if (!task) return task.error();
  Result<void> result;
  const auto joining = runtime->spawn("join", [&] { result = task->join(); });
  if (!joining) return joining.error();
  runtime->run();
  return result;
}

// Connects, asks, and reads until some of the answer has come that ends with `end`.
Result<Stream> ask(Runtime& runtime, const WebClients& clients, std::string_view path,
                   std::string_view end) {
  const Deadline deadline = this_fiber::after(kPatience);
  auto socket = connect(runtime, clients.server, deadline);
  if (!socket) return socket.error();
  auto stream = Stream::create(clients.context, *std::move(socket), {.server_name = kWebHost});
  if (!stream) return stream.error();
  const std::string request =
      "GET /" + std::string(path) + " HTTP/1.1\r\nHost: " + kWebHost + "\r\n\r\n";
  const auto asked = stream->write(std::as_bytes(std::span(request)), deadline);
  if (!asked) return asked.error();
  std::string answer;
  while (answer.empty() || !answer.ends_with(end)) {
    std::array<char, 4096> part{};
    const auto count = stream->read(std::as_writable_bytes(std::span(part)), deadline);
    if (!count) return count.error();
    if (*count == 0) return Error{.code = Errc::kDisconnected, .operation = "HTTP read"};
    answer.append(part.data(), *count);
  }
  return stream;
}

}  // namespace

Result<void> elsewhere(Runtime& here, const std::function<Result<void>(Runtime&)>& work) {
  bool over = false;
  WaitQueue waiting;
  Result<void> result;
  std::thread thread([&] {
    result = run_in_own_runtime(work);
    here.post([&] {
      over = true;
      waiting.wake_all();
    });
  });
  // Not even a cancelled caller may leave: the thread uses its variables.
  while (!over) waiting.wait(Deadline::never(), Cancellable::kNo);
  thread.join();
  return result;
}

Result<void> ask_and_leave(Runtime& runtime, const WebClients& clients) {
  const bool much = clients.leave == Leave::kDuringAnswer;
  const std::string_view path = much ? kDownload : kPage;
  // Once all of the page has come, no unread data makes a reset of the FIN.
  const std::string_view end = much ? "" : kPageText;
  std::vector<Stream> streams;
  for (std::size_t client = 0; client < clients.count; ++client) {
    auto stream = ask(runtime, clients, path, end);
    if (!stream) return stream.error();
    streams.push_back(*std::move(stream));
  }
  return {};  // The streams send nothing when they are destroyed.
}

Result<void> publish(Runtime& runtime, const Broker& broker, const std::vector<Message>& messages) {
  const Deadline deadline = this_fiber::after(kPatience);
  const auto connected = AmqpConnection::connect(runtime, broker, deadline);
  if (!connected) return connected.error();
  AmqpConnection& connection = *connected;
  if (const auto ready = connection.log_in(deadline); !ready) return ready;
  if (const auto ready = connection.expect_confirms(deadline); !ready) return ready;
  for (const Message& message : messages) {
    const auto published = connection.publish(message.queue, message.body, deadline);
    if (!published) return published;
  }
  if (const auto confirmed = connection.await_confirms(deadline); !confirmed) return confirmed;
  return connection.close(deadline);
}

}  // namespace heddle::test
