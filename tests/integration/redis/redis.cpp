// Commands out, replies in.
#include "redis.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "heddle/fiber.h"

namespace heddle::example {
namespace {

constexpr const char* kAsk = "ask Redis";

Result<std::string> format(std::span<const std::string_view> words) {
  std::vector<const char*> data;
  std::vector<std::size_t> sizes;
  for (const std::string_view word : words) {
    data.push_back(word.data());
    sizes.push_back(word.size());
  }
  char* made = nullptr;
  const int size =
      redisFormatCommandArgv(&made, static_cast<int>(words.size()), data.data(), sizes.data());
  if (size < 0) return Error{.code = Errc::kExhausted, .operation = kAsk};
  std::string command(made, static_cast<std::size_t>(size));
  redisFreeCommand(made);
  return command;
}

}  // namespace

Result<std::unique_ptr<RedisConnection>> RedisConnection::connect(Runtime& runtime,
                                                                  const Address& address,
                                                                  Deadline deadline) {
  auto socket = heddle::connect(runtime, address, deadline);
  if (!socket) return socket.error();
  std::unique_ptr<RedisConnection> made(new RedisConnection(*std::move(socket)));
  if (!made->reader_) return Error{.code = Errc::kExhausted, .operation = kAsk};
  return made;
}

Result<RedisReply> RedisConnection::ask(std::span<const std::string_view> words,
                                        Deadline deadline) {
  const auto command = format(words);
  if (!command) return command.error();
  const auto sent = socket_->write(std::as_bytes(std::span(*command)), deadline);
  if (!sent) return sent.error();
  for (;;) {
    void* reply = nullptr;
    if (redisReaderGetReply(reader_.get(), &reply) != REDIS_OK) {
      return Error{.code = Errc::kProtocol, .operation = kAsk};
    }
    if (reply != nullptr) return RedisReply(static_cast<redisReply*>(reply));
    std::array<std::byte, 4096> buffer;
    const auto count = socket_->read(buffer, deadline);
    if (!count) return count.error();
    if (*count == 0) return Error{.code = Errc::kDisconnected, .operation = kAsk};
    if (redisReaderFeed(reader_.get(), reinterpret_cast<const char*>(buffer.data()), *count) !=
        REDIS_OK) {
      return Error{.code = Errc::kProtocol, .operation = kAsk};
    }
  }
}

Result<RedisReply> Redis::command(std::span<const std::string_view> words, Deadline deadline) {
  const TimePoint now = this_fiber::now();
  if (failed_ && now < retry_at_) {
    return Error{.code = Errc::kExhausted, .operation = kAsk, .detail = "it has just failed"};
  }
  if (failed_) retry_at_ = now + options_.retry_after;  // This fiber tries; the others wait on.
  deadline = std::min(deadline, this_fiber::after(options_.patience));
  if (const auto slot = slots_.acquire(deadline); !slot) return slot.error();
  auto reply = try_command(words, deadline);
  slots_.release();
  if (reply) {
    failed_ = false;
    if ((*reply)->type == REDIS_REPLY_ERROR) {
      return Error{.code = Errc::kInvalid, .operation = kAsk, .detail = "it refused"};
    }
  } else if (reply.error().code != Errc::kCancelled) {
    failed_ = true;
    retry_at_ = this_fiber::now() + options_.retry_after;
  }
  return reply;
}

Result<RedisReply> Redis::try_command(std::span<const std::string_view> words, Deadline deadline) {
  std::unique_ptr<RedisConnection> connection;
  while (!idle_.empty()) {
    connection = std::move(idle_.back());
    idle_.pop_back();
    auto reply = connection->ask(words, deadline);
    if (reply) {
      idle_.push_back(std::move(connection));
      return reply;
    }
    // An old connection may have ended with an earlier Redis: that says nothing about this one.
    if (reply.error().code != Errc::kDisconnected) return reply;
  }
  auto connected = RedisConnection::connect(runtime_, address_, deadline);
  if (!connected) return connected.error();
  auto reply = (*connected)->ask(words, deadline);
  if (reply) idle_.push_back(*std::move(connected));
  return reply;
}

}  // namespace heddle::example
