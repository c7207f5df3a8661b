// Requests in any pieces: what RequestParser makes of them depends on the bytes alone.
#include <algorithm>

#include "fuzz/fuzz.h"
#include "support/request_outcome.h"

using heddle::fuzz::require;
using heddle::http::RequestParser;

namespace {

void check(const heddle::test::Outcome& outcome, std::size_t size) {
  require(outcome.used <= size, "no more is used than there is");
  const bool failed = outcome.step == RequestParser::Step::kFailed;
  require(failed == (outcome.status != 0), "what is refused has a status");
  constexpr std::array kStatuses = {400, 413, 414, 417, 431, 501, 505};
  require(!failed || std::ranges::find(kStatuses, outcome.status) != kStatuses.end(),
          "it is one of those that a parser gives");
  if (failed) return;
  const bool visible = std::ranges::none_of(
      outcome.target, [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f; });
  require(visible, "a target has no control characters");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = heddle::fuzz::text_of(data, size);
  const auto whole = heddle::test::parse_all(input, {});
  for (const auto& outcome : whole) check(outcome, size);
  std::mt19937 random = heddle::fuzz::choices_for(input);
  for (const std::size_t piece_max : {1U, 3U, 40U, 1000U}) {
    // Of each piece everything before is copied once more.
    if (size / piece_max > 4096) continue;
    const auto cut = heddle::test::parse_all(input, heddle::fuzz::cuts_of(size, piece_max, random));
    require(cut == whole, "cuts make no difference");
  }
  return 0;
}
