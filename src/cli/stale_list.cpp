// Lists scenarios and their parts: see stale_list.h.
#include "cli/stale_list.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace heddle::cli {
namespace {

using Json = nlohmann::ordered_json;  // Keeps the order in which members were added.

std::string section(std::string_view title, const std::vector<stale::Part>& parts) {
  std::size_t widest = 0;
  for (const stale::Part& part : parts) widest = std::max(widest, part.name.size());
  std::string text = fmt::format("{}:\n", title);
  for (const stale::Part& part : parts) {
    text += fmt::format("  {:<{}}  {}\n", part.name, widest, part.description);
  }
  return text + "\n";
}

Json as_array(const std::vector<stale::Part>& parts) {
  Json array = Json::array();
  for (const stale::Part& part : parts) {
    array.push_back(Json{{"name", part.name}, {"description", part.description}});
  }
  return array;
}

}  // namespace

std::string list_as_text(std::span<const stale::Scenario> scenarios) {
  std::string text = section("Leakers, which leave an entry in the queue", stale::leakers()) +
                     section("Victims, who meet it", stale::victims()) +
                     section("Switch points, at which they do", stale::switch_points()) +
                     fmt::format("Scenarios ({}):\n", scenarios.size());
  for (const stale::Scenario& scenario : scenarios) text += "  " + scenario.id() + "\n";
  return text;
}

std::string list_as_json(std::span<const stale::Scenario> scenarios) {
  Json ids = Json::array();
  for (const stale::Scenario& scenario : scenarios) ids.push_back(scenario.id());
  const Json list{{"leakers", as_array(stale::leakers())},
                  {"victims", as_array(stale::victims())},
                  {"switch_points", as_array(stale::switch_points())},
                  {"scenarios", std::move(ids)}};
  return list.dump(2) + "\n";
}

}  // namespace heddle::cli
