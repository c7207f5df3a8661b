// Streams for tests.
#include "support/tls_pair.h"

#include <map>
#include <string>

#include "heddle/fiber.h"

#include "base/assert.h"

namespace heddle::test {

const Identity& identity(KeyType type) {
  static std::map<KeyType, Identity> made;
  const auto found = made.find(type);
  if (found != made.end()) return found->second;
  return made.emplace(type, make_self_signed({kServerName}, type).value()).first->second;
}

Context server_context(KeyType type) {
  Context context = Context::create(Role::kServer).value();
  context.use_cert_chain(identity(type).certificate_pem, identity(type).key_pem).value();
  return context;
}

Context client_context(KeyType trusted) {
  Context context = Context::create(Role::kClient, Trust::kNothing).value();
  context.add_trusted_certificates(bytes(identity(trusted).certificate_pem)).value();
  return context;
}

Stream client(const Context& context, Transport& transport) {
  return Stream::create(context, transport, {.server_name = kServerName}).value();
}

Stream server(const Context& context, Transport& transport) {
  return Stream::create(context, transport).value();
}

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

void together(std::initializer_list<std::function<void()>> entries) {
  scope([&](Scope& fibers) {
    for (const auto& entry : entries) (void)fibers.spawn("side", entry).value();
  });
}

Result<std::size_t> read_some(Stream& stream, Deadline deadline) {
  std::array<std::byte, 1024> buffer{};
  return stream.read(buffer, deadline);
}

std::string read_text(Stream& stream, std::size_t count, Deadline deadline) {
  std::string text(count, '\0');
  std::size_t have = 0;
  while (have < count) {
    const auto into = std::as_writable_bytes(std::span(text)).subspan(have);
    const std::size_t got = stream.read(into, deadline).value();
    if (got == 0) break;
    have += got;
  }
  text.resize(have);
  return text;
}

}  // namespace heddle::test
