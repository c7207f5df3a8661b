// The server in README.md: readme_test.py compares the two and runs this one.
#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): as in the README.

void echo(const Context& tls, Socket socket) {
  auto stream = Stream::create(tls, std::move(socket)).value();
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const Deadline idle = this_fiber::after(std::chrono::seconds(60));
    const auto count = stream.read(buffer, idle);  // Parks this fiber, not the thread.
    if (!count || *count == 0 || !stream.write(std::span(buffer).first(*count), idle)) break;
  }
  (void)stream.close(this_fiber::after(std::chrono::seconds(5)));
}

int main(int argc, char** argv) {
  auto runtime = Runtime::create().value();
  auto tls = Context::create(Role::kServer).value();
  tls.load_cert_chain("cert.pem", "key.pem").value();
  auto listener = Listener::create(runtime, Address::parse(argv[argc - 1]).value()).value();
  (void)runtime.spawn(
      "accept", [&] { serve(listener, [&](Socket socket) { echo(tls, std::move(socket)); }); });
  runtime.run();
}
