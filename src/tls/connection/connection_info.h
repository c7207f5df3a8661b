// What an SSL object knows of its connection, for all that have one.
#pragma once

#include <cstddef>
#include <vector>

#include "heddle/tls/certificate.h"
#include "heddle/tls/connection_state.h"

#include "openssl/handles.h"
#include "tls/kernel/ktls.h"
#include "tls/machine/machine.h"

namespace heddle::tls {

// As the functions of Stream with these names. Those that could leave an entry in the thread's
// error queue take it away.
std::size_t pending(const SSL* ssl) noexcept;
ConnectionState connection_state(const Machine& machine, const KernelTlsStates& kernel);
std::vector<Certificate> peer_certificates(const SSL* ssl);

}  // namespace heddle::tls
