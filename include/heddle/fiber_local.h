// FiberLocal<T>: a variable that has a value of its own in each fiber.
#pragma once

#include <memory>
#include <utility>

#include "heddle/export.h"

namespace heddle {

namespace detail {

class HEDDLE_API FiberLocalSlot {
 public:
  FiberLocalSlot(const FiberLocalSlot&) = delete;
  FiberLocalSlot& operator=(const FiberLocalSlot&) = delete;

 protected:
  FiberLocalSlot();
  ~FiberLocalSlot() = default;

  // The running fiber's value; empty before set().
  void* find() const noexcept;
  void set(std::shared_ptr<void> value) const;

 private:
  unsigned id_;  // Never used again, so a value cannot be taken for another slot's.
};

}  // namespace detail

// FiberLocal is made once, usually as a global, and used in any fiber. A fiber's
// value is made on first use and destroyed when the fiber's entry has returned,
// on that fiber's stack, in no defined order.
//
// Threads: a FiberLocal may be shared by runtimes on several threads.
template <typename T>
class FiberLocal : private detail::FiberLocalSlot {
 public:
  // The running fiber's value, value-initialised at first.
  // Precondition: called from a fiber.
  T& operator*() const {
    if (void* found = find()) return *static_cast<T*>(found);
    auto made = std::make_shared<T>();
    T& value = *made;
    set(std::move(made));
    return value;
  }
  T* operator->() const { return &**this; }
};

}  // namespace heddle
