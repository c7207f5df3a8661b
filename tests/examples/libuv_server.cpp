// An HTTPS server in a libuv loop: one thread, no fibers. libuv_server CERTIFICATE KEY PORT
// answers GET /N with N bytes. One for the world also limits how long a peer may be silent.
#include <csignal>
#include <iostream>
#include <optional>
#include <string>

#include <uv.h>

#include "heddle/tls/ssl_object.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.

constexpr std::size_t kPiece = 16384;

struct Client {
  MemoryBio incoming, outgoing;  // What the peer has sent; what TLS has written for it,
  MemoryBio sending;             // and what libuv is sending of that.
  std::optional<SslObject> tls;
  std::string request, answer;
  std::string_view unwritten;  // Of the answer.
  uv_tcp_t socket{};
  uv_stream_t* const stream = (uv_stream_t*)&socket;
  uv_write_t writing{};

  static Client& of(auto* handle) { return *static_cast<Client*>(handle->data); }
  static uv_buf_t buffer_of(std::span<const std::byte> of) { return {(char*)of.data(), of.size()}; }

  static void accept(uv_stream_t* listener, int status) {
    if (status != 0) return;
    auto* const peer = new Client;
    const auto& context = *static_cast<const Context*>(listener->data);
    peer->tls = SslObject::create(context, peer->incoming, peer->outgoing).value();
    uv_tcp_init(listener->loop, &peer->socket);
    peer->socket.data = peer;
    uv_accept(listener, peer->stream);
    peer->advance();
  }

  // Goes as far as the peer's bytes, and the room for ours, allow.
  void advance() {
    Result<Progress> progress = step();
    while (progress && progress->kind == Progress::Kind::kDone) progress = step();
    const bool over = !progress || progress->kind == Progress::Kind::kEnd;
    if (over) (void)tls->shutdown();
    send();  // After a failure too: the alert that says why.
    if (over && sending.pending() == 0) return close();
    if (!over && progress->kind == Progress::Kind::kWantRead) return receive();
    uv_read_stop(stream);  // Until what is being sent has been.
  }

  // Writes a piece of an answer, begins one, or reads a piece of a request.
  Result<Progress> step() {
    if (!unwritten.empty()) {
      const auto written = tls->write(std::as_bytes(std::span(unwritten.substr(0, kPiece))));
      if (written) unwritten.remove_prefix(written->bytes);
      return written;
    }
    if (const auto end = request.find("\r\n\r\n"); end != std::string::npos) {
      const auto size = std::strtoul(&request[request.find('/') + 1], nullptr, 10) % 99999999;
      answer = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
      unwritten = answer.append(size, 'x');
      request.erase(0, end + 4);
      return Progress{Progress::Kind::kDone};
    }
    if (request.size() > kPiece) return Error{.operation = "request too long"};
    char some[kPiece];
    const auto read = tls->read(std::as_writable_bytes(std::span(some)));
    if (read) request.append(some, read->bytes);
    return read;
  }

  // Sends what TLS has written, one piece at a time: meanwhile TLS writes no more than its limit.
  void send() {
    if (sending.pending() > 0 || outgoing.pending() == 0) return;
    sending = outgoing.take();
    const uv_buf_t buffer = buffer_of(sending.readable());
    const auto on_sent = [](uv_write_t* write, int status) {
      of(write->handle).sending = {};
      status == 0 ? of(write->handle).advance() : of(write->handle).close();
    };
    if (uv_write(&writing, stream, &buffer, 1, on_sent) != 0) close();
  }

  // Lets libuv receive straight into what TLS reads.
  void receive() {
    const auto on_room = [](uv_handle_t* handle, std::size_t size, uv_buf_t* buffer) {
      *buffer = buffer_of(of(handle).incoming.prepare(size));
    };
    const auto on_received = [](uv_stream_t* handle, ssize_t count, const uv_buf_t*) {
      of(handle).incoming.commit(count > 0 ? static_cast<std::size_t>(count) : 0);
      if (count < 0) of(handle).incoming.write_eof();
      of(handle).advance();
    };
    uv_read_start(stream, on_room, on_received);
  }

  void close() {
    uv_close((uv_handle_t*)&socket, [](uv_handle_t* it) { delete &of(it); });
  }
};

int main(int argc, char** argv) {
  if (argc != 4) return std::cerr << "usage: libuv_server CERTIFICATE KEY PORT\n", 2;
  std::signal(SIGPIPE, SIG_IGN);
  Context context = Context::create(Role::kServer).value();
  context.load_cert_chain(argv[1], argv[2]).value();
  sockaddr_in address;
  uv_ip4_addr("127.0.0.1", std::stoi(argv[3]), &address);
  uv_tcp_t listener;
  uv_tcp_init(uv_default_loop(), &listener);
  uv_tcp_bind(&listener, (const sockaddr*)&address, 0);
  listener.data = &context;
  if (const int failed = uv_listen((uv_stream_t*)&listener, 128, Client::accept); failed != 0)
    return std::cerr << uv_strerror(failed) << "\n", 1;
  int size = sizeof address;
  uv_tcp_getsockname(&listener, (sockaddr*)&address, &size);
  std::cout << "https://127.0.0.1:" << ntohs(address.sin_port) << std::endl;
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
