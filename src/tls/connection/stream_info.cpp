// What a handshake has negotiated, or why it has failed.
#include "heddle/tls/stream_transport.h"

#include "tls/connection/connection_info.h"
#include "tls/connection/stream_impl.h"

namespace heddle {

std::size_t Stream::pending() const noexcept {
  return tls::pending(impl().machine().ssl());
}

ConnectionState Stream::connection_state() const {
  const Impl& impl = this->impl();
  return tls::connection_state(impl.machine(), impl.kernel_states());
}

std::optional<Session> Stream::session() const {
  SSL_SESSION* const session = SSL_get_session(native_handle());
  return session != nullptr ? std::optional<Session>(session) : std::nullopt;
}

std::string Stream::explain(const Error& error) const {
  const Impl& impl = this->impl();
  std::string text = tls::explain(impl.machine().engine(), error);
  if (auto* const below = dynamic_cast<StreamTransport*>(&impl.transport())) {
    if (text == error.message()) return below->inner().explain(error);
  }
  return text;
}

std::vector<Certificate> Stream::peer_certificates() const {
  return tls::peer_certificates(native_handle());
}

}  // namespace heddle
