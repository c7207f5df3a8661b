// Which connection it is: see connection.h.
#include "guard/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstring>

namespace heddle::guard {
namespace {

using Address = std::array<char, 128>;

struct Facts {
  int descriptor = -1;  // -1: it has none, as where the program moves the bytes itself.
  Address local{};
  Address peer{};
  const char* role = "";
  const char* name = "";
  const char* version = "";
  const char* state = "";
};

void write_unix(Text& text, const sockaddr_un& address, socklen_t size) {
  constexpr socklen_t kPath = offsetof(sockaddr_un, sun_path);
  if (size <= kPath) return;  // It has no name.
  text << "unix:" << std::string_view(address.sun_path, strnlen(address.sun_path, size - kPath));
}

void describe_address(const sockaddr_storage& storage, socklen_t size, Address& room) {
  Text text({room.data(), room.size() - 1});
  std::array<char, INET6_ADDRSTRLEN> number{};
  if (storage.ss_family == AF_UNIX) {
    sockaddr_un address{};
    std::memcpy(&address, &storage, sizeof(address));
    write_unix(text, address, size);
  } else if (storage.ss_family == AF_INET) {
    sockaddr_in address{};
    std::memcpy(&address, &storage, sizeof(address));
    if (inet_ntop(AF_INET, &address.sin_addr, number.data(), number.size()) == nullptr) return;
    (text << number.data() << ":").decimal(ntohs(address.sin_port));
  } else if (storage.ss_family == AF_INET6) {
    sockaddr_in6 address{};
    std::memcpy(&address, &storage, sizeof(address));
    if (inet_ntop(AF_INET6, &address.sin6_addr, number.data(), number.size()) == nullptr) return;
    (text << "[" << number.data() << "]:").decimal(ntohs(address.sin6_port));
  }
}

using Ask = int (*)(int, sockaddr*, socklen_t*);

void ask_address(Ask ask, int descriptor, Address& room) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (ask(descriptor, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return;
  describe_address(storage, size, room);
}

int get_socket_name(int descriptor, sockaddr* address, socklen_t* size) {
  return getsockname(descriptor, address, size);
}

int get_peer_name(int descriptor, sockaddr* address, socklen_t* size) {
  return getpeername(descriptor, address, size);
}

const char* or_empty(const char* text) {
  return text == nullptr ? "" : text;
}

Facts facts_of(const Library& library, const SSL* ssl) {
  Facts facts;
  // Without a BIO, some versions push an entry when asked for its descriptor.
  const bool has_bio = library.get_rbio(ssl) != nullptr;
  if (has_bio && library.get_rfd != nullptr) facts.descriptor = library.get_rfd(ssl);
  if (facts.descriptor >= 0) {
    ask_address(get_socket_name, facts.descriptor, facts.local);
    ask_address(get_peer_name, facts.descriptor, facts.peer);
  }
  if (library.is_server != nullptr) facts.role = library.is_server(ssl) != 0 ? "server" : "client";
  if (library.get_servername != nullptr) {
    facts.name = or_empty(library.get_servername(ssl, TLSEXT_NAMETYPE_host_name));
  }
  if (library.get_version != nullptr) facts.version = or_empty(library.get_version(ssl));
  if (library.state_string_long != nullptr) facts.state = or_empty(library.state_string_long(ssl));
  return facts;
}

}  // namespace

void write_connection_text(Text& text, const Library& library, const SSL* ssl) {
  const Facts facts = facts_of(library, ssl);
  text << facts.role;
  if (*facts.name != 0) (text << " of ").printable(facts.name);
  if (facts.descriptor >= 0) (text << ", descriptor ").integer(facts.descriptor);
  if (facts.local.front() != 0) (text << ", ").printable(facts.local.data());
  if (facts.peer.front() != 0) (text << " to ").printable(facts.peer.data());
  (text << ", ").printable(facts.version) << ", ";
  text.printable(facts.state);
}

void write_connection_json(Text& text, const Library& library, const SSL* ssl) {
  const Facts facts = facts_of(library, ssl);
  (text << "{\"descriptor\":").integer(facts.descriptor);
  (text << ",\"local\":").quoted(facts.local.data());
  (text << ",\"peer\":").quoted(facts.peer.data());
  (text << ",\"role\":").quoted(facts.role);
  (text << ",\"name\":").quoted(facts.name);
  (text << ",\"version\":").quoted(facts.version);
  (text << ",\"state\":").quoted(facts.state) << "}";
}

}  // namespace heddle::guard
