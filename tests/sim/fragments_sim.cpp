// One conversation through a pair of SslObjects, whatever pieces its bytes come in: 10,000
// fragmentations give the same bytes. And corrupted bytes give an error, never other bytes.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/tls/ssl_object.h"

#include "openssl/handles.h"
#include "support/seeds.h"
#include "support/ssl_object_pair.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::bytes;
using Kind = Progress::Kind;

// What one side does, in order. Its writes and reads cross those of the other side.
struct Act {
  enum class Verb : std::uint8_t { kHandshake, kWrite, kRead, kUpdateKeys, kShutdown, kReadToEnd };

  Verb verb;
  std::size_t bytes = 0;
};

// The longest text that either side has to say.
constexpr std::size_t kTextBytesMax = 100'000;

// The texts of the two sides differ, and no two places in one look alike.
std::string long_text(char side) {
  std::string text;
  for (int i = 0; text.size() < kTextBytesMax; ++i) text += side + std::to_string(i);
  return text.substr(0, kTextBytesMax);
}

std::string_view text_of(char side, std::size_t size) {
  static const std::string client = long_text('c');
  static const std::string server = long_text('s');
  return std::string_view(side == 'c' ? client : server).substr(0, size);
}

// Speaker plays one side: one step at a time, as far as its bytes allow.
class Speaker {
 public:
  Speaker(const Context& context, const std::string& server_name, char side, std::vector<Act> acts)
      : acts_(std::move(acts)), text_(text_of(side, text_bytes(acts_))) {
    end_.open(context, server_name);
  }

  // Whether it is not for the peer to do something first.
  bool can_step() const {
    if (over()) return false;
    return wants_ != Kind::kWantRead || end_.incoming.pending() != 0 || end_.incoming.eof();
  }

  // Does one call of the act that is due.
  void step() {
    const Result<Progress> progress = call();
    if (!progress) {
      error_ = progress.error();
      return;
    }
    wants_ = progress->kind;
    EXPECT_NE(wants_, Kind::kWantWrite) << "so much is not written here";
    if (wants_ == Kind::kWantRead) {
      EXPECT_EQ(end_.incoming.pending(), 0U) << "it did not need to wait";
      return;
    }
    const Act& act = acts_[at_];
    moved_ += progress->bytes;
    if (wants_ == Kind::kEnd || (act.verb != Act::Verb::kReadToEnd && moved_ >= act.bytes)) {
      ++at_;
      moved_ = 0;
    }
  }

  bool done() const { return at_ == acts_.size(); }
  bool over() const { return done() || error_; }
  const std::optional<Error>& error() const { return error_; }
  std::string_view text() const { return text_; }
  const std::string& received() const { return received_; }
  test::End& end() { return end_; }

 private:
  static std::size_t text_bytes(const std::vector<Act>& acts) {
    std::size_t all = 0;
    for (const Act& act : acts) all += act.verb == Act::Verb::kWrite ? act.bytes : 0;
    return all;
  }

  Result<Progress> call() {
    const Act& act = acts_[at_];
    SslObject& tls = *end_.tls;
    switch (act.verb) {
      case Act::Verb::kHandshake:
        return tls.handshake();
      case Act::Verb::kWrite: {
        Result<Progress> written = tls.write(bytes(text_.substr(sent_, act.bytes)));
        if (written) sent_ += written->bytes;
        return written;
      }
      case Act::Verb::kUpdateKeys:
        // It goes out with the next write.
        if (tls.connection_state().version == "TLSv1.3") {
          EXPECT_EQ(SSL_key_update(tls.native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
        }
        return Progress{Kind::kDone};
      case Act::Verb::kShutdown:
        return tls.shutdown();
      case Act::Verb::kRead:
        return read(act.bytes - moved_);
      case Act::Verb::kReadToEnd:
        return read(SIZE_MAX);
    }
    return Progress{Kind::kEnd};
  }

  Result<Progress> read(std::size_t most) {
    std::array<std::byte, 8'000> some;  // NOLINT: zeroing takes longer than reading.
    const Result<Progress> progress =
        end_.tls->read(std::span(some).first(std::min(most, some.size())));
    if (progress) received_.append(reinterpret_cast<const char*>(some.data()), progress->bytes);
    return progress;
  }

  const std::vector<Act> acts_;
  const std::string_view text_;
  test::End end_;
  std::size_t at_ = 0;
  std::size_t moved_ = 0;  // By the act that is due.
  std::size_t sent_ = 0;
  std::string received_;
  Kind wants_ = Kind::kDone;
  std::optional<Error> error_;
};

// Lengths of the conversation's four texts, two each way.
struct Sizes {
  std::size_t question, answer, second_question, second_answer;
};

struct Conversation {
  Conversation(const Context& client_context, const Context& server_context, const Sizes& sizes)
      : client(client_context, test::kServerName, 'c',
               {{Act::Verb::kHandshake},
                {Act::Verb::kWrite, sizes.question},
                {Act::Verb::kRead, sizes.answer},
                {Act::Verb::kUpdateKeys},
                {Act::Verb::kWrite, sizes.second_question},
                {Act::Verb::kRead, sizes.second_answer},
                {Act::Verb::kShutdown}}),
        server(server_context, "", 's',
               {{Act::Verb::kHandshake},
                {Act::Verb::kWrite, sizes.answer},
                {Act::Verb::kRead, sizes.question},
                {Act::Verb::kUpdateKeys},
                {Act::Verb::kWrite, sizes.second_answer},
                {Act::Verb::kReadToEnd},
                {Act::Verb::kShutdown}}) {}

  Speaker client;
  Speaker server;
};

// The network between the two: cuts what is on its way anywhere, and lets either side go next.
class Network {
 public:
  explicit Network(std::uint64_t seed) : random_(seed) {
    // From one byte at a time to everything at once, and the small ones not so often: they are
    // slow.
    std::uniform_real_distribution<double> part(0, 1);
    piece_bytes_max_ = static_cast<std::size_t>(std::exp2(17 * std::sqrt(part(random_))));
  }

  std::size_t below(std::size_t n) { return random_() % n; }
  std::size_t piece_bytes_max() const { return piece_bytes_max_; }

  // Damages the byte at this place of what the client (server) sends.
  void corrupt(bool of_client, std::size_t place) {
    (of_client ? of_client_ : of_server_).corrupt_at = place;
  }

  // Until both sides are done or have failed. What can happen next does so in any order.
  void run(Conversation& talk) {
    while (!talk.client.over() || !talk.server.over()) {
      std::array<std::function<void()>, 4> moves;
      std::size_t count = 0;
      if (talk.client.can_step()) moves[count++] = [&] { talk.client.step(); };
      if (talk.server.can_step()) moves[count++] = [&] { talk.server.step(); };
      if (talk.client.end().outgoing.pending() > 0) {
        moves[count++] = [&] { carry(talk.client.end(), talk.server.end(), of_client_); };
      }
      if (talk.server.end().outgoing.pending() > 0) {
        moves[count++] = [&] { carry(talk.server.end(), talk.client.end(), of_server_); };
      }
      if (count > 0) {
        moves[below(count)]();
        continue;
      }
      // Both wait, and nothing is on its way: for good, of which each is told.
      ended_ = true;
      talk.client.end().incoming.write_eof();
      talk.server.end().incoming.write_eof();
    }
  }

 private:
  struct Direction {
    std::size_t sent = 0;
    std::size_t corrupt_at = SIZE_MAX;
  };

  // Brings a piece of what one end has sent to the other.
  void carry(test::End& from, test::End& to, Direction& way) {
    if (ended_) return from.outgoing.consume(from.outgoing.pending());
    const std::size_t count = 1 + below(std::min(piece_bytes_max_, from.outgoing.pending()));
    std::optional<std::size_t> corrupt;
    if (way.corrupt_at - way.sent < count) corrupt = way.corrupt_at - way.sent;
    deliver(from.outgoing, to.incoming, count, corrupt);
    way.sent += count;
  }

  // By one of the ways that bytes can go from one MemoryBio to another.
  void deliver(MemoryBio& from, MemoryBio& to, std::size_t count,
               std::optional<std::size_t> corrupt) {
    const std::size_t way = below(3);
    if (way == 0 && !corrupt && count == from.pending()) {
      const MemoryBio taken = from.take();
      to.write(taken.readable()).value();
    } else if (way == 1 && !corrupt) {
      to.write(from.readable().first(count)).value();
      from.consume(count);
    } else {
      const auto room = to.prepare(count + below(10));
      EXPECT_EQ(from.read(room.first(count)), count);
      if (corrupt) damage(room.first(count), *corrupt);
      to.commit(count);
    }
  }

  void damage(std::span<std::byte> piece, std::size_t at) {
    const std::size_t how = below(3);
    if (how == 0) piece[at] ^= static_cast<std::byte>(1U << below(8));
    if (how == 1) piece[at] = static_cast<std::byte>(below(256));
    if (how == 2) {
      for (std::byte& each : piece.subspan(at)) each = static_cast<std::byte>(below(256));
    }
  }

  std::mt19937_64 random_;
  std::size_t piece_bytes_max_;
  Direction of_client_;
  Direction of_server_;
  bool ended_ = false;
};

// Each parameter is the first of as many seeds.
constexpr std::uint64_t kSeeds = 500;

class FragmentsSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  struct Contexts {
    explicit Contexts(TlsVersion version) {
      client.set_versions(version, version).value();
      server.set_versions(version, version).value();
    }
    Context client = test::client_context();
    Context server = test::server_context();
    openssl::Handle<SSL_SESSION, SSL_SESSION_free> session;
  };

  Contexts& contexts(std::uint64_t seed) { return seed % 2 == 0 ? tls12_ : tls13_; }

  // Most resume, which is cheaper and another handshake.
  static void resume(const Contexts& contexts, std::uint64_t seed, Conversation& talk) {
    if (seed % 10 < 2 || !contexts.session) return;
    SSL* const ssl = talk.client.end().tls->native_handle();
    ASSERT_EQ(SSL_set_session(ssl, contexts.session.get()), 1);
  }

  // Up to 100 KB each way: a text of many pieces is a short one.
  static Sizes sizes(Network& network) {
    const std::size_t most = std::min(kTextBytesMax / 2, 30 * network.piece_bytes_max());
    const auto size = [&] { return network.below(8) == 0 ? 0 : network.below(most + 1); };
    return {
        .question = size(), .answer = size(), .second_question = size(), .second_answer = size()};
  }

  Contexts tls12_{TlsVersion::kTls12};
  Contexts tls13_{TlsVersion::kTls13};
};

TEST_P(FragmentsSim, FragmentsAndTurnsDoNotChangeTheConversation) {
  std::uint64_t resumed = 0;
  for (std::uint64_t seed = GetParam(); seed < GetParam() + kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Network network(seed);
    Contexts& with = contexts(seed);
    Conversation talk(with.client, with.server, sizes(network));
    resume(with, seed, talk);
    network.run(talk);
    for (const auto& [mine, others] :
         {std::pair(&talk.client, &talk.server), std::pair(&talk.server, &talk.client)}) {
      ASSERT_FALSE(mine->error()) << mine->error()->message();
      ASSERT_TRUE(mine->done());
      ASSERT_TRUE(mine->received() == others->text());
      ASSERT_EQ(mine->end().incoming.pending(), 0U);
      ASSERT_EQ(mine->end().outgoing.pending(), 0U);
    }
    const SslObject& client = *talk.client.end().tls;
    if (client.connection_state().resumed) ++resumed;
    with.session.reset(SSL_get1_session(client.native_handle()));
  }
  EXPECT_EQ(resumed, kSeeds * 8 / 10);
}

TEST_P(FragmentsSim, CorruptedBytesAreAnErrorNeverOtherBytes) {
  std::size_t refused = 0;
  for (std::uint64_t seed = GetParam(); seed < GetParam() + kSeeds / 5; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Network network(seed);
    const Contexts& with = contexts(seed);
    Conversation talk(with.client, with.server, sizes(network));
    // Mostly in the handshake, where the parsers are.
    network.corrupt(network.below(2) == 0, network.below(network.below(4) == 0 ? 20'000 : 900));
    network.run(talk);
    for (const auto& [mine, others] :
         {std::pair(&talk.client, &talk.server), std::pair(&talk.server, &talk.client)}) {
      ASSERT_TRUE(others->text().starts_with(mine->received()));
      ASSERT_TRUE(!mine->done() || mine->received() == others->text());
    }
    if (talk.client.error() || talk.server.error()) ++refused;
  }
  // Some places are beyond the end, and some bytes of a ClientHello mean nothing.
  EXPECT_GT(refused, kSeeds / 10);
}

INSTANTIATE_TEST_SUITE_P(Seeds, FragmentsSim, test::seeds(0, 20 * kSeeds, kSeeds), test::kSeedName);

}  // namespace
}  // namespace heddle
