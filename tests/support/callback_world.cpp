// The bystander, and conversations.
#include "support/callback_world.h"

#include <openssl/err.h>

#include "support/raw_tls.h"

namespace heddle::test {
namespace {

constexpr Deadline kNever = Deadline::never();

// Runs `steps`, and notes what they fail with or throw.
template <typename Steps>
void note(Conversation::End& end, Steps steps) {
  try {
    const Result<void> done = steps();
    if (!done) end.error = done.error();
  } catch (const std::exception& exception) {
    end.thrown = exception.what();
  }
}

Result<void> say(Stream& stream, std::string_view text) {
  return stream.write(bytes(text), kNever);
}

Result<void> hear(Stream& stream, std::string_view text) {
  std::string heard(text.size(), '\0');
  const auto count = stream.read(std::as_writable_bytes(std::span(heard)), kNever);
  if (!count) return count.error();
  EXPECT_EQ(heard.substr(0, *count), text);
  return {};
}

}  // namespace

void CallbackWorld::park() {
  ++parks_;
  const bool isolated = world_.scheduler().isolation() == Isolation::kIsolated;
  EXPECT_TRUE(!isolated || ERR_peek_error() == 0) << "of whoever called the callback";
  leave_entry(Leak::kOther);
  const unsigned long mine = ERR_peek_error();
  wanted_ = true;
  asked_.wake_all();
  while (wanted_) ASSERT_EQ(answered_.wait(kNever), Wake::kReady);
  EXPECT_TRUE(!isolated || ERR_get_error() == mine);
  leave_entry(Leak::kSystem);
}

void CallbackWorld::stand_by() {
  const Context server_context = test::server_context();
  const Context client_context = test::client_context();
  sim::Pipe pipe(world_);
  auto ours = client(client_context, pipe.a());
  auto theirs = server(server_context, pipe.b());
  scope([&](Scope& fibers) {
    ASSERT_TRUE(fibers.spawn("bystander's peer", [&] {
      while (hear(theirs, "tick")) {
        leave_entry(Leak::kSystem);
        if (!say(theirs, "tock")) break;
      }
    }));
    while (!over_) {
      if (!wanted_) {
        ASSERT_EQ(asked_.wait(kNever), Wake::kReady);
        continue;
      }
      ASSERT_TRUE(say(ours, "tick"));
      leave_entry(Leak::kOther);
      ASSERT_TRUE(hear(ours, "tock"));
      leave_entry(Leak::kSystem);
      wanted_ = false;
      answered_.wake_all();
    }
    pipe.vanish_a();
  });
  ERR_clear_error();
}

std::unique_ptr<Conversation> CallbackWorld::open(const Context& server, const Context& client,
                                                  const StreamOptions& options) {
  auto talk = std::make_unique<Conversation>(world_);
  talk->client.stream = Stream::create(client, talk->pipe.a(), options).value();
  talk->server.stream = Stream::create(server, talk->pipe.b()).value();
  return talk;
}

std::unique_ptr<Conversation> CallbackWorld::talk(const Context& server, const Context& client,
                                                  const StreamOptions& options) {
  auto talk = open(server, client, options);
  converse(*talk);
  return talk;
}

void CallbackWorld::converse(Conversation& talk) {
  scope([&](Scope& fibers) {
    ASSERT_TRUE(fibers.spawn("server", [&] {
      note(talk.server, [&]() -> Result<void> {
        Stream& stream = *talk.server.stream;
        if (auto done = stream.handshake(kNever); !done) return done;
        if (auto done = hear(stream, "ping"); !done) return done;
        return say(stream, "pong");
      });
      (void)talk.server.stream->close(world_.after(std::chrono::seconds(1)));
    }));
    note(talk.client, [&]() -> Result<void> {
      Stream& stream = *talk.client.stream;
      if (auto done = stream.handshake(kNever); !done) return done;
      if (auto done = say(stream, "ping"); !done) return done;
      return hear(stream, "pong");
    });
    (void)talk.client.stream->close(world_.after(std::chrono::seconds(1)));
  });
}

}  // namespace heddle::test
