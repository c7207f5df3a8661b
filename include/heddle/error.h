// Errors: what the caller can do about a failure, and what to log about it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "heddle/export.h"

namespace heddle {

// Errc says what the caller can do. It is deliberately coarse: each value calls
// for a different action. Anything finer belongs in the log, not in a branch.
enum class Errc : std::uint8_t {
  kCancelled,     // The fiber was asked to stop: unwind.
  kTimedOut,      // The deadline passed.
  kDisconnected,  // The peer or the network went away: retry on a new connection.
  kTruncated,     // EOF without close_notify: what was received may be cut short.
  kProtocol,      // The peer broke TLS or sent an alert: do not retry.
  kUntrusted,     // The peer's certificate did not verify: do not retry.
  kUnreachable,   // Nobody answers there: try elsewhere or later.
  kExhausted,     // Out of descriptors, stacks or memory: shed load, then retry.
  kInvalid,       // A file, name or setting that cannot be used: correct it.
  kInternal,      // A bug, here or in OpenSSL.
};

// Error is a plain value: cheap to copy, no allocation, safe to keep.
struct HEDDLE_API Error {
  Errc code = Errc::kInternal;
  // When kUntrusted: which certificate did not verify, as X509_STORE_CTX_get_error_depth(3) counts.
  // 0 is the peer's own, 1 its issuer's, and so on along the chain that was built, whose root may
  // be one that is trusted here and that the peer did not send. -1 if it is none in particular: the
  // program's own verdict (Context::on_verify()), a callback of other code. 127 also stands for
  // more. Its subject is the peer's word: Stream::explain() shows it.
  std::int8_t verify_depth = -1;
  std::int16_t verify_code = 0;    // X509_V_ERR_* when kUntrusted, else 0.
  int sys_errno = 0;               // errno of the system call that failed, or 0.
  unsigned long openssl_code = 0;  // The ERR_* entry that explains it, or 0.
  const char* operation = "";      // Static string, such as "SSL_read".

  // Describes the error for a log line. Never parse it. Nothing in it is the peer's choice.
  // Stream::explain() knows more of a failed connection.
  std::string message() const;
};
static_assert(sizeof(Error) <= 24);

// Exception carries an Error out of Result<T>::value(). Nothing in this library
// throws it on its own.
class HEDDLE_API Exception : public std::runtime_error {
 public:
  explicit Exception(const Error& error) : std::runtime_error(error.message()), error_(error) {}

  const Error& error() const noexcept { return error_; }

 private:
  Error error_;
};

}  // namespace heddle
