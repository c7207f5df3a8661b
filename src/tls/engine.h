// Engine: one SSL object, and the only place that calls SSL_* I/O functions.
#pragma once

#include <cerrno>
#include <cstdint>
#include <utility>

#include "heddle/error.h"
#include "heddle/error_queue.h"
#include "heddle/isolation.h"

#include "fiber/scheduler.h"
#include "openssl/handles.h"
#include "tls/link.h"

namespace heddle::tls {

// Step is the outcome of one OpenSSL call: over, or to be called again.
struct Step {
  enum class Kind : std::uint8_t { kDone, kEnd, kWantRead, kWantWrite, kFailed };

  Kind kind;
  Error error{};  // Set when kFailed.
};

// Engine keeps the thread's error queue out of its calls and its calls out of the
// queue, as the runtime's Isolation says.
class Engine {
 public:
  // `transport` must outlive the engine.
  Engine(openssl::SslPtr ssl, Transport& transport);
  Engine(const Engine&) = delete;  // The BIO points into the engine.
  Engine& operator=(const Engine&) = delete;
  ~Engine() = default;

  // Calls `op(ssl)`, which returns what the OpenSSL function returned, and says
  // what to do next. Does not park, but callbacks that OpenSSL calls may.
  template <typename Op>
  Step call(const char* name, Op&& op) {
    QueueScope queue;
    errno = 0;
    const int rc = op(ssl_.get());
    // Most calls succeed, and what they leave in the queue ends with the scope.
    return rc > 0 ? Step{Step::Kind::kDone} : classify(name, rc);
  }

  SSL* ssl() const noexcept { return ssl_.get(); }
  Link& link() noexcept { return link_; }
  const Link& link() const noexcept { return link_; }

 private:
  // QueueScope is what the isolation policy does around one call.
  class QueueScope {
   public:
    QueueScope() noexcept {
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
    fiber::Scheduler* const scheduler_ = fiber::Scheduler::current_or_null();
    const Isolation isolation_ =
        scheduler_ != nullptr ? scheduler_->isolation() : Isolation::kIsolated;
    ThreadErrorQueue thread_ =
        scheduler_ != nullptr ? scheduler_->error_queue() : ThreadErrorQueue();
    ErrorQueue saved_;
  };

  Step classify(const char* name, int rc) const;
  Error tls_error(const char* name) const;
  Error transport_error(const char* name, int saved_errno) const;

  Link link_;
  openssl::SslPtr ssl_;  // After link_: freed first, as its BIO points there.
};

}  // namespace heddle::tls
