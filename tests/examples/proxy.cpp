// A TLS proxy on two threads: clients go to the backend of the name that they ask for (SNI).
//
//   proxy LISTEN CERTIFICATE KEY CLIENT-CA|- NAME=BACKEND...
// With a CLIENT-CA, clients must have a certificate of it. SIGHUP: the files are read again, for
// new connections. SIGTERM: nobody new is let in, and those who are there have 30 seconds to
// finish.
#include <csignal>
#include <cstdio>
#include <map>

#include <strings.h>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.
using namespace std::chrono_literals;

struct IgnoreCase {
  bool operator()(const std::string& a, const std::string& b) const {
    return strcasecmp(a.c_str(), b.c_str()) < 0;
  }
};
using Routes = std::map<std::string, Address, IgnoreCase>;
using SharedContext = std::shared_ptr<const Context>;

static void tell(const std::string& who, const std::string& what) {
  std::fprintf(stderr, "%s: %s\n", who.c_str(), what.c_str());
}

static SharedContext load(char** files, const Routes& routes) {
  auto tls = Context::create(Role::kServer).value();
  tls.load_cert_chain(files[0], files[1]).value();
  if (files[2] != std::string_view("-")) {
    tls.load_verify_locations(files[2]).value();
    tls.set_verify_mode(VerifyMode::kRequired);
  }
  tls.on_client_hello([&routes](const ClientHello& hello) -> Result<HelloAnswer> {
    if (routes.contains(std::string(hello.server_name()))) return HelloAnswer::go_on();
    return HelloAnswer::refuse(Alert::kUnrecognizedName);
  });
  return std::make_shared<const Context>(std::move(tls));
}

// One thread's share of the proxy.
struct Worker {
  const Routes& to;
  SharedContext tls;
  Listener listener;

  void run() {
    const auto on_error = [](const Error& error) { tell("serve", error.message()); };
    serve(listener, [this](Socket socket) { return serve_client(std::move(socket)); },
          {.connections_max = 10'000, .grace = 30s, .on_error = on_error});
  }

  Result<void> serve_client(Socket socket) const {
    const auto peer = socket.peer_address();
    auto client = Stream::create(*tls, std::move(socket));
    if (!client) return client.error();
    auto done = client->handshake(this_fiber::after(10s));
    const bool greeted = done.has_value();
    if (greeted) {
      const Address& address = to.at(client->connection_state().server_name);
      auto backend = connect(this_fiber::runtime(), address, this_fiber::after(5s));
      done = backend ? relay(*client, *backend, 60s) : Result<void>(backend.error());
    }
    if (!done) tell(peer ? peer->to_string() : "client", client->explain(done.error()));
    // If the relay was cut off, the client must see that: no goodbye.
    if (done || !greeted) (void)client->close(this_fiber::after(5s));
    return {};
  }
};

int main(int argc, char** argv) try {
  if (argc < 6) throw std::runtime_error("LISTEN CERTIFICATE KEY CLIENT-CA|- NAME=BACKEND...");
  Routes routes;
  for (const std::string_view route : std::span(argv, argv + argc).subspan(5)) {
    const auto equals = std::min(route.find('='), route.size() - 1);
    routes.emplace(route.substr(0, equals), Address::parse(route.substr(equals + 1)).value());
  }
  SharedContext tls = load(argv + 2, routes);
  Address address = Address::parse(argv[1]).value();
  const auto make = [&](Runtime& runtime, std::size_t) {
    auto listener = Listener::create(runtime, address, {.reuse_port = true}).value();
    address = listener.address();  // For the second thread: the port may have been 0.
    return std::unique_ptr<Worker>(new Worker{routes, tls, std::move(listener)});
  };
  const auto obey_signals = [&](Crew<Worker>& workers) {
    auto signals = Signals::create(this_fiber::runtime(), {SIGHUP, SIGINT, SIGTERM}).value();
    std::printf("listening on %s\n", address.to_string().c_str());
    std::fflush(stdout);
    for (auto signal = signals.wait(Deadline::never()); signal && *signal == SIGHUP;
         signal = signals.wait(Deadline::never())) {
      try {
        workers.post([now = load(argv + 2, routes)](Worker& worker) { worker.tls = now; });
        tell("reload", "done");
      } catch (const std::exception& error) {
        tell("reload", error.what());  // What was loaded before stays.
      }
    }
  };  // All are stopped then; another SIGTERM ends the process at once.
  run_on_threads<Worker>({.threads = 2}, make, obey_signals).value();
} catch (const std::exception& error) {
  return tell("proxy", error.what()), 1;
}
