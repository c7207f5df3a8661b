// A peer gets the bytes that were written to it and no others, whatever callback parks inside the
// write, and whoever else writes meanwhile.
#include <array>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/sync.h"
#include "heddle/tls/stream.h"

#include "support/sim.h"
#include "support/tls_over_tcp.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::bytes;

constexpr Deadline kNever = Deadline::never();

enum class How { kWrite, kPieces, kSendfile };

// What runs a callback inside the write.
enum class When {
  kHandshake,        // The write does the handshake: key log.
  kKeyUpdate,        // The peer has asked for a KeyUpdate, which goes before the data: key log.
  kTicket,           // A server was told to send another ticket, before the data: session store.
  kMessageCallback,  // The program's own, between two records of the same call.
};

struct Case {
  Role writer;
  TlsVersion version;
  How how;
  When when;
};

std::string name_of(const testing::TestParamInfo<Case>& info) {
  constexpr std::array kHow = {"Write", "Pieces", "Sendfile"};
  constexpr std::array kWhen = {"Handshake", "KeyUpdate", "Ticket", "MessageCallback"};
  return std::string(info.param.writer == Role::kClient ? "Client" : "Server") +
         (info.param.version == TlsVersion::kTls12 ? "Tls12" : "Tls13") +
         kHow[static_cast<std::size_t>(info.param.how)] + "In" +
         kWhen[static_cast<std::size_t>(info.param.when)];
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Role writer : {Role::kClient, Role::kServer}) {
    for (const TlsVersion version : {TlsVersion::kTls12, TlsVersion::kTls13}) {
      for (const How how : {How::kWrite, How::kPieces, How::kSendfile}) {
        for (const When when :
             {When::kHandshake, When::kKeyUpdate, When::kTicket, When::kMessageCallback}) {
          const bool needs13 = when == When::kKeyUpdate || when == When::kTicket;
          if (needs13 && version == TlsVersion::kTls12) continue;
          if (when == When::kTicket && writer == Role::kClient) continue;
          cases.push_back({writer, version, how, when});
        }
      }
    }
  }
  return cases;
}

class OwnBytesSim : public testing::TestWithParam<Case> {
 protected:
  // One of the two connections: `letter` is what all its bytes are.
  struct Connection {
    Connection(OwnBytesSim& sim, char written)
        : letter(written),
          pipe(sim.world_),
          client(test::client(sim.client_context_, pipe.a())),
          server(test::server(sim.server_context_, pipe.b())) {}

    char letter;
    sim::Pipe pipe;
    std::optional<Stream> client;
    std::optional<Stream> server;
  };

  OwnBytesSim() {
    for (Context* const context : {&server_context_, &client_context_}) {
      context->set_versions(GetParam().version, GetParam().version).value();
      context->on_key_log([this](const ConnectionView& connection, std::string_view) {
        if (GetParam().when != When::kTicket) park(connection.native_handle());
        return Result<void>();
      });
    }
    server_context_
        .set_session_store({.put =
                                [this](const ConnectionView& connection, const Session&) {
                                  if (GetParam().when == When::kTicket)
                                    park(connection.native_handle());
                                  return Result<void>();
                                },
                            .get = [](const ConnectionView&,
                                      std::string_view) { return std::optional<Session>(); },
                            .remove = {}})
        .value();
  }

  Stream& writer(Connection& of) {
    return GetParam().writer == Role::kClient ? *of.client : *of.server;
  }
  Stream& reader(Connection& of) {
    return GetParam().writer == Role::kClient ? *of.server : *of.client;
  }

  // Once, in the writer of the first connection: until the second has written.
  void park(const SSL* ssl) {
    if (!armed_ || ssl != writer(*first_).native_handle()) return;
    armed_ = false;
    parked_.release();
    written_.acquire().value();
  }

  static void message(int writing, int /*version*/, int type, const void* /*bytes*/,
                      std::size_t /*size*/, SSL* ssl, void* self) {
    if (writing == 1 && type == SSL3_RT_HEADER) static_cast<OwnBytesSim*>(self)->park(ssl);
  }

  void prepare(Connection& of) {
    if (GetParam().when == When::kHandshake) return;
    SSL* const ssl = writer(of).native_handle();
    if (GetParam().when == When::kMessageCallback) {
      // From 3.2 on OpenSSL tells of records only if it is there when their keys are set.
      SSL_set_msg_callback(ssl, message);
      SSL_set_msg_callback_arg(ssl, this);
    }
    test::together({[&] { of.client->handshake(kNever).value(); },
                    [&] { of.server->handshake(kNever).value(); }});
    if (GetParam().when == When::kTicket) {
      ASSERT_EQ(SSL_new_session_ticket(ssl), 1);
    }
    if (GetParam().when != When::kKeyUpdate) return;
    ASSERT_EQ(SSL_key_update(reader(of).native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
    test::together({[&] { reader(of).write(bytes("!"), kNever).value(); },
                    [&] { EXPECT_EQ(test::read_text(writer(of), 1, kNever), "!"); }});
  }

  void write(Connection& of) {
    const std::string text(kBytes, of.letter);
    const std::string_view view = text;
    switch (GetParam().how) {
      case How::kWrite:
        return writer(of).write(bytes(view), kNever).value();
      case How::kPieces: {
        const std::array pieces = {bytes(view.substr(0, 200)), bytes(view.substr(200, 300)),
                                   bytes(view.substr(500))};
        return writer(of).write(pieces, kNever).value();
      }
      case How::kSendfile: {
        const test::ScratchFile file(text);
        EXPECT_EQ(writer(of).sendfile(file.fd(), 0, kBytes, kNever).value(), kBytes);
      }
    }
  }

  // Returns what of it was not the connection's own.
  std::string foreign(Connection& of) {
    std::string text = test::read_text(reader(of), kBytes, kNever);
    std::erase(text, of.letter);
    return text;
  }

  static constexpr std::size_t kBytes = 40'000;

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  sim::World world_{1};
  Semaphore parked_{0};
  Semaphore written_{0};
  bool armed_ = false;
  std::optional<Connection> first_;
  std::optional<Connection> second_;
};

TEST_P(OwnBytesSim, CallbackThatParksInsideAWriteLetsNobodyElsesBytesIn) {
  bool has_parked = false;
  world_.run([&] {
    first_.emplace(*this, 'A');
    second_.emplace(*this, 'B');
    prepare(*first_);
    prepare(*second_);
    armed_ = true;
    test::together(
        {[&] { write(*first_); }, [&] { EXPECT_EQ(foreign(*first_), ""); },
         [&] {
           parked_.acquire().value();
           has_parked = true;
           test::together({[&] { write(*second_); }, [&] { EXPECT_EQ(foreign(*second_), ""); }});
           written_.release();
         }});
    first_.reset();
    second_.reset();
  });
  EXPECT_TRUE(has_parked);
}

INSTANTIATE_TEST_SUITE_P(Writes, OwnBytesSim, testing::ValuesIn(all_cases()), name_of);

}  // namespace
}  // namespace heddle
