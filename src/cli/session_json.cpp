// JSON of sessions: see session_json.h.
#include "cli/session_json.h"

#include <string_view>

#include <nlohmann/json.hpp>

#include "heddle/tls/certificate.h"

#include "cli/certificate_json.h"

namespace heddle::cli {
namespace {

using Json = nlohmann::ordered_json;  // Keeps the order in which members were added.

Json or_null(std::string_view text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json verification(const Stream& stream, const SessionReport& report) {
  const bool requested = report.verified == Verified::kYes;
  Json json = {{"requested", requested},
               {"verified", requested && stream.connection_state().complete},
               {"code", nullptr},
               {"depth", nullptr},
               {"subject", nullptr}};
  if (const auto failure = stream.verify_failure()) {
    json["code"] = failure->code;
    if (failure->depth >= 0) json["depth"] = failure->depth;
    json["subject"] = or_null(failure->subject);
  }
  return json;
}

Json reconnect(const Reconnected& again) {
  return {{"offered", again.offered},
          {"resumed", again.state.resumed},
          {"version", again.state.version},
          {"cipher", again.state.cipher},
          {"group", or_null(again.state.group)}};
}

}  // namespace

std::string session_as_json(const Stream& stream, const SessionReport& report) {
  const ConnectionState state = stream.connection_state();
  Json json = {{"target", report.target},
               {"reached", report.where},
               {"error", or_null(report.error)},
               {"version", or_null(state.version)},
               {"cipher", or_null(state.cipher)},
               {"group", or_null(state.group)},
               {"signatureAlgorithm", or_null(state.signature_algorithm)},
               {"alpn", or_null(state.alpn)},
               {"serverName", or_null(state.server_name)},
               {"resumed", state.complete ? Json(state.resumed) : Json(nullptr)},
               {"verification", verification(stream, report)},
               {"certificates", Json::parse(certificates_as_json(stream.peer_certificates()))},
               {"verifiedChain", Json::array()},
               {"reconnect", nullptr}};
  for (const Certificate& each : stream.verified_chain()) {
    json["verifiedChain"].push_back(each.sha256);
  }
  if (report.again) json["reconnect"] = reconnect(*report.again);
  return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace heddle::cli
