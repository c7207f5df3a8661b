// The first message of a client: whether all of it has come.
#pragma once

#include <cstddef>
#include <span>

namespace heddle::tls {

// Returns whether OpenSSL has something to do with `bytes`, the first of a client: they hold its
// first handshake message whole (RFC 8446, section 5.1: in one record or in several), or they show
// that they are no such thing, or there are more of them than a record holds. Before, OpenSSL would
// take 36 KiB to find out that it has to wait, and a client can do without the rest.
bool has_first_message(std::span<const std::byte> bytes) noexcept;

}  // namespace heddle::tls
