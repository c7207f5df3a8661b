// memory_server CERTIFICATE KEY [ISOLATION] [THREADS]: a contestant of compare.py. The smallest
// server that a user of Heddle would write: /N is answered with N bytes from memory.
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "heddle/heddle.h"

#include "small_http.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): as its users do.
using namespace std::chrono_literals;

namespace {

// One thread's listener and answers.
class Worker {
 public:
  Worker(const Context& tls, Listener listener) : tls_(tls), listener_(std::move(listener)) {}

  void run() {
    serve(listener_, [this](Socket socket) { return serve_client(std::move(socket)); });
  }

  Address address() const { return listener_.address(); }

 private:
  Result<void> serve_client(Socket socket) {
    auto client = Stream::create(tls_, std::move(socket));
    if (!client) return client.error();
    if (auto done = client->handshake(this_fiber::after(10s)); !done) return done;
    const Result<void> done = answer_all(*client);
    (void)this_fiber::shielded([&] { return client->close(this_fiber::after(5s)); });
    return done;
  }

  Result<void> answer_all(Stream& client) {
    std::array<std::byte, 16384> buffer;  // NOLINT: what is not read into need not be touched.
    std::size_t filled = 0;
    while (true) {
      const auto count = client.read(std::span(buffer).subspan(filled), this_fiber::after(3600s));
      if (!count) return count.error();
      if (*count == 0) return {};
      filled += *count;
      const std::string_view text(reinterpret_cast<const char*>(buffer.data()), filled);
      const auto request = bench::parse_small(text);
      if (!request) continue;
      if (auto skipped = skip(client, request->missing(filled)); !skipped) {
        return skipped;
      }
      filled = 0;
      const std::string& answer = answers_.of(request->wants);
      if (auto sent = client.write(answer, this_fiber::after(60s)); !sent) return sent;
      if (request->close) return {};
    }
  }

  static Result<void> skip(Stream& client, std::uint64_t left) {
    std::array<std::byte, 16384> buffer;  // NOLINT: as above.
    while (left > 0) {
      const auto part = std::min<std::uint64_t>(left, buffer.size());
      const auto count = client.read(std::span(buffer).first(part), this_fiber::after(60s));
      if (!count) return count.error();
      if (*count == 0) return Error{.code = Errc::kTruncated, .operation = "skip"};
      left -= *count;
    }
    return {};
  }

  const Context& tls_;
  Listener listener_;
  bench::SmallAnswers answers_;
};

Isolation isolation_named(std::string_view name) {
  for (const Isolation each : kIsolations) {
    if (name_of(each) == name) return each;
  }
  throw std::invalid_argument("no such isolation");
}

void run(int argc, char** argv) {
  auto tls = Context::create(Role::kServer).value();
  tls.load_cert_chain(argv[1], argv[2]).value();
  const ThreadsOptions options{
      .threads = argc > 4 ? static_cast<std::size_t>(std::strtoul(argv[4], nullptr, 10)) : 1,
      .runtime = {.isolation = argc > 3 ? isolation_named(argv[3]) : Isolation::kIsolated}};
  Address address = Address::from_ip("127.0.0.1", 0).value();
  const auto make = [&](Runtime& runtime, std::size_t) -> Result<std::unique_ptr<Worker>> {
    auto listener = Listener::create(runtime, address, {.reuse_port = options.threads > 1});
    if (!listener) return listener.error();
    address = listener->address();
    return std::make_unique<Worker>(tls, *std::move(listener));
  };
  const auto until_told = [&](Crew<Worker>&) -> Result<void> {
    auto signals = Signals::create(this_fiber::runtime(), {SIGTERM, SIGINT});
    if (!signals) return signals.error();
    std::printf("listening on %s\n", address.to_string().c_str());
    (void)std::fflush(stdout);
    (void)signals->wait(Deadline::never());
    return {};
  };
  run_on_threads<Worker>(options, make, until_told).value();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3 || argc > 5) {
    (void)std::fprintf(stderr, "usage: memory_server CERTIFICATE KEY [ISOLATION] [THREADS]\n");
    return 2;
  }
  run(argc, argv);
  return 0;
} catch (const std::exception& error) {
  (void)std::fprintf(stderr, "memory_server: %s\n", error.what());
  return 1;
}
