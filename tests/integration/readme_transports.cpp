// What README.md shows of transports, compiled.
#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): as in the README.

// --- As in the README. ---
// Through an HTTPS proxy: TLS to the origin in TLS to the proxy.
Result<Stream> open_tunnel(Runtime& runtime, const Context& tls, Deadline soon) {
  auto socket = connect(runtime, "proxy.example", 443, soon).value();
  auto proxy = Stream::create(tls, std::move(socket), {.server_name = "proxy.example"}).value();
  http_connect(proxy, {.host = "origin.example", .port = 443}, soon).value();
  return Stream::create(tls, StreamTransport(std::move(proxy)), {.server_name = "origin.example"});
}

// Over code that waits: the functions may park, on channels, sockets, other TLS connections.
Result<Stream> talk_over(Stream& other, const Context& tls) {
  CallbackTransport::Functions functions{
      .read = [&](auto into, Deadline deadline) { return other.read(into, deadline); },
      .write = [&](auto from, Deadline deadline) -> Result<std::size_t> {
        other.write(from, deadline).value();  // What it throws comes out of the stream's call.
        return from.size();
      }};
  return Stream::create(tls, CallbackTransport(functions), {.server_name = "origin.example"});
}
