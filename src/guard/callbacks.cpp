// Callbacks of the program's, from which --provoke leaves entries: these functions are put before
// OpenSSL's. Without --provoke they only pass on what they are given.
#include <array>
#include <atomic>
#include <utility>

#include <openssl/ssl.h>

#include "guard/library.h"
#include "guard/provoke.h"

namespace heddle::guard {
namespace {

// Functions of the program's that have been given to OpenSSL, each with one that is given in its
// place. More than fit are given as they are.
template <typename Kind, typename... Arguments>
class WrappedAs {
 public:
  using Function = int (*)(Arguments...);

  static Function wrap(Function function) {
    if (!provoking || function == nullptr) return function;
    for (std::size_t i = 0; i < kMax; ++i) {
      Function known = nullptr;
      const bool is_taken = !originals[i].compare_exchange_strong(known, function);
      if (!is_taken || known == function) return kStandIns[i];
    }
    return function;
  }

 private:
  static constexpr std::size_t kMax = 16;

  template <std::size_t kIndex>
  static int call(Arguments... arguments) {
    const int answer = originals[kIndex].load()(arguments...);
    const void* const site = __builtin_return_address(0);
    const SSL* const ssl = first_of(arguments...);
    if (Kind::goes_on(answer)) provoke_within(library_of(ssl, site), site);
    return answer;
  }

  template <typename... Rest>
  static const SSL* first_of(const SSL* ssl, const Rest&...) {
    return ssl;
  }

  template <std::size_t... kIndexes>
  static constexpr std::array<Function, kMax> all(std::index_sequence<kIndexes...>) {
    return {&call<kIndexes>...};
  }

  static constinit inline std::array<std::atomic<Function>, kMax> originals{};
  static constexpr std::array<Function, kMax> kStandIns = all(std::make_index_sequence<kMax>());
};

struct ServerName {
  static bool goes_on(int answer) { return answer != SSL_TLSEXT_ERR_ALERT_FATAL; }
};
struct Alpn {
  static bool goes_on(int answer) { return answer != SSL_TLSEXT_ERR_ALERT_FATAL; }
};
struct Certificate {
  static bool goes_on(int answer) { return answer == 1; }
};

using ServerNames = WrappedAs<ServerName, SSL*, int*, void*>;
using Alpns = WrappedAs<Alpn, SSL*, const unsigned char**, unsigned char*, const unsigned char*,
                        unsigned, void*>;
using Certificates = WrappedAs<Certificate, SSL*, void*>;

template <typename Function>
Function real(const void* site, const char* name) {
  return reinterpret_cast<Function>(find_for_caller(site, name));
}

}  // namespace
}  // namespace heddle::guard

using namespace heddle::guard;  // NOLINT(google-build-using-namespace): what follows is OpenSSL's.

#define HEDDLE_REAL(name) real<decltype(&(name))>(__builtin_return_address(0), #name)

extern "C" {
#pragma GCC visibility push(default)

long SSL_CTX_callback_ctrl(SSL_CTX* context, int command, void (*function)()) {
  const auto next = HEDDLE_REAL(SSL_CTX_callback_ctrl);
  if (next == nullptr) return 0;
  if (command == SSL_CTRL_SET_TLSEXT_SERVERNAME_CB) {
    const auto given = reinterpret_cast<ServerNames::Function>(function);
    function = reinterpret_cast<void (*)()>(ServerNames::wrap(given));
  }
  return next(context, command, function);
}

void SSL_CTX_set_alpn_select_cb(SSL_CTX* context, Alpns::Function function, void* argument) {
  const auto next = HEDDLE_REAL(SSL_CTX_set_alpn_select_cb);
  if (next != nullptr) next(context, Alpns::wrap(function), argument);
}

void SSL_CTX_set_cert_cb(SSL_CTX* context, Certificates::Function function, void* argument) {
  const auto next = HEDDLE_REAL(SSL_CTX_set_cert_cb);
  if (next != nullptr) next(context, Certificates::wrap(function), argument);
}

#pragma GCC visibility pop
}
