// The production shape of the stale-error bug, on Heddle: consumers of a real RabbitMQ in fibers,
// beside HTTPS servers whose clients vanish, all on one thread. Prints what happened, as JSON;
// judging it is the caller's, production_test.py.
//
// usage: production POLICY BROKER CA FOLDER
//   POLICY  shared, clear or isolated     CA      the certificate that RabbitMQ presents
//   BROKER  address and port              FOLDER  empty; what the web server serves is put there
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <openssl/crypto.h>

#include "heddle/heddle.h"

#include "integration/rabbitmq/consumers.h"
#include "integration/rabbitmq/outside.h"
#include "integration/rabbitmq/web_servers.h"

namespace heddle::test {
namespace {

constexpr std::size_t kConsumers = 20;
constexpr std::size_t kRounds = 5;    // Of each kind of misfortune.
constexpr std::size_t kClients = 10;  // Of a web server, per round.
constexpr auto kPatience = std::chrono::seconds(60);

// What an answer was to the server.
struct Answers {
  std::uint64_t complete = 0;
  std::uint64_t cut = 0;
};

// One kind of misfortune.
struct Phase {
  const char* name;
  Leave leave;
  WebServer& server;
  const Answers& answers;
};

struct Setting {
  Isolation policy;
  const char* policy_name;
  Address broker;
  const char* ca;
  std::filesystem::path folder;
};

class Scenario {
 public:
  Scenario(Runtime& runtime, const Setting& setting, const Broker& broker, const Context& client,
           const Context& server)
      : runtime_(runtime),
        folder_(setting.folder),
        broker_(broker),
        client_(client),
        server_(server),
        consumers_(runtime, broker, setting.policy_name, kConsumers) {}

  // Returns what happened, phase by phase.
  Result<nlohmann::json> run();

 private:
  Result<nlohmann::json> run_phases(std::span<const Phase> phases);
  Result<nlohmann::json> run_phase(const Phase& phase);
  Result<void> run_round(const Phase& phase, std::uint64_t left_so_far);
  Result<void> send(const std::vector<Message>& messages);
  Result<std::uint32_t> stop_consumers();

  Runtime& runtime_;
  const std::filesystem::path folder_;
  const Broker& broker_;
  const Context& client_;
  const Context& server_;
  Consumers consumers_;
};

Result<void> Scenario::send(const std::vector<Message>& messages) {
  return elsewhere(runtime_, [&](Runtime& outside) { return publish(outside, broker_, messages); });
}

// The order matters: a handshake clears the thread's error queue. So all consumers wait for
// messages when the web clients leave, and the next thing that OpenSSL does here is to look for
// more after a message.
Result<void> Scenario::run_round(const Phase& phase, std::uint64_t left_so_far) {
  const Deadline deadline = this_fiber::after(kPatience);
  if (const auto idle = consumers_.await_idle(deadline); !idle) return idle;
  const WebClients clients{.server = phase.server.address(),
                           .context = client_,
                           .leave = phase.leave,
                           .count = kClients};
  const auto left =
      elsewhere(runtime_, [&](Runtime& outside) { return ask_and_leave(outside, clients); });
  if (!left) return left;
  const auto ended = phase.server.await_ended(left_so_far + kClients, deadline);
  if (!ended) return ended;
  if (const auto sent = send(consumers_.make_messages()); !sent) return sent;
  return consumers_.await_delivered(deadline);
}

Result<nlohmann::json> Scenario::run_phase(const Phase& phase) {
  const Answers before = phase.answers;
  const std::uint64_t ended_before = phase.server.ended();
  for (std::size_t round = 0; round < kRounds; ++round) {
    const auto done = run_round(phase, ended_before + round * kClients);
    if (!done) return done.error();
  }
  if (const auto idle = consumers_.await_idle(this_fiber::after(kPatience)); !idle) {
    return idle.error();
  }
  const Tally tally = consumers_.take_tally();
  return nlohmann::json{{"name", phase.name},
                        {"rounds", kRounds},
                        {"clients", kRounds * kClients},
                        {"answers_complete", phase.answers.complete - before.complete},
                        {"answers_cut", phase.answers.cut - before.cut},
                        {"published", kRounds * kConsumers},
                        {"delivered", tally.delivered},
                        {"duplicates", tally.duplicates},
                        {"spurious", tally.spurious},
                        {"broken", tally.broken},
                        {"reasons", tally.reasons}};
}

// Returns how many messages RabbitMQ still had.
Result<std::uint32_t> Scenario::stop_consumers() {
  const Deadline deadline = this_fiber::after(kPatience);
  if (const auto sent = send(consumers_.make_stops()); !sent) return sent.error();
  if (const auto stopped = consumers_.await_stopped(deadline); !stopped) return stopped.error();
  std::uint32_t left = 0;
  const auto deleted = elsewhere(runtime_, [&](Runtime& outside) -> Result<void> {
    const auto connection = AmqpConnection::connect(outside, broker_, this_fiber::after(kPatience));
    if (!connection) return connection.error();
    const Deadline limit = this_fiber::after(kPatience);
    if (const auto ready = (*connection)->log_in(limit); !ready) return ready;
    for (std::size_t consumer = 0; consumer < consumers_.size(); ++consumer) {
      const auto count = (*connection)->delete_queue(consumers_.queue(consumer), limit);
      if (!count) return count.error();
      left += *count;
    }
    return (*connection)->close(limit);
  });
  if (!deleted) return deleted.error();
  return left;
}

Result<nlohmann::json> Scenario::run_phases(std::span<const Phase> phases) {
  nlohmann::json reports = nlohmann::json::array();
  for (const Phase& phase : phases) {
    const auto report = run_phase(phase);
    if (!report) return report.error();
    reports.push_back(*report);
  }
  const Result<std::uint32_t> left = stop_consumers();
  if (!left) return left.error();
  return nlohmann::json{{"phases", std::move(reports)}, {"left_in_queues", *left}};
}

Result<nlohmann::json> Scenario::run() {
  auto root = http::Root::create(folder_);
  if (!root) return root.error();
  const http::Site site(*std::move(root));
  http::ConnectionShared shared(site, {});
  Answers careful;
  shared.on_request = [&](const http::AccessRecord& record) {
    ++(record.complete ? careful.complete : careful.cut);
  };
  Answers careless;
  const auto web = WebServer::create(runtime_, careful_handler(server_, shared));
  if (!web) return web.error();
  const auto other = WebServer::create(runtime_, careless_handler(server_, careless.cut));
  if (!other) return other.error();
  const std::array phases = {
      Phase{"download_aborted", Leave::kDuringAnswer, **web, careful},
      Phase{"left_without_goodbye", Leave::kWithoutGoodbye, **web, careful},
      Phase{"careless_download_aborted", Leave::kDuringAnswer, **other, careless},
  };
  return scope([&](Scope& fibers) -> Result<nlohmann::json> {
    if (const auto started = (*web)->start(fibers); !started) return started.error();
    if (const auto started = (*other)->start(fibers); !started) return started.error();
    if (const auto started = consumers_.start(fibers); !started) return started.error();
    Result<nlohmann::json> report = run_phases(phases);
    fibers.cancel();
    return report;
  });
}

// --- The process ---------------------------------------------------------------------------------

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void make_site(const std::filesystem::path& folder) {
  std::ofstream(folder / kPage) << kPageText;
  std::ofstream(folder / kDownload).close();
  std::filesystem::resize_file(folder / kDownload, kDownloadBytes);
}

Result<nlohmann::json> run_setting(const Setting& setting) {
  auto trusting_broker = Context::create(Role::kClient, Trust::kNothing);
  if (!trusting_broker) return trusting_broker.error();
  const std::string ca = read_file(setting.ca);
  const auto known = trusting_broker->add_trusted_certificates(std::as_bytes(std::span(ca)));
  if (!known) return known.error();
  const Broker broker{.address = setting.broker, .context = *trusting_broker};

  const Result<Identity> identity = make_self_signed({kWebHost});
  if (!identity) return identity.error();
  auto server = Context::create(Role::kServer);
  if (!server) return server.error();
  const auto used = server->use_cert_chain(identity->certificate_pem, identity->key_pem);
  if (!used) return used.error();
  auto client = Context::create(Role::kClient, Trust::kNothing);
  if (!client) return client.error();
  const auto added =
      client->add_trusted_certificates(std::as_bytes(std::span(identity->certificate_pem)));
  if (!added) return added.error();

  auto runtime = Runtime::create({.isolation = setting.policy});
  if (!runtime) return runtime.error();
  Result<nlohmann::json> report = Error{.code = Errc::kCancelled, .operation = "scenario"};
  const auto started = runtime->spawn(
      "scenario", [&] { report = Scenario(*runtime, setting, broker, *client, *server).run(); });
  if (!started) return started.error();
  runtime->run();
  return report;
}

int run(std::span<char* const> arguments) {
  const auto policy = arguments.size() == 5 ? isolation_of(arguments[1]) : std::nullopt;
  const auto broker = policy
                          ? Address::parse(arguments[2])
                          : Result<Address>(Error{.code = Errc::kInvalid, .operation = "policy"});
  if (!broker) {
    (void)std::fprintf(stderr, "usage: production shared|clear|isolated BROKER CA FOLDER\n");
    return 2;
  }
  const Setting setting{.policy = *policy,
                        .policy_name = arguments[1],
                        .broker = *broker,
                        .ca = arguments[3],
                        .folder = arguments[4]};
  make_site(setting.folder);
  Result<nlohmann::json> report = run_setting(setting);
  if (!report) {
    (void)std::fprintf(stderr, "production: %s\n", report.error().message().c_str());
    return 1;
  }
  (*report)["policy"] = setting.policy_name;
  (*report)["openssl"] = OpenSSL_version(OPENSSL_VERSION_STRING);
  return std::printf("%s\n", report->dump(2).c_str()) > 0 && std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace heddle::test

int main(int argc, char** argv) {
  return heddle::test::run(std::span(argv, static_cast<std::size_t>(argc)));
}
