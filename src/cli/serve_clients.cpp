// Trust in clients, and its renewal: see serve_clients.h.
#include "cli/serve_clients.h"

#include <sys/stat.h>

#include <chrono>
#include <utility>

#include "heddle/fiber.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/certificate_details.h"

namespace heddle::cli {

Result<void> verify_clients(Context& context, const ServeClients& options) {
  if (Result<void> loaded = context.load_verify_locations(options.ca); !loaded) return loaded;
  std::string authorities;
  for (const Certificate& each : context.trusted_certificates()) {
    authorities += certificate_pem(each.der);
  }
  if (!authorities.empty()) {
    if (Result<void> added = context.add_ca_names(authorities); !added) return added;
  }
  for (const std::string& file : options.crls) {
    if (Result<void> loaded = context.load_crls(file); !loaded) return loaded;
  }
  if (!options.crls.empty()) context.set_crl_check(CrlCheck::kChain);
  context.set_verify_mode(options.mode);
  return {};
}

ClientTrust::ClientTrust(ServeClients options, Make make)
    : options_(std::move(options)), make_(std::move(make)), read_(look()) {}

ClientTrust::Stamp ClientTrust::stamp_of(const std::filesystem::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return {};
  return {.device = status.st_dev,
          .inode = status.st_ino,
          .size = status.st_size,
          .changed_s = status.st_ctim.tv_sec,
          .changed_ns = status.st_ctim.tv_nsec};
}

std::vector<ClientTrust::Stamp> ClientTrust::look() const {
  std::vector<Stamp> stamps = {stamp_of(options_.ca)};
  for (const std::string& file : options_.crls) stamps.push_back(stamp_of(file));
  return stamps;
}

ClientHelloCallback ClientTrust::callback() const {
  return [slot = slot_](const ClientHello&) -> Result<HelloAnswer> {
    const std::lock_guard lock(slot->mutex);
    return slot->context ? HelloAnswer::use(*slot->context) : HelloAnswer::go_on();
  };
}

Result<void> ClientTrust::reload() {
  read_ = look();  // Before the files are read, so that a change behind it is noticed.
  Result<Context> next = make_();
  if (!next) return next.error();
  if (Result<void> trusted = verify_clients(*next, options_); !trusted) return trusted;
  auto context = std::make_shared<const Context>(*std::move(next));
  const std::lock_guard lock(slot_->mutex);
  slot_->context.swap(context);
  return {};
}

void ClientTrust::run(const std::function<void(const Result<void>&)>& tell) {
  std::vector<Stamp> seen = read_;
  while (this_fiber::sleep_until(this_fiber::after(std::chrono::seconds(1)))) {
    std::vector<Stamp> now = look();
    const bool is_settled = now == seen;
    seen = std::move(now);
    if (is_settled && seen != read_) tell(reload());
  }
}

}  // namespace heddle::cli
