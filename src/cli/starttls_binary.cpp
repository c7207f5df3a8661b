// LDAP, PostgreSQL and MySQL before TLS. See starttls_dialogue.h.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/core.h>

#include "cli/starttls_dialogue.h"

namespace heddle::cli {
namespace {

using namespace std::string_view_literals;

std::uint32_t byte_at(std::string_view bytes, std::size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) number = number << 8U | byte_at(bytes, i);
  return number;
}

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t number = 0;
  for (std::size_t i = bytes.size(); i > 0; --i) number = number << 8U | byte_at(bytes, i - 1);
  return number;
}

// --- LDAP ----------------------------------------------------------------------------------------

constexpr unsigned kLongForm = 0x80;  // Of a length (X.690, section 8.1.3.5).
constexpr std::size_t kLengthMax = 4;

// Takes the element with tag `tag` from the front of `from`. Nothing if it is not there, or cut.
std::optional<std::string_view> take_element(std::string_view& from, char tag) {
  if (from.size() < 2 || from[0] != tag) return std::nullopt;
  std::size_t length = byte_at(from, 1);
  std::size_t head = 2;
  if (length >= kLongForm) {
    const std::size_t count = length - kLongForm;
    if (count == 0 || count > kLengthMax || from.size() < head + count) return std::nullopt;
    length = big_endian(from.substr(head, count));
    head += count;
  }
  if (from.size() - head < length) return std::nullopt;
  const std::string_view content = from.substr(head, length);
  from.remove_prefix(head + length);
  return content;
}

// Reads one LDAPMessage, and returns what is in it.
Result<std::string> read_message(Dialogue& dialogue) {
  Result<std::string> head = dialogue.bytes(2);
  if (!head) return head;
  if ((*head)[0] != '\x30') return dialogue.unexpected(*head, "LDAP");
  std::size_t length = byte_at(*head, 1);
  if (length >= kLongForm) {
    const std::size_t count = length - kLongForm;
    if (count == 0 || count > kLengthMax) return dialogue.unexpected(*head, "LDAP");
    const Result<std::string> rest = dialogue.bytes(count);
    if (!rest) return rest;
    length = big_endian(*rest);
  }
  return dialogue.bytes(length);
}

}  // namespace

Result<void> start_ldap(Dialogue& dialogue) {
  // LDAPMessage { messageID 1, extendedReq { requestName } }.
  const Result<void> sent = dialogue.send(
      "\x30\x1d\x02\x01\x01\x77\x18\x80\x16"
      "1.3.6.1.4.1.1466.20037"sv);
  if (!sent) return sent;
  const Result<std::string> message = read_message(dialogue);
  if (!message) return message.error();
  std::string_view rest = *message;
  const auto id = take_element(rest, '\x02');
  const auto response = take_element(rest, '\x78');  // extendedResp.
  std::string_view inside = response.value_or("");
  const auto code = take_element(inside, '\x0a');
  const auto matched = take_element(inside, '\x04');
  const auto text = take_element(inside, '\x04');
  if (!id || !code || code->empty() || code->size() > kLengthMax || !matched || !text) {
    return dialogue.unexpected(*message, "LDAP");
  }
  const std::uint32_t result = big_endian(*code);
  if (result != 0) return dialogue.refused(fmt::format("result {}, {}", result, *text));
  // 0 is a notice of the server's own (RFC 4511, section 4.4).
  if (*id != "\x01") return dialogue.unexpected(*message, "LDAP");
  return {};
}

// --- PostgreSQL ----------------------------------------------------------------------------------

namespace {

// The field M of an ErrorResponse. Before TLS anybody may have written it.
Result<std::string> read_error(Dialogue& dialogue) {
  const Result<std::string> length = dialogue.bytes(4);
  if (!length) return length;
  const std::uint32_t size = big_endian(*length);
  if (size < 4) return dialogue.unexpected(*length, "PostgreSQL");
  Result<std::string> fields = dialogue.bytes(size - 4);
  if (!fields) return fields;
  for (std::size_t at = 0; at < fields->size() && (*fields)[at] != 0;) {
    const std::size_t end = fields->find('\0', at);
    if ((*fields)[at] == 'M') return fields->substr(at + 1, end - at - 1);
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return fields;
}

}  // namespace

Result<void> start_postgres(Dialogue& dialogue) {
  const Result<void> sent = dialogue.send("\x00\x00\x00\x08\x04\xd2\x16\x2f"sv);  // SSLRequest.
  if (!sent) return sent;
  const Result<std::string> answer = dialogue.bytes(1);
  if (!answer) return answer.error();
  if (*answer == "S") return {};
  if (*answer == "N") return dialogue.refused("N");
  if (*answer != "E") return dialogue.unexpected(*answer, "PostgreSQL");
  const Result<std::string> words = read_error(dialogue);
  return words ? dialogue.refused(*words) : words.error();
}

// --- MySQL ---------------------------------------------------------------------------------------

namespace {

constexpr std::uint32_t kClientProtocol41 = 0x200;
constexpr std::uint32_t kClientSsl = 0x800;
constexpr std::uint32_t kClientSecureConnection = 0x8000;
constexpr std::uint32_t kClientPluginAuth = 0x80000;

// What follows a version in a HandshakeV10, up to the lower half of the capabilities: the thread's
// number, 8 bytes of a challenge, and one that is 0.
constexpr std::size_t kBeforeCapabilities = 4 + 8 + 1;

constexpr std::uint32_t kGreetingMax = 4096;  // Some hundred bytes are usual.

std::string ssl_request() {
  constexpr std::uint32_t kFlags =
      kClientProtocol41 | kClientSsl | kClientSecureConnection | kClientPluginAuth;
  std::string packet("\x20\x00\x00\x01"sv);  // 32 bytes, the second packet.
  for (unsigned shift = 0; shift < 32; shift += 8) {
    packet += static_cast<char>(kFlags >> shift & 0xffU);
  }
  packet += "\x00\x00\x00\x01"sv;  // The largest packet that we take: 16 MiB.
  packet += '\x2d';                // utf8mb4.
  return packet.append(23, '\0');
}

}  // namespace

Result<void> start_mysql(Dialogue& dialogue) {
  const Result<std::string> head = dialogue.bytes(4);
  if (!head) return head.error();
  const std::uint32_t size = little_endian(head->substr(0, 3));
  if ((*head)[3] != 0 || size > kGreetingMax) return dialogue.unexpected(*head, "MySQL");
  const Result<std::string> greeting = dialogue.bytes(size);
  if (!greeting) return greeting.error();
  if (greeting->starts_with('\xff') && greeting->size() >= 3) {
    return dialogue.refused(fmt::format("error {}, {}", little_endian(greeting->substr(1, 2)),
                                        std::string_view(*greeting).substr(3)));
  }
  const std::size_t version_end = greeting->find('\0');
  if (!greeting->starts_with('\x0a') || version_end == std::string::npos ||
      greeting->size() < version_end + 1 + kBeforeCapabilities + 2) {
    return dialogue.unexpected(*greeting, "MySQL");
  }
  const std::size_t at = version_end + 1 + kBeforeCapabilities;
  if ((little_endian(greeting->substr(at, 2)) & kClientSsl) == 0) return dialogue.no_offer();
  return dialogue.send(ssl_request());  // It is not answered.
}

}  // namespace heddle::cli
