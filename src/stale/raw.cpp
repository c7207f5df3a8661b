// Handshakes in lockstep, and bytes moved by hand.
#include "stale/raw.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <tuple>

#include <poll.h>

#include "heddle/error_queue.h"

#include "stale/materials.h"

namespace heddle::stale {
namespace {

// Many more than a handshake has flights, however TCP cuts them.
constexpr int kRoundsMax = 100;
constexpr std::size_t kChunk = std::size_t{16} * 1024;

openssl::SslPtr make_ssl(SSL_CTX* ctx, Role role) {
  openssl::SslPtr ssl(SSL_new(ctx));
  require(ssl != nullptr, "SSL_new failed");
  if (role == Role::kServer) {
    SSL_set_accept_state(ssl.get());
  } else {
    SSL_set_connect_state(ssl.get());
    require(SSL_set_tlsext_host_name(ssl.get(), kServerName) == 1, "cannot set the server's name");
  }
  return ssl;
}

// What is sent over TCP arrives when the kernel gets to it.
void await(int socket, short events) {
  constexpr int kMilliseconds = 60'000;
  pollfd descriptor{.fd = socket, .events = events, .revents = 0};
  require(poll(&descriptor, 1, kMilliseconds) > 0, "nothing arrives on a leaker's connection");
}

void send_one(SSL* from, SSL* to, const char* what) {
  char byte = 'x';
  require(SSL_write(from, &byte, 1) == 1, what);
  int got = 0;
  for (int record = 0; got <= 0 && record < kRoundsMax; ++record) {  // Tickets come first.
    await(SSL_get_fd(to), POLLIN);
    got = SSL_read(to, &byte, 1);
  }
  require(got == 1, what);
}

}  // namespace

Peer::Peer(Role role, UniqueFd socket, int version_max) : socket_(std::move(socket)) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const Materials& with = materials();
  SSL_CTX* const ctx = role == Role::kServer ? with.server_ctx.get() : with.client_ctx.get();
  ssl_ = make_ssl(ctx, role);
  require(SSL_set_max_proto_version(ssl_.get(), version_max) == 1, "cannot set the version");
  openssl::BioPtr in(BIO_new(BIO_s_mem()));
  openssl::BioPtr out(BIO_new(BIO_s_mem()));
  require(in && out, "no memory BIO");
  BIO_set_mem_eof_return(in.get(), -1);  // Empty is "not yet", not the end.
  SSL_set_bio(ssl_.get(), in.release(), out.release());
}

bool Peer::handshake() {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::array<char, kChunk> buffer{};
  const ssize_t got = recv(socket_.get(), buffer.data(), buffer.size(), 0);
  if (got == 0) return true;
  if (got > 0) {
    require(BIO_write(SSL_get_rbio(ssl_.get()), buffer.data(), static_cast<int>(got)) == got,
            "no memory");
  }
  const int rc = SSL_do_handshake(ssl_.get());
  flush();
  // tidy: the far end is not under test, and its queue is its own here.
  const int error = SSL_get_error(ssl_.get(), rc);
  return error != SSL_ERROR_WANT_READ;
}

std::string Peer::seal(std::string_view text) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  BIO* const out = SSL_get_wbio(ssl_.get());
  require(SSL_write(ssl_.get(), text.data(), static_cast<int>(text.size())) > 0,
          "the far end cannot write");
  std::string wire(BIO_ctrl_pending(out), '\0');
  require(
      BIO_read(out, wire.data(), static_cast<int>(wire.size())) == static_cast<int>(wire.size()),
      "the far end has written nothing");
  return wire;
}

void Peer::put(std::string_view wire) {
  require(send(socket_.get(), wire.data(), wire.size(), MSG_NOSIGNAL) ==
              static_cast<ssize_t>(wire.size()),
          "the far end cannot send");
}

std::size_t Peer::drain(std::size_t limit) {
  std::array<char, kChunk> buffer{};
  std::size_t total = 0;
  while (total < limit) {
    const ssize_t got =
        recv(socket_.get(), buffer.data(), std::min(buffer.size(), limit - total), 0);
    if (got <= 0) break;
    total += static_cast<std::size_t>(got);
  }
  return total;
}

void Peer::flush() {
  BIO* const out = SSL_get_wbio(ssl_.get());
  std::array<char, kChunk> buffer{};
  for (;;) {
    const int got = BIO_read(out, buffer.data(), static_cast<int>(buffer.size()));
    if (got <= 0) return;
    // The victim may be gone by now; whoever waits for it says so.
    (void)send(socket_.get(), buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
  }
}

RawPair::RawPair(SSL_CTX* server_ctx, Over over) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::tie(client_socket_, server_socket_) =
      over == Over::kTcp ? make_tcp_pair() : make_socket_pair();
  client_ = make_raw_ssl(materials().client_ctx.get(), Role::kClient, client_socket_.get());
  server_ = make_raw_ssl(server_ctx, Role::kServer, server_socket_.get());
  for (int round = 0; round < kRoundsMax && SSL_is_init_finished(server_.get()) == 0; ++round) {
    (void)SSL_do_handshake(client_.get());
    await(server_socket_.get(), POLLIN);
    (void)SSL_do_handshake(server_.get());
  }
  require(SSL_is_init_finished(client_.get()) == 1 && SSL_is_init_finished(server_.get()) == 1,
          "a handshake of the leaker's own failed");
  send_one(server_.get(), client_.get(), "the leaker's connection carries nothing");
  send_one(client_.get(), server_.get(), "the leaker's connection carries nothing back");
}

void RawPair::put_to_client(std::string_view wire) const {
  require(send(server_socket_.get(), wire.data(), wire.size(), MSG_NOSIGNAL) ==
              static_cast<ssize_t>(wire.size()),
          "cannot send to the leaker");
}

void RawPair::vanish() {
  server_.reset();
  server_socket_.reset();
}

void RawPair::reset() {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  require(setsockopt(server_socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0,
          "cannot prepare a reset");
  vanish();
  await(client_socket_.get(), POLLIN);
}

openssl::SslPtr make_raw_ssl(SSL_CTX* ctx, Role role, int socket) {
  openssl::SslPtr ssl = make_ssl(ctx, role);
  require(SSL_set_fd(ssl.get(), socket) == 1, "SSL_set_fd failed");
  return ssl;
}

std::string_view forged_record() {
  static constexpr std::string_view kRecord(
      "\x17\x03\x03\x00\x20"
      "forged: no key has ever made it.",
      37);
  return kRecord;
}

}  // namespace heddle::stale
