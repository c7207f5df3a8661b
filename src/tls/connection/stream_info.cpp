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
  return tls::session(native_handle());
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

std::vector<Certificate> Stream::verified_chain() const {
  return tls::verified_chain(native_handle());
}

std::vector<std::string> Stream::shared_ciphers() const {
  return tls::shared_ciphers(native_handle());
}

std::vector<std::uint16_t> Stream::offered_ciphers() const {
  return tls::offered_ciphers(native_handle());
}

std::optional<VerifyFailure> Stream::verify_failure() const {
  return tls::verify_failure(impl().machine());
}

Result<std::string> Stream::export_keying_material(std::string_view label, std::size_t bytes,
                                                   std::optional<std::string_view> context) const {
  return tls::export_keying_material(impl().machine(), label, bytes, context);
}

Result<std::string> Stream::channel_binding(ChannelBinding kind) const {
  return tls::channel_binding(impl().machine(), kind);
}

Result<void> Stream::update_keys(bool ask_peer, Deadline deadline) {
  using Announcement = tls::Machine::Announcement;
  return impl().announce(ask_peer ? Announcement::kNewKeysOfBoth : Announcement::kNewKeys,
                         deadline);
}

Result<void> Stream::request_client_certificate(Deadline deadline) {
  return impl().announce(tls::Machine::Announcement::kCertificateRequest, deadline);
}

Result<std::vector<Certificate>> fetch_certificates(const Context& context, Transport& transport,
                                                    const StreamOptions& options,
                                                    Deadline deadline) {
  auto stream = Stream::create(context, transport, options);
  if (!stream) return stream.error();
  if (const auto done = stream->handshake(deadline); !done) {
    (void)stream->close(deadline);  // So that our alert arrives.
    return done.error();
  }
  // What we came for is there, whether the peer hears our goodbye or not.
  (void)stream->shutdown_write(deadline);
  return stream->peer_certificates();
}

}  // namespace heddle
