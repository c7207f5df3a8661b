// An HTTPS client as one would put it into production: prints what one URL holds.
//
//   client HOST PORT TARGET SECONDS [CA-FILE]
// One deadline for everything, the server verified, HTTP/1.1 agreed on (ALPN), and no answer that
// was cut off is taken for a whole one. Exit status 1 and a line that says why if it fails.
#include <charconv>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.

// The head of an answer (RFC 9112).
struct Head {
  explicit Head(std::string all) : text(std::move(all)) {
    if (std::sscanf(text.c_str(), "HTTP/1.%*d %d", &status) != 1)
      throw std::runtime_error("no HTTP answer");
  }
  std::string field(const std::string& name) const {
    const char* at = strcasestr(text.c_str(), ("\r\n" + name + ":").c_str());
    if (at == nullptr) return "";
    at += name.size() + 3;
    at += std::strspn(at, " \t");
    return {at, std::strcspn(at, " \t\r")};
  }
  std::string text;
  int status = 0;
};

class Body {
 public:
  Body(BufferedReader& in, Deadline deadline) : in_(in), deadline_(deadline) {}

  // As much as there is: of this size, in chunks (section 7.1), or until the server says goodbye.
  void print(const Head& head) {
    const auto length = head.field("Content-Length");
    if (strcasecmp(head.field("Transfer-Encoding").c_str(), "chunked") == 0) return print_chunks();
    if (!length.empty()) return print_exactly(number(length, 10));
    while (print_piece(buffer_.size()) > 0) {
    }
  }

 private:
  static std::size_t number(const std::string& text, int base) {
    std::size_t value = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || (*rest != 0 && *rest != ';' && *rest != ' '))
      throw std::runtime_error("an answer with a size that is none");
    return value;
  }
  std::string line() {
    auto next = in_.read_line(8192, deadline_).value();
    if (!next) throw std::runtime_error("the answer was cut off");
    return *next;
  }
  std::size_t print_piece(std::size_t most) {
    const auto piece = std::span(buffer_).first(std::min(most, buffer_.size()));
    const std::size_t count = in_.read(piece, deadline_).value();
    std::fwrite(buffer_.data(), 1, count, stdout);
    return count;
  }
  void print_exactly(std::size_t left) {
    while (left > 0) {
      const std::size_t count = print_piece(left);
      if (count == 0) throw std::runtime_error("the answer was cut off");
      left -= count;
    }
  }
  void print_chunks() {
    while (const std::size_t size = number(line(), 16)) {
      print_exactly(size);
      if (!line().empty()) throw std::runtime_error("a chunk that is longer than it says");
    }
  }

  BufferedReader& in_;
  const Deadline deadline_;
  std::array<std::byte, 16384> buffer_;
};

static void get(const Context& tls, char** argv, Deadline deadline) {
  const std::string host = argv[1];
  const auto port = static_cast<std::uint16_t>(std::stoul(argv[2]));
  auto socket = connect(this_fiber::runtime(), host, port, deadline).value();
  auto server = Stream::create(tls, std::move(socket), {.server_name = host}).value();
  if (const auto done = server.handshake(deadline); !done)
    throw std::runtime_error(server.explain(done.error()));  // Which certificate, and why.
  const auto request =
      std::string("GET ").append(argv[3]).append(" HTTP/1.1\r\nHost: ").append(host);
  server.write(request + "\r\nConnection: close\r\n\r\n", deadline).value();
  BufferedReader in(server);
  const auto head = in.read_until("\r\n\r\n", 65536, deadline).value();
  if (!head) throw std::runtime_error("the server said nothing");
  const Head answer(*head);
  Body(in, deadline).print(answer);
  (void)server.close(deadline);
  if (answer.status != 200) throw std::runtime_error("status " + std::to_string(answer.status));
}

int main(int argc, char** argv) try {
  if (argc < 5) throw std::runtime_error("usage: client HOST PORT TARGET SECONDS [CA-FILE]");
  auto tls = Context::create(Role::kClient).value();  // Trusts what the system trusts.
  if (argc > 5) tls.load_verify_locations(argv[5]).value();
  constexpr std::array<std::string_view, 1> kProtocols{"http/1.1"};
  tls.set_alpn_protocols(kProtocols).value();
  auto runtime = Runtime::create().value();
  const auto deadline = runtime.after(std::chrono::seconds(std::stoul(argv[4])));
  auto task = runtime.spawn("get", [&] { get(tls, argv, deadline); }).value();
  runtime.run();
  task.join().value();  // Throws what get() threw.
} catch (const std::exception& error) {
  return std::fprintf(stderr, "client: %s\n", error.what()), 1;
}
