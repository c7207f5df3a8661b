// Counts each healthy connection's first failure.
#include "cli/demo_ledger.h"

namespace heddle::cli {

void Ledger::client_failed(std::size_t id, std::string_view what) {
  if (closed_ || blamed_[id]) return;
  blamed_[id] = true;
  ++spurious_;
  ++reasons_[std::string(what)];
}

void Ledger::server_failed(std::uint16_t client_port, std::string_view what) {
  const auto found = ids_.find(client_port);
  if (found != ids_.end()) client_failed(found->second, what);
}

}  // namespace heddle::cli
