// cost_paths PATH COUNT: goes COUNT times along one of the paths that matter, for callgrind to
// count the instructions: see cost.py. Everything is in one process and on one thread, over socket
// pairs, and both ends of a connection count. Counting begins after a few rounds.
//
// cost_paths --versions: what the counts depend on, one line each.
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <openssl/crypto.h>

#include "heddle/heddle.h"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT  // Nobody counts then.
#endif

using namespace heddle;  // NOLINT(google-build-using-namespace): as its users do.

namespace {

constexpr std::size_t kWarmUp = 4;
constexpr std::string_view kRequest = "GET /13 HTTP/1.1\r\nHost: localhost\r\n\r\n";
constexpr const char* kHost = "localhost";

// Calls `round` as often as is to be counted, and before that to warm up.
void count_rounds(std::size_t count, const std::function<void()>& round) {
  for (std::size_t index = 0; index < kWarmUp; ++index) round();
  CALLGRIND_TOGGLE_COLLECT;
  for (std::size_t index = 0; index < count; ++index) round();
  CALLGRIND_TOGGLE_COLLECT;
}

// --- Fibers --------------------------------------------------------------------------------------

// There and back: two switches.
void switch_fibers(std::size_t count) {
  bool done = false;
  scope([&](Scope& fibers) {
    fibers
        .spawn("partner",
               [&] {
                 while (!done) this_fiber::yield().value();
               })
        .value();
    count_rounds(count, [] { this_fiber::yield().value(); });
    done = true;
  });
}

// A fiber that waits is woken, and answers: two parks and two wakes.
void park_and_wake(std::size_t count) {
  Semaphore question(0);
  Semaphore answer(0);
  bool done = false;
  scope([&](Scope& fibers) {
    fibers
        .spawn("partner",
               [&] {
                 while (question.acquire() && !done) answer.release();
               })
        .value();
    count_rounds(count, [&] {
      question.release();
      answer.acquire().value();
    });
    done = true;
    question.release();
  });
}

// --- Connections ---------------------------------------------------------------------------------

struct Contexts {
  Context server;
  Context client;
};

Contexts make_contexts() {
  const Identity identity = make_self_signed({kHost}).value();
  Contexts made{.server = Context::create(Role::kServer).value(),
                .client = Context::create(Role::kClient, Trust::kNothing).value()};
  made.server.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
  const auto pem = std::as_bytes(std::span(identity.certificate_pem));
  made.client.add_trusted_certificates(pem).value();
  return made;
}

std::array<int, 2> make_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw std::runtime_error("socketpair");
  }
  return ends;
}

void answer_all(Stream& stream, std::string_view answer) {
  std::array<std::byte, 4096> buffer{};
  while (true) {
    const std::size_t count = stream.read(buffer, Deadline::never()).value();
    if (count == 0) return;
    stream.write(answer, Deadline::never()).value();
  }
}

void ask(Stream& stream, std::size_t answer) {
  static std::array<std::byte, 16384> buffer;
  stream.write(kRequest, Deadline::never()).value();
  while (answer > 0) answer -= stream.read(buffer, Deadline::never()).value();
}

Stream open(const Context& context, int end, const std::string& name,
            const std::optional<Session>& session) {
  Socket socket = Socket::adopt(this_fiber::runtime(), end).value();
  Stream stream =
      Stream::create(context, std::move(socket), {.server_name = name, .session = session}).value();
  stream.handshake(Deadline::never()).value();
  return stream;
}

void serve_one(const Context& context, int end, std::string_view answer) {
  Stream stream = open(context, end, "", std::nullopt);
  answer_all(stream, answer);
  (void)stream.close(Deadline::never());
}

// Requests on one connection.
void exchange(std::size_t count, std::size_t bytes) {
  const Contexts contexts = make_contexts();
  const std::string answer(bytes, 'x');
  const std::array<int, 2> ends = make_pair();
  scope([&](Scope& fibers) {
    fibers.spawn("server", [&] { serve_one(contexts.server, ends[0], answer); }).value();
    Stream stream = open(contexts.client, ends[1], kHost, std::nullopt);
    count_rounds(count, [&] { ask(stream, bytes); });
    (void)stream.close(Deadline::never());
  });
}

// A connection, a handshake, a request, the end.
void connect_once(const Contexts& contexts, std::optional<Session>& session, bool resume) {
  const std::array<int, 2> ends = make_pair();
  scope([&](Scope& fibers) {
    fibers.spawn("server", [&] { serve_one(contexts.server, ends[0], "Hello, world\n"); }).value();
    Stream stream = open(contexts.client, ends[1], kHost, resume ? session : std::nullopt);
    if (stream.connection_state().resumed != (resume && session.has_value())) {
      throw std::runtime_error("not the handshake that is to be counted");
    }
    ask(stream, 13);
    session = stream.session();
    (void)stream.close(Deadline::never());
  });
}

void handshakes(std::size_t count, bool resume) {
  const Contexts contexts = make_contexts();
  std::optional<Session> session;
  count_rounds(count, [&] { connect_once(contexts, session, resume); });
}

// -------------------------------------------------------------------------------------------------

const std::map<std::string_view, void (*)(std::size_t)>& paths() {
  static const std::map<std::string_view, void (*)(std::size_t)> all = {
      {"switch", switch_fibers},
      {"park-and-wake", park_and_wake},
      {"small-request", [](std::size_t count) { exchange(count, 13); }},
      {"answer-of-16-KiB", [](std::size_t count) { exchange(count, 16384); }},
      {"full-handshake", [](std::size_t count) { handshakes(count, false); }},
      {"resumed-handshake", [](std::size_t count) { handshakes(count, true); }},
  };
  return all;
}

int run(std::string_view name, std::size_t count) {
  const auto path = paths().find(name);
  if (path == paths().end()) {
    (void)std::fprintf(stderr, "cost_paths: one of");
    for (const auto& [known, function] : paths()) (void)std::fprintf(stderr, " %s", known.data());
    (void)std::fprintf(stderr, "\n");
    return 2;
  }
  auto runtime = Runtime::create().value();
  runtime.spawn("cost", [&] { path->second(count); }).value();
  runtime.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 2 && std::string_view(argv[1]) == "--versions") {
    std::printf("compiler %s\nopenssl %s\n", __VERSION__, OpenSSL_version(OPENSSL_VERSION));
    return 0;
  }
  if (argc != 3) return std::fprintf(stderr, "usage: cost_paths PATH COUNT\n"), 2;
  return run(argv[1], std::strtoul(argv[2], nullptr, 10));
} catch (const std::exception& error) {
  (void)std::fprintf(stderr, "cost_paths: %s\n", error.what());
  return 1;
}
