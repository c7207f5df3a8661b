// Accepts, shakes hands, answers, and never mind who the peer is.
#include "cli/demo_server.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "heddle/tls/stream.h"

#include "cli/demo_protocol.h"

namespace heddle::cli {
namespace {

// Generous: a busy machine must not make a healthy connection late. Silent peers leave earlier.
constexpr auto kHandshakeLimit = std::chrono::seconds(20);
constexpr auto kIdleLimit = std::chrono::seconds(60);
constexpr auto kGoodbyeLimit = std::chrono::milliseconds(200);

Result<void> answer_much(Stream& stream) {
  static constexpr std::array<std::byte, std::size_t{16} * 1024> kPiece{};
  const Deadline deadline = this_fiber::after(kIdleLimit);
  for (std::size_t sent = 0; sent < kBigAnswerBytes; sent += kPiece.size()) {
    const Result<void> written = stream.write(kPiece, deadline);
    if (!written) return written.error();
  }
  return {};
}

// Returns why the connection ended: it never ends well, as healthy clients do not leave.
Error talk(Stream& stream) {
  const Result<void> shaken = stream.handshake(this_fiber::after(kHandshakeLimit));
  if (!shaken) return shaken.error();
  while (true) {
    const Deadline deadline = this_fiber::after(kIdleLimit);
    const Result<Message> asked = receive_message(stream, deadline);
    if (!asked) return asked.error();
    const Result<void> answered =
        asked->verb == Verb::kAskForMuch
            ? answer_much(stream)
            : send_message(stream, {.verb = Verb::kAnswer, .number = asked->number}, deadline);
    if (!answered) return answered.error();
  }
}

}  // namespace

void DemoServer::run(Scope& fibers, Listener& listener) {
  while (true) {
    auto accepted = listener.accept(Deadline::never());
    if (!accepted && accepted.error().code == Errc::kCancelled) return;
    if (!accepted) continue;  // Out of descriptors: accept() has waited a while.
    // A fiber that cannot be had drops its connection, and the client will tell.
    (void)fibers.spawn(
        "server", [this, socket = *std::move(accepted)]() mutable { serve(std::move(socket)); });
  }
}

void DemoServer::serve(Socket socket) {
  const Result<Address> peer = socket.peer_address();
  auto stream = Stream::create(context_, std::move(socket));
  const Error ended = stream ? talk(*stream) : stream.error();
  if (peer) ledger_.server_failed(peer->port(), "server: " + ended.message());
  if (stream) (void)stream->close(this_fiber::after(kGoodbyeLimit));  // Delivers an alert.
}

}  // namespace heddle::cli
