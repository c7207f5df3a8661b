// Turns: who acts when.
#include "stale/scene.h"

#include <algorithm>
#include <array>
#include <exception>

#include <openssl/err.h>

namespace heddle::stale {
namespace {

// Far more than any stack needs to get from one park to the next.
constexpr int kSettlingTurns = 64;

// What ERR_peek_error() shows of the thread's queue, oldest first.
std::vector<ErrorEntry> visible_entries() {
  std::vector<ErrorEntry> entries = ThreadErrorQueue().entries();
  std::erase_if(entries, [](const ErrorEntry& entry) { return entry.hidden; });
  return entries;
}

bool same(const ErrorEntry& one, const ErrorEntry& other) {
  return one.code == other.code && one.file == other.file && one.line == other.line;
}

}  // namespace

Scene::Scene(Stack& stack, const LeakerKind& kind, std::uint64_t seed)
    : stack_(stack),
      kind_(kind),
      prng_(seed),
      version_max_(below(2) == 0 ? TLS1_2_VERSION : TLS1_3_VERSION) {}

Pair& Scene::make_pair(Role victim, Trusts trusts) {
  const Materials& with = materials();
  auto [near, far] = make_socket_pair();
  Pair& pair = *pairs_.emplace_back(std::make_unique<Pair>());
  pair.descriptor = near.get();
  const bool server = victim == Role::kServer;
  pair.peer =
      std::make_unique<Peer>(server ? Role::kClient : Role::kServer, std::move(far), version_max_);
  const bool trusted = !server && trusts == Trusts::kServer;
  pair.victim = stack_.connect({.role = victim,
                                .descriptor = near.release(),
                                .chain_pem = server ? with.chain_pem : "",
                                .key_pem = server ? with.server.key_pem : "",
                                .trusted_pem = trusted ? with.server.certificate_pem : "",
                                .server_name = server ? "" : kServerName});
  return pair;
}

Outcome Scene::handshake(Pair& pair) {
  spawn("far end", [this, &pair] {
    while (!pair.shaken && !pair.given_up && !stopping_) {
      if (!inside_) pair.shaken = pair.peer->handshake();
      stack_.yield();
    }
    pair.shaken = true;
  });
  Outcome outcome = pair.victim->handshake();
  pair.given_up = outcome.answer != Answer::kDone;
  until("the far end's handshake is over", [&] { return pair.shaken; });
  return outcome;
}

Pair& Scene::connect(Role victim) {
  Pair& pair = make_pair(victim);
  const Outcome shaken = handshake(pair);
  if (shaken.answer != Answer::kDone)
    throw Broken("the victim's handshake failed: " + shaken.words);
  std::array<std::byte, 1> byte{};
  pair.peer->put(pair.peer->seal("x"));
  require(pair.victim->read(byte, Patience::kForever).bytes == 1, "the victim cannot read");
  require(pair.victim->write(byte).answer == Answer::kDone, "the victim cannot write");
  (void)pair.peer->drain();
  return pair;
}

SSL* Scene::native(const Pair& pair) const {
  SSL* const ssl = pair.victim->native_handle();
  if (ssl == nullptr) throw Skip("the stack keeps its SSL objects to itself");
  return ssl;
}

void Scene::need_switches_inside() const {
  if (!stack_.switches_inside())
    throw Skip("the stack cannot switch while OpenSSL is on the stack");
}

void Scene::leave(Leaker& leaker, const char* fiber) {
  const std::size_t before = visible_entries().size();
  const bool marked = ERR_set_mark() == 1;  // Only if there is an entry to carry it.
  origin_ = leaker.leave();
  origin_->fiber = fiber;
  left_ = visible_entries();
  // What was there before is not the leaker's; unless it has wiped that, and the mark with it.
  if (marked && ERR_clear_last_mark() == 1) {
    left_.erase(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(before));
  }
}

bool Scene::left_is_there() const {
  const std::vector<ErrorEntry> there = visible_entries();
  return std::search(there.begin(), there.end(), left_.begin(), left_.end(), same) != there.end() ||
         left_.empty();
}

void Scene::run_leaker() {
  const std::unique_ptr<Leaker> leaker = kind_.make();
  {
    const ErrorQueueScope scope(Leftovers::kDrop);
    leaker->prepare(stack_);
  }
  prepared_ = true;
  until("the leaker may leave its entry", [&] { return go_ || stopping_; });
  if (!go_) return;
  leave(*leaker, "leaker");
  left_it_ = true;
  until("the scene is over", [&] { return stopping_; });
  leaker_found_its_entries_ = left_is_there();
}

void Scene::start_leaker() {
  spawn("leaker", [this] { run_leaker(); });
  until("the leaker is prepared", [&] { return prepared_; });
}

void Scene::leak() {
  go_ = true;
  until("the leaker has left its entry", [&] { return left_it_; });
}

void Scene::leak_inside() noexcept {
  inside_ = true;
  try {
    leak();
  } catch (const std::exception& error) {
    broken_ = error.what();  // end() says so.
  }
  inside_ = false;
}

void Scene::leak_here() {
  const std::unique_ptr<Leaker> leaker = kind_.make();
  {
    const ErrorQueueScope scope(Leftovers::kDrop);
    leaker->prepare(stack_);
  }
  leave(*leaker, "victim");
}

void Scene::end() {
  stopping_ = true;
  for (const auto& pair : pairs_) pair->peer->hang_up();
  for (int turn = 0; fibers_ > 0 && turn < kTurnsMax; ++turn) stack_.yield();
  if (!broken_.empty()) throw Broken(broken_);
  require(fibers_ == 0, "a fiber of the scene does not end");
}

void Scene::settle() {
  const int more = static_cast<int>(below(8));
  for (int turn = 0; turn < kSettlingTurns + more; ++turn) stack_.yield();
}

void Scene::spawn(const std::string& name, std::function<void()> entry) {
  ++fibers_;
  stack_.spawn(name, [this, entry = std::move(entry)] {
    try {
      entry();
    } catch (const std::exception& error) {
      if (broken_.empty()) broken_ = error.what();
    }
    --fibers_;
  });
}

}  // namespace heddle::stale
