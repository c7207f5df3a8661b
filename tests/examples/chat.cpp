// A chat over TLS: chat ADDRESS CERTIFICATE KEY. Each line of a client goes to all others.
// Whoever does not read is dropped, and holds nobody up. SIGTERM says goodbye to all.
#include <csignal>
#include <cstdio>
#include <set>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.
using namespace std::chrono_literals;
using Line = std::shared_ptr<const std::string>;  // One copy for all.

struct Client {
  std::set<Client*>& all;  // With whom it talks.
  Stream stream;
  std::string name;
  Channel<Line> inbox{64};
  Scope* fibers = nullptr;
  bool slow = false;
  ~Client() { all.erase(this); }
};

static Result<void> read_lines(Client& client) {
  BufferedReader lines(client.stream);
  for (;;) {
    const auto read = lines.read_line(1024, this_fiber::after(1h));
    if (!read) return read.error();
    if (!*read) return {};
    const auto line = std::make_shared<const std::string>(client.name + ": " + **read + "\n");
    for (Client* each : client.all) {
      if (each == &client || each->inbox.try_push(line)) continue;
      each->slow = true;
      each->fibers->cancel();
    }
    // However much comes of one client, the others write before their inboxes are full.
    if (auto done = this_fiber::yield(); !done) return done;
  }
}

static void write_lines(Client& client) {
  for (auto line = client.inbox.pop(); line; line = client.inbox.pop())
    if (!client.stream.write(***line, this_fiber::after(30s))) break;
  client.fibers->cancel();  // Its reader as well.
}

static Result<void> talk(Client& client) {
  if (auto done = client.stream.handshake(this_fiber::after(10s)); !done) return done;
  return scope([&](Scope& both) {
    client.fibers = &both;
    both.spawn("writer", [&] { write_lines(client); }).value();
    auto reader = both.spawn("reader", [&] { return read_lines(client); }).value();
    client.all.insert(&client);
    const auto done = reader.join();
    client.all.erase(&client);
    both.cancel();
    return done;
  });
}

static void serve_client(std::set<Client*>& all, const Context& tls, Socket socket) {
  const auto peer = socket.peer_address();
  auto stream = Stream::create(tls, std::move(socket));
  if (!peer || !stream) return;  // It has gone already, or memory is short.
  Client client{all, *std::move(stream), peer->to_string()};
  if (const auto done = talk(client); !done) {
    const auto why = client.slow ? "dropped, does not read" : client.stream.explain(done.error());
    std::fprintf(stderr, "%s: %s\n", client.name.c_str(), why.c_str());
  }
  const auto goodbye = [&] { (void)client.stream.close(this_fiber::after(2s)); };
  if (!client.slow) this_fiber::shielded(goodbye);
}

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: chat ADDRESS CERTIFICATE KEY");
  auto runtime = Runtime::create().value();
  auto signals = Signals::create(runtime, {SIGTERM, SIGINT}).value();
  auto tls = Context::create(Role::kServer).value();
  tls.load_cert_chain(argv[2], argv[3]).value();
  auto listener = Listener::create(runtime, Address::parse(argv[1]).value()).value();
  std::set<Client*> all;
  const auto handle = [&](Socket socket) { serve_client(all, tls, std::move(socket)); };
  runtime.spawn("main", [&] { serve_until(std::move(signals), listener, handle).value(); }).value();
  std::printf("listening on %s\n", listener.address().to_string().c_str());
  std::fflush(stdout);
  runtime.run();
} catch (const std::exception& error) {
  return std::fprintf(stderr, "chat: %s\n", error.what()), 1;
}
