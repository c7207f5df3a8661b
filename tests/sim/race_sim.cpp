// Happy Eyeballs (RFC 8305) in virtual time: which address is tried when, who wins,
// and what happens to the others.
#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "io/race.h"
#include "support/seeds.h"
#include "support/sim.h"

namespace heddle::io {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kForEver = hours(1000);

struct Lookup {
  milliseconds after{0};
  std::vector<std::string> found;  // None: fails.
  Errc fails_with = Errc::kInvalid;
};

struct Attempt {
  Duration after{0};
  int fails_with = 0;  // An errno; 0: succeeds.
};

struct Network {
  Lookup ipv6;
  Lookup ipv4;
  std::map<std::string, Attempt> hosts;
};

using Started = std::pair<std::string, std::int64_t>;  // An address, and when in milliseconds.

// A connection that knows how many there are.
class Connection {
 public:
  Connection(std::string address, int& open) : address_(std::move(address)), open_(&open) {
    ++*open_;
  }
  Connection(Connection&& other) noexcept
      : address_(std::move(other.address_)), open_(std::exchange(other.open_, nullptr)) {}
  Connection& operator=(Connection&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(open_, other.open_);
    return *this;
  }
  ~Connection() {
    if (open_ != nullptr) --*open_;
  }

  const std::string& address() const { return address_; }

 private:
  std::string address_;
  int* open_;
};

// Runs races and writes down what they do.
class Course {
 public:
  Course(sim::World& world, Network network) : world_(world), network_(std::move(network)) {}

  Result<Connection> run(Deadline deadline = Deadline::never(), const RaceRules& rules = {}) {
    start_ = world_.now();
    Race<Connection> race([this](int family, Deadline until) { return resolve(family, until); },
                          [this](const Address& to, Deadline until) { return connect(to, until); },
                          deadline, rules);
    auto result = race.run();
    EXPECT_EQ(busy_, 0) << "somebody is still at work";
    return result;
  }

  std::int64_t elapsed() const {
    return std::chrono::duration_cast<milliseconds>(world_.now() - start_).count();
  }

  std::vector<Started> started;
  std::vector<std::pair<std::string, std::int64_t>> failed;
  std::vector<std::string> succeeded;
  std::vector<std::string> cancelled;
  int open = 0;  // Connections.

 private:
  Result<std::vector<Address>> resolve(int family, Deadline until) {
    const Lookup& lookup = family == AF_INET6 ? network_.ipv6 : network_.ipv4;
    ++busy_;
    const Result<void> slept = sleep(lookup.after, until);
    --busy_;
    if (!slept) return slept.error();
    if (lookup.found.empty()) return Error{.code = lookup.fails_with, .operation = "resolve"};
    std::vector<Address> addresses;
    for (const std::string& each : lookup.found) {
      addresses.push_back(Address::parse(each).value());
    }
    return addresses;
  }

  Result<Connection> connect(const Address& to, Deadline until) {
    const std::string name = to.to_string();
    const Attempt& attempt = network_.hosts.at(name);
    started.emplace_back(name, elapsed());
    ++busy_;
    const Result<void> slept = sleep(attempt.after, until);
    --busy_;
    if (!slept) {
      if (slept.error().code == Errc::kCancelled) cancelled.push_back(name);
      return slept.error();
    }
    if (attempt.fails_with != 0) {
      failed.emplace_back(name, elapsed());
      return Error{
          .code = Errc::kUnreachable, .sys_errno = attempt.fails_with, .operation = "connect"};
    }
    succeeded.push_back(name);
    return Connection(name, open);
  }

  Result<void> sleep(Duration time, Deadline until) {
    const Deadline end = world_.after(time);
    const Result<void> slept = this_fiber::sleep_until(std::min(end, until));
    if (!slept) return slept;
    if (until < end) return Error{.code = Errc::kTimedOut, .operation = "sleep"};
    return {};
  }

  sim::World& world_;
  Network network_;
  TimePoint start_;
  int busy_ = 0;
};

const std::string kA6 = "[2001:db8::1]:443";
const std::string kB6 = "[2001:db8::2]:443";
const std::string kC6 = "[2001:db8::3]:443";
const std::string kA4 = "192.0.2.1:443";
const std::string kB4 = "192.0.2.2:443";

// The parameter is the seed.
class RaceSim : public testing::TestWithParam<int> {
 protected:
  void race(Network network, const std::function<void(Course&)>& body) {
    sim::World world(static_cast<std::uint64_t>(GetParam()));
    world.run([&] {
      Course course(world, std::move(network));
      body(course);
      EXPECT_EQ(course.open, 0);
    });
  }
};

TEST_P(RaceSim, Ipv6GoesFirstAndIpv4IsNotTroubledIfItAnswers) {
  race({.ipv6 = {milliseconds(10), {kA6}},
        .ipv4 = {milliseconds(10), {kA4}},
        .hosts = {{kA6, {milliseconds(20)}}, {kA4, {milliseconds(1)}}}},
       [](Course& course) {
         EXPECT_EQ(course.run().value().address(), kA6);
         EXPECT_EQ(course.elapsed(), 30);
         EXPECT_EQ(course.started, (std::vector<Started>{{kA6, 10}}));
       });
}

TEST_P(RaceSim, Ipv4WaitsForIpv6AddressesThatComeSoonAfter) {
  race({.ipv6 = {milliseconds(59), {kA6}},
        .ipv4 = {milliseconds(10), {kA4}},
        .hosts = {{kA6, {milliseconds(20)}}, {kA4, {milliseconds(1)}}}},
       [](Course& course) {
         EXPECT_EQ(course.run().value().address(), kA6);
         EXPECT_EQ(course.started, (std::vector<Started>{{kA6, 59}}));
       });
}

TEST_P(RaceSim, Ipv4WaitsFiftyMillisecondsForIpv6AddressesAndNoLonger) {
  race({.ipv6 = {milliseconds(100), {kA6}},
        .ipv4 = {milliseconds(10), {kA4}},
        .hosts = {{kA6, {milliseconds(20)}}, {kA4, {kForEver}}}},
       [](Course& course) {
         EXPECT_EQ(course.run().value().address(), kA6);
         EXPECT_EQ(course.started, (std::vector<Started>{{kA4, 60}, {kA6, 310}}));
         EXPECT_EQ(course.cancelled, (std::vector<std::string>{kA4}));
       });
}

TEST_P(RaceSim, Ipv4GoesAtOnceWhenThereAreNoIpv6Addresses) {
  race({.ipv6 = {milliseconds(5), {}},
        .ipv4 = {milliseconds(10), {kA4}},
        .hosts = {{kA4, {milliseconds(1)}}}},
       [](Course& course) {
         EXPECT_EQ(course.run().value().address(), kA4);
         EXPECT_EQ(course.started, (std::vector<Started>{{kA4, 10}}));
       });
  race({.ipv6 = {milliseconds(20), {}},
        .ipv4 = {milliseconds(10), {kA4}},
        .hosts = {{kA4, {milliseconds(1)}}}},
       [](Course& course) {
         EXPECT_EQ(course.run().value().address(), kA4);
         EXPECT_EQ(course.started, (std::vector<Started>{{kA4, 20}}));
       });
}

TEST_P(RaceSim, Ipv6DoesNotWaitForIpv4Addresses) {
  race({.ipv6 = {milliseconds(10), {kA6}},
        .ipv4 = {milliseconds(5000), {}},
        .hosts = {{kA6, {milliseconds(1)}}}},
       [](Course& course) {
         EXPECT_EQ(course.run().value().address(), kA6);
         EXPECT_EQ(course.elapsed(), 11);
       });
}

TEST_P(RaceSim, FamiliesTakeTurnsEveryQuarterOfASecond) {
  race({.ipv6 = {milliseconds(0), {kA6, kB6, kC6}},
        .ipv4 = {milliseconds(0), {kA4, kB4}},
        .hosts = {{kA6, {kForEver}},
                  {kB6, {kForEver}},
                  {kC6, {milliseconds(7)}},
                  {kA4, {kForEver}},
                  {kB4, {kForEver}}}},
       [](Course& course) {
         EXPECT_EQ(course.run().value().address(), kC6);
         EXPECT_EQ(course.started, (std::vector<Started>{
                                       {kA6, 0}, {kA4, 250}, {kB6, 500}, {kB4, 750}, {kC6, 1000}}));
         std::sort(course.cancelled.begin(), course.cancelled.end());
         EXPECT_EQ(course.cancelled, (std::vector<std::string>{kA4, kB4, kA6, kB6}));
       });
}

TEST_P(RaceSim, AnotherDelayAndAnotherFirstFamilyMayBeAskedFor) {
  const RaceRules rules{.first = AF_INET, .attempt_delay = milliseconds(100)};
  race({.ipv6 = {milliseconds(0), {kA6, kB6}},
        .ipv4 = {milliseconds(0), {kA4, kB4}},
        .hosts =
            {{kA6, {kForEver}}, {kB6, {milliseconds(7)}}, {kA4, {kForEver}}, {kB4, {kForEver}}}},
       [&](Course& course) {
         EXPECT_EQ(course.run(Deadline::never(), rules).value().address(), kB6);
         EXPECT_EQ(course.started,
                   (std::vector<Started>{{kA4, 0}, {kA6, 100}, {kB4, 200}, {kB6, 300}}));
       });
  // It is also the one that is waited for.
  race({.ipv6 = {milliseconds(10), {kA6}},
        .ipv4 = {milliseconds(59), {kA4}},
        .hosts = {{kA6, {milliseconds(1)}}, {kA4, {milliseconds(20)}}}},
       [&](Course& course) {
         EXPECT_EQ(course.run(Deadline::never(), rules).value().address(), kA4);
         EXPECT_EQ(course.started, (std::vector<Started>{{kA4, 59}}));
       });
}

TEST_P(RaceSim, FamilyThatIsNotWantedIsNotEvenLookedUp) {
  for (const int only : {AF_INET, AF_INET6}) {
    const bool v6 = only == AF_INET6;
    race({.ipv6 = {milliseconds(v6 ? 10 : 100000), {kA6}},
          .ipv4 = {milliseconds(v6 ? 100000 : 10), {kA4}},
          .hosts = {{kA6, {milliseconds(20)}}, {kA4, {milliseconds(20)}}}},
         [&](Course& course) {
           const RaceRules rules{.first = only, .other_family = false};
           EXPECT_EQ(course.run(Deadline::never(), rules).value().address(), v6 ? kA6 : kA4);
           EXPECT_EQ(course.elapsed(), 30);
         });
    race({.ipv6 = {milliseconds(v6 ? 10 : 100000), {}},
          .ipv4 = {milliseconds(v6 ? 100000 : 10), {}},
          .hosts = {}},
         [&](Course& course) {
           const RaceRules rules{.first = only, .other_family = false};
           EXPECT_EQ(course.run(Deadline::never(), rules).error().code, Errc::kInvalid);
           EXPECT_EQ(course.elapsed(), 10) << "it does not wait for the other family";
         });
  }
}

TEST_P(RaceSim, AttemptThatFailsIsFollowedAtOnce) {
  race({.ipv6 = {milliseconds(0), {kA6, kB6}},
        .ipv4 = {milliseconds(0), {kA4}},
        .hosts = {{kA6, {milliseconds(20), ECONNREFUSED}},
                  {kA4, {milliseconds(30), EHOSTUNREACH}},
                  {kB6, {milliseconds(5)}}}},
       [](Course& course) {
         EXPECT_EQ(course.run().value().address(), kB6);
         EXPECT_EQ(course.started, (std::vector<Started>{{kA6, 0}, {kA4, 20}, {kB6, 50}}));
       });
}

TEST_P(RaceSim, FailureOfOneOfTwoRunningAttemptsStartsTheNextAtOnce) {
  race({.ipv6 = {milliseconds(0), {kA6, kB6}},
        .ipv4 = {milliseconds(0), {kA4, kB4}},
        .hosts = {{kA6, {milliseconds(300), ECONNREFUSED}},
                  {kA4, {kForEver}},
                  {kB6, {kForEver}},
                  {kB4, {milliseconds(5)}}}},
       [](Course& course) {
         EXPECT_EQ(course.run().value().address(), kB4);
         EXPECT_EQ(course.started,
                   (std::vector<Started>{{kA6, 0}, {kA4, 250}, {kB6, 300}, {kB4, 550}}));
       });
}

TEST_P(RaceSim, SlowFirstAttemptMayStillWin) {
  race({.ipv6 = {milliseconds(0), {kA6}},
        .ipv4 = {milliseconds(0), {kA4}},
        .hosts = {{kA6, {milliseconds(260)}}, {kA4, {milliseconds(100)}}}},
       [](Course& course) {
         EXPECT_EQ(course.run().value().address(), kA6);
         EXPECT_EQ(course.elapsed(), 260);
         EXPECT_EQ(course.cancelled, (std::vector<std::string>{kA4}));
       });
}

TEST_P(RaceSim, OfTwoThatAnswerAtTheSameMomentOneIsClosed) {
  race({.ipv6 = {milliseconds(0), {kA6}},
        .ipv4 = {milliseconds(0), {kA4}},
        .hosts = {{kA6, {milliseconds(260)}}, {kA4, {milliseconds(10)}}}},
       [](Course& course) {
         const auto won = course.run();
         ASSERT_TRUE(won) << won.error().message();
         EXPECT_EQ(won->address(), course.succeeded.front());
         EXPECT_EQ(course.open, 1);
       });
}

TEST_P(RaceSim, WhenAllFailTheLastAttemptsErrorIsReported) {
  race({.ipv6 = {milliseconds(0), {kA6}},
        .ipv4 = {milliseconds(0), {kA4}},
        .hosts = {{kA6, {milliseconds(400), ECONNREFUSED}},
                  {kA4, {milliseconds(20), EHOSTUNREACH}}}},
       [](Course& course) {
         const auto lost = course.run();
         ASSERT_FALSE(lost);
         EXPECT_EQ(lost.error().code, Errc::kUnreachable);
         EXPECT_EQ(lost.error().sys_errno, ECONNREFUSED);
         EXPECT_EQ(course.elapsed(), 400);
       });
}

TEST_P(RaceSim, LookupThatFailsDoesNotHideWhyConnectingFailed) {
  for (const int lookup_ms : {1, 1000}) {
    race({.ipv6 = {milliseconds(0), {kA6}},
          .ipv4 = {milliseconds(lookup_ms), {}},
          .hosts = {{kA6, {milliseconds(20), ECONNREFUSED}}}},
         [lookup_ms](Course& course) {
           EXPECT_EQ(course.run().error().sys_errno, ECONNREFUSED);
           EXPECT_EQ(course.elapsed(), std::max(lookup_ms, 20));
         });
  }
}

TEST_P(RaceSim, NameWithoutAnyAddressIsInvalid) {
  race({.ipv6 = {milliseconds(30), {}}, .ipv4 = {milliseconds(10), {}}}, [](Course& course) {
    const auto lost = course.run();
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().code, Errc::kInvalid);
    EXPECT_STREQ(lost.error().operation, "resolve");
    EXPECT_EQ(course.elapsed(), 30);
  });
}

// A name with IPv4 addresses alone is usual. That nobody can say whether it has them is not.
TEST_P(RaceSim, ServerThatFailsForOneFamilyIsToldRatherThanThatTheOtherHasNoAddress) {
  for (const int failing_ms : {1, 30}) {
    race({.ipv6 = {milliseconds(10), {}},
          .ipv4 = {milliseconds(failing_ms), {}, Errc::kUnreachable}},
         [](Course& course) { EXPECT_EQ(course.run().error().code, Errc::kUnreachable); });
  }
}

TEST_P(RaceSim, OfThousandsOfAddressesSomeAreTried) {
  Network network;
  for (int i = 0; i < 3000; ++i) {
    const std::string each = "10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256);
    network.ipv4.found.push_back(each + ":443");
    network.hosts[each + ":443"] = {Duration(0), ECONNREFUSED};
  }
  race(network, [](Course& course) {
    EXPECT_FALSE(course.run());
    EXPECT_EQ(course.started.size(), 64U);
  });
}

TEST_P(RaceSim, LookupThatSucceedsWithoutAddressesIsInvalid) {
  sim::World world(static_cast<std::uint64_t>(GetParam()));
  world.run([] {
    Race<int> race([](int, Deadline) { return std::vector<Address>(); },
                   [](const Address&, Deadline) { return 7; }, Deadline::never());
    const auto lost = race.run();
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().code, Errc::kInvalid);
  });
}

TEST_P(RaceSim, DeadlineEndsLookupsAndAttempts) {
  const Network slow_names = {.ipv6 = {seconds(100), {kA6}}, .ipv4 = {seconds(100), {kA4}}};
  const Network slow_hosts = {.ipv6 = {milliseconds(0), {kA6}},
                              .ipv4 = {seconds(100), {kA4}},
                              .hosts = {{kA6, {kForEver}}}};
  for (const Network& network : {slow_names, slow_hosts}) {
    race(network, [](Course& course) {
      EXPECT_EQ(course.run(this_fiber::after(seconds(3))).error().code, Errc::kTimedOut);
      EXPECT_EQ(course.elapsed(), 3000);
    });
  }
}

TEST_P(RaceSim, CancellingEndsLookupsAndAttempts) {
  race({.ipv6 = {milliseconds(0), {kA6}},
        .ipv4 = {seconds(100), {kA4}},
        .hosts = {{kA6, {kForEver}}}},
       [](Course& course) {
         scope([&](Scope& fibers) {
           auto runner =
               fibers.spawn("runner", [&]() -> Result<Connection> { return course.run(); });
           ASSERT_TRUE(runner) << runner.error().message();
           ASSERT_TRUE(this_fiber::sleep_until(this_fiber::after(milliseconds(400))));
           runner->cancel();
           EXPECT_EQ(runner->join().error().code, Errc::kCancelled);
           EXPECT_EQ(course.elapsed(), 400);
           EXPECT_EQ(course.cancelled, (std::vector<std::string>{kA6}));
         });
       });
}

class RandomRaceSim : public RaceSim {};

Network random_network(sim::World& world) {
  Network network{.ipv6 = {milliseconds(world.below(200)), {}},
                  .ipv4 = {milliseconds(world.below(200)), {}}};
  const std::vector<std::string> all6 = {kA6, kB6, kC6};
  const std::vector<std::string> all4 = {kA4, kB4};
  network.ipv6.found.assign(all6.begin(), all6.begin() + static_cast<int>(world.below(4)));
  network.ipv4.found.assign(all4.begin(), all4.begin() + static_cast<int>(world.below(3)));
  for (const auto& list : {all6, all4}) {
    for (const std::string& each : list) {
      network.hosts[each] = {milliseconds(1 + world.below(600)),
                             world.one_in(3) ? 0 : static_cast<int>(1 + world.below(100))};
    }
  }
  return network;
}

// Two attempts begin within 250 ms only if one has failed between them.
void expect_patience(const Course& course) {
  for (std::size_t i = 1; i < course.started.size(); ++i) {
    const std::int64_t before = course.started[i - 1].second;
    const std::int64_t now = course.started[i].second;
    const bool failed =
        std::any_of(course.failed.begin(), course.failed.end(),
                    [&](const auto& each) { return each.second >= before && each.second <= now; });
    EXPECT_TRUE(failed || now - before >= 250) << course.started[i].first;
  }
}

TEST_P(RandomRaceSim, TheFirstSuccessWinsAndNobodyGivesUpBefore) {
  sim::World world(static_cast<std::uint64_t>(GetParam()));
  world.run([&] {
    for (int round = 0; round < 20; ++round) {
      const Network network = random_network(world);
      Course course(world, network);
      const auto result = course.run();
      expect_patience(course);
      std::vector<std::string> tried;
      for (const auto& [address, when] : course.started) tried.push_back(address);
      std::sort(tried.begin(), tried.end());
      EXPECT_EQ(std::adjacent_find(tried.begin(), tried.end()), tried.end());
      const std::size_t known = network.ipv6.found.size() + network.ipv4.found.size();
      if (!result) {
        EXPECT_EQ(tried.size(), known);
        EXPECT_EQ(course.failed.size(), known);
        if (known > 0) {
          EXPECT_EQ(result.error().sys_errno,
                    network.hosts.at(course.failed.back().first).fails_with);
        }
        continue;
      }
      // No attempt that began would have succeeded before the winner.
      for (const auto& [address, when] : course.started) {
        const Attempt& attempt = network.hosts.at(address);
        const auto end = when + std::chrono::duration_cast<milliseconds>(attempt.after).count();
        EXPECT_TRUE(attempt.fails_with != 0 || end >= course.elapsed()) << address;
        if (address == result->address()) {
          EXPECT_EQ(end, course.elapsed());
        }
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, RaceSim, test::seeds<int>(0, 16), test::kSeedName);
INSTANTIATE_TEST_SUITE_P(Seeds, RandomRaceSim, test::seeds<int>(0, 64), test::kSeedName);

}  // namespace
}  // namespace heddle::io
