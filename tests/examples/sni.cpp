// A TLS server with a certificate for each name (SNI), read again on SIGHUP.
//
//   sni LISTEN NAME CERTIFICATE KEY [NAME CERTIFICATE KEY]...
// Says the name that the client has asked for, and goodbye. Clients that ask for no name get the
// first certificate, and those that ask for another one an alert.
#include <csignal>
#include <cstdio>
#include <map>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.
using namespace std::chrono_literals;

using Contexts = std::map<std::string, Context, std::less<>>;

// One context for all clients, which chooses among others. New connections take a new one; those
// that are there keep what they have.
static std::shared_ptr<const Context> load(std::span<char*> arguments) {
  auto by_name = std::make_shared<Contexts>();
  auto front = Context::create(Role::kServer).value();
  front.load_cert_chain(arguments[1], arguments[2]).value();
  for (auto left = arguments; left.size() >= 3; left = left.subspan(3)) {
    auto named = Context::create(Role::kServer).value();
    named.load_cert_chain(left[1], left[2]).value();
    by_name->emplace(left[0], std::move(named));
  }
  front.on_server_name([by_name](const ClientHello& hello) -> Result<HelloAnswer> {
    const auto found = by_name->find(hello.server_name());
    if (found == by_name->end()) return HelloAnswer::refuse(Alert::kUnrecognizedName);
    return HelloAnswer::use(found->second);
  });
  return std::make_shared<const Context>(std::move(front));
}

static Result<void> greet(const Context& tls, Socket socket) {
  auto client = Stream::create(tls, std::move(socket));
  if (!client) return client.error();
  auto done = client->handshake(this_fiber::after(10s));
  if (done) {
    const std::string name = client->connection_state().server_name;
    done = client->write(name.empty() ? "no name\n" : name + "\n", this_fiber::after(10s));
  }
  if (!done) std::fprintf(stderr, "client: %s\n", client->explain(done.error()).c_str());
  return client->close(this_fiber::after(5s));
}

int main(int argc, char** argv) try {
  if (argc < 5 || argc % 3 != 2) {
    return std::fprintf(stderr, "usage: sni LISTEN NAME CERTIFICATE KEY [NAME...]\n"), 2;
  }
  const auto arguments = std::span(argv, argv + argc).subspan(2);
  auto runtime = Runtime::create().value();
  auto signals = Signals::create(runtime, {SIGHUP, SIGINT, SIGTERM}).value();
  auto listener = Listener::create(runtime, Address::parse(argv[1]).value()).value();
  auto tls = load(arguments);
  const auto handler = [&](Socket socket) {
    const auto mine = tls;  // It may be replaced meanwhile.
    return greet(*mine, std::move(socket));
  };
  auto serving = runtime.spawn("serve", [&] { serve(listener, handler, {.grace = 10s}); }).value();
  const auto obey_signals = [&] {
    while (signals.wait(Deadline::never()).value() == SIGHUP) {
      try {
        tls = load(arguments);
        std::fprintf(stderr, "reload: done\n");
      } catch (const std::exception& error) {
        std::fprintf(stderr, "reload: %s\n", error.what());  // What was loaded before stays.
      }
    }
    serving.cancel();
  };
  runtime.spawn("signals", obey_signals).value();
  std::printf("listening on %s\n", listener.address().to_string().c_str());
  std::fflush(stdout);
  runtime.run();
} catch (const std::exception& error) {
  return std::fprintf(stderr, "sni: %s\n", error.what()), 1;
}
