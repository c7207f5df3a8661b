// Stream: a TLS connection that reads like blocking code and parks the fiber.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/connection_state.h"
#include "heddle/tls/context.h"
#include "heddle/tls/ktls.h"
#include "heddle/tls/session.h"
#include "heddle/transport.h"

using SSL = struct ssl_st;

namespace heddle {

struct NakedConnection;  // heddle/tls/native.h

struct StreamOptions {
  // Clients: the host name or IP address to ask for (SNI, RFC 6066, names only), for which the
  // certificate must be. Required unless the context has set_check_hostname(false). A name consists
  // of letters, digits, '-', '_' and '.'; others are written in their xn-- form. A trailing dot is
  // dropped. An IPv6 address has no brackets; its zone ("fe80::1%eth0") is not compared with the
  // certificate. The certificate must have the name as a DNS or IP address SAN (RFC 9525): common
  // names are never accepted. An asterisk in a certificate also matches a label with underscores.
  std::string server_name{};

  // Clients: a session with the same server to resume; if the server declines, the handshake is a
  // full one. The certificate is not shown and not verified again, so the session must come from a
  // connection to the same `server_name` with the same trust, verification and identity as this
  // context's (heddle/tls/session.h), and its certificate must not have expired.
  std::optional<Session> session{};

  // Clients with Context::set_session_cache(): tells servers of one `server_name` apart that do not
  // share sessions, such as those on several ports ("443"). Any text; it is not sent.
  std::string session_scope{};
};

// Stream is one TLS connection over a Transport.
//
// Fibers:   at most one fiber may read and one may write at a time; they may be
//   different fibers and may wait at the same time. handshake() counts as both. Every
//   function that takes a Deadline may park its caller.
// Threads:  belongs to the thread of the runtime that uses it.
// Moving:   as Runtime. The transport that it owns stays where it is.
// Lifetime: no fiber may be inside a call when the stream is destroyed; close() ensures that.
//   Destruction sends nothing: call close() for an orderly end.
// Errors:   a failure of the connection is final: later calls return it again. A
//   write() that was interrupted (kTimedOut, kCancelled) makes later writes fail with
//   kDisconnected, since the peer may have part of it; reads go on. After an interrupted
//   handshake() all calls do. An interrupted read() loses nothing and may be repeated, and so may
//   shutdown_write() and close(). (If a callback gives up because of the deadline, OpenSSL fails
//   the handshake: the call returns the callback's error, and later ones kDisconnected.) A peer
//   that sends 32 records in a row without data, or a handshake of more than 16 times what
//   SSL_CTX_set_max_cert_list(3) allows for its certificates, is cut off with kProtocol.
// The thread's OpenSSL error queue is after each call as it was before.
class HEDDLE_API Stream {
 public:
  // Makes a stream and starts no I/O. Fails with kInvalid (no usable `server_name`, which is then
  // Error::context(), where the context checks names; a context that checks names and no
  // certificates; a name or session for a server; a session made for another name or address, with
  // other trust, or of an unverified peer; a transport that cannot use kernel TLS, which the
  // context requires with KernelTls::kOn) or kExhausted. The first two forms take ownership of the
  // transport, a Socket or any other. In the third, the transport must outlive the stream, and must
  // not be moved.
  template <std::derived_from<Transport> T>
  requires std::move_constructible<T>
  static Result<Stream> create(const Context& context, T&& transport,
                               const StreamOptions& options = {}) {
    return create(context, std::unique_ptr<Transport>(new T(std::forward<T>(transport))), options);
  }
  static Result<Stream> create(const Context& context, std::unique_ptr<Transport> transport,
                               const StreamOptions& options = {});
  static Result<Stream> create(const Context& context, Transport& transport,
                               const StreamOptions& options = {});

  // Goes on with a connection that other code began: `connection.ssl`, at any point of its life
  // between two calls, and `connection.network` if it is half of a BIO pair, else null. Takes both,
  // also when it fails. Its BIOs are replaced; bytes that were still in memory in them (a BIO pair,
  // a memory BIO) come first, in both directions; what a socket BIO has not read is left to the
  // transport. Precondition: it is a client or a server (SSL_set_connect_state(3)), and no
  // SSL_write() or SSL_shutdown() waits to be repeated. If close_notify was sent, or
  // SSL_set_shutdown(3) says so, nothing more can be written. Modes and options that contradict
  // what a stream promises are off from then on (SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ASYNC,
  // SSL_OP_IGNORE_UNEXPECTED_EOF). Fails with kInvalid for DTLS or QUIC, and if the kernel has the
  // keys of its socket (SSL_OP_ENABLE_KTLS): they cannot be taken back.
  template <std::derived_from<Transport> T>
  requires std::move_constructible<T>
  static Result<Stream> adopt(NakedConnection connection, T&& transport);
  static Result<Stream> adopt(NakedConnection connection, std::unique_ptr<Transport> transport);
  static Result<Stream> adopt(NakedConnection connection, Transport& transport);

  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();

  // Completes the handshake. Fails with kUntrusted if the peer's certificate does not verify,
  // kProtocol if it speaks no TLS that this end accepts or refuses this end with an alert,
  // kDisconnected or kTruncated if it goes away. read() and write() do it implicitly; calling it
  // gives it a deadline of its own. The stack pages that it used are given back. Fails with
  // kInvalid if the context requires kernel TLS (kOn) and it could not be enabled. Session tickets
  // of a TLS 1.3 server that the transport does not take at once are sent by the calls that follow:
  // the handshake does not wait for a client to read them.
  Result<void> handshake(Deadline deadline);

  // Reads at least one byte and at most `into.size()`, returning how many; 0 at
  // once if `into` is empty. Returns 0 for good once the peer has sent close_notify;
  // a connection that just ends fails with kTruncated, since an attacker can
  // do that (RFC 8446, 6.1).
  Result<std::size_t> read(std::span<std::byte> into, Deadline deadline);

  // As read(), and leaves the bytes to be read again.
  Result<std::size_t> peek(std::span<std::byte> into, Deadline deadline);

  // Writes all of `from`: when it returns, the transport has taken it. In the last form, small
  // pieces share records and system calls. If both ends write and neither reads, they wait for each
  // other once the buffers between them are full, as over any blocking stream: read in a separate
  // fiber where both sides may write much.
  Result<void> write(std::span<const std::byte> from, Deadline deadline);
  Result<void> write(std::string_view text, Deadline deadline) {
    return write(std::as_bytes(std::span(text)), deadline);
  }
  Result<void> write(std::span<const std::span<const std::byte>> pieces, Deadline deadline);

  // Sends `count` bytes of `file`, a descriptor that pread() can read, from `offset` on, and
  // returns how many it sent: less only if the file ends there. With kernel TLS the bytes go from
  // the page cache to the socket, by sendfile(2) (as SSL_sendfile() does); else they are read and
  // written in pieces, with the same outcome. The file's own position stays. Fails as write(), and
  // with kInvalid and errno if the file cannot be read: if a part had been sent, later writes fail
  // as well.
  Result<std::size_t> sendfile(int file, std::uint64_t offset, std::size_t count,
                               Deadline deadline);

  // Sends close_notify (half-close): the peer's read() returns 0; this end can go on reading. Later
  // writes fail with kDisconnected. Idempotent.
  Result<void> shutdown_write(Deadline deadline);

  // Ends the connection without losing what was written: sends close_notify and the transport's
  // end, then reads and drops what the peer still sends until its end or `deadline` (without one,
  // at most a mebibyte). Fails with kTimedOut if the peer did not end in time; all was sent then,
  // and the stream may be destroyed. May also be called after a failure, when it only makes sure
  // that no alert is lost to a reset or to a transport that was full. Other fibers may be inside
  // calls of the stream, so a watchdog may call it: calls that wait end with kCancelled, and so do
  // later calls that would wait. The other fibers have left when close() returns, unless the
  // deadline passes or the closing fiber is cancelled before. (close() waits for a callback of the
  // program.) Only one fiber may close at a time: a second one gets kInvalid.
  Result<void> close(Deadline deadline);

  // Ends TLS and leaves the connection: what follows is plain text again (RFC 4217, section 12.3:
  // FTP's CCC; RFC 4511, 4.14.3: LDAP). Precondition of success: our close_notify was sent
  // (shutdown_write()) and the peer's was read (read() returned 0). Gives back the transport, if
  // the stream owns it, and the bytes behind the peer's close_notify that the stream had read
  // ahead: they come before what the transport reads next. Fails with kInvalid, and changes
  // nothing, if either is missing, and where the kernel encrypts or decrypts. From then on reads,
  // writes and close() fail, and transport() must not be called.
  struct Released {
    std::unique_ptr<Transport> transport;  // Null if the stream did not own it.
    std::vector<std::byte> unread;
  };
  Result<Released> release();

  // Decrypted bytes that read() will return without asking the transport.
  std::size_t pending() const noexcept;

  // What was negotiated. Never parks.
  ConnectionState connection_state() const;

  // Clients: the session to resume with, if is_resumable(). In TLS 1.3 it is resumable once a
  // read() has read a ticket, and is that of the latest ticket; Context::on_new_session() gets all
  // of them. It is a copy, which may be resumed however this connection ends; so may the one in
  // StreamOptions::session.
  std::optional<Session> session() const;

  // Whether the kernel encrypts what is sent, and decrypts what is received; if not, why. As in
  // connection_state(), and also before the handshake.
  KernelTlsState ktls_send() const noexcept;
  KernelTlsState ktls_recv() const noexcept;

  // The peer's certificate, then the others that it sent; also if they did not verify. Empty if it
  // sent none.
  std::vector<Certificate> peer_certificates() const;

  // The chain that was built and verified, the peer's certificate first, up to the one that is
  // trusted. Empty if there was nothing to verify, or it failed, and after a session was resumed.
  std::vector<Certificate> verified_chain() const;

  // Servers: the suites that the client offered and this end has too, in the client's order, by
  // OpenSSL's names. Empty on a client, and before the hello.
  std::vector<std::string> shared_ciphers() const;

  // Servers: the suites that the client offered, as IANA numbers in the client's order; also those
  // that this end does not know, and those that mean nothing (RFC 8701). Empty on a client, and
  // before the hello.
  std::vector<std::uint16_t> offered_ciphers() const;

  // Which certificate did not verify, if the handshake failed for that (kUntrusted).
  std::optional<VerifyFailure> verify_failure() const;

  // Returns `bytes` of keying material that both ends can compute, and nobody else (RFC 8446,
  // section 7.5; RFC 5705), for `label` and, if there is one, `context`. In TLS 1.2 no context is
  // not the same as an empty one. Fails with kInvalid before the handshake is done, for a label
  // that TLS uses itself, and for more bytes than TLS 1.3 can export (255 times its digest).
  Result<std::string> export_keying_material(std::string_view label, std::size_t bytes,
                                             std::optional<std::string_view> context = {}) const;

  // Returns a value that is the same on both ends of one connection. Fails with kInvalid before the
  // handshake is done, and where this connection has none of that kind.
  Result<std::string> channel_binding(ChannelBinding kind) const;

  // TLS 1.3: sends a KeyUpdate (RFC 8446, section 4.6.3): what follows is encrypted with new keys.
  // The peer is asked to do the same if `ask_peer`. Both ends do it by themselves before a key has
  // encrypted too much. Fails with kInvalid before the handshake is done, below TLS 1.3 and where
  // the kernel encrypts; else as write(). Parks.
  Result<void> update_keys(bool ask_peer, Deadline deadline);

  // Servers, TLS 1.3: asks the client for a certificate now (RFC 8446, section 4.6.2). The context
  // needs set_post_handshake_auth() and a verify mode. Returns when the request is sent. The read()
  // that meets the answer processes it, and fails if the certificate does not verify; afterwards
  // peer_certificates() has it. Fails with kInvalid before the handshake is done, below TLS 1.3, on
  // a client, for a client that has not offered it, and while another request waits for its answer;
  // else as write(). Parks.
  Result<void> request_client_certificate(Deadline deadline);

  // Returns error.message(), and what else this connection knows about its failure: the subject of
  // the certificate that did not verify ("certificate 1, CN=Inter, has expired"); the first line of
  // a peer that does not speak TLS (a server of plain HTTP or SMTP); which versions of TLS were not
  // enough. If the transport is a StreamTransport and the failure is its stream's, it adds what
  // that stream knows. What the peer has sent is cut to 160 bytes and safe to log: control
  // characters, those that change the direction of text (U+202E and others) and bytes that are not
  // UTF-8 are shown as \XX in hexadecimal. For an Error of another connection it returns
  // error.message() alone.
  std::string explain(const Error& error) const;

  Transport& transport() noexcept;

  // For what has no call here. Stays owned by the stream. Never make I/O calls with it.
  SSL* native_handle() const noexcept;

 private:
  friend class StreamTransport;
  class Impl;
  explicit Stream(std::unique_ptr<Impl> impl);
  Impl& impl(const char* call = __builtin_FUNCTION()) const noexcept;

  std::unique_ptr<Impl> impl_;
};

// Returns the certificates that a server shows, its own first, as Stream::peer_certificates().
// Connects over `transport` as a client of `context`, sends close_notify after the handshake and
// reads no further. Fails as Stream::create() and Stream::handshake(): with kUntrusted for a server
// that does not verify. After a failure it waits, until `deadline`, for the peer to end the
// connection, so that the alert reaches it. For a context with VerifyMode::kNone and
// set_check_hostname(false) it returns those of any server; `options.server_name` is sent all the
// same. Parks.
HEDDLE_API Result<std::vector<Certificate>> fetch_certificates(const Context& context,
                                                               Transport& transport,
                                                               const StreamOptions& options,
                                                               Deadline deadline);

}  // namespace heddle
