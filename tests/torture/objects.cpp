// Two SslObjects, and what the fiber of each does: a call, then bytes from and to the other one.
#include "torture/objects.h"

#include <algorithm>
#include <sstream>

#include <openssl/ssl.h>

namespace heddle::torture {

void ObjectConnection::run() {
  sides_[0].kind = &world_.shared.client(rng_);
  sides_[1].kind = &world_.shared.server(rng_);
  name_ = sides_[0].kind->name + " to " + sides_[1].kind->name + " without I/O";
  disturbed_ = sides_[0].kind->fails || sides_[1].kind->fails;
  report_.count("connections without I/O");
  StreamOptions options{.server_name = "server.test", .session = world_.shared.any_session(rng_)};
  for (std::size_t i = 0; i < 2; ++i) {
    Side& side = sides_[i];
    side.pattern_seed = mix(seed_ + static_cast<std::uint64_t>(i));
    side.target = rng_.one_in(10) ? 0 : rng_.size(200'000);
    side.tls = checked(report_, rng_, "create", [&] {
                 return SslObject::create(side.kind->context, side.incoming, side.outgoing,
                                          i == 0 ? options : StreamOptions());
               }).value();
  }
  scope([this](Scope& s) {
    for (std::size_t i = 0; i < 2; ++i) (void)s.spawn("object", [this, i] { drive(i); });
    if (rng_.one_in(6)) {
      (void)s.spawn("cut", [this] {
        nap(rng_, Micros(50'000));
        disturbed_ = dead_ = true;
        for (Side& side : sides_) side.waiters.wake_all();
      });
    }
  });
  if (excused()) return;
  for (std::size_t i = 0; i < 2; ++i) {
    if (sides_[1 - i].received != sides_[i].target || !sides_[1 - i].end_seen) {
      fault("nobody disturbed it, but bytes are missing");
    }
  }
  report_.count("whole without I/O");
}

void ObjectConnection::drive(std::size_t i) {
  Side& side = sides_[i];
  Rng rng(seed_ + 10 + static_cast<std::uint64_t>(i));
  while (!(side.ended && side.end_seen) && !dead_ && !this_fiber::cancelled()) {
    const bool more = call(i, rng);
    const std::size_t left = side.outgoing.pending() + sides_[1 - i].wire.size();
    carry(i, rng);
    if (!more && left == 0) (void)side.waiters.wait(this_fiber::after(Micros(20'000)));
  }
  while (!dead_ && side.outgoing.pending() > 0) carry(i, rng);
  if (this_fiber::cancelled()) dead_ = true;
  sides_[1 - i].waiters.wake_all();
}

// Between two calls, as nobody else may touch a MemoryBio while a callback of a call is parked.
void ObjectConnection::carry(std::size_t i, Rng& rng) {
  Side& side = sides_[i];
  std::deque<std::byte>& theirs = sides_[1 - i].wire;
  const auto out =
      side.outgoing.readable().first(std::min(rng.size(30'000), side.outgoing.pending()));
  side.wire.insert(side.wire.end(), out.begin(), out.end());
  const bool sends = !out.empty();
  side.outgoing.consume(out.size());
  const std::size_t count = std::min(rng.size(30'000), theirs.size());
  const auto last = theirs.begin() + static_cast<std::ptrdiff_t>(count);
  const std::vector<std::byte> in(theirs.begin(), last);
  theirs.erase(theirs.begin(), last);
  if (!side.incoming.write(in)) fault("a MemoryBio that nobody has ended is ended");
  if (sends) sides_[1 - i].waiters.wake_all();
  if (rng.one_in(4)) (void)this_fiber::yield();
}

bool ObjectConnection::call(std::size_t i, Rng& rng) {
  const Side& side = sides_[i];
  if (rng.one_in(2)) {
    if (side.sent < side.target) return write(i, rng);
    if (!side.ended) return end(i, rng);
  }
  return side.end_seen || read(i, rng);
}

bool ObjectConnection::failed(std::size_t i, const char* call, const Error& error) {
  if (!disturbed_ && !dead_ && !world_.stopping) {
    fault(std::string(i == 0 ? "client: " : "server: ") + call + " fails: " + error.message());
  }
  report_.count(std::string("without I/O: ") + error.message());
  disturbed_ = dead_ = true;
  return false;
}

bool ObjectConnection::write(std::size_t i, Rng& rng) {
  Side& side = sides_[i];
  SSL* const ssl = side.tls->native_handle();
  if (SSL_in_init(ssl) == 0 && SSL_version(ssl) == TLS1_3_VERSION && rng.one_in(12)) {
    const int kind = rng.one_in(2) ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
    if (SSL_key_update(ssl, kind) == 1) report_.count("key updates without I/O");
    ERR_clear_error();
  }
  const std::size_t count = std::min(rng.size(40'000), side.target - side.sent);
  const auto bytes = pattern(side.pattern_seed, side.sent, count);
  // What it may have put into `outgoing` is what the peer may see.
  const auto wrote =
      checked(report_, rng, "write without I/O", [&] { return side.tls->write(bytes); });
  if (!wrote) return failed(i, "write()", wrote.error());
  if (wrote->kind != Progress::Kind::kDone) return wrote->kind == Progress::Kind::kWantWrite;
  if (wrote->bytes != count) fault("write() takes a part");
  side.sent += count;
  return true;
}

bool ObjectConnection::read(std::size_t i, Rng& rng) {
  Side& side = sides_[i];
  const Side& peer = sides_[1 - i];
  std::vector<std::byte> into(rng.size(40'000));
  const bool peek = rng.one_in(8);
  const auto got = checked(report_, rng, peek ? "peek without I/O" : "read without I/O",
                           [&] { return peek ? side.tls->peek(into) : side.tls->read(into); });
  if (!got) return failed(i, "read()", got.error());
  if (got->kind == Progress::Kind::kEnd) {
    side.end_seen = true;
    if (!peer.ended || side.received != peer.target) fault("an end that nobody sent");
    return true;
  }
  if (got->kind != Progress::Kind::kDone) return got->kind == Progress::Kind::kWantWrite;
  into.resize(got->bytes);
  if (into != pattern(peer.pattern_seed, side.received, got->bytes)) fault("wrong bytes");
  if (!peek) side.received += got->bytes;
  if (side.received > peer.sent) fault("more was received than was sent");
  return true;
}

bool ObjectConnection::end(std::size_t i, Rng& rng) {
  Side& side = sides_[i];
  SSL* const ssl = side.tls->native_handle();
  const bool shaken = SSL_is_init_finished(ssl) != 0 && SSL_in_init(ssl) == 0;
  const auto ended = checked(report_, rng, "shutdown without I/O",
                             [&] { return shaken ? side.tls->shutdown() : side.tls->handshake(); });
  side.ended = (SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN) != 0;
  if (ended) return ended->kind != Progress::Kind::kWantRead;
  // There is data to be read before their end, which is to be tried again then.
  if (shaken && ended.error().code == Errc::kInvalid) return true;
  return failed(i, "shutdown()", ended.error());
}

std::string ObjectConnection::describe() const {
  std::ostringstream out;
  out << "connection " << id_ << ", " << name_ << (disturbed_ ? ", disturbed" : "")
      << (dead_ ? ", dead" : "") << '\n';
  for (const Side& side : sides_) {
    out << "  of " << side.target << " sent " << side.sent << ", received " << side.received
        << (side.ended ? ", ended" : "") << (side.end_seen ? ", end seen" : "") << "; incoming "
        << side.incoming.pending() << ", outgoing " << side.outgoing.pending() << ", on the wire "
        << side.wire.size() << "; "
        << (side.tls ? SSL_state_string_long(side.tls->native_handle()) : "no object") << '\n';
  }
  return out.str();
}

}  // namespace heddle::torture
