// Reading OpenSSL's verdict on a call.
#include "tls/machine/engine.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>
#include <vector>

#include <openssl/err.h>
#include <openssl/sslerr.h>

#include "base/interruption.h"
#include "openssl/ex_data.h"
#include "openssl/version.h"

namespace heddle::tls {
namespace {

constexpr const char* kNoEnd = "the peer ended without close_notify";

// OpenSSL's own reasons begin here; those below only name the library that has failed.
constexpr int kFirstReason = 100;

bool is_verify_failure(const ErrorEntry& entry) {
  return ERR_GET_LIB(entry.code) == ERR_LIB_SSL &&
         ERR_GET_REASON(entry.code) == SSL_R_CERTIFICATE_VERIFY_FAILED;
}

bool is_reason_of_tls(const ErrorEntry& entry) {
  return ERR_GET_LIB(entry.code) == ERR_LIB_SSL && !ERR_COMMON_ERROR(entry.code) &&
         ERR_GET_REASON(entry.code) >= kFirstReason &&
         !openssl::version::only_names_the_record_layer(ERR_GET_REASON(entry.code));
}

// The entry that explains a failure. A verdict on certificates comes before all. Then the newest
// reason of TLS: entries before it say what a cipher or a parser made of the same bytes. Without
// one the oldest entry is the root cause. Null if there are none.
const ErrorEntry* explaining(const std::vector<ErrorEntry>& entries) {
  for (const auto& explains : {is_verify_failure, is_reason_of_tls}) {
    const auto newest = std::find_if(entries.rbegin(), entries.rend(), explains);
    if (newest != entries.rend()) return &*newest;
  }
  return entries.empty() ? nullptr : &entries.front();
}

// OpenSSL also says ERR_R_MALLOC_FAILURE where memory was not short: to an empty OCSP response, for
// one. malloc() itself sets errno.
Errc code_of(unsigned long openssl_code, int saved_errno) {
  if (ERR_GET_REASON(openssl_code) == ERR_R_MALLOC_FAILURE) {
    return saved_errno == ENOMEM ? Errc::kExhausted : Errc::kProtocol;
  }
  if (ERR_GET_LIB(openssl_code) != ERR_LIB_SSL) return Errc::kProtocol;
  switch (ERR_GET_REASON(openssl_code)) {
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
      return Errc::kTruncated;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      return Errc::kUntrusted;
    case ERR_R_INTERNAL_ERROR:
      return Errc::kInternal;
    default:
      return Errc::kProtocol;
  }
}

// What a peer may send before the handshake is done, for each byte of the certificate chain that
// SSL_CTX_set_max_cert_list(3) lets in: fragments of few bytes make a handshake long.
constexpr std::size_t kHandshakeBytesPerChainByte = 16;

// Where an SSL object keeps a pointer to its engine.
int engine_index() {
  static const int index = openssl::new_ex_index(CRYPTO_EX_INDEX_SSL);
  return index;
}

// What the engine and those above it rely on, whoever configured the SSL_CTX.
void set_modes(SSL* ssl) noexcept {
  // Wanting to read means that there is nothing to read, not that a ticket was read.
  SSL_set_mode(ssl, SSL_MODE_AUTO_RETRY);
  // A write is done when all of it is. A callback may park a fiber, but not inside an ASYNC job.
  SSL_clear_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ASYNC);
  // It would call a truncation the end.
  SSL_clear_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
  // The links read ahead. OpenSSL must not take what comes behind the peer's close_notify.
  SSL_set_read_ahead(ssl, 0);
}

}  // namespace

Engine::Engine(openssl::SslPtr ssl, openssl::BioPtr bio, BioState& state)
    : state_(state), ssl_(std::move(ssl)), first_context_(SSL_get_SSL_CTX(ssl_.get())) {
  if (SSL_set_ex_data(ssl_.get(), engine_index(), this) != 1) throw std::bad_alloc();
  set_modes(ssl_.get());
  watch_verification(*this);
  watch_alerts(*this);
  state_.intake.set_handshake_bytes_max(
      kHandshakeBytesPerChainByte *
      static_cast<std::size_t>(std::max(SSL_get_max_cert_list(ssl_.get()), 0L)));
  replace_bio(std::move(bio));
}

Engine* Engine::of(const SSL* ssl) noexcept {
  return ssl != nullptr ? static_cast<Engine*>(SSL_get_ex_data(ssl, engine_index())) : nullptr;
}

Engine* Engine::innermost() noexcept {
  const fiber::Scheduler* const scheduler = fiber::Scheduler::current_or_null();
  return static_cast<Engine*>(slot(scheduler != nullptr ? scheduler->running() : nullptr));
}

void*& Engine::slot_of_thread() noexcept {
  thread_local void* engine = nullptr;
  return engine;
}

Result<void> Engine::refuse_turn() const {
  return Error{.code = Errc::kInvalid,
               .operation = "use a TLS connection",
               .detail = "a callback of the same connection makes the call"};
}

Result<void> Engine::await_turn_slow(const char* name, Deadline deadline) {
  while (in_call_) {
    fiber::Scheduler* const scheduler = fiber::Scheduler::current_or_null();
    if (scheduler == nullptr || scheduler->running() == nullptr ||
        scheduler->running() == caller_) {
      return refuse_turn();
    }
    const Wake wake = turns_.wait(deadline);
    if (wake != Wake::kReady) return interruption(wake, name);
  }
  return {};
}

void Engine::keep_exception(std::exception_ptr thrown) noexcept {
  if (!state_.thrown) state_.thrown = std::move(thrown);
}

void Engine::keep_failure(const Error& error) noexcept {
  if (!callback_failure_) callback_failure_ = error;
}

void Engine::rethrow() {
  std::rethrow_exception(std::exchange(state_.thrown, nullptr));
}

void Engine::note_handshake() noexcept {
  if (SSL_is_init_finished(ssl_.get()) != 0) state_.intake.establish();
}

// Most calls that are not done want something: that is told without an Error in anybody's hands.
Step Engine::classify(const char* name, int rc) {
  const int saved_errno = errno;
  if (fails_call_) [[unlikely]]
    return failed(name, SSL_ERROR_SSL, saved_errno);
  const int reason = SSL_get_error(ssl_.get(), rc);  // tidy: the one place that asks.
  switch (reason) {
    case SSL_ERROR_WANT_READ:
      return {state_.intake.paused() ? Step::Kind::kAgain : Step::Kind::kWantRead};
    case SSL_ERROR_WANT_WRITE:
      return {Step::Kind::kWantWrite};
    case SSL_ERROR_ZERO_RETURN:
      return {Step::Kind::kEnd};
    default:
      return failed(name, reason, saved_errno);
  }
}

Step Engine::failed(const char* name, int reason, int saved_errno) {
  fails_call_ = false;
  Error error{.code = Errc::kExhausted, .sys_errno = ENOMEM, .operation = name};
  try {
    error = error_of(name, reason, saved_errno);
  } catch (const std::bad_alloc&) {
    // The reason was not to be read, and lack of memory may well be the reason itself.
  }
  add_alert(error);
  note_peer_text(*this);
  return failed_step(std::move(error));
}

// OpenSSL has a reason for each alert that it receives: its number and this.
void Engine::add_alert(Error& error) const noexcept {
  const int reason =
      ERR_GET_LIB(error.openssl_code) == ERR_LIB_SSL ? ERR_GET_REASON(error.openssl_code) : 0;
  constexpr int kNumbers = 256;
  if (reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + kNumbers) {
    error.alert_origin = AlertOrigin::kPeer;
    error.alert = static_cast<std::uint8_t>(reason - SSL_AD_REASON_OFFSET);
  } else if (sent_alert_ && error.code != Errc::kTruncated) {
    // OpenSSL sends one to a peer that is gone, too: that did not end the connection.
    error.alert_origin = AlertOrigin::kOurs;
    error.alert = *sent_alert_;
  }
}

Error Engine::error_of(const char* name, int reason, int saved_errno) {
  switch (reason) {
    case SSL_ERROR_SSL:
      if (callback_failure_) return *std::exchange(callback_failure_, {});
      return tls_error(name, saved_errno);
    case SSL_ERROR_SYSCALL:
      return transport_error(name, saved_errno);
    default:
      return {.code = Errc::kInternal, .operation = name};
  }
}

Error Engine::tls_error(const char* name, int saved_errno) const {
  const std::vector<ErrorEntry> entries = ThreadErrorQueue().entries();
  const ErrorEntry* const entry = explaining(entries);
  Error error{.code = Errc::kProtocol, .operation = name};
  if (entry == nullptr) return error;
  if (ERR_SYSTEM_ERROR(entry->code)) {
    error.sys_errno = ERR_GET_REASON(entry->code);
    return error;
  }
  error.openssl_code = static_cast<std::uint32_t>(entry->code);
  error.code = code_of(entry->code, saved_errno);
  if (error.code == Errc::kTruncated) error.detail = kNoEnd;
  if (error.code == Errc::kUntrusted) {
    error.verify_code = static_cast<std::int16_t>(SSL_get_verify_result(ssl_.get()));
    const bool is_noted = verify_code_noted() == error.verify_code && evidence_ != nullptr;
    if (is_noted)
      error.verify_depth = static_cast<std::int8_t>(std::clamp(evidence_->depth, -1, 127));
  }
  return error;
}

// An end of the transport in the middle of TLS is a truncation, whatever OpenSSL
// calls it. errno is the word of a BIO that is not ours.
Error Engine::transport_error(const char* name, int saved_errno) const {
  if (state_.at_end) return {.code = Errc::kTruncated, .operation = name, .detail = kNoEnd};
  if (!state_.failure) {
    return {.code = Errc::kDisconnected, .sys_errno = saved_errno, .operation = name};
  }
  return state_.failure_in(name);
}

}  // namespace heddle::tls
