// The careful server and the careless one.
#include "integration/rabbitmq/web_servers.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include <openssl/ssl.h>

#include "heddle/tls/stream.h"

#include "openssl/handles.h"
#include "support/raw_tls.h"

namespace heddle::test {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);

// Repeats an OpenSSL call as it asks, and parks outside of it. Returns what the call returned last.
template <typename Call>
int repeat(SSL* ssl, Socket& socket, Call call) {
  for (;;) {
    const int rc = call();
    if (rc > 0) return rc;
    const int asks = SSL_get_error(ssl, rc);
    if (asks != SSL_ERROR_WANT_READ && asks != SSL_ERROR_WANT_WRITE) return rc;
    const Interest interest = asks == SSL_ERROR_WANT_READ ? Interest::kRead : Interest::kWrite;
    if (socket.wait(interest, this_fiber::after(kPatience)) != Wake::kReady) return rc;
  }
}

// Returns whether all of the answer was written.
bool answer_much(SSL* ssl, Socket& socket) {
  static constexpr std::array<char, 16384> kPiece{};
  const std::string head =
      "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kDownloadBytes) + "\r\n\r\n";
  const auto write = [&](const void* from, std::size_t bytes) {
    return repeat(ssl, socket, [&] { return SSL_write(ssl, from, static_cast<int>(bytes)); }) > 0;
  };
  if (!write(head.data(), head.size())) return false;
  for (std::size_t sent = 0; sent < kDownloadBytes; sent += kPiece.size()) {
    if (!write(kPiece.data(), kPiece.size())) return false;
  }
  return true;
}

}  // namespace

Result<std::unique_ptr<WebServer>> WebServer::create(Runtime& runtime, Handler handler) {
  const Result<Address> any_port = Address::from_ip("127.0.0.1", 0);
  if (!any_port) return any_port.error();
  auto listener = Listener::create(runtime, *any_port);
  if (!listener) return listener.error();
  return std::unique_ptr<WebServer>(new WebServer(*std::move(listener), std::move(handler)));
}

Result<void> WebServer::start(Scope& fibers) {
  const auto accepting = fibers.spawn("accept", [this] {
    serve(*listener_, [this](Socket socket) {
      handler_(std::move(socket));
      ++ended_;
      changed_.wake_all();
    });
  });
  if (!accepting) return accepting.error();
  return {};
}

Result<void> WebServer::await_ended(std::uint64_t count, Deadline deadline) {
  while (ended_ < count) {
    if (changed_.wait(deadline) != Wake::kReady) {
      return Error{.code = Errc::kTimedOut, .operation = "wait for web connections to end"};
    }
  }
  return {};
}

WebServer::Handler careful_handler(const Context& context, http::ConnectionShared& shared) {
  return [&](Socket socket) {
    auto stream = Stream::create(context, std::move(socket));
    if (!stream) return;
    http::Activity activity;
    (void)http::serve_connection(*stream, shared, activity, "");
  };
}

WebServer::Handler careless_handler(const Context& context, std::uint64_t& cut) {
  return [&](Socket socket) {
    const openssl::SslPtr owned(SSL_new(context.native_handle()));
    SSL* const ssl = owned.get();
    if (ssl == nullptr) return;
    BIO* const owned_by_ssl = make_direct_bio(socket, WhenBlocked::kRefuse).release();
    SSL_set_bio(ssl, owned_by_ssl, owned_by_ssl);
    if (repeat(ssl, socket, [&] { return SSL_accept(ssl); }) <= 0) return;
    std::array<char, 4096> request{};
    const auto read = [&] { return SSL_read(ssl, request.data(), request.size()); };
    if (repeat(ssl, socket, read) <= 0) return;
    if (!answer_much(ssl, socket)) ++cut;
  };
}

}  // namespace heddle::test
