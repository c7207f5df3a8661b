// epoll_floor CERTIFICATE KEY: a contestant of compare.py. What OpenSSL on epoll costs at least:
// one loop by hand, no coroutines, no deadlines, no policy. Bytes are received for all connections
// into one buffer, from which a BIO of our own hands them to OpenSSL; what OpenSSL writes in one
// call is sent with one send().
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "small_http.h"

namespace heddle::bench {
namespace {

constexpr std::size_t kReceiveBytes = std::size_t{64} * 1024;
constexpr std::size_t kReadBytes = std::size_t{16} * 1024;
constexpr std::size_t kSendBytes = std::size_t{256} * 1024;  // Before the rest of an answer waits.

// Of the thread: no connection holds bytes between two events unless it must.
std::array<char, kReceiveBytes> g_received;  // NOLINT: one thread.
std::array<char, kReadBytes> g_plain;        // NOLINT
std::string g_output;                        // NOLINT: of the connection whose turn it is.

struct Connection {
  int fd = -1;
  SSL* ssl = nullptr;
  bool drained = false;          // recv() has nothing more, until the next event.
  bool ended = false;            // By the peer.
  std::string_view available{};  // What was received and OpenSSL has not taken.
  std::string kept{};            // The same between two events.
  std::string output{};          // What was not sent.
  std::string head{};            // Of a request, that has come in part.
  std::uint64_t skip = 0;        // Bytes of a request's body.
  const std::string* answer = nullptr;
  std::size_t written = 0;  // Of the answer.
  bool close = false;       // After the answer.

  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    SSL_free(ssl);
    if (fd >= 0) ::close(fd);
  }
};

// --- The BIO -------------------------------------------------------------------------------------

bool receive(Connection& connection) {
  if (connection.drained || connection.ended) return false;
  const ssize_t count = ::recv(connection.fd, g_received.data(), g_received.size(), 0);
  if (count <= 0) {
    connection.ended = count == 0 || errno != EAGAIN;
    connection.drained = true;
    return false;
  }
  // Edge-triggered: what comes after a short read is another event.
  connection.drained = static_cast<std::size_t>(count) < g_received.size();
  connection.available = {g_received.data(), static_cast<std::size_t>(count)};
  return true;
}

int bio_read(BIO* bio, char* into, std::size_t size, std::size_t* taken) {
  auto& connection = *static_cast<Connection*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (connection.available.empty() && !receive(connection)) {
    if (!connection.ended) BIO_set_retry_read(bio);
    return 0;
  }
  *taken = std::min(size, connection.available.size());
  std::memcpy(into, connection.available.data(), *taken);
  connection.available.remove_prefix(*taken);
  return 1;
}

int bio_write(BIO* /*bio*/, const char* from, std::size_t size, std::size_t* taken) {
  g_output.append(from, size);
  *taken = size;
  return 1;
}

long bio_ctrl(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  auto& connection = *static_cast<Connection*>(BIO_get_data(bio));
  if (command == BIO_CTRL_EOF) return connection.ended && connection.available.empty() ? 1 : 0;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD* make_method() {
  BIO_METHOD* const method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "floor");
  BIO_meth_set_read_ex(method, bio_read);
  BIO_meth_set_write_ex(method, bio_write);
  BIO_meth_set_ctrl(method, bio_ctrl);
  return method;
}

// --- One connection ------------------------------------------------------------------------------

enum class State { kGoesOn, kOver };

State flush(const Connection& connection) {
  std::size_t sent = 0;
  while (sent < g_output.size()) {
    const ssize_t count =
        ::send(connection.fd, g_output.data() + sent, g_output.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) return State::kOver;
    if (count < 0) break;
    sent += static_cast<std::size_t>(count);
  }
  g_output.erase(0, sent);
  return State::kGoesOn;
}

State write_answer(Connection& connection) {
  while (connection.answer != nullptr) {
    if (g_output.size() >= kSendBytes && flush(connection) == State::kOver) {
      return State::kOver;
    }
    if (g_output.size() >= kSendBytes) return State::kGoesOn;
    const std::string_view rest = std::string_view(*connection.answer).substr(connection.written);
    std::size_t written = 0;
    const std::size_t part = std::min<std::size_t>(rest.size(), kReadBytes);
    if (SSL_write_ex(connection.ssl, rest.data(), part, &written) != 1) return State::kOver;
    connection.written += written;
    if (connection.written == connection.answer->size()) connection.answer = nullptr;
  }
  if (connection.close) SSL_shutdown(connection.ssl);
  if (flush(connection) == State::kOver) return State::kOver;
  return connection.close && g_output.empty() ? State::kOver : State::kGoesOn;
}

State take(Connection& connection, std::string_view text, SmallAnswers& answers) {
  if (connection.skip == 0) {
    if (!connection.head.empty()) text = connection.head.append(text);
    const auto request = parse_small(text);
    if (!request) {
      if (connection.head.empty()) connection.head = text;
      return State::kGoesOn;
    }
    connection.close = request->close;
    connection.answer = &answers.of(request->wants);
    connection.written = 0;
    connection.skip = request->head_bytes + request->body;
  }
  connection.skip -= std::min<std::uint64_t>(connection.skip, text.size());
  if (connection.skip > 0) return State::kGoesOn;
  connection.head = std::string();
  return write_answer(connection);
}

State read_requests(Connection& connection, SmallAnswers& answers) {
  while (connection.answer == nullptr || connection.skip > 0) {
    std::size_t count = 0;
    ERR_clear_error();
    if (SSL_read_ex(connection.ssl, g_plain.data(), g_plain.size(), &count) != 1) {
      const bool waits = SSL_get_error(connection.ssl, 0) == SSL_ERROR_WANT_READ;
      if (flush(connection) == State::kOver || !waits) return State::kOver;
      return State::kGoesOn;
    }
    if (take(connection, {g_plain.data(), count}, answers) == State::kOver) return State::kOver;
  }
  return State::kGoesOn;
}

State go_on(Connection& connection, std::uint32_t events, SmallAnswers& answers) {
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) connection.drained = false;
  const std::string kept = std::exchange(connection.kept, {});
  g_output.assign(connection.output);
  if (!kept.empty()) connection.available = kept;
  State state = flush(connection);
  if (state == State::kGoesOn && connection.answer != nullptr && connection.skip == 0) {
    state = write_answer(connection);
  }
  if (state == State::kGoesOn) state = read_requests(connection, answers);
  if (!connection.available.empty()) connection.kept = std::string(connection.available);
  connection.available = {};
  if (!g_output.empty() || !connection.output.empty()) connection.output = g_output;
  return state;
}

// --- The loop ------------------------------------------------------------------------------------

SSL_CTX* make_context(const char* certificate, const char* key) {
  SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char*>("floor"), 5);
  if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
    throw std::runtime_error("cannot use the certificate");
  }
  return context;
}

int make_listener() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (fd < 0 || ::bind(fd, generic, size) != 0 || ::listen(fd, 4096) != 0 ||
      ::getsockname(fd, generic, &size) != 0) {
    throw std::runtime_error("cannot listen");
  }
  std::printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  (void)std::fflush(stdout);
  return fd;
}

void accept_all(int listener, int epoll, SSL_CTX* context, BIO_METHOD* method) {
  while (true) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    auto connection = std::make_unique<Connection>();
    connection->fd = fd;
    connection->ssl = SSL_new(context);
    BIO* const bio = BIO_new(method);
    BIO_set_data(bio, connection.get());
    BIO_set_init(bio, 1);
    SSL_set_bio(connection->ssl, bio, bio);
    SSL_set_accept_state(connection->ssl);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = connection.release();
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  }
}

void take(const epoll_event& event, SmallAnswers& answers) {
  auto* const connection = static_cast<Connection*>(event.data.ptr);
  if (go_on(*connection, event.events, answers) == State::kOver) delete connection;
}

[[noreturn]] void loop(int listener, SSL_CTX* context) {
  BIO_METHOD* const method = make_method();
  SmallAnswers answers;
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event listening{};
  listening.events = EPOLLIN;
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening);
  std::array<epoll_event, 256> events{};
  while (true) {
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int index = 0; index < count; ++index) {
      const epoll_event& event = events.at(static_cast<std::size_t>(index));
      if (event.data.ptr == nullptr) accept_all(listener, epoll, context, method);
      if (event.data.ptr != nullptr) take(event, answers);
    }
  }
}

}  // namespace
}  // namespace heddle::bench

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: epoll_floor CERTIFICATE KEY\n"), 2;
  SSL_CTX* const context = heddle::bench::make_context(argv[1], argv[2]);
  heddle::bench::loop(heddle::bench::make_listener(), context);
} catch (const std::exception& error) {
  (void)std::fprintf(stderr, "epoll_floor: %s\n", error.what());
  return 1;
}
