// Frames, and the few methods that consumers and publishers need.
#include "integration/rabbitmq/amqp_connection.h"

#include <array>
#include <chrono>
#include <new>
#include <utility>

#include <poll.h>

#include "heddle/fiber.h"
#include "heddle/socket.h"

namespace heddle::test {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);  // Only a failing test waits so long.
constexpr amqp_channel_t kChannel = 1;
constexpr std::uint32_t kFrameBytesMax = 65536;
constexpr std::size_t kMethodBytesMax = 4096;  // None that is sent here comes near.
constexpr char kFrameEnd = '\xCE';
constexpr std::string_view kProtocolHeader("AMQP\0\0\x09\x01", 8);

Error violation(const char* what) {
  return Error{.code = Errc::kProtocol, .operation = what};
}

template <typename Number>
void put_number(std::string& into, Number number) {
  for (std::size_t shift = 8 * sizeof number; shift > 0; shift -= 8) {
    into.push_back(static_cast<char>(number >> (shift - 8)));
  }
}

// rabbitmq-c takes text as void*, and only reads it.
amqp_bytes_t bytes_of(std::string_view text) {
  return {.len = text.size(), .bytes = const_cast<char*>(text.data())};
}

std::string_view text_of(const amqp_bytes_t& bytes) {
  return {static_cast<const char*>(bytes.bytes), bytes.len};
}

Result<void> without_value(const Result<void*>& result) {
  if (!result) return result.error();
  return {};
}

}  // namespace

Result<std::unique_ptr<AmqpConnection>> AmqpConnection::connect(Runtime& runtime,
                                                                const Broker& broker,
                                                                Deadline deadline) {
  auto socket = heddle::connect(runtime, broker.address, deadline);
  if (!socket) return socket.error();
  const int descriptor = socket->native_handle();
  auto stream = Stream::create(broker.context, *std::move(socket), {.server_name = "127.0.0.1"});
  if (!stream) return stream.error();
  if (const auto shaken = stream->handshake(deadline); !shaken) return shaken.error();
  State state(amqp_new_connection());
  if (!state) throw std::bad_alloc();
  return std::unique_ptr<AmqpConnection>(
      new AmqpConnection(*std::move(stream), descriptor, std::move(state)));
}

// --- Frames --------------------------------------------------------------------------------------

void AmqpConnection::put_frame(std::uint8_t type, amqp_channel_t channel,
                               std::string_view payload) {
  put_number(output_, type);
  put_number(output_, channel);
  put_number(output_, static_cast<std::uint32_t>(payload.size()));
  output_.append(payload);
  output_.push_back(kFrameEnd);
}

Result<void> AmqpConnection::put_method(amqp_method_number_t id, void* method) {
  std::array<char, kMethodBytesMax> encoded{};
  const int count =
      amqp_encode_method(id, method, {.len = encoded.size(), .bytes = encoded.data()});
  if (count < 0) return violation("amqp_encode_method");
  std::string payload;
  put_number(payload, id);
  payload.append(encoded.data(), static_cast<std::size_t>(count));
  const bool of_connection = id >> 16 == AMQP_CONNECTION_CLASS;
  put_frame(AMQP_FRAME_METHOD, of_connection ? amqp_channel_t{0} : kChannel, payload);
  return {};
}

Result<void> AmqpConnection::put_content(std::string_view body) {
  amqp_basic_properties_t properties{};
  std::array<char, kMethodBytesMax> encoded{};
  const int count = amqp_encode_properties(AMQP_BASIC_CLASS, &properties,
                                           {.len = encoded.size(), .bytes = encoded.data()});
  if (count < 0) return violation("amqp_encode_properties");
  std::string header;
  put_number(header, std::uint16_t{AMQP_BASIC_CLASS});
  put_number(header, std::uint16_t{0});  // Weight: not used.
  put_number(header, std::uint64_t{body.size()});
  header.append(encoded.data(), static_cast<std::size_t>(count));
  put_frame(AMQP_FRAME_HEADER, kChannel, header);
  put_frame(AMQP_FRAME_BODY, kChannel, body);
  return {};
}

Result<void> AmqpConnection::send(Deadline deadline) {
  const std::string output = std::exchange(output_, {});
  return stream_->write(std::as_bytes(std::span(output)), deadline);
}

// What the frame points to is valid until the next call.
Result<amqp_frame_t> AmqpConnection::next_frame(Deadline deadline) {
  amqp_maybe_release_buffers(state_.get());
  for (;;) {
    while (input_used_ < input_.size()) {
      amqp_frame_t frame{};
      const auto rest = std::span(input_).subspan(input_used_);
      const int used =
          amqp_handle_input(state_.get(), {.len = rest.size(), .bytes = rest.data()}, &frame);
      if (used < 0) return violation("amqp_handle_input");
      input_used_ += static_cast<std::size_t>(used);
      if (frame.frame_type != 0) return frame;  // 0: not a whole frame so far.
    }
    input_.resize(kFrameBytesMax);
    const Result<std::size_t> count = stream_->read(input_, deadline);
    input_.resize(count ? *count : 0);
    input_used_ = 0;
    if (!count) return count.error();
    if (*count == 0) return Error{.code = Errc::kDisconnected, .operation = "AMQP read"};
  }
}

Result<void*> AmqpConnection::await_method(amqp_method_number_t id, Deadline deadline) {
  const Result<amqp_frame_t> frame = next_frame(deadline);
  if (!frame) return frame.error();
  if (frame->frame_type != AMQP_FRAME_METHOD) return violation("AMQP: a method was expected");
  if (frame->payload.method.id != id) return violation("AMQP: another method was expected");
  return frame->payload.method.decoded;
}

Result<void*> AmqpConnection::call(amqp_method_number_t id, void* method,
                                   amqp_method_number_t answer, Deadline deadline) {
  if (const auto put = put_method(id, method); !put) return put.error();
  if (const auto sent = send(deadline); !sent) return sent.error();
  return await_method(answer, deadline);
}

// --- The session ---------------------------------------------------------------------------------

Result<void> AmqpConnection::log_in(Deadline deadline) {
  output_ = kProtocolHeader;
  if (const auto sent = send(deadline); !sent) return sent.error();
  const auto started = await_method(AMQP_CONNECTION_START_METHOD, deadline);
  if (!started) return started.error();

  using std::string_view_literals::operator""sv;
  amqp_connection_start_ok_t start_ok{.client_properties = amqp_empty_table,
                                      .mechanism = bytes_of("PLAIN"),
                                      .response = bytes_of("\0guest\0guest"sv),
                                      .locale = bytes_of("en_US")};
  const auto tuned =
      call(AMQP_CONNECTION_START_OK_METHOD, &start_ok, AMQP_CONNECTION_TUNE_METHOD, deadline);
  if (!tuned) return tuned.error();
  if (amqp_tune_connection(state_.get(), kChannel, kFrameBytesMax, 0) != AMQP_STATUS_OK) {
    return violation("amqp_tune_connection");
  }
  amqp_connection_tune_ok_t tune_ok{
      .channel_max = kChannel, .frame_max = kFrameBytesMax, .heartbeat = 0};
  if (const auto put = put_method(AMQP_CONNECTION_TUNE_OK_METHOD, &tune_ok); !put) return put;
  amqp_connection_open_t open{
      .virtual_host = bytes_of("/"), .capabilities = amqp_empty_bytes, .insist = 0};
  const auto opened =
      call(AMQP_CONNECTION_OPEN_METHOD, &open, AMQP_CONNECTION_OPEN_OK_METHOD, deadline);
  if (!opened) return opened.error();
  amqp_channel_open_t channel{.out_of_band = amqp_empty_bytes};
  return without_value(
      call(AMQP_CHANNEL_OPEN_METHOD, &channel, AMQP_CHANNEL_OPEN_OK_METHOD, deadline));
}

Result<void> AmqpConnection::declare_queue(std::string_view name, Deadline deadline) {
  amqp_queue_declare_t declare{
      .queue = bytes_of(name), .durable = 1, .arguments = amqp_empty_table};
  return without_value(
      call(AMQP_QUEUE_DECLARE_METHOD, &declare, AMQP_QUEUE_DECLARE_OK_METHOD, deadline));
}

Result<std::uint32_t> AmqpConnection::delete_queue(std::string_view name, Deadline deadline) {
  amqp_queue_delete_t remove{.queue = bytes_of(name)};
  const auto removed =
      call(AMQP_QUEUE_DELETE_METHOD, &remove, AMQP_QUEUE_DELETE_OK_METHOD, deadline);
  if (!removed) return removed.error();
  return static_cast<const amqp_queue_delete_ok_t*>(*removed)->message_count;
}

Result<void> AmqpConnection::consume(std::string_view queue, Deadline deadline) {
  amqp_basic_consume_t consume{
      .queue = bytes_of(queue), .consumer_tag = amqp_empty_bytes, .arguments = amqp_empty_table};
  return without_value(
      call(AMQP_BASIC_CONSUME_METHOD, &consume, AMQP_BASIC_CONSUME_OK_METHOD, deadline));
}

Result<Delivery> AmqpConnection::receive(Deadline deadline) {
  const auto method = await_method(AMQP_BASIC_DELIVER_METHOD, deadline);
  if (!method) return method.error();
  const Deadline rest = this_fiber::after(kPatience);
  Delivery delivery{.tag = static_cast<const amqp_basic_deliver_t*>(*method)->delivery_tag};
  const Result<amqp_frame_t> header = next_frame(rest);
  if (!header) return header.error();
  if (header->frame_type != AMQP_FRAME_HEADER) return violation("AMQP: a header was expected");
  const std::uint64_t size = header->payload.properties.body_size;
  while (delivery.body.size() < size) {
    const Result<amqp_frame_t> part = next_frame(rest);
    if (!part) return part.error();
    if (part->frame_type != AMQP_FRAME_BODY) return violation("AMQP: a body was expected");
    delivery.body.append(text_of(part->payload.body_fragment));
  }
  return delivery;
}

Result<void> AmqpConnection::acknowledge(const Delivery& delivery, Deadline deadline) {
  amqp_basic_ack_t ack{.delivery_tag = delivery.tag, .multiple = 1};
  if (const auto put = put_method(AMQP_BASIC_ACK_METHOD, &ack); !put) return put;
  return send(deadline);
}

Result<void> AmqpConnection::expect_confirms(Deadline deadline) {
  amqp_confirm_select_t select{.nowait = 0};
  return without_value(
      call(AMQP_CONFIRM_SELECT_METHOD, &select, AMQP_CONFIRM_SELECT_OK_METHOD, deadline));
}

Result<void> AmqpConnection::publish(std::string_view queue, std::string_view body,
                                     Deadline deadline) {
  amqp_basic_publish_t publish{.exchange = amqp_empty_bytes, .routing_key = bytes_of(queue)};
  if (const auto put = put_method(AMQP_BASIC_PUBLISH_METHOD, &publish); !put) return put;
  if (const auto put = put_content(body); !put) return put;
  unconfirmed_.insert(++published_);
  return send(deadline);
}

Result<void> AmqpConnection::await_confirms(Deadline deadline) {
  while (!unconfirmed_.empty()) {
    const auto method = await_method(AMQP_BASIC_ACK_METHOD, deadline);
    if (!method) return method.error();
    const auto& ack = *static_cast<const amqp_basic_ack_t*>(*method);
    const auto first =
        ack.multiple != 0 ? unconfirmed_.begin() : unconfirmed_.find(ack.delivery_tag);
    unconfirmed_.erase(first, unconfirmed_.upper_bound(ack.delivery_tag));
  }
  return {};
}

Result<void> AmqpConnection::close(Deadline deadline) {
  amqp_connection_close_t close{.reply_code = AMQP_REPLY_SUCCESS, .reply_text = bytes_of("done")};
  // With this answer all is over: RabbitMQ closes the socket at once, without waiting for ours.
  return without_value(
      call(AMQP_CONNECTION_CLOSE_METHOD, &close, AMQP_CONNECTION_CLOSE_OK_METHOD, deadline));
}

bool AmqpConnection::socket_is_healthy() const {
  pollfd state{.fd = descriptor_, .events = POLLRDHUP, .revents = 0};
  return poll(&state, 1, 0) == 0;  // Errors and hang-ups would be reported unasked.
}

}  // namespace heddle::test
