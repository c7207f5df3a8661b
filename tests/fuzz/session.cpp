// Sessions and ticket keys as stores give them back. The first byte says what it is about: the rest
// of the input, or a session that is made now (none are kept: they are secrets), in which the rest
// changes bytes.
#include "heddle/tls/session.h"

#include <array>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "heddle/tls/ssl_object.h"

#include "fuzz/fuzz.h"
#include "support/tls_pair.h"

using heddle::fuzz::require;

namespace {

std::string make_session(heddle::TlsVersion version) {
  heddle::Context server_context = heddle::test::server_context();
  const heddle::Context client_context = heddle::test::client_context();
  server_context.set_versions(version, version).value();
  heddle::MemoryBio to_client;
  heddle::MemoryBio to_server;
  auto client = heddle::SslObject::create(client_context, to_client, to_server,
                                          {.server_name = heddle::test::kServerName})
                    .value();
  auto server = heddle::SslObject::create(server_context, to_server, to_client).value();
  std::array<std::byte, 1> none{};
  for (int flight = 0; flight < 4; ++flight) {
    client.handshake().value();
    server.handshake().value();
  }
  client.read(none).value();  // The tickets.
  return heddle::Session(SSL_get_session(client.native_handle())).serialise();
}

std::string bytes_for(std::string_view input) {
  static const std::array sessions = {make_session(heddle::TlsVersion::kTls12),
                                      make_session(heddle::TlsVersion::kTls13)};
  if (input.empty()) return {};
  const std::size_t kind = static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  return kind < sessions.size() ? heddle::fuzz::edited(sessions.at(kind), input)
                                : std::string(input);
}

void check_session(const heddle::Session& session) {
  (void)session.id();
  (void)session.time();
  (void)session.timeout();
  (void)session.ticket_lifetime_hint();
  (void)session.is_resumable();
  const std::string serialised = session.serialise();
  const auto again = heddle::Session::parse(serialised);
  require(again.has_value(), "what is serialised can be parsed");
  require(again->serialise() == serialised, "and is the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes = bytes_for(heddle::fuzz::text_of(data, size));
  if (const auto session = heddle::Session::parse(bytes)) check_session(*session);
  if (const auto key = heddle::TicketKey::parse(bytes)) {
    require(key->serialise() == bytes, "a ticket key is its bytes");
  }
  require(ERR_peek_error() == 0, "nothing is left in the error queue");
  return 0;
}
