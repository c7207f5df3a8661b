// SslObject: a TLS connection without I/O, for other people's event loops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/connection_state.h"
#include "heddle/tls/context.h"
#include "heddle/tls/memory_bio.h"
#include "heddle/tls/stream.h"

namespace heddle {

// Progress is how far a call of SslObject got.
struct Progress {
  enum class Kind : std::uint8_t {
    kDone,       // It is done.
    kEnd,        // The peer has sent close_notify: there is nothing more to read, for good.
    kWantRead,   // It needs bytes from the peer: `incoming` is empty. Fill it and call again.
    kWantWrite,  // `outgoing` is too full. Send what is in it and call again.
  };

  Kind kind;
  std::size_t bytes = 0;  // When kDone: read, or taken to be written.
};

// SslObject is one TLS connection that reads what the peer has sent from one MemoryBio and writes
// what the peer is to get into another. The user decides how and when the bytes move: poll(),
// libuv, a queue, a test. It is like CPython's ssl.SSLObject. To use it:
//
//   call a function; send what is in `outgoing`, whatever the call said; if it wants to read,
//   receive into `incoming` (write_eof() at the end of the connection) and call it again.
//
// Nothing here parks, waits or needs a runtime or a fiber; it works inside fibers as well.
//
// Calls:    a call that wants something has consumed and returned nothing: repeat it, or make
//   another.
// Threads:  any, one at a time; its MemoryBios too.
// Fibers:   the same. While a callback is running or parked, calls of its SslObject, from the
//   callback or from other fibers, fail with kInvalid, which does not affect the connection.
// Moving:   as Runtime.
// Lifetime: the MemoryBios must outlive it. The Context may go first. No call may be going on when
//   it is destroyed: not from a callback of its own.
// Errors:   kTruncated when `incoming` ends without close_notify (RFC 8446, 6.1), kUntrusted,
//   kProtocol, as with Stream; kDisconnected for a handshake that the peer ends, or an `outgoing`
//   that the user has ended; kExhausted when there is no memory for `outgoing`. Those are final:
//   later calls return the same error. After one, `outgoing` may hold an alert for the peer.
// The thread's OpenSSL error queue is after each call as it was before.
class HEDDLE_API SslObject {
 public:
  // With more than this in `outgoing`, calls return kWantWrite: a peer that asks for answers
  // (KeyUpdate) and does not read them must not fill the memory.
  static constexpr std::size_t kOutgoingBytesMax = std::size_t{256} * 1024;

  // Makes a connection and begins nothing. Fails as Stream::create() does.
  static Result<SslObject> create(const Context& context, MemoryBio& incoming, MemoryBio& outgoing,
                                  const StreamOptions& options = {});

  SslObject(const SslObject&) = delete;
  SslObject& operator=(const SslObject&) = delete;
  SslObject(SslObject&& other) noexcept;
  SslObject& operator=(SslObject&& other) noexcept;
  ~SslObject();

  // Completes the handshake. read() and write() do it implicitly.
  Result<Progress> handshake();

  // Reads at least one byte and at most `into.size()`; none at once if `into` is empty. While
  // it returns kDone, there may be more: kWantRead says that there is not.
  Result<Progress> read(std::span<std::byte> into);

  // As read(), and leaves the bytes to be read again.
  Result<Progress> peek(std::span<std::byte> into);

  // Takes all of `from` and puts its records into `outgoing`, which grows by as much: pass large
  // data in pieces, and stop at kWantWrite. kWantRead: the handshake must go on first. After
  // our close_notify it fails with kDisconnected.
  Result<Progress> write(std::span<const std::byte> from);
  Result<Progress> write(std::string_view text) { return write(std::as_bytes(std::span(text))); }

  // Ends the connection. The first call puts close_notify into `outgoing`: nothing more can be
  // written. kWantRead: the peer's close_notify has not come. You may leave it at that, call again
  // when bytes have come, or go on reading with read() until kEnd. kDone: it has come, and what
  // follows it in `incoming` is not TLS. Fails with kInvalid if there is data to read before it,
  // and loses none: read() it first. Before the handshake there is nothing to end: kDone. A
  // handshake in progress is completed first.
  Result<Progress> shutdown();

  // Decrypted bytes that read() will return without looking at `incoming`.
  std::size_t pending() const noexcept;

  // What was negotiated.
  ConnectionState connection_state() const;
  // As Stream::peer_certificates().
  std::vector<Certificate> peer_certificates() const;
  // As Stream::session().
  std::optional<Session> session() const;
  // As Stream::verified_chain() and Stream::shared_ciphers().
  std::vector<Certificate> verified_chain() const;
  std::vector<std::string> shared_ciphers() const;
  // As Stream::offered_ciphers() and Stream::verify_failure().
  std::vector<std::uint16_t> offered_ciphers() const;
  std::optional<VerifyFailure> verify_failure() const;
  // As Stream::export_keying_material() and Stream::channel_binding().
  Result<std::string> export_keying_material(std::string_view label, std::size_t bytes,
                                             std::optional<std::string_view> context = {}) const;
  Result<std::string> channel_binding(ChannelBinding kind) const;
  // As Stream::update_keys() and Stream::request_client_certificate(), into `outgoing`.
  Result<Progress> update_keys(bool ask_peer);
  Result<Progress> request_client_certificate();
  // As Stream::explain().
  std::string explain(const Error& error) const;

  // For what has no call here. Stays owned by the object. Never make I/O calls with it.
  SSL* native_handle() const noexcept;

 private:
  class Impl;
  explicit SslObject(std::unique_ptr<Impl> impl);
  Impl& impl(const char* call = __builtin_FUNCTION()) const noexcept;

  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle
