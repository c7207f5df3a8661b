// An HTTP/2 server: libnghttp2 knows the protocol, Heddle the connections.
// GET /N is answered with N bytes. Each connection is one fiber, whatever its requests wait for.
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <map>

#include <nghttp2/nghttp2.h>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.
using namespace std::chrono_literals;

// What the client asks for on one stream.
struct Request {
  std::string method, path = "/";
  std::size_t left = 0;  // Of the answer.
};
using Requests = std::map<std::int32_t, Request>;  // By stream, until that is closed.

// nghttp2 calls this, and those below. They do not park, and must not throw through its frames.
static ssize_t fill(nghttp2_session*, std::int32_t, std::uint8_t* into, std::size_t room,
                    std::uint32_t* flags, nghttp2_data_source* source, void*) noexcept {
  auto& request = *static_cast<Request*>(source->ptr);
  const std::size_t count = std::min(room, request.left);
  std::fill_n(into, count, 'x');
  request.left -= count;
  if (request.left == 0) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(count);
}

// Answers as soon as a request's fields are there: its body, if it has one, is not awaited.
static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* requests) noexcept {
  if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  const std::int32_t id = frame->hd.stream_id;
  Request& request = (*static_cast<Requests*>(requests))[id];
  const char* const end = request.path.data() + request.path.size();
  const auto [rest, error] = std::from_chars(request.path.data() + 1, end, request.left);
  const bool is_there = request.method == "GET" && error == std::errc() && rest == end;
  std::uint8_t name[] = ":status", found[] = "200", missing[] = "404";
  const nghttp2_nv field{name, is_there ? found : missing, 7, 3, 0};
  const nghttp2_data_provider body{.source = {.ptr = &request}, .read_callback = fill};
  return nghttp2_submit_response(session, id, &field, 1, is_there ? &body : nullptr);
}

static std::shared_ptr<nghttp2_session> make_session(Requests& requests) {
  nghttp2_session_callbacks* all = nullptr;
  if (nghttp2_session_callbacks_new(&all) != 0) throw std::bad_alloc();
  nghttp2_session_callbacks_set_on_header_callback(
      all, [](nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t,
              const std::uint8_t* value, std::size_t size, std::uint8_t, void* of) noexcept {
        const std::string_view what(reinterpret_cast<const char*>(name));
        Request& request = (*static_cast<Requests*>(of))[frame->hd.stream_id];
        if (what == ":method") request.method.assign(value, value + size);
        if (what == ":path") request.path.assign(value, value + size);
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_recv_callback(all, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(
      all, [](nghttp2_session*, std::int32_t id, std::uint32_t, void* of) noexcept {
        return static_cast<Requests*>(of)->erase(id), 0;
      });
  nghttp2_session* session = nullptr;
  const int failed = nghttp2_session_server_new(&session, all, &requests);
  nghttp2_session_callbacks_del(all);
  if (failed != 0) throw std::bad_alloc();
  const nghttp2_settings_entry limit{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100};
  nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &limit, 1);
  return {session, nghttp2_session_del};
}

// One connection, until the client goes away or is silent for a minute.
static Result<void> converse(Stream& client) {
  Requests requests;
  const auto session = make_session(requests);
  BufferedWriter out(client);
  std::array<std::uint8_t, 16384> into;
  for (ssize_t taken = 0; taken >= 0 && nghttp2_session_want_read(session.get()) != 0;) {
    const auto count = client.read(std::as_writable_bytes(std::span(into)), this_fiber::after(60s));
    if (!count || *count == 0) return count ? Result<void>() : count.error();
    taken = nghttp2_session_mem_recv(session.get(), into.data(), *count);  // < 0: says GOAWAY.
    const std::uint8_t* bytes = nullptr;
    while (const ssize_t size = nghttp2_session_mem_send(session.get(), &bytes)) {
      if (size < 0) throw std::bad_alloc();  // Its only reason.
      const auto frame = std::as_bytes(std::span(bytes, static_cast<std::size_t>(size)));
      if (auto done = out.write(frame, this_fiber::after(60s)); !done) return done;
    }
    if (auto done = out.flush(this_fiber::after(60s)); !done) return done;
  }
  return {};
}

static Result<void> serve_client(const Context& tls, Socket socket) {
  auto client = Stream::create(tls, std::move(socket));
  if (!client) return client.error();
  auto done = client->handshake(this_fiber::after(10s));
  if (done) done = converse(*client);
  if (!done) std::fprintf(stderr, "client: %s\n", client->explain(done.error()).c_str());
  return client->close(this_fiber::after(5s));
}

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: nghttp2_server LISTEN CERTIFICATE KEY");
  auto runtime = Runtime::create().value();
  auto signals = Signals::create(runtime, {SIGINT, SIGTERM}).value();
  auto tls = Context::create(Role::kServer).value();
  tls.load_cert_chain(argv[2], argv[3]).value();
  tls.set_alpn_protocols(std::array<std::string_view, 1>{"h2"}).value();
  auto listener = Listener::create(runtime, Address::parse(argv[1]).value()).value();
  const auto handle = [&](Socket socket) { return serve_client(tls, std::move(socket)); };
  runtime.spawn("main", [&] { serve_until(std::move(signals), listener, handle).value(); }).value();
  std::printf("listening on %s\n", listener.address().to_string().c_str());
  std::fflush(stdout);
  runtime.run();
} catch (const std::exception& error) {
  return std::fprintf(stderr, "nghttp2_server: %s\n", error.what()), 1;
}
