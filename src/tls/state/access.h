// What this library's own files may see of values that programs only hand over.
#pragma once

#include <optional>

#include "heddle/tls/callbacks.h"
#include "heddle/tls/certificate.h"

namespace heddle::tls {

class Access {
 public:
  static const ContextState* context(const HelloAnswer& answer) noexcept {
    return answer.context_.get();
  }
  static std::optional<Alert> alert(const HelloAnswer& answer) noexcept { return answer.alert_; }
  static bool is_go_on(const HelloAnswer& answer) noexcept {
    return answer.context_ == nullptr && !answer.alert_;
  }
  static const CredentialsData& data(const Credentials& credentials) noexcept {
    return *credentials.data_;
  }
};

}  // namespace heddle::tls
