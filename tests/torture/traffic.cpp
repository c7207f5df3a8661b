// What the fibers of a connection do: read, peek, write, send files, be interrupted, and account.
#include <algorithm>

#include <openssl/ssl.h>

#include "torture/connection.h"

namespace heddle::torture {
namespace {

constexpr auto kLong = std::chrono::seconds(200);  // The watchdog is sooner.

bool is_shaken(SSL* ssl) {
  return SSL_is_init_finished(ssl) != 0 && SSL_in_init(ssl) == 0;
}

}  // namespace

void TortureConnection::read_all(std::size_t side) {
  Rng rng(seed_ + 10 + static_cast<std::uint64_t>(side));
  std::vector<std::byte> buffer(40'000);
  stages_[side] = "reads";
  while (take(side, rng, std::span(buffer).first(rng.size(buffer.size())))) {
    if (rng.one_in(40)) nap(rng, Micros(3000));
  }
  stages_[side] = "done";
}

// One read or peek. False at the end.
bool TortureConnection::take(std::size_t side, Rng& rng, std::span<std::byte> into) {
  Way& way = ways_[1 - side];
  Stream& stream = *streams_[side];
  const bool peek = rng.one_in(8);
  Micros patience(rng.one_in(3) ? rng.below(2000) : 30'000);
  if (!hasty_ && !is_shaken(stream.native_handle())) patience = kLong;
  const Deadline deadline = this_fiber::after(patience);
  const auto count = checked(report_, rng, peek ? "peek" : "read", [&] {
    return peek ? stream.peek(into, deadline) : stream.read(into, deadline);
  });
  if (!count) return read_failed(side, rng, count.error());
  if (*count > into.size()) {
    fault("read() returns more than was asked for");
    return false;
  }
  if (*count == 0) {
    end_seen(way);
    return false;
  }
  if (way.received + *count > way.attempted) fault("more was received than was sent");
  for (std::size_t i = 0; i < *count; ++i) {
    if (into[i] == pattern_at(way.seed, way.received + i)) continue;
    fault("wrong byte at " + std::to_string(way.received + i) + (peek ? ", by peek()" : ""));
    dead_ = disturbed_ = true;
    kill_();
    return false;
  }
  if (!peek) way.received += *count;
  return true;
}

// Whether to go on reading.
bool TortureConnection::read_failed(std::size_t side, Rng& rng, const Error& error) {
  if (error.code == Errc::kTimedOut && !dead_ && !world_.stopping) {
    if (!disturbed_) return true;
    // Of a callback's deadline nothing is left to wait for, and somebody has to end it.
    if (!rng.one_in(200)) return true;
  }
  if (!excused()) {
    fault(std::string(side == 0 ? "client" : "server") +
          ": a read that nobody disturbed fails: " + error.message());
  }
  report_.count("read fails: " + error.message());
  dead_ = disturbed_ = true;
  kill_();
  return false;
}

void TortureConnection::end_seen(Way& way) {
  way.end_seen = true;
  if (!way.end_tried) fault("an end that nobody sent");
  if (way.received != way.attempted) {
    fault("an orderly end after " + std::to_string(way.received) + " of " +
          std::to_string(way.attempted) + " bytes");
  }
}

void TortureConnection::write_all(std::size_t side) {
  Rng rng(seed_ + 20 + static_cast<std::uint64_t>(side));
  const Way& way = ways_[side];
  const char*& stage = stages_[2 + side];
  stage = "writes";
  while (way.sent < way.target && !dead_) {
    if (!put(side, rng)) {
      stage = "failed";
      return;
    }
    if (rng.one_in(50)) nap(rng, Micros(3000));
  }
  stage = "ends";
  if (!dead_) end_writing(side, rng);
  stage = "done";
}

// One write of some kind. False if it failed.
bool TortureConnection::put(std::size_t side, Rng& rng) {
  Way& way = ways_[side];
  SSL* const ssl = streams_[side]->native_handle();
  const std::size_t count =
      std::min(rng.size(rng.one_in(6) ? 200'000 : 3'000), way.target - way.sent);
  // An interrupted write ends the writing: rarely, but more often in the handshake.
  const bool hurried = is_shaken(ssl) ? rng.one_in(400) : hasty_ && rng.one_in(4);
  if (hurried) disturbed_ = true;
  const Deadline deadline = this_fiber::after(hurried ? Micros(rng.below(500)) : Micros(kLong));
  way.attempted = way.sent + count;
  stir(ssl, rng);
  const auto sent = send(side, rng, count, deadline);
  if (sent) {
    way.sent += count;
    return true;
  }
  if (!excused()) {
    fault(std::string(side == 0 ? "client" : "server") +
          ": a write that nobody disturbed fails: " + sent.error().message());
  }
  report_.count("write fails: " + sent.error().message());
  disturbed_ = dead_ = true;
  // The reader is to find out by itself at times; a killed connection cannot be closed.
  if (rng.one_in(2)) nap(rng, Micros(5000));
  kill_();
  return false;
}

Result<void> TortureConnection::send(std::size_t side, Rng& rng, std::size_t count,
                                     Deadline deadline) {
  const Way& way = ways_[side];
  Stream& stream = *streams_[side];
  const std::size_t how = rng.below(4);
  if (how == 0 && way.file >= 0) {
    const auto sent = checked(report_, rng, "sendfile",
                              [&] { return stream.sendfile(way.file, way.sent, count, deadline); });
    if (!sent) return sent.error();
    if (*sent != count) fault("sendfile() sends less than the file has");
    return {};
  }
  const std::vector<std::byte> bytes = pattern(way.seed, way.sent, count);
  if (how > 1) {
    return checked(report_, rng, "write", [&] { return stream.write(bytes, deadline); });
  }
  std::vector<std::span<const std::byte>> pieces;
  for (std::size_t at = 0; at < count;) {
    const std::size_t size = std::min(count - at, rng.size(2000));
    pieces.push_back(std::span(bytes).subspan(at, size));
    at += size;
    if (rng.one_in(5)) pieces.emplace_back();
  }
  return checked(report_, rng, "write of pieces", [&] { return stream.write(pieces, deadline); });
}

// A KeyUpdate or another ticket before the next write, as programs ask OpenSSL for them.
void TortureConnection::stir(SSL* ssl, Rng& rng) {
  if (!is_shaken(ssl) || SSL_version(ssl) != TLS1_3_VERSION) return;
  if (rng.one_in(12)) {
    const int kind = rng.one_in(2) ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
    if (SSL_key_update(ssl, kind) == 1) report_.count("key updates");
  }
  if (SSL_is_server(ssl) != 0 && rng.one_in(60)) {
    if (SSL_new_session_ticket(ssl) == 1) report_.count("extra tickets");
  }
  ERR_clear_error();
}

// With several tries, the first ones too short. They lose nothing.
void TortureConnection::end_writing(std::size_t side, Rng& rng) {
  Way& way = ways_[side];
  Stream& stream = *streams_[side];
  if (!is_shaken(stream.native_handle())) {
    const auto shaken = checked(report_, rng, "handshake",
                                [&] { return stream.handshake(this_fiber::after(kLong)); });
    if (!shaken) {
      if (!excused()) fault("a handshake that nobody disturbed fails: " + shaken.error().message());
      disturbed_ = dead_ = true;
      kill_();
      return;
    }
  }
  way.end_tried = true;
  for (int tries = static_cast<int>(rng.below(3));; --tries) {
    const Deadline deadline = this_fiber::after(tries > 0 ? Micros(rng.below(300)) : Micros(kLong));
    const auto ended =
        checked(report_, rng, "shutdown_write", [&] { return stream.shutdown_write(deadline); });
    way.ended = ended.has_value();
    if (ended) return;
    if (tries > 0 && ended.error().code == Errc::kTimedOut) continue;
    if (!excused()) fault("shutdown_write() fails: " + ended.error().message());
    disturbed_ = dead_ = true;
    kill_();
    return;
  }
}

}  // namespace heddle::torture
