// MemoryBio: bytes in order, an end behind them, and no memory without bytes.
#include "heddle/tls/memory_bio.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <malloc.h>

#include "heddle/tls/ssl_object.h"

#include "support/tls_pair.h"

namespace {

// What new[] has given out and not taken back. MemoryBio has no other memory.
std::size_t array_bytes = 0;
bool out_of_memory = false;

}  // namespace

void* operator new[](std::size_t size) {
  void* const memory = out_of_memory ? nullptr : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  array_bytes += malloc_usable_size(memory);
  return memory;
}

void operator delete[](void* memory) noexcept {
  if (memory != nullptr) array_bytes -= malloc_usable_size(memory);
  std::free(memory);
}

void operator delete[](void* memory, std::size_t /*size*/) noexcept {
  operator delete[](memory);
}

namespace heddle {
namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string read(MemoryBio& bio, std::size_t count) {
  std::string text(count, '\0');
  text.resize(bio.read(std::as_writable_bytes(std::span(text))));
  return text;
}

std::string readable(const MemoryBio& bio) {
  return {reinterpret_cast<const char*>(bio.readable().data()), bio.readable().size()};
}

// CPython: MemoryBIOTests.test_read_write.
TEST(MemoryBio, BytesComeOutInOrderInPartsOrWhole) {
  MemoryBio bio;
  EXPECT_TRUE(bio.write(bytes("foo")));
  EXPECT_EQ(read(bio, 100), "foo");
  EXPECT_EQ(read(bio, 100), "");
  EXPECT_TRUE(bio.write(bytes("foo")));
  EXPECT_TRUE(bio.write(bytes("bar")));
  EXPECT_EQ(read(bio, 100), "foobar");
  EXPECT_TRUE(bio.write(bytes("baz")));
  EXPECT_EQ(read(bio, 2), "ba");
  EXPECT_EQ(read(bio, 1), "z");
  EXPECT_EQ(read(bio, 1), "");
}

// CPython: MemoryBIOTests.test_eof.
TEST(MemoryBio, EndShowsOnlyOnceAllIsRead) {
  MemoryBio bio;
  EXPECT_FALSE(bio.eof());
  EXPECT_EQ(read(bio, 1), "");
  EXPECT_FALSE(bio.eof());
  EXPECT_TRUE(bio.write(bytes("foo")));
  bio.write_eof();
  EXPECT_FALSE(bio.eof());
  EXPECT_EQ(read(bio, 2), "fo");
  EXPECT_FALSE(bio.eof());
  EXPECT_EQ(read(bio, 1), "o");
  EXPECT_TRUE(bio.eof());
  bio.write_eof();
  EXPECT_EQ(read(bio, 1), "");
  EXPECT_TRUE(bio.eof());
}

TEST(MemoryBio, WritingBehindTheEndFailsAndAddsNothing) {
  MemoryBio bio;
  EXPECT_TRUE(bio.write(bytes("foo")));
  bio.write_eof();
  for (const std::string_view text : {"bar", ""}) {
    const Result<void> written = bio.write(bytes(text));
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Errc::kInvalid);
  }
  EXPECT_EQ(readable(bio), "foo");
}

TEST(MemoryBio, RoomThatWasHandedOutCannotBeCommittedBehindTheEnd) {
  MemoryBio bio;
  (void)bio.prepare(8);
  bio.write_eof();
  EXPECT_DEATH(bio.commit(8), "after write_eof");
  bio.commit(0);
  // As a loop does that receives from an ended socket again.
  (void)bio.prepare(8);
  bio.commit(0);
  bio.write_eof();
  EXPECT_TRUE(bio.eof());
}

// CPython: MemoryBIOTests.test_pending.
TEST(MemoryBio, PendingCountsBytes) {
  MemoryBio bio;
  EXPECT_EQ(bio.pending(), 0U);
  EXPECT_TRUE(bio.write(bytes("foo")));
  EXPECT_EQ(bio.pending(), 3U);
  for (std::size_t left = 3; left-- > 0;) {
    EXPECT_EQ(read(bio, 1).size(), 1U);
    EXPECT_EQ(bio.pending(), left);
  }
  EXPECT_TRUE(bio.write(bytes("")));
  EXPECT_EQ(bio.pending(), 0U);
}

TEST(MemoryBio, BytesAreUsedInPlaceAtBothEnds) {
  MemoryBio bio;
  const auto room = bio.prepare(1000);
  ASSERT_EQ(room.size(), 1000U);
  std::memcpy(room.data(), "received", 8);
  EXPECT_EQ(bio.pending(), 0U) << "before commit()";
  bio.commit(8);
  EXPECT_EQ(static_cast<const void*>(bio.readable().data()), room.data()) << "it was copied";
  EXPECT_EQ(readable(bio), "received");
  bio.consume(2);
  EXPECT_EQ(readable(bio), "ceived");
  EXPECT_DEATH(bio.consume(7), "consume\\(\\) of 7 bytes where 6 can be read");
  (void)bio.prepare(4);
  EXPECT_DEATH(bio.commit(5), "where prepare\\(\\) gave room for");
}

TEST(MemoryBio, WhatComesBetweenTakesTheRoomBack) {
  MemoryBio bio;
  (void)bio.prepare(10);
  EXPECT_TRUE(bio.write(bytes("x")));
  EXPECT_DEATH(bio.commit(1), "where prepare\\(\\) gave room for");
  (void)bio.prepare(10);
  bio.consume(1);
  EXPECT_DEATH(bio.commit(1), "where prepare\\(\\) gave room for");
  (void)bio.prepare(10);
  (void)bio.take();
  EXPECT_DEATH(bio.commit(1), "where prepare\\(\\) gave room for");
}

TEST(MemoryBio, TakeMovesTheBytesOutAndLeavesTheEnd) {
  MemoryBio bio;
  EXPECT_TRUE(bio.write(bytes("on the way")));
  bio.consume(3);
  bio.write_eof();
  const auto* const where = bio.readable().data();
  MemoryBio taken = bio.take();
  EXPECT_EQ(taken.readable().data(), where) << "it was copied";
  EXPECT_EQ(readable(taken), "the way");
  EXPECT_FALSE(taken.eof());
  EXPECT_TRUE(bio.eof());
  EXPECT_TRUE(taken.write(bytes(std::string(10'000, 'x')))) << "it is as any other";
  EXPECT_EQ(taken.pending(), 10'007U);
}

TEST(MemoryBio, MovingItMovesAllAndLeavesANewOne) {
  MemoryBio bio;
  EXPECT_TRUE(bio.write(bytes("moved")));
  bio.write_eof();
  MemoryBio to;
  EXPECT_TRUE(to.write(bytes("lost")));
  to = std::move(bio);
  EXPECT_EQ(read(to, 100), "moved");
  EXPECT_TRUE(to.eof());
  EXPECT_TRUE(bio.write(bytes("new")));  // NOLINT(bugprone-use-after-move): it is specified.
  EXPECT_EQ(read(bio, 100), "new");
}

// Against the simplest model, with every call, in random sizes.
TEST(MemoryBio, IsAQueueOfBytesWhateverTheOrderOfCalls) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    MemoryBio bio;
    std::string model;
    char next = 'a';
    const auto some = [&](std::size_t most) {
      std::string text(random() % (most + 1), '\0');
      for (char& each : text) each = next = static_cast<char>(next == 'z' ? 'a' : next + 1);
      return text;
    };
    for (int i = 0; i < 2'000; ++i) {
      if (random() % 2 == 0) {
        const std::string text = some(random() % 8 == 0 ? 5'000 : 50);
        if (random() % 2 == 0) {
          ASSERT_TRUE(bio.write(bytes(text)));
        } else {
          const auto room = bio.prepare(text.size() + random() % 20);
          std::ranges::copy(bytes(text), room.begin());
          bio.commit(text.size());
        }
        model += text;
      } else {
        const std::size_t count = std::min<std::size_t>(random() % 3'000, model.size());
        if (random() % 2 == 0) {
          ASSERT_EQ(read(bio, count), model.substr(0, count));
        } else {
          ASSERT_EQ(readable(bio).substr(0, count), model.substr(0, count));
          bio.consume(count);
        }
        model.erase(0, count);
      }
      ASSERT_EQ(bio.pending(), model.size());
    }
    ASSERT_EQ(readable(bio), model);
  }
}

TEST(MemoryBio, AnEmptyOneHasNoMemory) {
  constexpr std::size_t kBytes = 10'000'000;
  const std::string large(kBytes, 'x');
  MemoryBio bio;
  const std::size_t before = array_bytes;
  ASSERT_TRUE(bio.write(bytes(large)));
  EXPECT_GE(array_bytes, before + kBytes);
  EXPECT_LE(array_bytes, before + 2 * kBytes);
  bio.consume(kBytes);
  EXPECT_EQ(array_bytes, before) << "read";
  (void)bio.prepare(kBytes);
  bio.commit(0);
  EXPECT_EQ(array_bytes, before) << "prepared for nothing";
  ASSERT_TRUE(bio.write(bytes(large)));
  { const MemoryBio taken = bio.take(); }
  EXPECT_EQ(array_bytes, before) << "taken";
}

TEST(MemoryBio, LackOfMemoryChangesNothing) {
  MemoryBio bio;
  ASSERT_TRUE(bio.write(bytes("kept")));
  out_of_memory = true;
  const std::string large(10'000, 'x');
  EXPECT_THROW((void)bio.write(bytes(large)), std::bad_alloc);
  out_of_memory = false;
  EXPECT_THROW((void)bio.prepare(SIZE_MAX - 2), std::bad_alloc);
  EXPECT_EQ(readable(bio), "kept");
  EXPECT_TRUE(bio.write(bytes(large)));
}

// One byte in, one byte out, for long: neither grows nor copies all of it each time.
TEST(MemoryBio, AQueueThatIsNeverEmptyStaysSmallAndWhereItIs) {
  for (const std::size_t held : {10U, 100'000U}) {
    MemoryBio bio;
    const std::size_t before = array_bytes;
    ASSERT_TRUE(bio.write(bytes(std::string(held, 'x'))));
    std::size_t moved_bytes = 0;
    constexpr std::size_t kTimes = 100'000;
    for (std::size_t i = 0; i < kTimes; ++i) {
      bio.consume(1);
      const auto* const where = bio.readable().data();
      ASSERT_TRUE(bio.write(bytes("x")));
      if (bio.readable().data() != where) moved_bytes += held;
    }
    EXPECT_EQ(bio.pending(), held);
    EXPECT_LE(array_bytes - before, 4 * held + 1'000);
    EXPECT_LE(moved_bytes, 4 * kTimes);
  }
}

TEST(MemoryBio, LackOfMemoryForWhatTlsWritesFailsTheConnection) {
  MemoryBio incoming;
  MemoryBio outgoing;
  const Context context = test::client_context();
  auto tls = SslObject::create(context, incoming, outgoing, {.server_name = "a.test"}).value();
  out_of_memory = true;
  const Result<Progress> failed = tls.handshake();
  out_of_memory = false;
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Errc::kExhausted);
  EXPECT_EQ(tls.handshake().error().code, Errc::kExhausted);
}

}  // namespace
}  // namespace heddle
