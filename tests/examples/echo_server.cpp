// An echo server for production: echo_server ADDRESS CERTIFICATE KEY. README.md shows it.
#include <csignal>
#include <cstdio>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.
using namespace std::chrono_literals;

// One client's conversation, in a fiber of its own. Each wait parks the fiber, not the thread.
static Result<void> echo(Stream& client) {
  if (auto done = client.handshake(this_fiber::after(10s)); !done) return done;
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const auto count = client.read(buffer, this_fiber::after(60s));
    if (!count) return count.error();
    if (*count == 0) return {};  // The client has said goodbye.
    const auto piece = std::span(buffer).first(*count);
    if (auto done = client.write(piece, this_fiber::after(60s)); !done) return done;
  }
}

static Result<void> serve_client(const Context& tls, Socket socket) {
  const auto peer = socket.peer_address();
  auto client = Stream::create(tls, std::move(socket));
  if (!client) return client.error();
  const auto done = echo(*client);
  if (!done) {
    std::fprintf(stderr, "%s: %s\n", peer ? peer->to_string().c_str() : "client",
                 client->explain(done.error()).c_str());
  }
  // Loses nothing that was written, and tells the client that this is the end; also if the grace
  // below is over, and the fiber was cancelled.
  (void)this_fiber::shielded([&] { return client->close(this_fiber::after(5s)); });
  return {};
}

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "usage: echo_server ADDRESS CERTIFICATE KEY\n"), 2;
  auto runtime = Runtime::create().value();
  auto signals = Signals::create(runtime, {SIGTERM, SIGINT}).value();
  auto tls = Context::create(Role::kServer).value();
  tls.load_cert_chain(argv[2], argv[3]).value();
  auto listener = Listener::create(runtime, Address::parse(argv[1]).value()).value();
  const ServeOptions options{.connections_max = 10'000,
                             .grace = 30s,  // For clients to finish, once it is told to stop.
                             .on_error = [](const Error& error) {
                               std::fprintf(stderr, "cannot serve: %s\n", error.message().c_str());
                             }};
  const auto handler = [&](Socket socket) { return serve_client(tls, std::move(socket)); };
  // A second signal ends the process at once.
  auto run = [&] { serve_until(std::move(signals), listener, handler, options).value(); };
  runtime.spawn("serve", run).value();
  std::printf("listening on %s\n", listener.address().to_string().c_str());
  std::fflush(stdout);
  runtime.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_server: %s\n", error.what());
  return 1;
}
