// A TLS client in a bare poll() loop: no runtime, no fibers, no threads.
//
//   poll_client HOST PORT PATH [CA-FILE]
//
// prints what an HTTPS server answers. TLS is in main(); the rest knows sockets and bytes only.
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include "heddle/tls/ssl_object.h"

using heddle::ConnectionState;
using heddle::Context;
using heddle::MemoryBio;
using heddle::Progress;
using heddle::Result;
using heddle::SslObject;

[[noreturn]] static void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

static int connect_to(const char* host, const char* port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host, port, &hints, &found); error != 0) {
    throw std::runtime_error(gai_strerror(error));
  }
  int fd = -1;
  for (const addrinfo* each = found; each != nullptr && fd < 0; each = each->ai_next) {
    fd = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
    if (fd < 0 || connect(fd, each->ai_addr, each->ai_addrlen) == 0) continue;
    close(fd);
    fd = -1;
  }
  freeaddrinfo(found);
  if (fd < 0) fail("connect");
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

// Sends as much of what TLS has to send as the socket takes.
static void send_some(int fd, MemoryBio& outgoing) {
  const auto bytes = outgoing.readable();
  const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent >= 0) outgoing.consume(static_cast<std::size_t>(sent));
  if (sent < 0 && errno != EAGAIN) fail("send");
}

// Gives TLS what the socket has received, or its end.
static void receive_some(int fd, MemoryBio& incoming) {
  const auto room = incoming.prepare(16384);
  const ssize_t received = recv(fd, room.data(), room.size(), 0);
  incoming.commit(received > 0 ? static_cast<std::size_t>(received) : 0);
  if (received == 0) incoming.write_eof();
  if (received < 0 && errno != EAGAIN) fail("recv");
}

// Waits until bytes can go one way or the other, and moves them.
static void exchange(int fd, MemoryBio& incoming, MemoryBio& outgoing) {
  pollfd socket{.fd = fd, .events = POLLIN, .revents = 0};
  if (outgoing.pending() > 0) socket.events |= POLLOUT;
  const int ready = poll(&socket, 1, /*milliseconds=*/30'000);
  if (ready < 0) fail("poll");
  if (ready == 0) throw std::runtime_error("the server is silent");
  if ((socket.revents & POLLOUT) != 0) send_some(fd, outgoing);
  if ((socket.revents & ~POLLOUT) != 0) receive_some(fd, incoming);
}

int main(int argc, char** argv) try {
  if (argc < 4) throw std::runtime_error("usage: poll_client HOST PORT PATH [CA-FILE]");
  Context context = Context::create(heddle::Role::kClient).value();
  if (argc > 4) context.load_verify_locations(argv[4]).value();

  MemoryBio incoming;  // What the server has sent, for TLS to read.
  MemoryBio outgoing;  // What TLS has written, for the server.
  auto tls = SslObject::create(context, incoming, outgoing, {.server_name = argv[1]}).value();
  const int fd = connect_to(argv[1], argv[2]);

  // Repeats a step until it is done, and moves bytes in between: all there is to know.
  const auto complete = [&](auto step) {
    for (;;) {
      Result<Progress> progress = step();
      if (!progress) send_some(fd, outgoing);  // The alert that tells the server why.
      const auto [kind, bytes] = std::move(progress).value();
      if (kind == Progress::Kind::kDone || kind == Progress::Kind::kEnd) return bytes;
      exchange(fd, incoming, outgoing);
    }
  };
  complete([&] { return tls.handshake(); });
  const ConnectionState state = tls.connection_state();
  std::fprintf(stderr, "%s %s\n", state.version.data(), state.cipher.data());

  const std::string request = "GET " + std::string(argv[3]) + " HTTP/1.1\r\nHost: " + argv[1] +
                              "\r\nConnection: close\r\n\r\n";
  complete([&] { return tls.write(std::as_bytes(std::span(request))); });
  std::array<std::byte, 16384> buffer;
  while (const std::size_t count = complete([&] { return tls.read(buffer); })) {
    std::fwrite(buffer.data(), 1, count, stdout);
  }
  (void)tls.shutdown();  // Leaves our goodbye in `outgoing`.
  send_some(fd, outgoing);
  close(fd);
} catch (const std::exception& error) {
  std::fprintf(stderr, "poll_client: %s\n", error.what());
  return 1;
}
