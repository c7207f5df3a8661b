// Questions and answers about signatures.
#include "support/remote_signer.h"

#include <array>
#include <cstdint>
#include <string>

#include "support/tls_pair.h"

namespace heddle::test {
namespace {

constexpr std::size_t kLengthMax = 100'000;

Error broken(const char* operation) {
  return {.code = Errc::kDisconnected, .operation = operation};
}

void append(std::string& to, std::uint32_t number, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    to += static_cast<char>((number >> shift) & 0xff);
  }
}

Result<void> read_all(Stream& stream, std::span<std::byte> into, Deadline deadline) {
  while (!into.empty()) {
    const Result<std::size_t> got = stream.read(into, deadline);
    if (!got) return got.error();
    if (*got == 0) return broken("read from a remote signer's connection");
    into = into.subspan(*got);
  }
  return {};
}

Result<std::uint32_t> read_number(Stream& stream, std::size_t bytes, Deadline deadline) {
  std::array<std::byte, 4> raw{};
  const auto read = read_all(stream, std::span(raw).first(bytes), deadline);
  if (!read) return read.error();
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    number = number << 8 | std::to_integer<std::uint32_t>(raw[i]);
  }
  return number;
}

Result<std::vector<std::byte>> read_sized(Stream& stream, Deadline deadline) {
  const auto size = read_number(stream, 4, deadline);
  if (!size) return size.error();
  if (*size > kLengthMax) return broken("a length that no signer sends");
  std::vector<std::byte> content(*size);
  if (const auto read = read_all(stream, content, deadline); !read) return read.error();
  return content;
}

}  // namespace

Result<std::vector<std::byte>> RemoteSigner::sign(SignatureScheme scheme,
                                                  std::span<const std::byte> message,
                                                  Deadline deadline) {
  auto transport = connect_(deadline);
  if (!transport) return transport.error();
  auto stream = Stream::create(context_, *std::move(transport), {.server_name = kServerName});
  if (!stream) return stream.error();
  std::string head;
  append(head, static_cast<std::uint32_t>(scheme), 2);
  append(head, static_cast<std::uint32_t>(message.size()), 4);
  const std::array<std::span<const std::byte>, 2> pieces = {bytes(head), message};
  if (const auto asked = stream->write(pieces, deadline); !asked) return asked.error();
  const auto signed_it = read_number(*stream, 1, deadline);
  if (!signed_it) return signed_it.error();
  auto signature = read_sized(*stream, deadline);
  if (!signature) return signature.error();
  if (*signed_it != 1)
    return Error{.code = Errc::kInvalid, .operation = "sign remotely", .detail = "refused"};
  (void)stream->close(deadline);  // The answer is here, whatever becomes of the rest.
  return signature;
}

Result<void> serve_signature(Stream& stream, Signer& signer, Deadline deadline) {
  const auto scheme = read_number(stream, 2, deadline);
  if (!scheme) return scheme.error();
  const auto message = read_sized(stream, deadline);
  if (!message) return message.error();
  const auto signature = signer.sign(static_cast<SignatureScheme>(*scheme), *message, deadline);
  const std::vector<std::byte> none;
  const std::vector<std::byte>& answer = signature ? *signature : none;
  std::string head(1, signature ? '\1' : '\0');
  append(head, static_cast<std::uint32_t>(answer.size()), 4);
  const std::array<std::span<const std::byte>, 2> pieces = {bytes(head), answer};
  if (const auto answered = stream.write(pieces, deadline); !answered) return answered.error();
  return stream.close(deadline);
}

Context signing_service_context() {
  Context context = server_context(KeyType::kEcdsaP256);
  context.add_trusted_certificates(bytes(identity().certificate_pem)).value();
  context.set_verify_mode(VerifyMode::kRequired);
  return context;
}

Context signing_client_context() {
  Context context = client_context(KeyType::kEcdsaP256);
  context.use_cert_chain(identity().certificate_pem, identity().key_pem).value();
  return context;
}

}  // namespace heddle::test
