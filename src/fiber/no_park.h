// NoParkScope marks code in which the thread's state belongs to one fiber.
#pragma once

namespace heddle::fiber {

// Parking inside a NoParkScope is a bug and aborts with `what`: the code that must not
// be interrupted, such as a transport's read that OpenSSL called.
class NoParkScope {
 public:
  explicit NoParkScope(const char* what) noexcept : outer_(innermost()) { innermost() = what; }
  NoParkScope(const NoParkScope&) = delete;
  NoParkScope& operator=(const NoParkScope&) = delete;
  ~NoParkScope() { innermost() = outer_; }

  // The innermost scope's `what`, or null.
  static const char* active() noexcept { return innermost(); }

 private:
  static const char*& innermost() noexcept {
    thread_local const char* value = nullptr;
    return value;
  }

  const char* outer_;
};

}  // namespace heddle::fiber
