// A server with every callback, for other people's clients: callbacks_test.py. Answers each
// connection with one line of HTTP that says what was negotiated. Lives in the folder it is started
// in: NAME.pem are certificates with keys, ticket.key is an 80-byte ticket key, ocsp.der a
// response.
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "readme_names.h"

namespace {

std::string content(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

// Lets all others run, as a callback that waits for the network does.
void park() {
  (void)this_fiber::sleep_until(this_fiber::after(std::chrono::milliseconds(1)));
}

Result<std::string> fetch(std::string_view name, Deadline /*deadline*/) {
  park();
  std::string pem = content(std::string(name) + ".pem");
  if (pem.empty()) return Error{.code = Errc::kUnreachable, .operation = "find a certificate"};
  return pem;
}

void install(Context& tls) {
  choose_certificates(tls, fetch);
  tls.on_alpn([](const ConnectionView&, std::span<const std::string_view> offered) {
       park();
       return std::optional<std::string>(offered.back());
     })
      .value();
  tls.on_ocsp_request([](const ConnectionView&) {
    park();
    return std::optional<std::string>(content("ocsp.der"));
  });
  tls.on_psk_server([](const ConnectionView&, std::string_view identity) -> std::optional<Psk> {
    park();
    if (identity != "Client_identity") return std::nullopt;
    return Psk{.identity = {}, .key = std::string(32, 'k')};
  });
  tls.on_ticket_keys([](const ConnectionView&) -> Result<std::vector<TicketKey>> {
       park();
       auto key = TicketKey::parse(content("ticket.key"));
       if (!key) return key.error();
       return std::vector{*key};
     })
      .value();
  tls.set_key_log_file("server.keys").value();
}

void answer(const Context& tls, Socket socket) {
  const Deadline deadline = this_fiber::after(std::chrono::seconds(60));
  auto stream = Stream::create(tls, std::move(socket)).value();
  std::array<std::byte, 4096> request{};
  if (const auto count = stream.read(request, deadline); count && *count > 0) {
    const ConnectionState state = stream.connection_state();
    const std::string body = "name=" + state.server_name + " alpn=" + state.alpn +
                             " reused=" + (state.resumed ? "yes" : "no") + "\n";
    const std::string text =
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\n\r\n" + body;
    (void)stream.write(std::as_bytes(std::span(text)), deadline);
  }
  (void)stream.close(this_fiber::after(std::chrono::seconds(5)));
}

}  // namespace

int main(int argc, char** argv) {
  auto runtime = Runtime::create().value();
  auto tls = Context::create(Role::kServer).value();
  const std::string pem = content("default.pem");
  if (!pem.empty()) tls.use_cert_chain(pem, pem).value();
  install(tls);
  auto listener = Listener::create(runtime, Address::parse(argv[argc - 1]).value()).value();
  (void)runtime.spawn(
      "accept", [&] { serve(listener, [&](Socket socket) { answer(tls, std::move(socket)); }); });
  runtime.run();
}
