// Result<T>: a T or an Error. Same member names as std::expected<T, Error>, which
// gcc 12 has only in C++23 mode and clang 14 not at all.
#pragma once

#include <optional>
#include <utility>
#include <variant>

#include "heddle/error.h"

namespace heddle {

template <typename T>
class [[nodiscard]] Result {
 public:
  // Implicit, so that `return count;` and `return error;` both read naturally.
  // NOLINTBEGIN(google-explicit-constructor)
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, error) {}
  // NOLINTEND(google-explicit-constructor)

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  // Precondition: has_value().
  T& operator*() & noexcept { return *std::get_if<0>(&state_); }
  const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }

  // Precondition: !has_value().
  const Error& error() const noexcept { return *std::get_if<1>(&state_); }

  // Returns the value, or throws Exception: for callers who prefer to throw.
  T value() && {
    if (!has_value()) throw Exception(error());
    return std::move(**this);
  }

 private:
  std::variant<T, Error> state_;
};

// Success carries nothing: `return {};`.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(error) {}  // NOLINT(google-explicit-constructor): as above.

  bool has_value() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }

  // Precondition: !has_value().
  const Error& error() const noexcept { return *error_; }

  void value() const {
    if (error_) throw Exception(*error_);
  }

 private:
  std::optional<Error> error_;
};

}  // namespace heddle
