// Result<T>: a T or an Error. Same member names as std::expected<T, Error>, which
// gcc 12 has only in C++23 mode and clang 14 not at all.
#pragma once

#include <optional>
#include <utility>
#include <variant>

#include "heddle/error.h"
#include "heddle/export.h"

namespace heddle {
namespace detail {

// Ends the program with a line that says which error was taken for a value, or that there is none.
[[noreturn]] HEDDLE_API void result_has_no_value(const Error& error) noexcept;
[[noreturn]] HEDDLE_API void result_has_no_error() noexcept;

}  // namespace detail

// Taking what is not there (the value of a failure, the error of a success) is a bug in the
// program, which ends with a line that says so and names the error.
template <typename T>
class [[nodiscard]] Result {
 public:
  // Implicit, so that `return count;` and `return error;` both read naturally.
  // NOLINTBEGIN(google-explicit-constructor)
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  // NOLINTEND(google-explicit-constructor)

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  // Precondition: has_value().
  T& operator*() & noexcept { return *checked(); }
  const T& operator*() const& noexcept { return *checked(); }
  T&& operator*() && noexcept { return std::move(*checked()); }
  T* operator->() noexcept { return checked(); }
  const T* operator->() const noexcept { return checked(); }

  // Precondition: !has_value().
  const Error& error() const noexcept {
    if (has_value()) [[unlikely]]
      detail::result_has_no_error();
    return *std::get_if<1>(&state_);
  }

  // Returns the value, or throws Exception: for callers who prefer to throw.
  T value() && {
    throw_error();
    return std::move(*std::get_if<0>(&state_));
  }
  T& value() & {
    throw_error();
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    throw_error();
    return *std::get_if<0>(&state_);
  }

  template <typename U>
  T value_or(U&& otherwise) && {
    return has_value() ? std::move(*std::get_if<0>(&state_))
                       : static_cast<T>(std::forward<U>(otherwise));
  }
  template <typename U>
  T value_or(U&& otherwise) const& {
    return has_value() ? *std::get_if<0>(&state_) : static_cast<T>(std::forward<U>(otherwise));
  }

 private:
  void throw_error() const {
    if (!has_value()) throw Exception(error());
  }
  T* checked() noexcept { return const_cast<T*>(std::as_const(*this).checked()); }
  const T* checked() const noexcept {
    if (!has_value()) [[unlikely]]
      detail::result_has_no_value(error());
    return std::get_if<0>(&state_);
  }

  std::variant<T, Error> state_;
};

// Success carries nothing: `return {};`.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): as above.
  Result(Error error) : error_(std::move(error)) {}

  bool has_value() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }

  // Precondition: !has_value().
  const Error& error() const noexcept {
    if (has_value()) [[unlikely]]
      detail::result_has_no_error();
    return *error_;
  }

  void value() const {
    if (error_) throw Exception(*error_);
  }

 private:
  std::optional<Error> error_;
};

}  // namespace heddle
