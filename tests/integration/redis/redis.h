// Redis for fibers: hiredis writes the commands and reads the replies, heddle::Socket carries them.
// hiredis never sees the socket, so nothing blocks the thread.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <hiredis/hiredis.h>

#include "heddle/address.h"
#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/sync.h"

namespace heddle::example {

struct FreeReply {
  void operator()(redisReply* reply) const noexcept { freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, FreeReply>;

// RedisConnection asks one question at a time.
class RedisConnection {
 public:
  static Result<std::unique_ptr<RedisConnection>> connect(Runtime& runtime, const Address& address,
                                                          Deadline deadline);

  // Sends a command and returns its reply. After a failure the connection is of no use: an answer
  // may still be under way. A reply may also say that Redis refused (REDIS_REPLY_ERROR).
  Result<RedisReply> ask(std::span<const std::string_view> words, Deadline deadline);

 private:
  struct FreeReader {
    void operator()(redisReader* reader) const noexcept { redisReaderFree(reader); }
  };

  explicit RedisConnection(Socket socket)
      : socket_(std::move(socket)), reader_(redisReaderCreate()) {}

  std::optional<Socket> socket_;
  std::unique_ptr<redisReader, FreeReader> reader_;
};

struct RedisOptions {
  std::size_t connections = 8;
  Duration patience = std::chrono::milliseconds(50);      // For one command, connecting included.
  Duration retry_after = std::chrono::milliseconds(500);  // How long a Redis that failed is let be.
};

// Redis is a few connections to one server, and a circuit breaker: after a failure nobody asks for
// `retry_after`; then one fiber tries, and the rest are still refused until it has succeeded. So a
// dead Redis costs its users nothing, and one that hangs costs one of them `patience`.
//
// Fibers:   any number; command() parks.
// Threads:  the runtime's.
class Redis {
 public:
  Redis(Runtime& runtime, Address address, RedisOptions options)
      : runtime_(runtime), address_(address), options_(options), slots_(options.connections) {}

  // Fails with kExhausted, at once, while the circuit is open; else as RedisConnection does, or
  // with kInvalid if Redis refuses the command.
  Result<RedisReply> command(std::span<const std::string_view> words, Deadline deadline);

  bool available() const noexcept { return !failed_; }

 private:
  Result<RedisReply> try_command(std::span<const std::string_view> words, Deadline deadline);

  Runtime& runtime_;
  Address address_;
  RedisOptions options_;
  Semaphore slots_;
  std::vector<std::unique_ptr<RedisConnection>> idle_;
  bool failed_ = false;
  TimePoint retry_at_{};  // When failed_.
};

}  // namespace heddle::example
