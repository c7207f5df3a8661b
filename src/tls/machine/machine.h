// Machine: one TLS connection, the steps that it can take, and what has become of it.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/result.h"

#include "fiber/breathe.h"
#include "openssl/handles.h"
#include "tls/machine/engine.h"

namespace heddle::tls {

// Machine is what Stream, SslObject and StreamTransport have in common. Each drives it in its own
// way: the first parks until a step is done, the second returns what the step wants, the third
// takes the steps that are sure to want nothing.
//
// A step is one call of OpenSSL: it waits for nobody and works through a bounded share of what the
// peer has sent. It wants to read or to write, or to be taken again (kAgain); is done; finds the
// peer's end (kEnd); or has failed. A step that found the connection unusable sticks: failure()
// holds from then on, and later steps return it. Only callbacks may park inside of a step, and only
// one fiber may be inside: see turn().
//
// A transport or callback that throws makes the step fail, and the connection with it. What it has
// thrown waits for rethrow().
class Machine {
 public:
  // `ssl` reads and writes `bio`, which tells of itself in `state`; that must outlive the machine.
  Machine(openssl::SslPtr ssl, openssl::BioPtr bio, BioState& state)
      : engine_(std::move(ssl), std::move(bio), state) {
    // By whoever had it before.
    if ((SSL_get_shutdown(this->ssl()) & SSL_SENT_SHUTDOWN) != 0) have_ended();
  }

  static constexpr const char* kHandshake = "SSL_do_handshake";
  static constexpr const char* kRead = "SSL_read";
  static constexpr const char* kPeek = "SSL_peek";
  static constexpr const char* kWrite = "SSL_write";
  static constexpr const char* kEnd = "SSL_shutdown";

  // --- Steps.

  Step handshake() { return step(kHandshake, SSL_do_handshake); }

  // Adds the bytes read to `count`, which is 0 before.
  Step read(std::span<std::byte> into, std::size_t& count) {
    return got(
        step(kRead, [&](SSL* ssl) { return SSL_read_ex(ssl, into.data(), into.size(), &count); }));
  }
  Step peek(std::span<std::byte> into, std::size_t& count) {
    return got(
        step(kPeek, [&](SSL* ssl) { return SSL_peek_ex(ssl, into.data(), into.size(), &count); }));
  }
  // Works through what the peer has sent until there is data to read; before that, makes it
  // possible to write, if `settles`.
  Step await_data(bool settles);

  // Calls `op(ssl)`, which writes plain text and returns as SSL_write_ex(), with nothing else left
  // to do: neither a handshake nor a KeyUpdate that the peer has asked for. So no callback that may
  // park runs while `op` has plain text in its hands. A peer that has ended before the handshake
  // was done, or in the middle of a message, makes it fail.
  template <typename Op>
  Step write(Op&& op) {
    return written(step(kWrite, [&](SSL* ssl) {
      const int settled = finish_pending(ssl);
      return settled > 0 ? op(ssl) : settled;
    }));
  }
  Step write(std::span<const std::byte> from, std::size_t& count) {
    return write([&](SSL* ssl) { return SSL_write_ex(ssl, from.data(), from.size(), &count); });
  }

  // What write() does before it writes.
  Step settle() { return written(step(kWrite, finish_pending)); }

  // Prepares a message that settle() writes. Calls no callback and wants nothing. Fails with
  // kInvalid where that is not possible, which leaves the connection as it was. Precondition:
  // nobody is inside a step, and settle() would have nothing to do if the handshake is done:
  // OpenSSL writes one such message at a time, and would forget this one.
  enum class Announcement { kNewKeys, kNewKeysOfBoth, kCertificateRequest };
  Result<void> announce(Announcement what);

  // Writes close_notify, once. Before the handshake is done there is nothing to end. Half a message
  // that comes after the handshake is read to its end first: in the middle of it SSL_shutdown() is
  // an error.
  Step end();

  // --- What has become of it.

  // Of the connection: final for all steps.
  const std::optional<Error>& failure() const noexcept { return failure_; }
  // Why nothing more may be written, though one may read on. Set by whoever drives, if the peer may
  // have part of a write.
  const std::optional<Error>& write_failure() const noexcept { return write_failure_; }
  // Whether close_notify is written, or never will be.
  bool write_ended() const noexcept { return write_ended_; }
  // end(), even if it found nothing to end.
  void give_up_writing() noexcept { write_ended_ = true; }
  // Whether a write must not begin.
  bool refuses_write() const noexcept { return failure_ || write_failure_ || write_ended_; }
  // Why not. Precondition: refuses_write().
  Error refused_write() const;

  // Both return `error`. What sticks of an interruption is kDisconnected: its own code would invite
  // to repeat the call, and nothing can come of that.
  Error fail(const Error& error);
  Error fail_writing(const Error& error);
  // Reports the failure of a write, which ends writing unless the connection has failed as well.
  Error report_write(const Error& error) { return failure_ ? error : fail_writing(error); }

  // Whether a transport or a callback has thrown. The connection is over.
  bool has_exception() const noexcept { return engine_.has_exception(); }
  // Precondition: has_exception().
  [[noreturn]] void rethrow();
  // For what is thrown outside of steps.
  Error fail_by_exception();

  // --- Where it stands.

  bool established() const noexcept { return engine_.established(); }
  // The same; other code may have done the handshake of one that was adopted.
  bool handshake_done() const noexcept { return established() || SSL_is_init_finished(ssl()) != 0; }
  // Whether OpenSSL has not begun, and waits for the client's first message: see
  // has_first_message().
  bool awaits_client() const noexcept {
    return !established() && SSL_in_before(ssl()) != 0 && SSL_is_server(ssl()) != 0;
  }
  // Whether it is in the middle of a handshake, or of a message that comes after it.
  bool in_message() const noexcept { return SSL_in_init(ssl()) != 0; }
  // Whether write() would have nothing to do before it writes.
  bool writable() const noexcept {
    return !busy() && !in_message() && SSL_get_key_update_type(ssl()) == SSL_KEY_UPDATE_NONE;
  }

  // --- Turns: OpenSSL's objects take one call at a time.

  // Whether a fiber is inside a step, that is to say has parked in one of its callbacks.
  bool busy() const noexcept { return engine_.busy(); }
  // Parks until nobody is. Fails with kInvalid in a callback of the same connection.
  Result<void> await_turn(const char* name, Deadline deadline) {
    return engine_.await_turn(name, deadline);
  }
  // For whoever may not park: fails with kInvalid if somebody is.
  Result<void> try_turn() const { return engine_.try_turn(); }
  // Precondition: no step has been taken.
  void replace_bio(openssl::BioPtr bio) noexcept { engine_.replace_bio(std::move(bio)); }

  // When the step that is driven gives up, for callbacks.
  void set_deadline(Deadline deadline) noexcept { engine_.set_deadline(deadline); }

  SSL* ssl() const noexcept { return engine_.ssl(); }
  const Engine& engine() const noexcept { return engine_; }

 private:
  template <typename Op>
  Step step(const char* name, Op&& op) {
    if (failure_) [[unlikely]]
      return {Step::Kind::kFailed, &*failure_};
    const bool was_established = established();
    const Step taken = engine_.call(was_established ? name : kHandshake, std::forward<Op>(op));
    if (!was_established) [[unlikely]]
      return in_handshake(taken);
    if (taken.kind == Step::Kind::kFailed || has_exception()) [[unlikely]]
      return failed(taken);
    return taken;
  }

  // Completes the handshake and sends a KeyUpdate that the peer has asked for (RFC 8446, 4.6.3),
  // which OpenSSL otherwise puts off until the next SSL_write_ex(). Returns as SSL_do_handshake().
  static int finish_pending(SSL* ssl);

  Step in_handshake(Step taken);
  Step failed(Step taken);
  Step written(Step taken) {
    if (taken.kind == Step::Kind::kEnd) [[unlikely]]
      return refused_by_end();
    return taken;
  }
  // OpenSSL goes on answering: a KeyUpdate that the peer asks for after our close_notify is sent
  // with the next message that it reads. Nothing may follow a close_notify (RFC 8446, 6.1), and
  // after release() it would be taken for plain text.
  void have_ended() noexcept {
    write_ended_ = true;
    engine_.end_output();
  }
  Step refused_by_end();
  Step got(Step taken) noexcept {
    if (taken.kind == Step::Kind::kDone) engine_.got_data();
    return taken;
  }

  Engine engine_;
  std::optional<Error> failure_;
  std::optional<Error> write_failure_;
  bool write_ended_ = false;
};

}  // namespace heddle::tls
