// What an SSL object knows of its connection, for all that have one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/result.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/connection_state.h"
#include "heddle/tls/session.h"

#include "openssl/handles.h"
#include "tls/kernel/ktls.h"
#include "tls/machine/machine.h"

namespace heddle::tls {

// As the functions of Stream with these names. Those that could leave an entry in the thread's
// error queue take it away.
std::size_t pending(const SSL* ssl) noexcept;
ConnectionState connection_state(const Machine& machine, const KernelTlsStates& kernel);
std::optional<Session> session(SSL* ssl);
std::vector<Certificate> peer_certificates(const SSL* ssl);
std::vector<Certificate> verified_chain(const SSL* ssl);
std::vector<std::string> shared_ciphers(SSL* ssl);
std::vector<std::uint16_t> offered_ciphers(SSL* ssl);
std::optional<VerifyFailure> verify_failure(const Machine& machine);
Result<std::string> export_keying_material(const Machine& machine, std::string_view label,
                                           std::size_t bytes,
                                           std::optional<std::string_view> context);
Result<std::string> channel_binding(const Machine& machine, ChannelBinding kind);

}  // namespace heddle::tls
