// What an SSL object knows of its connection, for all that have one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/tls/certificate.h"

#include "openssl/handles.h"

namespace heddle::tls {

// As the functions of Stream with these names. Those that could leave an entry in the thread's
// error queue take it away.
std::size_t pending(const SSL* ssl) noexcept;
std::string_view version(const SSL* ssl);
std::string_view cipher(const SSL* ssl);
std::string group(SSL* ssl);
std::string_view alpn(const SSL* ssl);
bool session_reused(const SSL* ssl);
std::string_view server_name(const SSL* ssl);
std::vector<Certificate> peer_certificates(const SSL* ssl);

}  // namespace heddle::tls
