// One step at a time: what Stream's loop does, without the loop.
#include "heddle/tls/ssl_object.h"

#include <optional>
#include <utility>

#include <openssl/ssl.h>

#include "heddle/error_queue.h"

#include "base/handle.h"
#include "base/hidden.h"
#include "tls/connection/connection_info.h"
#include "tls/context/new_ssl.h"
#include "tls/machine/machine.h"
#include "tls/state/callback_state.h"
#include "tls/wire/memory_link.h"

namespace heddle {

class HEDDLE_HIDDEN SslObject::Impl {
 public:
  Impl(openssl::SslPtr ssl, std::shared_ptr<const tls::ContextState> context, MemoryBio& incoming,
       MemoryBio& outgoing)
      : context_(std::move(context)),
        link_{incoming, outgoing},
        machine_(std::move(ssl), tls::make_bio(link_), link_.state) {}

  Result<Progress> handshake();
  using ReadStep = tls::Step (tls::Machine::*)(std::span<std::byte> into, std::size_t& count);
  Result<Progress> read(ReadStep step, std::span<std::byte> into);
  Result<Progress> write(std::span<const std::byte> from);
  Result<Progress> announce(tls::Machine::Announcement what);
  Result<Progress> shutdown();

  const tls::Machine& machine() const noexcept { return machine_; }
  SSL* ssl() const noexcept { return machine_.ssl(); }

 private:
  template <typename TakeStep>
  Result<Progress> drive(TakeStep take_step);
  std::optional<Result<Progress>> refuse();
  // Not from inside a callback, where OpenSSL may hold locks.
  void tell_removals() const {
    if (!machine_.busy()) tls::deliver_removals(context_->ctx, Deadline::never());
  }

  std::shared_ptr<const tls::ContextState> context_;
  tls::MemoryLink link_;
  tls::Machine machine_;  // After link_: freed first, as its BIO points there.
};

// Takes `take_step`, a step of the machine, until it is done or wants something. There is an end to
// it: `incoming` holds only so much, and the machine refuses a peer that never comes to the point.
template <typename TakeStep>
Result<Progress> SslObject::Impl::drive(TakeStep take_step) {
  for (;;) {
    if (const auto refused = refuse()) return *refused;
    const tls::Step step = take_step();
    if (machine_.has_exception()) [[unlikely]]
      machine_.rethrow();
    switch (step.kind) {
      case tls::Step::Kind::kDone:
        return Progress{Progress::Kind::kDone};
      case tls::Step::Kind::kEnd:
        return Progress{Progress::Kind::kEnd};
      case tls::Step::Kind::kWantRead:
        return Progress{Progress::Kind::kWantRead};
      case tls::Step::Kind::kWantWrite:
        return Progress{Progress::Kind::kWantWrite};
      case tls::Step::Kind::kFailed:
        return *step.error;
      case tls::Step::Kind::kAgain:
        break;
    }
  }
}

// Why no step can be taken now, if so.
std::optional<Result<Progress>> SslObject::Impl::refuse() {
  if (const auto turn = machine_.try_turn(); !turn) return turn.error();
  if (machine_.failure()) return *machine_.failure();
  if (link_.outgoing.pending() > kOutgoingBytesMax) return Progress{Progress::Kind::kWantWrite};
  if (machine_.awaits_client() && !link_.has_first_message()) {
    return Progress{Progress::Kind::kWantRead};
  }
  return std::nullopt;
}

Result<Progress> SslObject::Impl::handshake() {
  Result<Progress> progress = drive([&] { return machine_.handshake(); });
  if (!progress || progress->kind == Progress::Kind::kDone) tell_removals();
  return progress;
}

Result<Progress> SslObject::Impl::read(ReadStep step, std::span<std::byte> into) {
  if (into.empty()) return Progress{Progress::Kind::kDone};
  std::size_t count = 0;
  Result<Progress> progress = drive([&] { return (machine_.*step)(into, count); });
  if (progress) progress->bytes = count;
  return progress;
}

Result<Progress> SslObject::Impl::write(std::span<const std::byte> from) {
  if (machine_.refuses_write()) return machine_.refused_write();
  if (from.empty()) return Progress{Progress::Kind::kDone};
  std::size_t count = 0;
  Result<Progress> progress = drive([&] { return machine_.write(from, count); });
  if (progress) progress->bytes = count;
  return progress;
}

Result<Progress> SslObject::Impl::announce(tls::Machine::Announcement what) {
  const auto settle = [&] { return machine_.settle(); };
  if (machine_.refuses_write()) return machine_.refused_write();
  if (const auto turn = machine_.try_turn(); !turn) return turn.error();
  if (machine_.handshake_done()) {
    const Result<Progress> settled = drive(settle);
    if (!settled || settled->kind != Progress::Kind::kDone) return settled;
    // Nothing is begun by a call that is to be repeated.
    if (const auto refused = refuse()) return *refused;
  }
  if (const auto begun = machine_.announce(what); !begun) return begun.error();
  return drive(settle);
}

// What SSL_shutdown() does when it is called again, but for data that comes first: that ends the
// connection there, and the data is lost.
Result<Progress> SslObject::Impl::shutdown() {
  tell_removals();
  if (machine_.failure()) return *machine_.failure();
  if (SSL_in_before(ssl()) != 0 && link_.begun.pending() == 0) {
    return Progress{Progress::Kind::kDone};
  }
  if (!machine_.established()) {
    const Result<Progress> shaken = drive([&] { return machine_.handshake(); });
    if (!shaken || shaken->kind != Progress::Kind::kDone) return shaken;
  }
  const Result<Progress> ended = drive([&] { return machine_.end(); });
  if (!ended || ended->kind != Progress::Kind::kDone) return ended;
  std::byte next{};
  std::size_t unread = 0;
  Result<Progress> progress = drive([&] { return machine_.peek({&next, 1}, unread); });
  if (!progress) return progress;
  if (unread != 0) {
    return Error{.code = Errc::kInvalid,
                 .operation = tls::Machine::kEnd,
                 .detail = "there is data to be read"};
  }
  if (progress->kind == Progress::Kind::kEnd) progress->kind = Progress::Kind::kDone;
  return progress;
}

Result<SslObject> SslObject::create(const Context& context, MemoryBio& incoming,
                                    MemoryBio& outgoing, const StreamOptions& options) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  auto ssl = tls::new_ssl(*context.state_, options);
  if (!ssl) return ssl.error();
  return SslObject(std::make_unique<Impl>(*std::move(ssl), context.state_, incoming, outgoing));
}

SslObject::SslObject(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SslObject::SslObject(SslObject&& other) noexcept = default;
SslObject& SslObject::operator=(SslObject&& other) noexcept = default;
SslObject::~SslObject() = default;

SslObject::Impl& SslObject::impl(const char* call) const noexcept {
  return behind(impl_, "SslObject", call);
}

Result<Progress> SslObject::handshake() {
  return impl().handshake();
}

Result<Progress> SslObject::read(std::span<std::byte> into) {
  return impl().read(&tls::Machine::read, into);
}

Result<Progress> SslObject::peek(std::span<std::byte> into) {
  return impl().read(&tls::Machine::peek, into);
}

Result<Progress> SslObject::write(std::span<const std::byte> from) {
  return impl().write(from);
}

Result<Progress> SslObject::shutdown() {
  return impl().shutdown();
}

std::size_t SslObject::pending() const noexcept {
  return tls::pending(impl().ssl());
}

ConnectionState SslObject::connection_state() const {
  return tls::connection_state(impl().machine(), {});
}

std::string SslObject::explain(const Error& error) const {
  return tls::explain(impl().machine().engine(), error);
}

std::vector<Certificate> SslObject::peer_certificates() const {
  return tls::peer_certificates(native_handle());
}

std::optional<Session> SslObject::session() const {
  return tls::session(native_handle());
}

std::vector<Certificate> SslObject::verified_chain() const {
  return tls::verified_chain(native_handle());
}

std::vector<std::string> SslObject::shared_ciphers() const {
  return tls::shared_ciphers(native_handle());
}

std::vector<std::uint16_t> SslObject::offered_ciphers() const {
  return tls::offered_ciphers(native_handle());
}

std::optional<VerifyFailure> SslObject::verify_failure() const {
  return tls::verify_failure(impl().machine());
}

Result<std::string> SslObject::export_keying_material(
    std::string_view label, std::size_t bytes, std::optional<std::string_view> context) const {
  return tls::export_keying_material(impl().machine(), label, bytes, context);
}

Result<std::string> SslObject::channel_binding(ChannelBinding kind) const {
  return tls::channel_binding(impl().machine(), kind);
}

Result<Progress> SslObject::update_keys(bool ask_peer) {
  using Announcement = tls::Machine::Announcement;
  return impl().announce(ask_peer ? Announcement::kNewKeysOfBoth : Announcement::kNewKeys);
}

Result<Progress> SslObject::request_client_certificate() {
  return impl().announce(tls::Machine::Announcement::kCertificateRequest);
}

SSL* SslObject::native_handle() const noexcept {
  return impl().ssl();
}

}  // namespace heddle
