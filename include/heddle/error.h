// Errors: what the caller can do about a failure, and what to log about it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

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

// AlertOrigin says who sent the alert of TLS that ended a connection.
enum class AlertOrigin : std::uint8_t {
  kNone,  // There was no alert.
  kOurs,  // This end: it refused what the peer had sent.
  kPeer,  // The peer refused what this end had sent.
};

// The name of an alert as RFC 8446, section 6, and IANA write it: "unknown_ca". "unknown" for a
// number that has none. A static string.
HEDDLE_API const char* alert_name(std::uint8_t number) noexcept;

// ErrorContext is the text that Error::with() adds, shared by the copies of an Error.
//
// Threads:  copies may be used by several threads at once.
class HEDDLE_API ErrorContext {
 public:
  constexpr ErrorContext() noexcept = default;
  constexpr ErrorContext(const ErrorContext& other) noexcept : shared_(other.shared_) {
    if (shared_ != nullptr) [[unlikely]]
      keep();
  }
  constexpr ErrorContext(ErrorContext&& other) noexcept
      : shared_(std::exchange(other.shared_, nullptr)) {}
  constexpr ErrorContext& operator=(const ErrorContext& other) noexcept {
    ErrorContext copy(other);
    std::swap(shared_, copy.shared_);
    return *this;
  }
  constexpr ErrorContext& operator=(ErrorContext&& other) noexcept {
    std::swap(shared_, other.shared_);
    return *this;
  }
  constexpr ~ErrorContext() {
    if (shared_ != nullptr) [[unlikely]]
      drop();
  }

  // Empty if nothing was added. Valid until the object is assigned to or destroyed.
  std::string_view text() const noexcept;

 private:
  friend struct Error;
  struct Shared;
  // Null if there is no memory.
  static Shared* share(std::string_view text) noexcept;
  void keep() const noexcept;
  void drop() const noexcept;

  Shared* shared_ = nullptr;
};

// Error is a value: cheap to copy, safe to keep and to hand to another thread. Without a context it
// allocates nothing.
struct HEDDLE_API Error {
  Errc code = Errc::kInternal;
  // When kUntrusted: which certificate did not verify, as X509_STORE_CTX_get_error_depth(3) counts.
  // 0 is the peer's own, 1 its issuer's, and so on along the chain that was built; the root of that
  // may be trusted here without having been sent by the peer. -1 if it is none in particular: the
  // program's own verdict (Context::on_verify()), or a callback of other code. 127 also stands for
  // more. The certificate's subject is the peer's choice: Stream::verify_failure() has it, and
  // Stream::explain() shows it.
  std::int8_t verify_depth = -1;
  std::int16_t verify_code = 0;    // X509_V_ERR_* when kUntrusted, else 0.
  int sys_errno = 0;               // errno of the system call that failed, or 0.
  std::uint32_t openssl_code = 0;  // The ERR_* entry that explains it, or 0.
  // The fatal alert that ended the connection (RFC 8446, section 6.2): whose it is, and its number,
  // for which alert_name() has the name. An alert of ours may not have reached the peer.
  AlertOrigin alert_origin = AlertOrigin::kNone;
  std::uint8_t alert = 0;
  const char* operation = "";  // What was attempted, such as "SSL_read". A static string.
  const char* detail = "";     // Why it failed, or what helps: a static string, "" if none.
  ErrorContext contexts{};     // What context() returns.

  // Returns the error with `text` added to its context: what the operation was for, such as an
  // address, a host name or a file. The library adds what it knows (the address of a connection
  // that cannot be made, the file that cannot be loaded), and the program may add more. The newest
  // text comes first, followed by ": ", so that the context reads from the whole to the part, as
  // wrapped errors do elsewhere: with("127.0.0.1:443") and then with("upstream eu-1") make
  // "upstream eu-1: 127.0.0.1:443".
  //
  // `text` may be anything, including what a peer has sent: characters that could deceive the
  // reader of a log (control characters, changes of text direction, bytes that are not UTF-8) are
  // written as \XX in hexadecimal. At most 256 bytes of one text are kept, and 1024 of all
  // together: a text that is cut ends with "...", and one for which there is no room is left out.
  // If memory is short, the context stays as it was.
  [[nodiscard]] Error with(std::string_view text) const noexcept;

  // Returns what with() has added; empty if nothing was. Valid as long as this Error or a copy of
  // it exists.
  std::string_view context() const noexcept { return contexts.text(); }

  // Describes the error in one line for a log: context, operation, what `code` means, the reason
  // that the system or OpenSSL gives, and the detail; empty parts are left out. An example is
  // "127.0.0.1:443: connect: unreachable: Connection refused". Never parse it. The peer cannot
  // choose any part of it, except text of the peer that was given to with(). Stream::explain()
  // knows more about a failed connection.
  std::string message() const;
};
static_assert(sizeof(Error) <= 40);  // Every read returns a Result that has room for one.

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
