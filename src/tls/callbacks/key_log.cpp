// What is told of a connection to those who debug it: the key log, to a function and to a file, and
// messages.
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <utility>

#include <fcntl.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "heddle/tls/context.h"

#include "fiber/no_park.h"
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
       [&] { return state.key_log(ConnectionView(connection), line); });
}

void show_message(int sent, int version, int content_type, const void* bytes, std::size_t size,
                  SSL* ssl, void* /*argument*/) {
  const CallbackState& state = CallbackState::of(ssl);
  if (!state.tls_message) return;  // Of a context that was exchanged for another.
  const TlsMessage message = {.sent = sent != 0,
                              .version = version,
                              .content_type = content_type,
                              .bytes = {static_cast<const std::byte*>(bytes), size}};
  // OpenSSL is in the middle of a record.
  const fiber::NoParkScope no_park("the message callback of a TLS connection");
  tell("the message callback", ssl,
       [&] { return state.tls_message(ConnectionView(ssl), message); });
}

}  // namespace
}  // namespace tls

void Context::on_message(MessageCallback callback) {
  tls::CallbackState& state = tls::CallbackState::of(native_handle());
  state.tls_message = std::move(callback);
  auto* const function = state.tls_message ? tls::show_message : nullptr;
  SSL_CTX_set_msg_callback(native_handle(), function);
}

void Context::on_key_log(KeyLogCallback callback) {
  tls::CallbackState& state = tls::CallbackState::of(native_handle());
  state.key_log = std::move(callback);
  const bool wanted = state.key_log || state.key_log_file;
  SSL_CTX_set_keylog_callback(native_handle(), wanted ? tls::log_line : nullptr);
}

Result<void> Context::set_key_log_file(const std::filesystem::path& file) {
  // Not blocking: the name may be a FIFO's.
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  UniqueFd fd(::open(file.c_str(), kFlags, S_IRUSR | S_IWUSR));
  if (!fd) {
    const Error error{.code = Errc::kInvalid, .sys_errno = errno, .operation = "open a key log"};
    return error.with(file.native());
  }
  tls::CallbackState::of(native_handle()).key_log_file = std::move(fd);
  SSL_CTX_set_keylog_callback(native_handle(), tls::log_line);
  return {};
}

}  // namespace heddle
