// Conversations of two SslObjects over a wire that changes, cuts, repeats, drops and reorders
// records, and adds some. The input is a script: the version, then steps with their operands. What
// one side reads is what the other wrote, or nothing.
#include "heddle/tls/ssl_object.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "fuzz/fuzz.h"
#include "support/tls_pair.h"

namespace {

using namespace heddle;  // NOLINT(google-build-using-namespace): a target is all of a program.
using fuzz::require;

constexpr std::size_t kStepsMax = 200;
constexpr std::size_t kHeaderBytes = 5;

class Script {
 public:
  Script(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  bool over() const { return left_ == 0; }
  std::uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  std::string bytes(std::size_t count) {
    std::string taken;
    while (taken.size() < count && left_ > 0) taken += static_cast<char>(byte());
    return taken;
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

// One side, and what it has sent that has not arrived.
struct Side {
  Side(const Context& context, const char* name, char letter_of)
      : letter(letter_of),
        tls(SslObject::create(context, incoming, outgoing, {.server_name = name}).value()) {}

  MemoryBio incoming;
  MemoryBio outgoing;
  char letter;
  std::optional<SslObject> tls;
  std::string wire;
  std::size_t written = 0;
  std::size_t read = 0;
};

// What each side writes, for ever: no two places near each other look alike.
char text_at(char letter, std::size_t index) {
  return static_cast<char>(letter + static_cast<char>((index * index + index / 7) % 51));
}

std::size_t first_record(const std::string& wire) {
  if (wire.size() < kHeaderBytes) return wire.size();
  const std::size_t length =
      std::size_t{static_cast<unsigned char>(wire[3])} * 256 + static_cast<unsigned char>(wire[4]);
  return std::min(kHeaderBytes + length, wire.size());
}

void write(Side& side, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += text_at(side.letter, side.written + i);
  const auto written = side.tls->write(test::bytes(text));
  if (written && written->kind == Progress::Kind::kDone) side.written += written->bytes;
}

void read(Side& side, const Side& other) {
  std::array<std::byte, 3000> into;  // NOLINT: zeroing takes longer than reading.
  const auto got = side.tls->read(into);
  if (!got || got->kind != Progress::Kind::kDone) return;
  // A write that wanted more room is repeated with other bytes behind: counted once it is done.
  require(side.read + got->bytes <= other.written + 3000, "no more is read than was written");
  for (std::size_t i = 0; i < got->bytes; ++i) {
    require(std::to_integer<char>(into.at(i)) == text_at(other.letter, side.read + i),
            "what is read is what the peer wrote");
  }
  side.read += got->bytes;
}

void deliver(Side& from, Side& to, std::size_t count) {
  count = std::min(count, from.wire.size());
  (void)to.incoming.write(test::bytes(std::string_view(from.wire).substr(0, count)));
  from.wire.erase(0, count);
}

// What the network, or an attacker in it, does to `from`'s records.
void tamper(Side& from, Side& to, Script& script) {
  std::string& wire = from.wire;
  const std::size_t record = first_record(wire);
  switch (script.byte() % 6) {
    case 0:
      if (!wire.empty()) wire[script.byte() % wire.size()] ^= static_cast<char>(script.byte());
      return;
    case 1:
      wire.insert(0, wire.substr(0, record));
      return;
    case 2:
      wire.erase(0, record);
      return;
    case 3:
      wire = wire.substr(record) + wire.substr(0, record);
      return;
    case 4:
      wire.insert(0, script.bytes(script.byte()));
      return;
    default:
      to.incoming.write_eof();
  }
}

void step(Side& side, Side& other, Script& script) {
  switch (script.byte() % 10) {
    case 0:
      (void)side.tls->handshake();
      return;
    case 1:
      return write(side, script.byte() * std::size_t{80});
    case 2:
    case 3:
      return read(side, other);
    case 4:
      return deliver(side, other, first_record(side.wire));
    case 5:
      return deliver(side, other, SIZE_MAX);
    case 6:
      return deliver(side, other, script.byte());
    case 7:
      return tamper(side, other, script);
    case 8:
      if (side.tls->connection_state().version == "TLSv1.3")
        (void)SSL_key_update(side.tls->native_handle(), 1);
      ERR_clear_error();
      return;
    default:
      (void)side.tls->shutdown();
  }
}

// The two that come first anyway: half of all scripts begin behind an honest handshake.
void shake_hands(Side& client, Side& server) {
  for (int flight = 0; flight < 4; ++flight) {
    for (auto [side, other] : {std::pair(&client, &server), std::pair(&server, &client)}) {
      (void)side->tls->handshake();
      (void)other->incoming.write(side->outgoing.readable());
      side->outgoing.consume(side->outgoing.pending());
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::array kVersions = {TlsVersion::kTls12, TlsVersion::kTls13};
  Script script(data, size);
  const std::uint8_t kind = script.byte();
  Context server_context = test::server_context();
  const Context client_context = test::client_context();
  const TlsVersion version = kVersions.at(kind % 2);
  server_context.set_versions(version, version).value();
  Side client(client_context, test::kServerName, '0');
  Side server(server_context, "", 'A');
  if ((kind & 2U) != 0) shake_hands(client, server);
  for (std::size_t i = 0; i < kStepsMax && !script.over(); ++i) {
    const bool clients_turn = script.byte() % 2 == 0;
    Side& side = clients_turn ? client : server;
    step(side, clients_turn ? server : client, script);
    const auto out = side.outgoing.readable();
    side.wire.append(reinterpret_cast<const char*>(out.data()), out.size());
    side.outgoing.consume(out.size());
    require(ERR_peek_error() == 0, "nothing is left in the error queue");
  }
  return 0;
}
