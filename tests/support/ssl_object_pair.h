// Two SslObjects that speak to each other, for tests that are run for each version of TLS.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "heddle/tls/ssl_object.h"

#include "support/own_entries.h"
#include "support/tls_pair.h"

namespace heddle {

// For what EXPECT_EQ prints, too.
inline void PrintTo(Progress::Kind kind, std::ostream* out) {  // NOLINT: GoogleTest's name.
  constexpr std::array<const char*, 4> kNames = {"kDone", "kEnd", "kWantRead", "kWantWrite"};
  *out << kNames[static_cast<std::size_t>(kind)];
}

namespace test {

// One side of a connection.
struct End {
  // Precondition: nobody else's bytes are in the MemoryBios.
  void open(const Context& context, const std::string& server_name) {
    tls = SslObject::create(context, incoming, outgoing, {.server_name = server_name}).value();
  }

  Result<Progress> write(std::string_view text) { return tls->write(bytes(text)); }

  Result<Progress> read_one() {
    std::array<std::byte, 1> one{};
    return tls->read(one);
  }

  // Everything that can be read now.
  std::string read() {
    std::string all;
    std::array<std::byte, 1000> some{};
    for (;;) {
      const Progress progress = tls->read(some).value();
      if (progress.kind != Progress::Kind::kDone) return all;
      all.append(reinterpret_cast<const char*>(some.data()), progress.bytes);
    }
  }

  MemoryBio incoming;
  MemoryBio outgoing;
  std::optional<SslObject> tls;
};

inline void move(MemoryBio& from, MemoryBio& to, std::size_t most = SIZE_MAX) {
  const auto some = from.readable().first(std::min(most, from.pending()));
  to.write(some).value();
  from.consume(some.size());
}

// Entries that lie in the thread's queue, with a mark, must be all that is there at the end. A
// stale entry is also what makes OpenSSL call a healthy connection dead.
class SslObjectPair : public testing::TestWithParam<TlsVersion> {
 protected:
  SslObjectPair() {
    for (Context* context : {&server_context_, &client_context_}) {
      context->set_versions(GetParam(), GetParam()).value();
    }
    open();
  }

  void open() {
    server_.open(server_context_, "");
    client_.open(client_context_, kServerName);
  }

  void exchange() {
    move(client_.outgoing, server_.incoming);
    move(server_.outgoing, client_.incoming);
  }

  void handshake() {
    for (int flight = 0; flight < 2; ++flight) {
      (void)client_.tls->handshake().value();
      move(client_.outgoing, server_.incoming);
      (void)server_.tls->handshake().value();
      move(server_.outgoing, client_.incoming);
    }
    ASSERT_EQ(client_.tls->handshake()->kind, Progress::Kind::kDone);
    ASSERT_EQ(server_.tls->handshake()->kind, Progress::Kind::kDone);
    ASSERT_EQ(client_.read_one()->kind, Progress::Kind::kWantRead) << "tickets are no data";
  }

  Context server_context_ = server_context();
  Context client_context_ = client_context();
  End server_;
  End client_;
  OwnEntries entries_;
};

inline const auto kTlsVersions = testing::Values(TlsVersion::kTls12, TlsVersion::kTls13);

inline std::string version_name(const testing::TestParamInfo<TlsVersion>& of) {
  return of.param == TlsVersion::kTls12 ? "tls12" : "tls13";
}

}  // namespace test
}  // namespace heddle
