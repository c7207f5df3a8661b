// HTTPS clients in a libuv loop: many requests at once on one thread, no fibers.
// libuv_client CA-FILE HOST ADDRESS PORT TARGET... asks for each target over a connection of its
// own, with a timer for its deadline, and prints status, size and name of each as it comes.
#include <cstdio>

#include <uv.h>

#include "heddle/tls/ssl_object.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.
int failures = 0;        // The exit status.

struct Request {
  MemoryBio incoming, outgoing;  // What the server has sent; what TLS has written for it,
  MemoryBio sending;             // and what libuv is sending of that.
  SslObject tls;
  std::string target, question, answer;
  bool asked = false, over = false;
  uv_tcp_t socket{};
  uv_stream_t* const stream = (uv_stream_t*)&socket;
  uv_timer_t timer{};
  uv_connect_t connecting{};
  uv_write_t writing{};

  static Request& of(auto* handle) { return *static_cast<Request*>(handle->data); }
  static uv_buf_t buffer_of(std::span<const std::byte> of) { return {(char*)of.data(), of.size()}; }

  Request(const Context& context, const std::string& host, const sockaddr* address, char* what)
      : tls(SslObject::create(context, incoming, outgoing, {.server_name = host}).value()),
        target(what),
        question("GET " + target + " HTTP/1.0\r\nHost: " + host + "\r\n\r\n") {
    uv_tcp_init(uv_default_loop(), &socket);
    uv_timer_init(uv_default_loop(), &timer);
    socket.data = timer.data = connecting.data = this;
    const auto late = [](uv_timer_t* it) { of(it).fail("took too long"); };
    uv_timer_start(&timer, late, 30'000, 0);
    uv_tcp_connect(&connecting, &socket, address, [](uv_connect_t* it, int status) {
      status == 0 ? of(it).receive() : of(it).fail(uv_strerror(status));
    });
  }

  // Goes as far as the server's bytes allow. Whatever comes of it, what TLS has written is sent.
  void advance() {
    if (over) return;
    Result<Progress> progress = step();
    while (progress && progress->kind == Progress::Kind::kDone) progress = step();
    send();
    if (!progress) return fail(tls.explain(progress.error()));
    if (progress->kind == Progress::Kind::kEnd) finish();
  }

  // Asks, or reads a piece of the answer. The handshake is a part of either.
  Result<Progress> step() {
    if (!asked) {
      const auto wrote = tls.write(question);
      asked = wrote && wrote->kind == Progress::Kind::kDone;
      return wrote;
    }
    char some[16384];
    const auto read = tls.read(std::as_writable_bytes(std::span(some)));
    if (read) answer.append(some, read->bytes);
    return read;
  }

  void send() {
    if (sending.pending() > 0 || outgoing.pending() == 0) return;
    sending = outgoing.take();
    const uv_buf_t buffer = buffer_of(sending.readable());
    uv_write(&writing, stream, &buffer, 1, [](uv_write_t* it, int status) {
      of(it->handle).sending = {};
      status == 0 ? of(it->handle).advance() : of(it->handle).fail(uv_strerror(status));
    });
  }

  void receive() {
    const auto on_room = [](uv_handle_t* handle, std::size_t size, uv_buf_t* buffer) {
      *buffer = buffer_of(of(handle).incoming.prepare(size));
    };
    uv_read_start(stream, on_room, [](uv_stream_t* handle, ssize_t count, const uv_buf_t*) {
      of(handle).incoming.commit(count > 0 ? static_cast<std::size_t>(count) : 0);
      if (count < 0) of(handle).incoming.write_eof();  // TLS says whether that is an end.
      of(handle).advance();
    });
    advance();
  }

  void finish() {
    const auto body = answer.find("\r\n\r\n");
    if (body == std::string::npos) return fail("no HTTP answer");
    std::printf("%.3s %zu %s\n", &answer[9], answer.size() - body - 4, target.c_str());
    close();
  }

  void fail(const std::string& why) {
    if (over) return;
    ++failures;
    std::fprintf(stderr, "%s: %s\n", target.c_str(), why.c_str());
    close();
  }

  void close() {
    over = true;
    uv_close((uv_handle_t*)&timer, [](uv_handle_t* it) {
      uv_close((uv_handle_t*)&of(it).socket, [](uv_handle_t* last) { delete &of(last); });
    });
  }
};

int main(int argc, char** argv) {
  if (argc < 6) return std::puts("libuv_client CA-FILE HOST ADDRESS PORT TARGET..."), 2;
  Context context = Context::create(Role::kClient, Trust::kNothing).value();
  context.load_verify_locations(argv[1]).value();
  sockaddr_in address;
  uv_ip4_addr(argv[3], std::stoi(argv[4]), &address);
  for (int i = 5; i < argc; ++i) new Request(context, argv[2], (sockaddr*)&address, argv[i]);
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  return failures;
}
