// Calling a function of the program's from inside OpenSSL.
#pragma once

#include <exception>
#include <optional>
#include <utility>

#include "heddle/result.h"

#include "fiber/no_park.h"
#include "fiber/user_code.h"
#include "openssl/handles.h"

namespace heddle::tls {

// CallbackScope gives a callback an error queue of its own (fiber/user_code.h). OpenSSL is in the
// middle of a call: what is in the queue, under marks of its making, is part of the verdict to
// come.
class CallbackScope {
 public:
  // `name` is for whoever parks where that is not possible.
  explicit CallbackScope(const char* name) noexcept;

 private:
  fiber::UserCodeScope queue_;
  std::optional<fiber::NoParkScope> no_park_;
};

// Keeps what went wrong in a callback of `ssl` for whoever drives it.
void keep_failure(const SSL* ssl, const Error& error) noexcept;
void keep_exception(const SSL* ssl, std::exception_ptr thrown) noexcept;

// Makes the call that drives `ssl` fail with what was kept, whatever OpenSSL makes of it.
void fail_call(const SSL* ssl) noexcept;

// Calls `function()`, which returns Result<T>. Nothing is returned if it failed or threw: OpenSSL
// is to be told that the callback failed, and its caller will find the reason.
template <typename T, typename Function>
std::optional<T> ask(const char* name, const SSL* ssl, Function&& function) noexcept {
  std::optional<Error> failure;
  std::exception_ptr thrown;
  {
    const CallbackScope scope(name);
    try {
      Result<T> answer = function();
      if (answer) return std::optional<T>(*std::move(answer));
      failure = answer.error();
    } catch (...) {  // tidy: thrown again by Engine::rethrow().
      thrown = std::current_exception();
    }
  }
  // Not before: these may leave an entry.
  if (thrown) {
    keep_exception(ssl, std::move(thrown));
  } else {
    keep_failure(ssl, *failure);
  }
  return std::nullopt;
}

// Calls `function()`, which returns Result<void>, where OpenSSL asks for no outcome: what went
// wrong ends the call of OpenSSL's all the same, once it has returned.
template <typename Function>
void tell(const char* name, const SSL* ssl, Function&& function) noexcept {
  const auto done = ask<bool>(name, ssl, [&]() -> Result<bool> {
    const Result<void> told = function();
    if (!told) return told.error();
    return true;
  });
  if (!done) fail_call(ssl);
}

}  // namespace heddle::tls
