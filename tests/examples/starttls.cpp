// STARTTLS (RFC 3207): lines in plain text, then over TLS. A mail server, and a client of it:
//   starttls serve ADDRESS CERTIFICATE KEY       starttls ADDRESS NAME CA-FILE MESSAGE
// What was sent before the handshake and not read yet is refused, not taken over (CVE-2011-0411).
#include <cstdio>

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): it is an example.
using namespace std::chrono_literals;

// Server: answers commands until QUIT, or STARTTLS, which it returns unanswered.
static std::string take_commands(auto& connection, BufferedReader& in, bool is_secure) {
  for (bool in_message = false;;) {
    const auto line = in.read_line(1000, this_fiber::after(60s)).value();
    if (!line) return "QUIT";
    if (in_message && *line != ".") {
      std::printf("%s\n", line->c_str() + (line->starts_with('.') ? 1 : 0));
      continue;
    }
    if (!in_message && (*line == "QUIT" || (*line == "STARTTLS" && !is_secure))) return *line;
    in_message = is_secure && *line == "DATA";
    const char* answer = in_message ? "354 go on\r\n" : "250 ok\r\n";
    if (!is_secure && !line->starts_with("EHLO")) answer = "530 STARTTLS comes first\r\n";
    connection.write(answer, this_fiber::after(60s)).value();
  }
}

static void serve_client(const Context& context, Socket socket) try {
  BufferedReader plain(socket);
  socket.write("220 ready\r\n", this_fiber::after(60s)).value();
  if (take_commands(socket, plain, false) == "QUIT") return;
  if (!plain.buffered().empty()) throw std::runtime_error("injected behind STARTTLS");
  socket.write("220 go ahead\r\n", this_fiber::after(60s)).value();
  auto tls = Stream::create(context, socket).value();
  tls.handshake(this_fiber::after(10s)).value();
  BufferedReader secure(tls);
  take_commands(tls, secure, true);
  tls.write("221 goodbye\r\n", this_fiber::after(60s)).value();
  (void)tls.close(this_fiber::after(5s));
} catch (const std::exception& error) {
  std::fprintf(stderr, "client: %s\n", error.what());
}

// Client: sends `text`, and reads its reply, which must begin with `code`.
static void ask(auto& connection, BufferedReader& in, const std::string& text, const char* code) {
  connection.write(text, this_fiber::after(60s)).value();
  std::string reply;
  do {
    reply = in.read_line(1000, this_fiber::after(60s)).value().value_or("");
  } while (reply.size() > 3 && reply[3] == '-');
  if (!reply.starts_with(code)) throw std::runtime_error("the server says: " + reply);
}

static void send(Socket socket, const Context& context, char** words) {
  BufferedReader plain(socket);
  ask(socket, plain, "", "220");
  ask(socket, plain, "EHLO client\r\n", "250");
  ask(socket, plain, "STARTTLS\r\n", "220");
  if (!plain.buffered().empty()) throw std::runtime_error("injected behind the answer to STARTTLS");
  auto tls = Stream::create(context, socket, {.server_name = words[2]}).value();
  tls.handshake(this_fiber::after(10s)).value();
  BufferedReader secure(tls);
  ask(tls, secure, "EHLO client\r\n", "250");
  ask(tls, secure, "DATA\r\n", "354");
  const std::string dot(words[4][0] == '.' ? 1 : 0, '.');  // RFC 5321, 4.5.2.
  ask(tls, secure, dot + words[4] + "\r\n.\r\n", "250");
  ask(tls, secure, "QUIT\r\n", "221");
  (void)tls.close(this_fiber::after(5s));
}

int main(int argc, char** argv) try {
  if (argc != 5) throw std::runtime_error("serve ADDRESS CERTIFICATE KEY, or ADDRESS NAME CA TEXT");
  const bool is_server = argv[1] == std::string_view("serve");
  const auto address = Address::parse(argv[is_server ? 2 : 1]).value();
  auto tls = Context::create(is_server ? Role::kServer : Role::kClient).value();
  auto runtime = Runtime::create().value();
  const auto run = [&] {
    if (!is_server)
      return send(connect(runtime, address, this_fiber::after(10s)).value(), tls, argv);
    auto listener = Listener::create(runtime, address).value();
    std::printf("listening on %s\n", listener.address().to_string().c_str());
    serve(listener, [&](Socket socket) { serve_client(tls, std::move(socket)); });
  };
  (is_server ? tls.load_cert_chain(argv[3], argv[4]) : tls.load_verify_locations(argv[3])).value();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  runtime.spawn("main", run).value();
  runtime.run();
} catch (const std::exception& error) {
  return std::fprintf(stderr, "starttls: %s\n", error.what()), 1;
}
