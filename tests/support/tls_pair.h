// Contexts for a client and a server that trust each other, with a key made at
// run time so that no certificate can expire under the tests.
#pragma once

#include <functional>
#include <initializer_list>

#include "heddle/tls/certificate.h"
#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"

namespace heddle::test {

inline constexpr const char* kServerName = "server.test";

// One identity of each type per process: making RSA keys takes long.
const Identity& identity(KeyType type = KeyType::kEd25519);

Context server_context(KeyType type = KeyType::kEd25519);
Context client_context(KeyType trusted = KeyType::kEd25519);

// A client of server_context().
Stream client(const Context& context, Transport& transport);
Stream server(const Context& context, Transport& transport);

std::span<const std::byte> bytes(std::string_view text);

// Runs each entry in a fiber of its own, and returns when all have ended.
void together(std::initializer_list<std::function<void()>> entries);

// Reads what there is, up to a kibibyte, and drops it.
Result<std::size_t> read_some(Stream& stream, Deadline deadline = Deadline::never());

// Reads exactly `count` bytes. Throws what read() fails with.
std::string read_text(Stream& stream, std::size_t count, Deadline deadline);

}  // namespace heddle::test
