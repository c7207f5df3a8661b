// From OpenSSL's error queue to Error.
#pragma once

#include <string>
#include <string_view>

#include "heddle/error.h"

namespace heddle::openssl {

// Such as "PEM routines: no start line".
std::string describe_entry(unsigned long code);

// error.message(), with the subject of the certificate that did not verify, if that is known.
// `subject` is the peer's choice: it has been made printable, or is empty.
std::string message_about(const Error& error, std::string_view subject);

// An Error with the oldest entry of the thread's queue, which is the root cause. An
// entry for a failed system call becomes `sys_errno`. Leaves the queue as it is.
Error error_from_queue(Errc code, const char* operation, const char* detail = "") noexcept;

}  // namespace heddle::openssl
