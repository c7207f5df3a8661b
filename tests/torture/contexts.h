// The contexts of a torture run: each kind of callback, store and signer, and what they share.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "torture/world.h"

namespace heddle::torture {

// Store keeps the sessions of servers. Threads: any.
class Store {
 public:
  void put(const Session& session);
  std::optional<Session> get(std::string_view id) const;
  void remove(std::string_view id);

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Session, std::less<>> sessions_;
};

// A context, and whether a connection that uses it may fail although nobody disturbs it.
struct Kind {
  std::string name;
  Context context;
  bool fails = false;  // A callback throws or refuses at times.
  bool late = false;   // A callback gives up at the deadline of the call, for good.
};

// Shared is what all runtimes of a run use.
struct Shared {
  Shared(Report& to, std::shared_ptr<OffloadPool> threads);

  const Kind& client(Rng& rng) const { return clients[rng.below(clients.size())]; }
  const Kind& server(Rng& rng) const { return servers[rng.below(servers.size())]; }

  // Sessions that clients have got; by no means all fit the next connection.
  void keep(const Session& session);
  std::optional<Session> any_session(Rng& rng) const;

  // What another thread may do to contexts while they are used.
  void change_ticket_keys();

  Report& report;
  const std::shared_ptr<OffloadPool> pool;
  const Identity identity;
  Store store;
  std::vector<Kind> servers;
  std::vector<Kind> clients;

 private:
  Context make_server(bool offload) const;
  Context make_client() const;
  void add_servers();
  void add_stores();
  void add_clients();

  mutable std::mutex mutex_;
  std::vector<Session> sessions_;
  std::vector<std::size_t> rotated_;  // Servers whose ticket keys are changed.
};

}  // namespace heddle::torture
