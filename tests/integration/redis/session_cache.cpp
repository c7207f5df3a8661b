// The three commands, and what came of them.
#include "session_cache.h"

#include <array>

namespace heddle::example {
namespace {

std::string key_of(std::string_view id) {
  return "heddle:session:" + std::string(id);  // Any bytes: Redis' keys are binary.
}

// Counts the failure and hands it on: a store that fails costs no connection.
Error counted(Outcomes& outcomes, const Error& error) {
  ++(error.code == Errc::kExhausted ? outcomes.skipped : outcomes.error);
  return error;
}

std::string line(const char* name, const char* outcome, std::uint64_t count) {
  return std::string(name) + "{outcome=\"" + outcome + "\"} " + std::to_string(count) + "\n";
}

}  // namespace

SessionStore SessionCache::store() {
  return {
      .put = [this](const ConnectionView& c, const Session& session) { return put(c, session); },
      .get = [this](const ConnectionView& c, std::string_view id) { return get(c, id); },
      .remove = [this](std::string_view id, Deadline deadline) { return remove(id, deadline); }};
}

Result<void> SessionCache::put(const ConnectionView& connection, const Session& session) {
  const std::string key = key_of(session.id());
  const std::string value = session.serialise();
  const std::string seconds = std::to_string(session.timeout().count());
  const std::array<std::string_view, 5> words = {"SET", key, value, "EX", seconds};
  const auto reply = redis_.command(words, connection.deadline());
  if (!reply) return counted(stores_, reply.error());
  ++stores_.ok;
  return {};
}

Result<std::optional<Session>> SessionCache::get(const ConnectionView& connection,
                                                 std::string_view id) {
  const std::string key = key_of(id);
  const std::array<std::string_view, 2> words = {"GET", key};
  const auto reply = redis_.command(words, connection.deadline());
  if (!reply) return counted(lookups_, reply.error());
  if ((*reply)->type != REDIS_REPLY_STRING) {
    ++lookups_.none;
    return std::optional<Session>();
  }
  const auto session = Session::parse({(*reply)->str, static_cast<std::size_t>((*reply)->len)});
  if (!session) return counted(lookups_, session.error());
  ++lookups_.ok;
  return std::optional<Session>(*session);
}

Result<void> SessionCache::remove(std::string_view id, Deadline deadline) {
  const std::string key = key_of(id);
  const std::array<std::string_view, 2> words = {"DEL", key};
  const auto reply = redis_.command(words, deadline);
  if (!reply) return counted(removals_, reply.error());
  ++((*reply)->integer > 0 ? removals_.ok : removals_.none);
  return {};
}

std::string SessionCache::metrics() const {
  const char* const lookups = "tls_session_cache_lookups_total";
  const char* const stores = "tls_session_cache_stores_total";
  const char* const removals = "tls_session_cache_removals_total";
  std::string text = "# HELP tls_session_cache_lookups_total Sessions that clients asked for.\n";
  text += "# TYPE tls_session_cache_lookups_total counter\n";
  text += line(lookups, "hit", lookups_.ok) + line(lookups, "miss", lookups_.none) +
          line(lookups, "error", lookups_.error) + line(lookups, "skipped", lookups_.skipped);
  text += "# HELP tls_session_cache_stores_total Sessions that were made.\n";
  text += "# TYPE tls_session_cache_stores_total counter\n";
  text += line(stores, "ok", stores_.ok) + line(stores, "error", stores_.error) +
          line(stores, "skipped", stores_.skipped);
  text += "# HELP tls_session_cache_removals_total Sessions that went wrong.\n";
  text += "# TYPE tls_session_cache_removals_total counter\n";
  text += line(removals, "ok", removals_.ok) + line(removals, "miss", removals_.none) +
          line(removals, "error", removals_.error) + line(removals, "skipped", removals_.skipped);
  text += "# HELP tls_session_cache_up Whether the last command succeeded.\n";
  text += "# TYPE tls_session_cache_up gauge\n";
  text += "tls_session_cache_up " + std::to_string(redis_.available() ? 1 : 0) + "\n";
  return text;
}

}  // namespace heddle::example
