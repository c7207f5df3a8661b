// One function per misdeed, and the table of them. Those that come after a complete handshake
// matter most: handshakes clear the thread's OpenSSL error queue, failing reads and writes fill it.
#include "cli/demo_misdeeds.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "heddle/fiber.h"
#include "heddle/socket.h"
#include "heddle/tls/stream.h"
#include "heddle/transport.h"

#include "cli/demo_protocol.h"

namespace heddle::cli {
namespace {

constexpr auto kPatience = std::chrono::seconds(2);
constexpr auto kSilence = std::chrono::milliseconds(700);

// Tampering damages what a client sends once it is told to.
class Tampering final : public Transport {
 public:
  enum class Mode { kNone, kFlipBit, kSendHalf };

  explicit Tampering(Socket socket) : socket_(std::move(socket)) {}

  void tamper(Mode mode) { mode_ = mode; }
  Socket& socket() { return socket_; }

  IoResult try_read(std::span<std::byte> into) noexcept override { return socket_.try_read(into); }
  IoResult try_write(std::span<const std::byte> from) noexcept override {
    if (mode_ == Mode::kSendHalf) {
      (void)socket_.try_write(from.first(from.size() / 2));
      return {.kind = IoResult::Kind::kBytes, .bytes = from.size()};
    }
    if (mode_ == Mode::kNone || from.empty()) return socket_.try_write(from);
    std::array<std::byte, 512> damaged{};  // Messages are small: the record's end is in it.
    const std::size_t count = std::min(from.size(), damaged.size());
    std::copy_n(from.begin(), count, damaged.begin());
    damaged[count - 1] ^= std::byte{1};
    return socket_.try_write(std::span(damaged).first(count));
  }
  Wake wait(Interest interest, Deadline deadline) override {
    return socket_.wait(interest, deadline);
  }
  void shutdown_write() noexcept override { socket_.shutdown_write(); }

 private:
  Socket socket_;
  Mode mode_ = Mode::kNone;
};

// Client is a peer that behaves until its handshake is done.
struct Client {
  std::unique_ptr<Tampering> wire;
  Stream stream;  // After the wire, which it uses.
};

Result<Socket> dial(const Scene& scene) {
  return connect(scene.runtime, scene.server, this_fiber::after(kPatience));
}

std::optional<Client> begin(const Scene& scene, const Context& context, std::string_view name) {
  auto socket = dial(scene);
  if (!socket) return std::nullopt;
  auto wire = std::make_unique<Tampering>(*std::move(socket));
  auto stream = Stream::create(context, *wire, {.server_name = std::string(name)});
  if (!stream) return std::nullopt;
  return Client{.wire = std::move(wire), .stream = *std::move(stream)};
}

// A client that has shaken hands and got an answer, as a healthy one would.
std::optional<Client> befriend(const Scene& scene) {
  auto client = begin(scene, scene.trusting, scene.server_name);
  if (!client) return std::nullopt;
  const Deadline deadline = this_fiber::after(kPatience);
  if (!client->stream.handshake(deadline)) return std::nullopt;
  if (!send_message(client->stream, {.verb = Verb::kAsk}, deadline)) return std::nullopt;
  if (!receive_message(client->stream, deadline)) return std::nullopt;
  return client;
}

void send_raw(Socket& socket, std::string_view text) {
  (void)socket.write(std::as_bytes(std::span(text)), this_fiber::after(kPatience));
}

// Reads what the server has to say until it ends the connection.
void hear_out(Socket& socket) {
  std::array<std::byte, 512> answer{};
  const Deadline deadline = this_fiber::after(kPatience);
  while (true) {
    const auto count = socket.read(answer, deadline);
    if (!count || *count == 0) return;
  }
}

// Makes the socket's destruction send a reset, as a crashed machine that comes back does.
void reset_when_closed(const Socket& socket) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  (void)setsockopt(socket.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void stay_silent() {
  (void)this_fiber::sleep_until(this_fiber::after(kSilence));
}

// --- Before or during the handshake --------------------------------------------------------------

void send_junk(const Scene& scene) {
  auto socket = dial(scene);
  if (!socket) return;
  send_raw(*socket,
           "\x7f"
           "ELF this is no ClientHello, and never was one.");
  hear_out(*socket);
}

void speak_plain_http(const Scene& scene) {
  auto socket = dial(scene);
  if (!socket) return;
  send_raw(*socket, "GET / HTTP/1.1\r\nHost: demo\r\n\r\n");
  hear_out(*socket);
}

void reset_in_mid_handshake(const Scene& scene) {
  auto socket = dial(scene);
  if (!socket) return;
  const Deadline deadline = this_fiber::after(kPatience);
  if (!socket->write(scene.client_hello, deadline)) return;
  std::array<std::byte, 64> flight{};  // The server's: the rest stays unread.
  if (!socket->read(flight, deadline)) return;
  reset_when_closed(*socket);
}

void stop_in_client_hello(const Scene& scene) {
  auto socket = dial(scene);
  if (!socket) return;
  const auto half = scene.client_hello.first(scene.client_hello.size() / 2);
  if (socket->write(half, this_fiber::after(kPatience))) stay_silent();
}

void refuse_certificate(const Scene& scene) {
  auto client = begin(scene, scene.distrusting, scene.server_name);
  if (!client) return;
  (void)client->stream.handshake(this_fiber::after(kPatience));
  (void)client->stream.close(this_fiber::after(kPatience));
}

void expect_other_host(const Scene& scene) {
  auto client = begin(scene, scene.trusting, "elsewhere.test");
  if (!client) return;
  (void)client->stream.handshake(this_fiber::after(kPatience));
  (void)client->stream.close(this_fiber::after(kPatience));
}

// --- After the handshake -------------------------------------------------------------------------

void flip_bit(const Scene& scene) {
  auto client = befriend(scene);
  if (!client) return;
  client->wire->tamper(Tampering::Mode::kFlipBit);
  const Deadline deadline = this_fiber::after(kPatience);
  if (!send_message(client->stream, {.verb = Verb::kAsk}, deadline)) return;
  (void)receive_message(client->stream, deadline);  // An alert.
}

void stop_in_record(const Scene& scene) {
  auto client = befriend(scene);
  if (!client) return;
  client->wire->tamper(Tampering::Mode::kSendHalf);
  (void)send_message(client->stream, {.verb = Verb::kAsk}, this_fiber::after(kPatience));
  stay_silent();
}

void hang_up_without_goodbye(const Scene& scene) {
  (void)befriend(scene);
}

void vanish_during_answer(const Scene& scene) {
  auto client = befriend(scene);
  if (!client) return;
  const Deadline deadline = this_fiber::after(kPatience);
  if (!send_message(client->stream, {.verb = Verb::kAskForMuch}, deadline)) return;
  if (!receive_message(client->stream, deadline)) return;  // Its beginning.
  reset_when_closed(client->wire->socket());
}

// --- The application itself ----------------------------------------------------------------------

void use_malformed_certificate(const Scene&) {
  constexpr std::string_view kMalformed =
      "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
  auto context = Context::create(Role::kServer);
  if (context) (void)context->use_cert_chain(kMalformed, kMalformed);
}

void use_wrong_key(const Scene& scene) {
  auto context = Context::create(Role::kServer);
  if (!context) return;
  (void)context->use_cert_chain(scene.identity.certificate_pem, scene.other_identity.key_pem);
}

constexpr std::array kMisdeeds{
    Misdeed{.name = "junk instead of a handshake", .commit = send_junk},
    Misdeed{.name = "plain HTTP", .commit = speak_plain_http},
    Misdeed{.name = "reset in mid-handshake", .commit = reset_in_mid_handshake},
    Misdeed{.name = "half a ClientHello, then silence", .commit = stop_in_client_hello},
    Misdeed{.name = "refuses the certificate", .commit = refuse_certificate},
    Misdeed{.name = "expects another host", .commit = expect_other_host},
    Misdeed{.name = "flips a bit", .commit = flip_bit},
    Misdeed{.name = "half a record, then silence", .commit = stop_in_record},
    Misdeed{.name = "hangs up without close_notify", .commit = hang_up_without_goodbye},
    Misdeed{.name = "vanishes during an answer", .commit = vanish_during_answer},
    Misdeed{.name = "own malformed certificate", .commit = use_malformed_certificate},
    Misdeed{.name = "own wrong key", .commit = use_wrong_key},
};

// Recorder keeps what is written and never answers.
class Recorder final : public Transport {
 public:
  IoResult try_read(std::span<std::byte>) noexcept override {
    return {.kind = IoResult::Kind::kWouldBlock};
  }
  IoResult try_write(std::span<const std::byte> from) noexcept override {
    written.insert(written.end(), from.begin(), from.end());
    return {.kind = IoResult::Kind::kBytes, .bytes = from.size()};
  }
  Wake wait(Interest, Deadline) override { return Wake::kTimedOut; }

  std::vector<std::byte> written;
};

}  // namespace

std::span<const Misdeed> misdeeds() {
  return kMisdeeds;
}

std::vector<std::byte> capture_client_hello(const Context& context, std::string_view server_name) {
  Recorder recorder;
  auto stream = Stream::create(context, recorder, {.server_name = std::string(server_name)});
  if (stream) (void)stream->handshake(this_fiber::after(kPatience));
  return std::move(recorder.written);
}

}  // namespace heddle::cli
