// What `heddle connect` says about a peer, and about why there is none.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "heddle/error.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/stream.h"

namespace heddle::cli {

enum class Verified : std::uint8_t { kNo, kYes };

// Prints on standard error what was negotiated and the peer's certificates.
void print_session(const Stream& stream, std::string_view where, Verified verified);

// Prints on standard error the certificates of a peer with which the handshake failed, if any.
void print_refused(const std::vector<Certificate>& chain, std::string_view where);

// Whose handshake failed: there are other options for a proxy.
enum class Peer : std::uint8_t { kServer, kProxy };

// What the user can do about a failure; empty if that goes without saying.
std::string_view advice_on_connecting(const Error& error);
std::string_view advice_on_handshake(const Error& error, Peer peer);

}  // namespace heddle::cli
