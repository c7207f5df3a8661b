// Parts of the guard's JSON lines, in words: see guard_words.h.
#include "cli/guard_words.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace heddle::cli {
namespace {

using Json = nlohmann::json;

// What is installed, and not the program's own.
bool is_library(std::string_view file) {
  constexpr std::array<std::string_view, 5> kParts = {"/site-packages/", "/dist-packages/",
                                                      "/lib/python3", "/lib64/python3", "<frozen "};
  return std::any_of(kParts.begin(), kParts.end(), [&](std::string_view part) {
    return file.find(part) != std::string_view::npos;
  });
}

std::string describe_python_frame(const Json& frame) {
  return fmt::format("{}:{} in {}", text_of(frame, "file"), frame.value("line", 0),
                     text_of(frame, "function"));
}

// The code that is not OpenSSL's, and who called that.
std::string describe_native(const Json& origin, Symbols& symbols) {
  constexpr std::size_t kFrames = 3;
  const Json frames = origin.value("native", Json::array());
  const auto first = origin.value("outside", std::size_t{0});
  std::string text;
  for (std::size_t i = first; i < frames.size() && i < first + kFrames; ++i) {
    if (i > first) text += ", called from ";
    text += describe_spot(frames[i], symbols);
  }
  return text;
}

// Where nothing better is known: after which call the entry was there.
std::string describe_left(const Json& left, Symbols& symbols) {
  if (!left.is_object()) return "code before the first TLS call of its thread";
  const std::string call = text_of(left, "call") + " called from " +
                           describe_spot(left.value("site", Json::object()), symbols);
  return text_of(left, "when") == "by" ? call : "code that ran during or after " + call;
}

}  // namespace

std::string text_of(const Json& object, const char* name) {
  std::string text = object.value(name, "");
  for (char& character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < 0x20 || byte >= 0x7f) character = '?';
  }
  return text;
}

std::string describe_spot(const Json& spot, Symbols& symbols) {
  if (!spot.contains("module")) return text_of(spot, "address");
  const std::string offset = text_of(spot, "offset");
  // A return address may lie behind the end of its function.
  const std::uint64_t address = std::strtoull(offset.c_str(), nullptr, 16) - 1;
  std::string function = symbols.function_at(spot.value("path", ""), address);
  if (function.empty()) function = text_of(spot, "function");
  std::string text = text_of(spot, "module") + "+" + offset;
  return function.empty() ? text : text + " (" + function + ")";
}

std::string describe_entry(const Json& entry) {
  return fmt::format("error:{}:{}::{}, pushed by {}() at {}:{}", text_of(entry, "code"),
                     text_of(entry, "library"), text_of(entry, "reason"),
                     text_of(entry, "function"), text_of(entry, "file"), entry.value("line", 0));
}

std::string describe_connection(const Json& connection) {
  std::string text = text_of(connection, "role");
  const auto add = [&](std::string_view before, const std::string& what) {
    if (!what.empty()) text.append(before).append(what);
  };
  add(" of ", text_of(connection, "name"));
  const int descriptor = connection.value("descriptor", -1);
  if (descriptor >= 0) add(", descriptor ", std::to_string(descriptor));
  add(", ", text_of(connection, "local"));
  add(" to ", text_of(connection, "peer"));
  add(", ", text_of(connection, "version"));
  add(", ", text_of(connection, "state"));
  return text;
}

std::string describe_python(const Json& stack) {
  if (!stack.is_array() || stack.empty()) return "";
  for (const Json& frame : stack) {
    if (is_library(text_of(frame, "file"))) continue;
    std::string text = describe_python_frame(frame);
    if (&frame != &stack.front()) text += ", by way of " + describe_python_frame(stack.front());
    return text;
  }
  return describe_python_frame(stack.front());
}

std::string describe_leaker(const Json& event, Symbols& symbols) {
  const Json entries = event.value("entries", Json::array());
  const Json origin = entries.empty() ? Json() : entries.front().value("origin", Json());
  if (!origin.is_object()) return describe_left(event.value("left", Json()), symbols);
  if (text_of(origin, "how") == "provoked") return "heddle guard --provoke";
  std::string text = describe_python(origin.value("python", Json::array()));
  if (text.empty()) text = describe_native(origin, symbols);
  const bool is_pusher = text_of(origin, "how") == "pushed";
  return is_pusher ? text : text + " (made the call that left it; who pushed it, OpenSSL hides)";
}

std::string describe_greenlet(const Json& origin) {
  if (!origin.is_object() || text_of(origin, "how") == "provoked") return "";
  const Json greenlet = origin.value("greenlet", Json());
  if (!greenlet.is_object()) return "";
  const Json stack = origin.value("python", Json::array());
  std::string text = text_of(greenlet, "type") + " at " + text_of(greenlet, "address");
  return stack.empty() ? text : text + ", which runs " + describe_python_frame(stack.back());
}

std::string describe_victim(const Json& event, Symbols& symbols) {
  const Json frames = event.value("backtrace", Json::array());
  std::string where = describe_python(event.value("python", Json::array()));
  if (where.empty()) where = frames.empty() ? "?" : describe_spot(frames.front(), symbols);
  return text_of(event, "call") + " called from " + where;
}

}  // namespace heddle::cli
