// Engine: one SSL object, and the only place that calls SSL_* I/O functions.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/error_queue.h"
#include "heddle/isolation.h"
#include "heddle/result.h"
#include "heddle/wait_queue.h"

#include "base/assert.h"
#include "fiber/fiber.h"
#include "fiber/scheduler.h"
#include "openssl/handles.h"
#include "tls/machine/evidence.h"
#include "tls/wire/link.h"

namespace heddle::tls {

// As much as one SSL_write_ex() takes: four records, sent by one system call.
inline constexpr std::size_t kWriteBytesMax = std::size_t{64} * 1024;

// Step is the outcome of one OpenSSL call: over, or to be called again. Small enough for registers:
// there are several in each request, and hardly one fails.
struct Step {
  enum class Kind : std::uint8_t {
    kDone,
    kEnd,
    kWantRead,
    kWantWrite,
    kAgain,  // It has worked through its share of what the peer sends. There may be more.
    kFailed,
  };

  Kind kind;
  const Error* error = nullptr;  // When kFailed: valid until the next step.
};

// Engine keeps the thread's error queue out of its calls and its calls out of the
// queue, as the runtime's Isolation says.
class Engine {
 public:
  // `ssl` reads and writes `bio`, which tells of itself in `state`; that must outlive the engine.
  Engine(openssl::SslPtr ssl, openssl::BioPtr bio, BioState& state);
  Engine(const Engine&) = delete;  // Callbacks find the engine by its SSL.
  Engine& operator=(const Engine&) = delete;
  ~Engine() = default;

  // The engine of an SSL object, or null if it is not one of ours, or is null itself.
  static Engine* of(const SSL* ssl) noexcept;

  // The engine inside whose call the caller is: the fiber, or the thread outside of fibers. The
  // innermost, if it has parked in one and then called another; null if in none. For functions that
  // OpenSSL calls without an SSL.
  static Engine* innermost() noexcept;

  // Calls `op(ssl)`, which returns what the OpenSSL function returned, and says
  // what to do next. Does not park, but callbacks that OpenSSL calls may.
  // Precondition: no fiber is inside a call, see await_turn().
  template <typename Op>
  Step call(const char* name, Op&& op) {
    const fiber::Scheduler* const scheduler = fiber::Scheduler::current_or_null();
    const Turn turn(*this, scheduler);
    const QueueScope queue(scheduler);
    errno = 0;
    callback_failure_.reset();
    state_.intake.begin_call();
    const int rc = op(ssl_.get());
    if (!state_.intake.established()) note_handshake();
    // Most calls succeed, and what they leave in the queue ends with the scope.
    if (rc > 0 && !fails_call_) [[likely]]
      return Step{Step::Kind::kDone};
    return classify(name, rc);
  }

  // Parks while another fiber is inside a call, that is to say has parked in one of its callbacks.
  // OpenSSL's objects take one at a time. Fails with kInvalid if that fiber is the caller, from
  // such a callback, or if there is no fiber to park; with kTimedOut and kCancelled.
  Result<void> await_turn(const char* name, Deadline deadline) {
    return in_call_ ? await_turn_slow(name, deadline) : Result<void>();
  }

  // Whether the handshake is done.
  bool established() const noexcept { return state_.intake.established(); }
  // A call has read application data.
  void got_data() noexcept { state_.intake.got_data(); }

  // The outcome of a step that has failed with `error`, which is kept until the next such step.
  Step failed_step(Error error) noexcept {
    step_error_ = std::move(error);
    return {Step::Kind::kFailed, &step_error_};
  }

  // From now on, what OpenSSL writes is dropped.
  void end_output() noexcept { state_.ended = true; }

  // Whether a fiber is inside a call. Another one that cannot wait must come back later.
  bool busy() const noexcept { return in_call_; }
  // For whoever may not park: fails as await_turn() does in a callback, whoever is inside.
  Result<void> try_turn() const { return in_call_ ? refuse_turn() : Result<void>(); }
  // When the call that is being driven gives up, for callbacks.
  void set_deadline(Deadline deadline) noexcept { deadline_ = deadline; }
  Deadline deadline() const noexcept { return deadline_; }

  // For what a callback throws: kept until OpenSSL has returned. The first one counts.
  void keep_exception(std::exception_ptr thrown) noexcept;
  bool has_exception() const noexcept { return state_.thrown != nullptr; }
  // For what a callback fails with: what the call fails with, if OpenSSL fails it.
  void keep_failure(const Error& error) noexcept;
  // The call fails with the failure that was kept, even if OpenSSL does not fail it. (An exception
  // ends the connection anyway.)
  void fail_call() noexcept { fails_call_ = callback_failure_.has_value(); }
  // Precondition: has_exception().
  [[noreturn]] void rethrow();

  // Of this connection's failure. The first throws std::bad_alloc.
  Evidence& evidence() {
    if (!evidence_) evidence_ = std::make_unique<Evidence>();
    return *evidence_;
  }
  const Evidence* evidence_or_null() const noexcept { return evidence_.get(); }
  void drop_evidence() noexcept { evidence_.reset(); }
  int verify_code_noted() const noexcept { return evidence_ ? evidence_->verify_code : X509_V_OK; }

  // The verify callback that decides: see watch_verification().
  SSL_verify_cb verify_callback() const noexcept { return verify_callback_; }
  void set_verify_callback(SSL_verify_cb callback) noexcept { verify_callback_ = callback; }

  // The info callback that the SSL had (SSL_set_info_callback(3)): see watch_alerts().
  using InfoCallback = void (*)(const SSL* ssl, int where, int value);
  InfoCallback info_callback() const noexcept { return info_callback_; }
  void set_info_callback(InfoCallback callback) noexcept { info_callback_ = callback; }
  // OpenSSL has sent a fatal alert.
  void note_alert(std::uint8_t number) noexcept { sent_alert_ = number; }

  // As Intake::first_header().
  std::span<const std::byte> first_header() const noexcept { return state_.intake.first_header(); }

  void replace_bio(openssl::BioPtr bio) noexcept {
    BIO* const owned_by_ssl = bio.release();
    SSL_set_bio(ssl_.get(), owned_by_ssl, owned_by_ssl);
  }

  SSL* ssl() const noexcept { return ssl_.get(); }
  // Which the SSL keeps alive, for its sessions.
  const SSL_CTX* first_context() const noexcept { return first_context_; }

 private:
  // Turn is a fiber's stay inside OpenSSL.
  class Turn {
   public:
    Turn(Engine& engine, const fiber::Scheduler* scheduler) noexcept : engine_(engine) {
      HEDDLE_ASSERT(!engine.in_call_);
      engine_.in_call_ = true;
      engine_.caller_ = scheduler != nullptr ? scheduler->running() : nullptr;
      outer_ = std::exchange(slot(engine_.caller_), &engine);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
      slot(engine_.caller_) = outer_;
      engine_.in_call_ = false;
      // All: whoever is first need not make a call, if the connection has failed meanwhile.
      if (!engine_.turns_.empty()) [[unlikely]]
        engine_.turns_.wake_all();
    }

   private:
    Engine& engine_;
    void* outer_;
  };

  // Where the innermost engine of a fiber, or of the thread itself, is noted.
  static void*& slot(fiber::Fiber* fiber) noexcept {
    return fiber != nullptr ? fiber->inside : slot_of_thread();
  }
  static void*& slot_of_thread() noexcept;

  // QueueScope is what the isolation policy does around one call.
  class QueueScope {
   public:
    explicit QueueScope(const fiber::Scheduler* scheduler) noexcept
        : isolation_(scheduler != nullptr ? scheduler->isolation() : Isolation::kIsolated),
          thread_(scheduler != nullptr ? scheduler->error_queue() : ThreadErrorQueue()) {
      if (isolation_ == Isolation::kShared || thread_.empty()) return;
      if (isolation_ == Isolation::kIsolated) {
        saved_ = thread_.set_aside();
      } else {
        thread_.clear();
      }
    }
    QueueScope(const QueueScope&) = delete;
    QueueScope& operator=(const QueueScope&) = delete;

    // Not only after a failure: SSL_shutdown, a verification that goes on or a
    // callback can succeed and still leave entries behind.
    ~QueueScope() {
      if (isolation_ != Isolation::kIsolated) return;
      thread_.bring_back(std::move(saved_));
    }

   private:
    const Isolation isolation_;
    ThreadErrorQueue thread_;
    ErrorQueue saved_;
  };

  Result<void> refuse_turn() const;
  Result<void> await_turn_slow(const char* name, Deadline deadline);
  void note_handshake() noexcept;
  Step classify(const char* name, int rc);
  Step failed(const char* name, int reason, int saved_errno);
  Error error_of(const char* name, int reason, int saved_errno);
  void add_alert(Error& error) const noexcept;
  Error tls_error(const char* name, int saved_errno) const;
  Error transport_error(const char* name, int saved_errno) const;

  BioState& state_;
  openssl::SslPtr ssl_;
  const SSL_CTX* const first_context_;
  Deadline deadline_ = Deadline::never();
  Error step_error_;  // See failed_step().
  std::optional<Error> callback_failure_;
  bool fails_call_ = false;  // With callback_failure_.
  SSL_verify_cb verify_callback_ = nullptr;
  InfoCallback info_callback_ = nullptr;
  std::optional<std::uint8_t> sent_alert_;
  std::unique_ptr<Evidence> evidence_;  // Null if there is none, as a rule.
  bool in_call_ = false;
  fiber::Fiber* caller_ = nullptr;  // When in_call_: who is inside, if it is a fiber.
  WaitQueue turns_{"for a callback of its TLS connection"};
};

}  // namespace heddle::tls
