// Connections that go wrong, and what they leave behind.
#include <sys/socket.h>

#include <array>
#include <optional>
#include <string_view>

#include <openssl/x509v3.h>

#include "stale/leakers.h"
#include "stale/materials.h"
#include "stale/raw.h"

namespace heddle::stale {
namespace {

constexpr std::string_view kPlainHttp = "GET / HTTP/1.1\r\nHost: stale\r\n\r\n";

void send_plain_http(int socket) {
  require(send(socket, kPlainHttp.data(), kPlainHttp.size(), MSG_NOSIGNAL) ==
              static_cast<ssize_t>(kPlainHttp.size()),
          "cannot send");
}

class VanishedPeer final : public Leaker {
 public:
  void prepare(Stack& /*stack*/) override {
    pair_.emplace(materials().server_ctx.get());
    pair_->vanish();
  }
  Origin leave() override {
    Origin origin = next_line("SSL_write");
    require(SSL_write(pair_->client(), "answer", 6) < 0, "a write to nobody succeeded");
    return origin;
  }

 private:
  std::optional<RawPair> pair_;
};

class ResetInShutdown final : public Leaker {
 public:
  void prepare(Stack& /*stack*/) override {
    pair_.emplace(materials().server_ctx.get(), RawPair::Over::kTcp);
    pair_->reset();
  }
  Origin leave() override {
    Origin origin = next_line("SSL_shutdown");
    require(SSL_shutdown(pair_->client()) < 0, "a shutdown after a reset succeeded");
    return origin;
  }

 private:
  std::optional<RawPair> pair_;
};

class BadRecord final : public Leaker {
 public:
  void prepare(Stack& /*stack*/) override {
    pair_.emplace(materials().server_ctx.get());
    pair_->put_to_client(forged_record());
  }
  Origin leave() override {
    char byte = 0;
    Origin origin = next_line("SSL_read");
    require(SSL_read(pair_->client(), &byte, 1) < 0, "a forged record was accepted");
    return origin;
  }

 private:
  std::optional<RawPair> pair_;
};

class JunkHandshake final : public Leaker {
 public:
  void prepare(Stack& /*stack*/) override {
    std::tie(junk_, socket_) = make_socket_pair();
    ssl_ = make_raw_ssl(materials().server_ctx.get(), Role::kServer, socket_.get());
    send_plain_http(junk_.get());
  }
  Origin leave() override {
    Origin origin = next_line("SSL_accept");
    require(SSL_accept(ssl_.get()) <= 0, "plain HTTP was accepted as TLS");
    return origin;
  }

 private:
  UniqueFd junk_;
  UniqueFd socket_;
  openssl::SslPtr ssl_;
};

// A client of its own, with a server's first flight or without.
class OwnHandshake : public Leaker {
 protected:
  enum class Flight : bool { kNone, kServers };

  void begin(SSL_CTX* client_ctx, Flight flight) {
    std::tie(client_socket_, server_socket_) = make_socket_pair();
    client_ = make_raw_ssl(client_ctx, Role::kClient, client_socket_.get());
    server_ = make_raw_ssl(materials().server_ctx.get(), Role::kServer, server_socket_.get());
    require(SSL_do_handshake(client_.get()) < 0, "a handshake without a peer succeeded");
    if (flight == Flight::kServers) {
      require(SSL_do_handshake(server_.get()) < 0, "a handshake without a client succeeded");
    }
  }

  SSL* client() const noexcept { return client_.get(); }

 private:
  UniqueFd client_socket_;
  UniqueFd server_socket_;
  openssl::SslPtr client_;
  openssl::SslPtr server_;
};

class Untrusted final : public OwnHandshake {
 public:
  void prepare(Stack& /*stack*/) override {
    begin(materials().suspicious_ctx.get(), Flight::kServers);
  }
  Origin leave() override {
    Origin origin = next_line("SSL_connect");
    require(SSL_connect(client()) <= 0, "an untrusted server was trusted");
    return origin;
  }
};

class ShutdownInInit final : public OwnHandshake {
 public:
  void prepare(Stack& /*stack*/) override { begin(materials().client_ctx.get(), Flight::kNone); }
  Origin leave() override {
    Origin origin = next_line("SSL_shutdown");
    require(SSL_shutdown(client()) < 0, "a shutdown within a handshake succeeded");
    return origin;
  }
};

class AnotherHandshake final : public OwnHandshake {
 public:
  void prepare(Stack& /*stack*/) override { begin(materials().client_ctx.get(), Flight::kNone); }
  Origin leave() override {
    Origin origin = next_line("SSL_do_handshake");
    require(SSL_do_handshake(client()) < 0, "a handshake without a peer succeeded");
    return origin;
  }
};

class MalformedExtension final : public Leaker {
 public:
  void prepare(Stack& /*stack*/) override { pair_.emplace(materials().malformed_server_ctx.get()); }
  Origin leave() override {
    const openssl::X509Ptr certificate(SSL_get1_peer_certificate(pair_->client()));
    require(certificate && SSL_get_verify_result(pair_->client()) == X509_V_OK,
            "the peer did not verify");
    Origin origin = next_line("X509_get_ext_d2i");
    require(X509_get_ext_d2i(certificate.get(), NID_info_access, nullptr, nullptr) == nullptr,
            "a malformed extension was parsed");
    return origin;
  }

 private:
  std::optional<RawPair> pair_;
};

// Through the stack under test: does it clean up after its own failures?
class StackJunk final : public Leaker {
 public:
  void prepare(Stack& stack) override {
    UniqueFd socket;
    std::tie(junk_, socket) = make_socket_pair();
    const Materials& with = materials();
    connection_ = stack.connect({.role = Role::kServer,
                                 .descriptor = socket.release(),
                                 .chain_pem = with.chain_pem,
                                 .key_pem = with.server.key_pem});
    send_plain_http(junk_.get());
  }
  Origin leave() override {
    Origin origin = next_line("handshake of the stack under test");
    require(connection_->handshake().answer == Answer::kTlsFailed,
            "the stack takes plain HTTP for TLS");
    return origin;
  }

 private:
  UniqueFd junk_;
  std::unique_ptr<StackConnection> connection_;
};

constexpr std::array kKinds = {
    LeakerKind{"vanished-peer", "SSL_write to a peer that has vanished: EPIPE",
               make_leaker<VanishedPeer>},
    LeakerKind{"reset-in-shutdown", "SSL_shutdown after the peer's reset: ECONNRESET",
               make_leaker<ResetInShutdown>},
    LeakerKind{"bad-record", "SSL_read of a record that does not decrypt", make_leaker<BadRecord>},
    LeakerKind{"junk-handshake", "SSL_accept of plain HTTP", make_leaker<JunkHandshake>},
    LeakerKind{"untrusted", "SSL_connect to a server whose certificate does not verify",
               make_leaker<Untrusted>},
    LeakerKind{"shutdown-in-init", "SSL_shutdown before the handshake is over",
               make_leaker<ShutdownInInit>},
    LeakerKind{"malformed-aia",
               "reading the malformed AIA extension of a peer that verified, as getpeercert() does",
               make_leaker<MalformedExtension>},
    LeakerKind{"another-handshake", "SSL_do_handshake that goes well: it wipes the whole queue",
               make_leaker<AnotherHandshake>},
    LeakerKind{"stack-junk", "plain HTTP sent to the stack under test itself",
               make_leaker<StackJunk>, /*through_stack=*/true},
};

}  // namespace

std::span<const LeakerKind> connection_leakers() {
  return kKinds;
}

}  // namespace heddle::stale
