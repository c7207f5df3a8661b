// The resolver against a name server of its own.
#include "io/resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/sync.h"

#include "base/unique_fd.h"
#include "io/runtime_access.h"

namespace heddle::io {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Long enough that only a bug reaches it.
constexpr Duration kPatience = seconds(60);

constexpr std::uint16_t kTypeA = 1;
constexpr std::uint16_t kTypeAaaa = 28;

void append16(std::string& to, unsigned value) {
  to += static_cast<char>(value >> 8);
  to += static_cast<char>(value & 0xff);
}

struct Query {
  std::string packet;
  sockaddr_in from{};
  std::string name;  // With dots, lower case or as asked.
  std::uint16_t type = 0;
  std::size_t question_end = 0;
};

// What goes into the header: flags, then the answers in wire form.
struct Reply {
  unsigned rcode = 0;
  bool truncated = false;
  std::vector<std::string> addresses;  // In text form, of the type that was asked for.
};

Query parse_query(std::string packet) {
  Query query{.packet = std::move(packet)};
  std::size_t at = 12;
  while (at < query.packet.size() && query.packet[at] != 0) {
    const auto size = static_cast<std::size_t>(query.packet[at]);
    if (!query.name.empty()) query.name += '.';
    query.name += query.packet.substr(at + 1, size);
    at += size + 1;
  }
  query.type = static_cast<std::uint16_t>(static_cast<unsigned char>(query.packet[at + 1]) << 8 |
                                          static_cast<unsigned char>(query.packet[at + 2]));
  query.question_end = at + 5;
  return query;
}

std::string answer_to(const Query& query, const Reply& reply) {
  std::string packet = query.packet.substr(0, 2);
  append16(packet, 0x8180U | (reply.truncated ? 0x0200U : 0U) | reply.rcode);
  append16(packet, 1);
  append16(packet, static_cast<unsigned>(reply.truncated ? 0 : reply.addresses.size()));
  append16(packet, 0);
  append16(packet, 0);
  packet += query.packet.substr(12, query.question_end - 12);
  if (reply.truncated) return packet;
  for (const std::string& each : reply.addresses) {
    std::array<char, 16> raw{};
    const bool v4 = query.type == kTypeA;
    EXPECT_EQ(::inet_pton(v4 ? AF_INET : AF_INET6, each.c_str(), raw.data()), 1);
    append16(packet, 0xc00c);  // The name in the question.
    append16(packet, query.type);
    append16(packet, 1);
    append16(packet, 0);
    append16(packet, 60);
    append16(packet, v4 ? 4 : 16);
    packet.append(raw.data(), v4 ? 4 : 16);
  }
  return packet;
}

// NameServer answers on UDP and on TCP, on the same port.
class NameServer {
 public:
  explicit NameServer(Runtime& runtime, const std::string& on = "127.0.0.1:0") : runtime_(runtime) {
    UniqueFd fd;
    do {  // Until UDP has the port free that TCP was given.
      tcp_ = Listener::create(runtime, Address::parse(on).value()).value();
      fd.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    } while (::bind(fd.get(), tcp_->address().data(), tcp_->address().size()) != 0);
    udp_ = Pollable::create(RuntimeAccess::reactor(runtime), std::move(fd)).value();
  }

  std::string address() const { return tcp_->address().to_string(); }

  // Parks until a query comes.
  Result<Query> receive() {
    for (;;) {
      std::array<char, 1500> buffer;
      Query query;
      socklen_t size = sizeof(query.from);
      const ssize_t count = ::recvfrom(udp_->fd(), buffer.data(), buffer.size(), 0,
                                       reinterpret_cast<sockaddr*>(&query.from), &size);
      if (count > 0) {
        Query parsed = parse_query({buffer.data(), static_cast<std::size_t>(count)});
        parsed.from = query.from;
        return parsed;
      }
      udp_->readable = false;
      if (udp_->wait(Interest::kRead, Deadline::never()) != Wake::kReady) {
        return Error{.code = Errc::kCancelled, .operation = "receive"};
      }
    }
  }

  void reply(const Query& query, const Reply& with) {
    const std::string packet = answer_to(query, with);
    EXPECT_EQ(::sendto(udp_->fd(), packet.data(), packet.size(), 0,
                       reinterpret_cast<const sockaddr*>(&query.from), sizeof(query.from)),
              static_cast<ssize_t>(packet.size()));
  }

  // Answers from `zone` until cancelled; names that are not in it do not exist.
  void serve(const std::map<std::string, std::vector<std::string>>& zone) {
    for (;;) {
      const auto query = receive();
      if (!query) return;
      ++served;
      const auto found = zone.find(query->name);
      Reply with{.rcode = found == zone.end() ? 3U : 0U};
      for (const std::string& each :
           found == zone.end() ? std::vector<std::string>{} : found->second) {
        const bool v6 = each.find(':') != std::string::npos;
        if (v6 == (query->type == kTypeAaaa)) with.addresses.push_back(each);
      }
      reply(*query, with);
    }
  }

  // Answers one query that comes over TCP.
  void answer_over_tcp(const Reply& with) {
    const Deadline patience = runtime_.after(kPatience);
    auto socket = tcp_->accept(patience).value();
    const std::string prefix = receive_exactly(socket, 2, patience);
    const auto size = static_cast<std::size_t>(static_cast<unsigned char>(prefix[0]) << 8 |
                                               static_cast<unsigned char>(prefix[1]));
    const std::string packet =
        answer_to(parse_query(receive_exactly(socket, size, patience)), with);
    std::string reply;
    append16(reply, static_cast<unsigned>(packet.size()));
    reply += packet;
    ASSERT_TRUE(socket.write(std::as_bytes(std::span(reply)), patience));
    (void)socket.close(patience);
  }

  int served = 0;

 private:
  static std::string receive_exactly(Socket& socket, std::size_t count, Deadline deadline) {
    std::string text(count, '\0');
    for (std::size_t have = 0; have < count;) {
      have += socket.read(std::as_writable_bytes(std::span(text)).subspan(have), deadline).value();
    }
    return text;
  }

  Runtime& runtime_;
  std::optional<Listener> tcp_;
  std::unique_ptr<Pollable> udp_;
};

class ResolverTest : public testing::Test {
 protected:
  // Runs `body` in a fiber.
  void run(std::function<void(Scope&)> body) {
    ASSERT_TRUE(runtime_.spawn("test", [this, body = std::move(body)] {
      server_ = std::make_unique<NameServer>(runtime_);
      resolver_ = Resolver::create(reactor_, {.servers = server_->address()}).value();
      scope([&](Scope& fibers) {
        body(fibers);
        fibers.cancel();
      });
      resolver_.reset();
      server_.reset();
    }));
    runtime_.run();
  }

  Deadline patience() const { return runtime_.after(kPatience); }

  static std::vector<std::string> text(const Result<std::vector<Address>>& found) {
    if (!found) return {found.error().message()};
    std::vector<std::string> all;
    for (const Address& each : *found) all.push_back(each.to_string());
    std::sort(all.begin(), all.end());  // c-ares sorts as it likes (RFC 6724).
    return all;
  }

  Runtime runtime_ = Runtime::create().value();
  Reactor& reactor_ = RuntimeAccess::reactor(runtime_);
  std::unique_ptr<NameServer> server_;
  std::unique_ptr<Resolver> resolver_;
};

using Texts = std::vector<std::string>;

TEST_F(ResolverTest, EachFamilyIsAskedForOnItsOwn) {
  run([this](Scope& fibers) {
    ASSERT_TRUE(fibers.spawn("server", [this] {
      server_->serve({{"host.test", {"192.0.2.1", "192.0.2.2", "2001:db8::1"}}});
    }));
    EXPECT_EQ(text(resolver_->resolve("host.test", 443, AF_INET, patience())),
              (Texts{"192.0.2.1:443", "192.0.2.2:443"}));
    EXPECT_EQ(text(resolver_->resolve("host.test", 80, AF_INET6, patience())),
              (Texts{"[2001:db8::1]:80"}));
    EXPECT_EQ(server_->served, 2);
    const auto both = resolver_->resolve_all("host.test", 80, patience()).value();
    EXPECT_EQ(both.size(), 3U);
    EXPECT_EQ(both.front().to_string(), "[2001:db8::1]:80");
  });
}

TEST_F(ResolverTest, WhatIsNoHostIsNotAskedFor) {
  run([&](Scope&) {
    const Deadline deadline = runtime_.after(kPatience);
    for (const std::string_view host :
         {std::string_view("localhost\0.evil.test", 20), std::string_view("127.0.0.1\0.test", 15),
          std::string_view("m\xc3\xbcnchen.test"), std::string_view("[::1]"),
          std::string_view("two words"), std::string_view("dots..test"),
          std::string_view("fe80::5%no such interface")}) {
      auto refused = connect(runtime_, host, 443, deadline);
      ASSERT_FALSE(refused) << host;
      EXPECT_EQ(refused.error().code, Errc::kInvalid) << refused.error().message();
      EXPECT_EQ(resolve(runtime_, host, 443, deadline).error().code, Errc::kInvalid);
      if (host.find('%') != std::string_view::npos) continue;
      EXPECT_EQ(resolver_->resolve(std::string(host), 443, AF_INET, deadline).error().code,
                Errc::kInvalid);
    }
    EXPECT_EQ(server_->served, 0);
  });
}

TEST_F(ResolverTest, NameThatDoesNotExistIsInvalid) {
  run([this](Scope& fibers) {
    ASSERT_TRUE(fibers.spawn("server", [this] { server_->serve({}); }));
    for (const char* const name : {"none.test", "two words", "dots..test"}) {
      const auto missing = resolver_->resolve(name, 443, AF_INET, patience());
      ASSERT_FALSE(missing);
      EXPECT_EQ(missing.error().code, Errc::kInvalid) << missing.error().message();
      EXPECT_EQ(missing.error().message().find("unreachable"), std::string::npos);
      EXPECT_EQ(resolver_->resolve_all(name, 443, patience()).error().code, Errc::kInvalid);
    }
  });
}

TEST_F(ResolverTest, NameWithoutAddressesOfTheFamilyIsInvalid) {
  run([this](Scope& fibers) {
    ASSERT_TRUE(fibers.spawn("server", [this] {
      server_->serve({{"host.test", {"2001:db8::1"}}});
    }));
    const auto missing = resolver_->resolve("host.test", 443, AF_INET, patience());
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Errc::kInvalid) << missing.error().message();
    EXPECT_STREQ(missing.error().detail, "it has no address");
    const auto other = resolver_->resolve_all("host.test", 443, patience());
    EXPECT_EQ(text(other), (Texts{"[2001:db8::1]:443"}));
  });
}

TEST_F(ResolverTest, ServerThatFailsIsUnreachable) {
  run([this](Scope& fibers) {
    ASSERT_TRUE(fibers.spawn("server", [this] {
      for (;;) {
        const auto query = server_->receive();
        if (!query) return;
        server_->reply(*query, {.rcode = 2});  // SERVFAIL.
      }
    }));
    const auto failed = resolver_->resolve("host.test", 443, AF_INET, patience());
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Errc::kUnreachable) << failed.error().message();
  });
}

TEST_F(ResolverTest, NameWithThousandsOfAddressesIsCutShort) {
  run([this](Scope& fibers) {
    Reply many;
    for (int i = 0; i < 3000; ++i) {
      many.addresses.push_back("10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256));
    }
    ASSERT_TRUE(fibers.spawn("server", [this, many] {
      const auto query = server_->receive();
      ASSERT_TRUE(query);
      server_->reply(*query, {.truncated = true});
      server_->answer_over_tcp(many);
    }));
    const auto found = resolver_->resolve("host.test", 443, AF_INET, patience());
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(found->size(), Resolver::kAddressesMax);
  });
}

// As when the computer joins another network. The old server does not answer any more.
TEST_F(ResolverTest, ChangeOfTheConfigurationCountsAtOnceAlsoForQueriesInProgress) {
  std::string folder = testing::TempDir() + "heddle-resolver-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string file = folder + "/resolv.conf";
  const auto configure = [&](const char* server) {
    std::ofstream(file + ".new") << "nameserver " << server << '\n';
    std::filesystem::rename(file + ".new", file);
  };
  run([&](Scope& fibers) {
    const std::uint16_t port = Address::parse(server_->address()).value().port();
    NameServer silent(runtime_, "127.0.0.2:" + std::to_string(port));
    configure("127.0.0.2");
    resolver_ = Resolver::create(reactor_, {.configuration = file, .port = port}).value();
    ASSERT_TRUE(fibers.spawn("server", [this] {
      server_->serve({{"one.test", {"192.0.2.1"}}, {"two.test", {"192.0.2.2"}}});
    }));
    scope([&](Scope& clients) {
      for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(clients.spawn("early", [this] {
          EXPECT_EQ(text(resolver_->resolve("one.test", 443, AF_INET, patience())),
                    (Texts{"192.0.2.1:443"}));
        }));
      }
      ASSERT_TRUE(silent.receive());
      configure("127.0.0.1");
      // Less than the time after which c-ares would ask the silent one again.
      const Deadline soon = runtime_.after(milliseconds(4500));
      EXPECT_EQ(text(resolver_->resolve("two.test", 443, AF_INET, soon)), (Texts{"192.0.2.2:443"}));
      EXPECT_LT(runtime_.now(), soon.time());
    });
    EXPECT_GE(server_->served, 4);
  });
  std::filesystem::remove_all(folder);
}

// c-ares reads length and message of such an answer in two steps, and no event comes
// between them.
TEST_F(ResolverTest, AnswerTooLongForUdpIsFetchedOverTcpAtOnce) {
  run([this](Scope& fibers) {
    Reply many;
    for (int i = 0; i < 200; ++i) many.addresses.push_back("192.0.2." + std::to_string(i));
    ASSERT_TRUE(fibers.spawn("server", [this, many] {
      const auto query = server_->receive();
      ASSERT_TRUE(query);
      server_->reply(*query, {.truncated = true});
      server_->answer_over_tcp(many);
    }));
    // Less than the five seconds after which c-ares would look again by itself; the
    // deadline's own look comes too late.
    const Deadline deadline = runtime_.after(milliseconds(4500));
    const auto found = resolver_->resolve("host.test", 443, AF_INET, deadline);
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(found->size(), 200U);
    EXPECT_LT(runtime_.now(), deadline.time());
  });
}

TEST_F(ResolverTest, SilentServerEndsAtTheDeadline) {
  run([this](Scope&) {
    const auto late =
        resolver_->resolve("host.test", 443, AF_INET, runtime_.after(milliseconds(20)));
    EXPECT_EQ(late.error().code, Errc::kTimedOut) << late.error().message();
  });
}

TEST_F(ResolverTest, AnswerToAnAbandonedQueryIsDropped) {
  run([this](Scope& fibers) {
    auto asker = fibers.spawn("asker", [this]() -> Errc {
      return resolver_->resolve("old.test", 443, AF_INET, patience()).error().code;
    });
    ASSERT_TRUE(asker);
    const auto old = server_->receive();
    ASSERT_TRUE(old);
    asker->cancel();
    EXPECT_EQ(asker->join().value(), Errc::kCancelled);
    server_->reply(*old, {.addresses = {"192.0.2.66"}});
    // The next one takes the late answer from the socket, and its own.
    auto next = fibers.spawn(
        "next", [this] { return text(resolver_->resolve("new.test", 443, AF_INET, patience())); });
    ASSERT_TRUE(next);
    const auto query = server_->receive();
    ASSERT_TRUE(query);
    EXPECT_EQ(query->name, "new.test");
    server_->reply(*query, {.addresses = {"192.0.2.7"}});
    EXPECT_EQ(next->join().value(), (Texts{"192.0.2.7:443"}));
  });
}

// Whoever waits first does the work for all; the others must go on when it leaves.
TEST_F(ResolverTest, OthersGoOnWhenTheOneThatDoesTheWorkIsCancelledOrTooLate) {
  run([this](Scope& fibers) {
    auto cancelled = fibers.spawn("cancelled", [this]() -> Errc {
      return resolver_->resolve("a.test", 443, AF_INET, patience()).error().code;
    });
    ASSERT_TRUE(cancelled);
    std::vector<Query> queries = {server_->receive().value()};
    auto late = fibers.spawn("late", [this]() -> Errc {
      return resolver_->resolve("b.test", 443, AF_INET, runtime_.after(milliseconds(20)))
          .error()
          .code;
    });
    ASSERT_TRUE(late);
    queries.push_back(server_->receive().value());
    auto patient = fibers.spawn(
        "patient", [this] { return text(resolver_->resolve("c.test", 443, AF_INET, patience())); });
    ASSERT_TRUE(patient);
    queries.push_back(server_->receive().value());
    cancelled->cancel();
    EXPECT_EQ(cancelled->join().value(), Errc::kCancelled);
    EXPECT_EQ(late->join().value(), Errc::kTimedOut);
    for (const Query& query : queries) server_->reply(query, {.addresses = {"192.0.2.1"}});
    EXPECT_EQ(patient->join().value(), (Texts{"192.0.2.1:443"}));
  });
}

TEST_F(ResolverTest, ManyAtOnceEachGetTheirOwn) {
  run([this](Scope& fibers) {
    std::map<std::string, std::vector<std::string>> zone;
    for (int i = 0; i < 200; ++i) {
      zone["host" + std::to_string(i) + ".test"] = {"192.0.2." + std::to_string(i),
                                                    "2001:db8::" + std::to_string(i)};
    }
    ASSERT_TRUE(fibers.spawn("server", [&] { server_->serve(zone); }));
    WaitGroup done;
    done.add(200);
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(fibers.spawn("asker", [&, i] {
        const std::string name = "host" + std::to_string(i) + ".test";
        const int family = i % 2 == 0 ? AF_INET : AF_INET6;
        const auto found = resolver_->resolve(name, 443, family, patience());
        ASSERT_TRUE(found) << found.error().message();
        EXPECT_EQ(found->front(),
                  Address::from_ip(zone[name][static_cast<std::size_t>(i % 2)], 443).value());
        done.done();
      }));
    }
    EXPECT_TRUE(done.wait(patience()));
  });
}

TEST_F(ResolverTest, AddressesAndTheHostsFileNeedNoServer) {
  run([this](Scope&) {
    EXPECT_EQ(text(resolver_->resolve("192.0.2.9", 443, AF_INET, patience())),
              (Texts{"192.0.2.9:443"}));
    const auto local = resolver_->resolve("localhost", 443, AF_INET, patience());
    ASSERT_TRUE(local) << local.error().message();
    EXPECT_EQ(local->front(), Address::parse("127.0.0.1:443").value());
    EXPECT_EQ(text(resolve(runtime_, "::1", 443, patience())), (Texts{"[::1]:443"}));
  });
}

TEST_F(ResolverTest, ResolverMayGoWhileAbandonedQueriesAreInFlight) {
  run([this](Scope& fibers) {
    for (int i = 0; i < 5; ++i) {
      auto asker = fibers.spawn(
          "asker", [this] { (void)resolver_->resolve("host.test", 443, AF_INET, patience()); });
      ASSERT_TRUE(asker);
      ASSERT_TRUE(server_->receive());
      asker->cancel();
      ASSERT_TRUE(asker->join());
    }
    resolver_.reset();  // The leak checker looks.
  });
}

TEST_F(ResolverTest, ServersThatCannotBeParsedAreInvalid) {
  run([this](Scope&) {
    const auto refused = Resolver::create(reactor_, {.servers = "not an address"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid) << refused.error().message();
  });
}

}  // namespace
}  // namespace heddle::io
