// The certificates by name in README.md: callbacks_test.py compares the two, and
// callbacks_server.cpp runs this one.
#pragma once

#include "heddle/heddle.h"

using namespace heddle;  // NOLINT(google-build-using-namespace): as in the README.

// Asks `fetch` for the PEM of each name that a client asks for. It may wait for the network: only
// this connection waits with it.
void choose_certificates(Context& tls,
                         std::function<Result<std::string>(std::string_view, Deadline)> fetch) {
  tls.on_server_name([fetch](const ClientHello& hello) -> Result<HelloAnswer> {
    const auto pem = fetch(hello.server_name(), hello.deadline());
    if (!pem) return HelloAnswer::refuse(Alert::kUnrecognizedName);
    auto named = Context::create(Role::kServer);
    if (!named) return named.error();
    if (auto used = named->use_cert_chain(*pem, *pem); !used) return used.error();
    return HelloAnswer::use(*named);
  });
}
