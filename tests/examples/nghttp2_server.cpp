// An HTTP/2 server: libnghttp2 knows the protocol, Heddle the connections.
//
//   nghttp2_server LISTEN CERTIFICATE KEY
// GET /N answers with N bytes. Each connection is one fiber, and its requests are answered at the
// same time, as the client's windows allow.
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>

#include <nghttp2/nghttp2.h>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.
using namespace std::chrono_literals;

// One connection. nghttp2 calls functions of it while it works; they do not park. They must not
// throw through its frames either, so they are noexcept.
class Connection {
 public:
  explicit Connection(Stream& client) : client_(client), out_(client) {
    nghttp2_session_callbacks* raw = nullptr;
    if (nghttp2_session_callbacks_new(&raw) != 0) throw std::bad_alloc();
    const std::unique_ptr<nghttp2_session_callbacks, decltype(&nghttp2_session_callbacks_del)> all(
        raw, nghttp2_session_callbacks_del);
    nghttp2_session_callbacks_set_on_header_callback(raw, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(raw, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(raw, on_stream_close);
    nghttp2_session* session = nullptr;
    if (nghttp2_session_server_new(&session, raw, this) != 0) throw std::bad_alloc();
    session_.reset(session);
    const nghttp2_settings_entry limit{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100};
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &limit, 1);
  }

  // Until the client goes away, or is silent for a minute.
  Result<void> serve() {
    std::array<std::byte, 16384> piece;
    for (;;) {
      if (auto done = send(); !done) return done;
      if (nghttp2_session_want_read(session_.get()) == 0) return {};
      const auto count = client_.read(piece, this_fiber::after(60s));
      if (!count) return count.error();
      if (*count == 0) return {};
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(piece.data());
      if (nghttp2_session_mem_recv(session_.get(), bytes, *count) < 0) return send();  // GOAWAY.
    }
  }

 private:
  struct Request {
    std::string method, path = "/";
    std::size_t left = 0;  // Of the answer.
  };

  Result<void> send() {
    const std::uint8_t* bytes = nullptr;
    while (const ssize_t count = nghttp2_session_mem_send(session_.get(), &bytes)) {
      if (count < 0) return Error{.code = Errc::kExhausted, .operation = "nghttp2"};
      const auto piece = std::as_bytes(std::span(bytes, static_cast<std::size_t>(count)));
      if (auto done = out_.write(piece, this_fiber::after(60s)); !done) return done;
    }
    return out_.flush(this_fiber::after(60s));
  }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                       std::uint8_t, void* self) noexcept {
    const std::string_view what(reinterpret_cast<const char*>(name), name_size);
    const std::string_view is(reinterpret_cast<const char*>(value), value_size);
    Request& request = static_cast<Connection*>(self)->requests_[frame->hd.stream_id];
    if (what == ":method") request.method = is;
    if (what == ":path") request.path = is;
    return 0;
  }

  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self) noexcept {
    const bool is_last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!is_last || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) return 0;
    return static_cast<Connection*>(self)->answer(frame->hd.stream_id);
  }

  static int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t,
                             void* self) noexcept {
    static_cast<Connection*>(self)->requests_.erase(id);
    return 0;
  }

  static ssize_t fill(nghttp2_session*, std::int32_t, std::uint8_t* into, std::size_t room,
                      std::uint32_t* flags, nghttp2_data_source* source, void*) noexcept {
    auto& request = *static_cast<Request*>(source->ptr);
    const std::size_t count = std::min(room, request.left);
    std::memset(into, 'x', count);
    request.left -= count;
    if (request.left == 0) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(count);
  }

  int answer(std::int32_t id) noexcept {
    Request& request = requests_[id];  // Stays where it is until the stream is closed.
    const char* const end = request.path.data() + request.path.size();
    const auto [rest, error] = std::from_chars(request.path.data() + 1, end, request.left);
    const bool is_there = request.method == "GET" && error == std::errc() && rest == end;
    std::string name = ":status", status = is_there ? "200" : "404";
    const nghttp2_nv field{bytes(name), bytes(status), name.size(), status.size(), 0};
    const nghttp2_data_provider body{.source = {.ptr = &request}, .read_callback = fill};
    return nghttp2_submit_response(session_.get(), id, &field, 1, is_there ? &body : nullptr);
  }
  static std::uint8_t* bytes(std::string& text) {
    return reinterpret_cast<std::uint8_t*>(text.data());
  }

  Stream& client_;
  BufferedWriter out_;
  std::map<std::int32_t, Request> requests_;
  std::unique_ptr<nghttp2_session, decltype(&nghttp2_session_del)> session_{nullptr,
                                                                            nghttp2_session_del};
};

static Result<void> serve_client(const Context& tls, Socket socket) {
  auto client = Stream::create(tls, std::move(socket));
  if (!client) return client.error();
  auto done = client->handshake(this_fiber::after(10s));
  // A client that offers other protocols only was refused; this one has offered none.
  const bool is_h2 = done && client->connection_state().alpn == "h2";
  if (is_h2) done = Connection(*client).serve();
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
  const auto handler = [&](Socket socket) { return serve_client(tls, std::move(socket)); };
  auto serving = runtime.spawn("serve", [&] { serve(listener, handler); }).value();
  const auto wait_for_end = [&] { (void)signals.wait(Deadline::never()), serving.cancel(); };
  runtime.spawn("stop", wait_for_end).value();
  std::printf("listening on %s\n", listener.address().to_string().c_str());
  std::fflush(stdout);
  runtime.run();
} catch (const std::exception& error) {
  return std::fprintf(stderr, "nghttp2_server: %s\n", error.what()), 1;
}
