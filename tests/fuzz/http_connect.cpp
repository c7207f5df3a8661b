// Proxies that answer CONNECT with anything, in records of any size.
#include "heddle/tls/http_connect.h"

#include <string>

#include "fuzz/fuzz.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace {

using namespace heddle;  // NOLINT(google-build-using-namespace): a target is all of a program.
using fuzz::require;

constexpr Deadline kNever = Deadline::never();

struct Answered {
  Result<void> result;
  std::string rest;  // What comes behind the head.
};

Answered ask(std::string_view answer) {
  static const Context server_context = test::server_context();
  static const Context client_context = test::client_context();
  std::mt19937 random = fuzz::choices_for(answer);
  sim::World world(random());
  sim::Pipe pipe(world, {.short_io = 4});
  Answered answered;
  world.run([&] {
    auto client = test::client(client_context, pipe.a());
    auto proxy = test::server(server_context, pipe.b());
    test::together({[&] {
                      client.handshake(kNever).value();
                      answered.result = http_connect(client, {.host = "o.test", .port = 1}, kNever);
                      if (answered.result) {
                        answered.rest = test::read_text(client, answer.size() + 1, kNever);
                      }
                      (void)client.close(kNever);
                    },
                    [&] {
                      (void)test::read_some(proxy, kNever);
                      for (std::string_view left = answer; !left.empty();) {
                        const std::size_t count = 1 + random() % left.size();
                        if (!proxy.write(test::bytes(left.substr(0, count)), kNever)) break;
                        left.remove_prefix(count);
                      }
                      (void)proxy.close(kNever);
                    }});
  });
  return answered;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view answer = fuzz::text_of(data, size);
  const Answered answered = ask(answer);
  if (!answered.result) return 0;
  require(answer.find(" 2") != std::string_view::npos, "only a 2xx makes a tunnel");
  require(answer.ends_with(answered.rest), "what follows the head is the origin's");
  const std::string_view head = answer.substr(0, answer.size() - answered.rest.size());
  require(head.ends_with("\n"), "a head ends with a line");
  return 0;
}
