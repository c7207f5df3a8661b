// Contexts whose callbacks park, leave entries in the error queue, throw and refuse.
#include "torture/contexts.h"

#include <array>
#include <utility>

#include <openssl/x509.h>

namespace heddle::torture {
namespace {

constexpr std::size_t kSessionsMax = 500;

// What a callback does: it parks in one of several ways, and leaves its own errors behind.
void park(const char* callback) {
  World& world = World::here();
  Rng& rng = world.rng;
  world.shared.report.count(std::string("callback ") + callback);
  if (rng.one_in(3)) ERR_raise(ERR_LIB_USER, 77);
  switch (rng.below(6)) {
    case 0:
      (void)this_fiber::yield();
      break;
    case 1:
      nap(rng, Micros(3000));
      break;
    case 2:
      if (const auto lock = world.mutex.lock()) nap(rng, Micros(200));
      break;
    case 3:
      scope([](Scope& s) { (void)s.spawn("in a callback", [] { (void)this_fiber::yield(); }); });
      break;
    default:
      break;
  }
  if (rng.one_in(3)) ERR_raise(ERR_LIB_USER, 78);
}

void park_or_throw(const char* callback) {
  park(callback);
  if (World::here().rng.one_in(4)) throw Planned();
}

Result<HelloAnswer> refuse_some(const ClientHello&) {
  park("client hello");
  switch (World::here().rng.below(6)) {
    case 0:
      return HelloAnswer::refuse(Alert::kAccessDenied);
    case 1:
      return Error{.code = Errc::kExhausted, .operation = "client hello"};
    case 2:
      throw Planned();
    default:
      return HelloAnswer::go_on();
  }
}

Result<int> verify_some(const ConnectionView&, const PeerChain& chain) {
  park_or_throw("verify");
  if (World::here().rng.one_in(4)) return X509_V_ERR_APPLICATION_VERIFICATION;
  return chain.verdict();
}

}  // namespace

void Store::put(const Session& session) {
  const std::lock_guard lock(mutex_);
  sessions_.insert_or_assign(session.id(), session);
  if (sessions_.size() > kSessionsMax) sessions_.erase(sessions_.begin());
}

std::optional<Session> Store::get(std::string_view id) const {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? std::nullopt : std::optional(found->second);
}

void Store::remove(std::string_view id) {
  const std::lock_guard lock(mutex_);
  if (const auto found = sessions_.find(id); found != sessions_.end()) sessions_.erase(found);
}

Shared::Shared(Report& to, std::shared_ptr<OffloadPool> threads)
    : report(to), pool(std::move(threads)), identity(make_self_signed({"server.test"}).value()) {
  add_servers();
  add_stores();
  add_clients();
}

Context Shared::make_server(bool offload) const {
  Context context = Context::create(Role::kServer).value();
  if (offload) {
    auto signer = make_offload_signer(pool, make_key_signer(identity.key_pem).value());
    context.use_cert_chain(identity.certificate_pem, std::move(signer)).value();
  } else {
    context.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
  }
  return context;
}

Context Shared::make_client() const {
  Context context = Context::create(Role::kClient, Trust::kNothing).value();
  context.add_trusted_certificates(std::as_bytes(std::span(identity.certificate_pem))).value();
  return context;
}

void Shared::add_servers() {
  servers.push_back({"plain", make_server(false)});
  servers.push_back({"offload", make_server(true), false, true});

  Context hello = make_server(false);
  const auto other = std::make_shared<const Context>(make_server(false));
  hello.on_server_name([other](const ClientHello&) -> Result<HelloAnswer> {
    park("server name");
    return HelloAnswer::use(*other);
  });
  hello
      .on_alpn([](const auto&, const auto&) -> Result<std::optional<std::string>> {
        park("alpn");
        return std::optional<std::string>();
      })
      .value();
  servers.push_back({"hello", std::move(hello)});

  Context tickets = make_server(false);
  tickets
      .on_ticket_keys([key = TicketKey::generate().value()](const ConnectionView&) {
        park("ticket keys");
        return Result<std::vector<TicketKey>>(std::vector<TicketKey>{key});
      })
      .value();
  tickets.on_certificate([](const ConnectionView&) -> Result<std::optional<Credentials>> {
    park("certificate");
    return std::optional<Credentials>();
  });
  tickets.set_num_tickets(5);
  servers.push_back({"tickets", std::move(tickets)});

  Context old = make_server(false);
  old.set_versions(TlsVersion::kTls12, TlsVersion::kTls12).value();
  servers.push_back({"1.2", std::move(old)});

  Context refusing = make_server(false);
  refusing.on_client_hello(refuse_some);
  servers.push_back({"refusing", std::move(refusing), true});

  for (const bool offload : {false, true}) {
    Context rotated = make_server(offload);
    rotated.set_ticket_keys({TicketKey::generate().value()}).value();
    rotated_.push_back(servers.size());
    servers.push_back({"rotated", std::move(rotated), false, offload});
  }
}

// Stores whose functions park, also where they throw.
void Shared::add_stores() {
  const auto get = [this](const ConnectionView&, std::string_view id) {
    park("get");
    return store.get(id);
  };
  const auto put = [this](const ConnectionView&, const Session& session) -> Result<void> {
    park("put");
    store.put(session);
    return {};
  };
  const auto remove = [this](std::string_view id, Deadline) -> Result<void> {
    park_or_throw("remove");  // What it throws is dropped.
    store.remove(id);
    return {};
  };
  for (const bool offload : {false, true}) {
    Context context = make_server(offload);
    context.set_session_store({.put = put, .get = get, .remove = remove}).value();
    servers.push_back({"store", std::move(context), false, offload});
  }
  Context throwing = make_server(false);
  throwing
      .set_session_store({.put =
                              [put](const ConnectionView& connection, const Session& session) {
                                if (World::here().rng.one_in(4)) throw Planned();
                                return put(connection, session);
                              },
                          .get =
                              [get](const ConnectionView& connection, std::string_view id) {
                                if (World::here().rng.one_in(4)) throw Planned();
                                return get(connection, id);
                              },
                          .remove = remove})
      .value();
  servers.push_back({"throwing store", std::move(throwing), true});
}

void Shared::add_clients() {
  clients.push_back({"plain", make_client()});

  Context verify = make_client();
  verify.on_verify([](const ConnectionView&, const PeerChain& chain) -> Result<int> {
    park("verify");
    return chain.verdict();
  });
  clients.push_back({"verify", std::move(verify)});

  Context sessions = make_client();
  sessions.on_new_session([this](const ConnectionView&, const Session& session) -> Result<void> {
    park("new session");
    keep(session);
    return {};
  });
  clients.push_back({"new session", std::move(sessions)});

  Context log = make_client();
  log.on_key_log([](const ConnectionView&, std::string_view) -> Result<void> {
    park("key log");
    return {};
  });
  clients.push_back({"key log", std::move(log)});

  Context old = make_client();
  old.set_versions(TlsVersion::kTls12, TlsVersion::kTls12).value();
  clients.push_back({"1.2", std::move(old)});

  Context refusing = make_client();
  refusing.on_verify(verify_some);
  refusing.on_new_session([](const ConnectionView&, const Session&) -> Result<void> {
    park_or_throw("new session");
    return {};
  });
  clients.push_back({"refusing", std::move(refusing), true});
}

void Shared::keep(const Session& session) {
  if (!session.is_resumable()) return;
  const std::lock_guard lock(mutex_);
  if (sessions_.size() > 50) sessions_.erase(sessions_.begin());
  sessions_.push_back(session);
}

std::optional<Session> Shared::any_session(Rng& rng) const {
  const std::lock_guard lock(mutex_);
  if (sessions_.empty() || rng.one_in(2)) return std::nullopt;
  const Session& session = sessions_[rng.below(sessions_.size())];
  return session.is_resumable() ? std::optional(session) : std::nullopt;
}

void Shared::change_ticket_keys() {
  for (const std::size_t index : rotated_) {
    servers[index].context.set_ticket_keys({TicketKey::generate().value()}).value();
  }
}

}  // namespace heddle::torture
