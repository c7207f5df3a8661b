// Standard input and output of a TLS server that only an HTTPS proxy reaches: TLS in TLS.
//
//   tunnel PROXY-HOST PROXY-PORT HOST PORT SECONDS [CA-FILE]
// Sends what comes in, tells the server when that ends, and prints its answer. SECONDS is for the
// proxy and both handshakes; afterwards neither side may be silent for as long.
#include <cstdio>
#include <stdexcept>

#include <unistd.h>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.

static std::uint16_t port(const char* text) {
  return static_cast<std::uint16_t>(std::stoul(text));
}

static void greet(Stream& stream, const char* who, Deadline deadline) {
  if (const auto done = stream.handshake(deadline); !done)
    throw std::runtime_error(std::string(who).append(": ").append(stream.explain(done.error())));
}

static void print(Stream& server, Duration patience) {
  std::array<std::byte, 16384> piece;
  while (const std::size_t count = server.read(piece, this_fiber::after(patience)).value()) {
    std::fwrite(piece.data(), 1, count, stdout);
    std::fflush(stdout);
  }
}

static void send(Stream& server, Duration patience) {
  DescriptorSource input(STDIN_FILENO);
  std::array<std::byte, 16384> piece;
  while (const std::size_t count = input.read(piece, Deadline::never()).value())
    server.write(std::span(piece).first(count), this_fiber::after(patience)).value();
  server.shutdown_write(this_fiber::after(patience)).value();
}

static void talk(const Context& tls, char** argv) {
  const auto patience = std::chrono::seconds(std::stoul(argv[5]));
  const Deadline soon = this_fiber::after(patience);
  auto socket = connect(this_fiber::runtime(), argv[1], port(argv[2]), soon).value();
  auto proxy = Stream::create(tls, std::move(socket), {.server_name = argv[1]}).value();
  greet(proxy, "proxy", soon);
  http_connect(proxy, {.host = argv[3], .port = port(argv[4])}, soon).value();
  auto server =
      Stream::create(tls, StreamTransport(std::move(proxy)), {.server_name = argv[3]}).value();
  greet(server, "server", soon);
  scope([&](Scope& fibers) {
    auto sender = fibers.spawn("send", [&] { send(server, patience); }).value();
    print(server, patience);
    sender.cancel();  // Whoever has answered and gone reads no more.
    (void)sender.join();
  });
  (void)server.close(this_fiber::after(patience));
}

int main(int argc, char** argv) try {
  if (argc < 6) throw std::runtime_error("usage: tunnel PROXY PORT HOST PORT SECONDS [CA-FILE]");
  auto tls = Context::create(Role::kClient).value();
  if (argc > 6) tls.load_verify_locations(argv[6]).value();
  auto runtime = Runtime::create().value();
  auto task = runtime.spawn("talk", [&] { talk(tls, argv); }).value();
  runtime.run();
  task.join().value();
} catch (const std::exception& error) {
  return std::fprintf(stderr, "tunnel: %s\n", error.what()), 1;
}
