// A TLS server whose sessions lie in Redis, and that says so: start several, kill Redis, look.
//
//   sessions_server CERT KEY REDIS LISTEN METRICS PATIENCE_MS RETRY_MS
//
// Addresses are as Address::parse() takes them. Each request over TLS gets one line: how the
// connection came about. METRICS answers plain HTTP with counters in Prometheus' text format.
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "heddle/heddle.h"

#include "redis.h"
#include "session_cache.h"

namespace heddle::example {
namespace {

struct Handshakes {
  std::uint64_t full = 0;
  std::uint64_t resumed = 0;
  std::uint64_t failed = 0;

  std::string metrics() const {
    const auto line = [](const char* kind, std::uint64_t count) {
      return std::string("tls_handshakes_total{kind=\"") + kind + "\"} " + std::to_string(count) +
             "\n";
    };
    return "# HELP tls_handshakes_total Handshakes that have ended.\n"
           "# TYPE tls_handshakes_total counter\n" +
           line("full", full) + line("resumed", resumed) + line("failed", failed);
  }
};

// Reads until the empty line that ends a request. False if there is none.
template <typename Connection>
bool read_request(Connection& connection, Deadline deadline) {
  std::string seen;
  while (seen.find("\r\n\r\n") == std::string::npos) {
    std::array<char, 1024> buffer;
    const auto count = connection.read(std::as_writable_bytes(std::span(buffer)), deadline);
    if (!count || *count == 0 || seen.size() > 16'384) return false;
    seen.append(buffer.data(), *count);
  }
  return true;
}

std::string answer(std::string_view text) {
  return "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: " +
         std::to_string(text.size()) + "\r\n\r\n" + std::string(text);
}

void talk(const Context& tls, Socket socket, Handshakes& handshakes) {
  const Deadline deadline = this_fiber::after(std::chrono::seconds(60));
  auto stream = Stream::create(tls, std::move(socket)).value();
  if (!stream.handshake(deadline)) {
    ++handshakes.failed;
    return;
  }
  const bool resumed = stream.connection_state().resumed;
  ++(resumed ? handshakes.resumed : handshakes.full);
  if (read_request(stream, deadline)) {
    const std::string text = answer(resumed ? "resumed\n" : "full\n");
    (void)stream.write(std::as_bytes(std::span(text)), deadline);
  }
  (void)stream.close(deadline);
}

void tell(Socket& socket, const std::string& metrics) {
  const Deadline deadline = this_fiber::after(std::chrono::seconds(60));
  if (read_request(socket, deadline)) {
    const std::string text = answer(metrics);
    (void)socket.write(std::as_bytes(std::span(text)), deadline);
  }
  (void)socket.close(deadline);
}

Duration milliseconds(std::string_view text) {
  int count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  return std::chrono::milliseconds(count);
}

void run(std::span<char*> arguments) {
  auto runtime = Runtime::create().value();
  Redis redis(runtime, Address::parse(arguments[2]).value(),
              {.patience = milliseconds(arguments[5]), .retry_after = milliseconds(arguments[6])});
  SessionCache cache(redis);
  auto tls = Context::create(Role::kServer).value();
  tls.load_cert_chain(arguments[0], arguments[1]).value();
  tls.set_session_store(cache.store()).value();
  tls.set_num_tickets(1);

  Handshakes handshakes;
  auto listener = Listener::create(runtime, Address::parse(arguments[3]).value()).value();
  auto metrics = Listener::create(runtime, Address::parse(arguments[4]).value()).value();
  (void)runtime.spawn("accept", [&] {
    serve(listener, [&](Socket socket) { talk(tls, std::move(socket), handshakes); });
  });
  (void)runtime.spawn("metrics", [&] {
    serve(metrics, [&](Socket socket) { tell(socket, handshakes.metrics() + cache.metrics()); });
  });
  std::puts("listening");
  (void)std::fflush(stdout);
  runtime.run();
}

}  // namespace
}  // namespace heddle::example

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fputs("usage: sessions_server CERT KEY REDIS LISTEN METRICS PATIENCE_MS RETRY_MS\n",
               stderr);
    return 2;
  }
  heddle::example::run(std::span(argv + 1, 7));
}
