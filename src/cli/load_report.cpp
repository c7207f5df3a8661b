// Writes the figures of a load for people and for programs.
#include "cli/load_report.h"

#include <array>
#include <iterator>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/demo_report.h"

namespace heddle::cli {
namespace {

using Json = nlohmann::ordered_json;  // Keeps the order in which members were added.

constexpr std::array kPercentiles = {50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99};
constexpr std::array kPercentilesShown = {50.0, 90.0, 99.0, 99.9};

// From so much on it is this program that limits what is seen.
constexpr double kBusy = 0.9;

double per_second(std::uint64_t count, const LoadTally& tally) {
  return tally.seconds > 0 ? static_cast<double>(count) / tally.seconds : 0;
}

double busy(const LoadPlan& plan, const LoadTally& tally) {
  const double all = tally.seconds * static_cast<double>(plan.threads);
  return all > 0 ? tally.cpu_seconds / all : 0;
}

std::string duration_text(double nanoseconds) {
  if (nanoseconds < 1e6) return fmt::format("{:.1f} us", nanoseconds / 1e3);
  if (nanoseconds < 1e9) return fmt::format("{:.2f} ms", nanoseconds / 1e6);
  return fmt::format("{:.2f} s", nanoseconds / 1e9);
}

std::string bytes_text(double bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
  return fmt::format("{:.1f} {}", bytes, kUnits.at(unit));
}

std::string latency_line(std::string_view name, const LoadHistogram& histogram) {
  if (histogram.count() == 0) return {};
  std::string line = fmt::format("{:<11}", name);
  for (const double percent : kPercentilesShown) {
    line += fmt::format("p{:g} {}, ", percent,
                        duration_text(static_cast<double>(histogram.percentile(percent))));
  }
  return line + fmt::format("max {}, mean {}\n",
                            duration_text(static_cast<double>(histogram.max())),
                            duration_text(histogram.mean()));
}

std::string status_text(const LoadTally& tally) {
  std::string text;
  for (std::size_t digit = 1; digit < tally.status_counts.size(); ++digit) {
    if (tally.status_counts.at(digit) == 0) continue;
    text += fmt::format("{}{}xx {}", text.empty() ? "" : ", ", digit,
                        grouped(tally.status_counts.at(digit)));
  }
  return text;
}

std::uint64_t not_begun(const LoadTally& tally) {
  return tally.due > tally.begun ? tally.due - tally.begun : 0;
}

std::string warnings(const LoadPlan& plan, const LoadTally& tally) {
  std::string text;
  if (not_begun(tally) != 0) {
    text += fmt::format(
        "behind     {} requests were due and not begun: the rate could not be kept, and latency "
        "leaves them out\n",
        grouped(not_begun(tally)));
  }
  if (tally.idle_lost != 0) {
    text += fmt::format("idle       {} of {} were ended by the server\n", grouped(tally.idle_lost),
                        grouped(tally.idle_opened));
  }
  if (plan.handshakes == LoadHandshakes::kResumed && tally.unit_resumed < tally.unit_handshakes) {
    text += fmt::format("resumed    {} of {} only: the server did not take the others' sessions\n",
                        grouped(tally.unit_resumed), grouped(tally.unit_handshakes));
  }
  if (busy(plan, tally) > kBusy) {
    text +=
        "limited    by this program, not by the server: give it more --threads and cores, or a "
        "--rate\n";
  }
  return text;
}

Json percentiles(const LoadHistogram& histogram) {
  Json object{{"count", histogram.count()},
              {"min", static_cast<double>(histogram.min()) / 1e3},
              {"mean", histogram.mean() / 1e3}};
  for (const double percent : kPercentiles) {
    object[fmt::format("p{:g}", percent)] =
        static_cast<double>(histogram.percentile(percent)) / 1e3;
  }
  object["max"] = static_cast<double>(histogram.max()) / 1e3;
  return object;
}

std::string_view name_of(LoadHandshakes handshakes) {
  switch (handshakes) {
    case LoadHandshakes::kKept:
      return "kept";
    case LoadHandshakes::kFull:
      return "full";
    case LoadHandshakes::kResumed:
      break;
  }
  return "resumed";
}

}  // namespace

std::string load_as_text(const LoadPlan& plan, const LoadTally& tally) {
  std::string text = fmt::format("{}, {} connections, {} {}, {:.2f} s\n", plan.endpoint.to_string(),
                                 grouped(plan.connections), plan.threads,
                                 plan.threads == 1 ? "thread" : "threads", tally.seconds);
  if (!tally.session.empty()) text += fmt::format("session    {}\n", tally.session);
  text += fmt::format("answers    {}, {:.1f} per second{}{}\n", grouped(tally.answers),
                      per_second(tally.answers, tally), tally.answers == 0 ? "" : ": ",
                      status_text(tally));
  text += fmt::format("handshakes {}, {} of them resumed\n", grouped(tally.handshakes),
                      grouped(tally.resumed));
  text += fmt::format("received   {}/s, sent {}/s\n",
                      bytes_text(per_second(tally.bytes_received, tally)),
                      bytes_text(per_second(tally.bytes_sent, tally)));
  text += latency_line("latency", tally.latency);
  text += latency_line("handshake", tally.handshake);
  for (const LoadFailure& failure : tally.failures) {
    text += fmt::format("failed     {} {}, the first: {}\n", failure.kind(), grouped(failure.count),
                        failure.example);
  }
  text += fmt::format(
      "processor  {:.1f} us per answer here, {:.0f} % of a core for each thread\n",
      tally.answers == 0 ? 0.0 : tally.cpu_seconds * 1e6 / static_cast<double>(tally.answers),
      busy(plan, tally) * 100);
  return text + warnings(plan, tally);
}

std::string load_as_json(const LoadPlan& plan, const LoadTally& tally) {
  Json failures = Json::array();
  for (const LoadFailure& failure : tally.failures) {
    failures.push_back(
        {{"kind", failure.kind()}, {"count", failure.count}, {"example", failure.example}});
  }
  Json statuses = Json::object();
  for (std::size_t digit = 1; digit < tally.status_counts.size(); ++digit) {
    statuses[fmt::format("{}xx", digit)] = tally.status_counts.at(digit);
  }
  const Json object{{"target", plan.endpoint.to_string()},
                    {"session", tally.session},
                    {"connections", plan.connections},
                    {"threads", plan.threads},
                    {"mode", name_of(plan.handshakes)},
                    {"rate", plan.rate},
                    {"seconds", tally.seconds},
                    {"answers", tally.answers},
                    {"answers_per_second", per_second(tally.answers, tally)},
                    {"statuses", statuses},
                    {"handshakes", tally.handshakes},
                    {"handshakes_resumed", tally.resumed},
                    {"measured_handshakes", tally.unit_handshakes},
                    {"measured_handshakes_resumed", tally.unit_resumed},
                    {"not_begun", not_begun(tally)},
                    {"idle", tally.idle_opened},
                    {"idle_lost", tally.idle_lost},
                    {"bytes_received", tally.bytes_received},
                    {"bytes_sent", tally.bytes_sent},
                    {"latency_us", percentiles(tally.latency)},
                    {"handshake_us", percentiles(tally.handshake)},
                    {"failures", failures},
                    {"cpu_seconds", tally.cpu_seconds},
                    {"busy", busy(plan, tally)}};
  return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace heddle::cli
