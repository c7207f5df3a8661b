// All victims, and how an outcome is judged.
#include "stale/victims.h"

#include <vector>

namespace heddle::stale {
namespace {

std::string in_words(const Outcome& outcome) {
  switch (outcome.answer) {
    case Answer::kDone:
      return "it succeeded";
    case Answer::kEnd:
      return "the peer's end of the connection";
    case Answer::kWaiting:
      return "that it has to wait";
    case Answer::kUnsupported:
      return "the stack has no such operation";
    case Answer::kTransportFailed:
    case Answer::kTlsFailed:
    case Answer::kUntrusted:
      break;
  }
  return outcome.words.empty() ? "a failure without a word" : outcome.words;
}

Finding judge(const Outcome& outcome, Answer truth, Verdict otherwise) {
  if (outcome.answer == Answer::kUnsupported) return {Verdict::kSkipped, in_words(outcome)};
  return {outcome.answer == truth ? Verdict::kHealthy : otherwise, in_words(outcome)};
}

}  // namespace

Finding expect_waiting(const Outcome& outcome) {
  return judge(outcome, Answer::kWaiting, Verdict::kSpurious);
}

Finding expect_done(const Outcome& outcome) {
  return judge(outcome, Answer::kDone, Verdict::kSpurious);
}

Finding expect_failure(const Outcome& outcome, Answer truth) {
  return judge(outcome, truth, Verdict::kLost);
}

std::span<const Situation> situations() {
  static const std::vector<Situation> everything = [] {
    std::vector<Situation> all;
    for (const auto some : {between_situations(), inside_situations()}) {
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }();
  return everything;
}

}  // namespace heddle::stale
