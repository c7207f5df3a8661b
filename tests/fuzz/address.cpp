// Addresses, endpoints and host names as people write them.
#include "heddle/address.h"

#include <openssl/err.h>

#include "heddle/tls/memory_bio.h"
#include "heddle/tls/ssl_object.h"

#include "cli/endpoint.h"
#include "fuzz/fuzz.h"

using heddle::Address;
using heddle::fuzz::require;

namespace {

void check(const Address& address) {
  const auto again = Address::parse(address.to_string());
  require(again && *again == address, "an address is read as it is written");
}

void check_endpoint(std::string_view text) {
  const auto endpoint = heddle::cli::parse_endpoint(text);
  if (!endpoint) return;
  const auto again = heddle::cli::parse_endpoint(endpoint->to_string());
  require(again.has_value(), "an endpoint that is written can be read");
  require(again->host == endpoint->host && again->port == endpoint->port &&
              again->unix_path == endpoint->unix_path,
          "and is the same");
}

// As a client: SNI, and the name to verify.
void check_host_name(std::string_view text) {
  static const heddle::Context context = heddle::Context::create(heddle::Role::kClient).value();
  heddle::MemoryBio incoming;
  heddle::MemoryBio outgoing;
  (void)heddle::SslObject::create(context, incoming, outgoing, {.server_name = std::string(text)});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = heddle::fuzz::text_of(data, size);
  if (const auto address = Address::parse(text)) check(*address);
  if (const auto address = Address::from_ip(text, 443)) check(*address);
  (void)Address::from_unix_path(text);
  check_endpoint(text);
  check_host_name(text);
  require(ERR_peek_error() == 0, "nothing is left in the error queue");
  return 0;
}
