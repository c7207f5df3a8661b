// An SSL_CTX of other code's, whose own server name callback goes on with one that no Context
// knows.
#include <optional>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/tls/context.h"
#include "heddle/tls/ssl_object.h"
#include "heddle/tls/stream.h"

#include "openssl/handles.h"
#include "support/sim.h"
#include "support/ssl_object_pair.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

constexpr Deadline kNever = Deadline::never();

enum class Function { kTicketKeys, kSessionStore, kPsk, kKeyLog };

class AdoptedContextSim : public testing::TestWithParam<std::tuple<Function, TlsVersion>> {
 protected:
  AdoptedContextSim() {
    const auto version = std::get<1>(GetParam());
    Context plain = test::server_context();
    // Of the same configuration, and without a Context's callbacks.
    for (openssl::SslCtxPtr* const made : {&adopted_, &unknown_}) {
      made->reset(SSL_CTX_new(TLS_server_method()));
      SSL_CTX_use_certificate(made->get(), SSL_CTX_get0_certificate(plain.native_handle()));
      SSL_CTX_use_PrivateKey(made->get(), SSL_CTX_get0_privatekey(plain.native_handle()));
    }
    int (*const change)(SSL*, int*, void*) = [](SSL* ssl, int*, void* to) -> int {
      SSL_set_SSL_CTX(ssl, static_cast<SSL_CTX*>(to));
      return SSL_TLSEXT_ERR_OK;
    };
    SSL_CTX_set_tlsext_servername_callback(adopted_.get(), change);
    SSL_CTX_set_tlsext_servername_arg(adopted_.get(), unknown_.get());
    server_.emplace(Context::adopt(Role::kServer, adopted_.get()).value());
    server_->set_versions(version, version).value();
    client_.set_versions(version, version).value();
  }

  void give(Function function) {
    switch (function) {
      case Function::kTicketKeys:
        return server_->set_ticket_keys({TicketKey::generate().value()}).value();
      case Function::kSessionStore:
        return server_
            ->set_session_store({.put =
                                     [this](const ConnectionView&, const Session&) {
                                       ++called_;
                                       return Result<void>();
                                     },
                                 .get = [](const ConnectionView&,
                                           std::string_view) { return std::optional<Session>(); },
                                 .remove = {}})
            .value();
      case Function::kPsk:
        return server_->on_psk_server(
            [](const ConnectionView&, std::string_view) { return std::optional<Psk>(); });
      case Function::kKeyLog:
        return server_->on_key_log(
            [](const ConnectionView&, std::string_view) { return Result<void>(); });
    }
  }

  openssl::SslCtxPtr adopted_;
  openssl::SslCtxPtr unknown_;
  std::optional<Context> server_;
  Context client_ = test::client_context();
  int called_ = 0;
};

TEST_P(AdoptedContextSim, OneThatNoContextKnowsDoesNoHarm) {
  give(std::get<0>(GetParam()));
  sim::World world(1);
  world.run([&] {
    sim::Pipe pipe(world);
    auto client = test::client(client_, pipe.a());
    auto server = test::server(*server_, pipe.b());
    test::together({[&] { client.write(test::bytes("hello"), kNever).value(); },
                    [&] { EXPECT_EQ(test::read_text(server, 5, kNever), "hello"); }});
  });
  if (std::get<0>(GetParam()) == Function::kSessionStore) {
    EXPECT_GT(called_, 0) << "sessions stay with the first context";
  }
}

INSTANTIATE_TEST_SUITE_P(Functions, AdoptedContextSim,
                         testing::Combine(testing::Values(Function::kTicketKeys,
                                                          Function::kSessionStore, Function::kPsk,
                                                          Function::kKeyLog),
                                          testing::Values(TlsVersion::kTls12, TlsVersion::kTls13)));

// A program that drives TLS with SslObject alone, on whose connections something goes wrong.
class SslObjectRemovals : public test::SslObjectPair {};

TEST_P(SslObjectRemovals, AreToldByTheNextHandshakeOrShutdown) {
  constexpr std::size_t kBroken = 20;
  std::size_t made = 0;
  std::size_t removed = 0;
  server_context_
      .set_session_store(
          {.put =
               [&](const ConnectionView&, const Session&) {
                 ++made;
                 return Result<void>();
               },
           .get = [](const ConnectionView&, std::string_view) { return std::optional<Session>(); },
           .remove =
               [&](std::string_view, Deadline) {
                 ++removed;
                 return Result<void>();
               }})
      .value();
  for (std::size_t i = 0; i < kBroken; ++i) {
    open();
    handshake();
  }
  open();  // Which breaks the last one.
  EXPECT_GE(made, kBroken);
  handshake();
  EXPECT_EQ(removed, kBroken);
  const std::size_t before = removed;
  server_.tls.reset();
  open();
  EXPECT_EQ(server_.tls->shutdown()->kind, Progress::Kind::kDone);
  EXPECT_GT(removed, before);
}

INSTANTIATE_TEST_SUITE_P(Versions, SslObjectRemovals, test::kTlsVersions, test::version_name);

}  // namespace
}  // namespace heddle
