// The key log, to a function and to a file.
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <utility>

#include <fcntl.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "heddle/tls/context.h"

#include "tls/state/callback_scope.h"
#include "tls/state/callback_state.h"

namespace heddle {
namespace tls {
namespace {

void log_line(const SSL* ssl, const char* line) {
  const CallbackState& state = CallbackState::of(ssl);
  if (state.key_log_file) {
    // One call, so that lines of several connections, threads and processes do not mix.
    const std::string text = std::string(line) + '\n';
    (void)!::write(state.key_log_file.get(), text.data(), text.size());
  }
  if (!state.key_log) return;
  // Only views are made of it.
  auto* const connection = const_cast<SSL*>(ssl);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  tell("the key log callback, in an ASYNC job of OpenSSL", ssl,
       [&] { state.key_log(ConnectionView(connection), line); });
}

}  // namespace
}  // namespace tls

void Context::on_key_log(KeyLogCallback callback) {
  tls::CallbackState& state = tls::CallbackState::of(native_handle());
  state.key_log = std::move(callback);
  const bool wanted = state.key_log || state.key_log_file;
  SSL_CTX_set_keylog_callback(native_handle(), wanted ? tls::log_line : nullptr);
}

Result<void> Context::set_key_log_file(const std::filesystem::path& file) {
  const auto failed = [](int sys_errno) {
    return Error{
        .code = Errc::kInvalid, .sys_errno = sys_errno, .operation = "open the key log file"};
  };
  // Not blocking: the name may be a FIFO's.
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  UniqueFd fd(::open(file.c_str(), kFlags, S_IRUSR | S_IWUSR));
  if (!fd) return failed(errno);
  tls::CallbackState::of(native_handle()).key_log_file = std::move(fd);
  SSL_CTX_set_keylog_callback(native_handle(), tls::log_line);
  return {};
}

}  // namespace heddle
