// Which sessions a client may offer: those of a connection that it would have accepted itself.
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/tls/session.h"

#include "openssl/handles.h"
#include "support/ssl_object_pair.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

constexpr const char* kOther = "other.test";
constexpr const char* kAddress = "192.0.2.1";

// The server's certificate is for kServerName, "other.test" and an address.
class SessionOffer : public testing::TestWithParam<TlsVersion> {
 protected:
  SessionOffer() { server_.use_cert_chain(identity_.certificate_pem, identity_.key_pem).value(); }

  Context client(Trust trust = Trust::kNothing) const {
    Context context = Context::create(Role::kClient, trust).value();
    prepare(context);
    return context;
  }
  // Of an SSL_CTX that other code has made.
  Context adopted() const {
    const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_client_method()));
    Context context = Context::adopt(Role::kClient, ctx.get()).value();
    context.set_verify_mode(VerifyMode::kRequired);
    prepare(context);
    return context;
  }
  void prepare(Context& context) const {
    context.set_versions(GetParam(), GetParam()).value();
    context.add_trusted_certificates(test::bytes(identity_.certificate_pem)).value();
  }

  struct Outcome {
    bool resumed;
    Session session;
  };
  Outcome talk(const Context& context, const StreamOptions& options) const {
    test::End ours;
    test::End theirs;
    ours.tls = SslObject::create(context, ours.incoming, ours.outgoing, options).value();
    theirs.open(server_, "");
    for (int flight = 0; flight < 2; ++flight) {
      (void)ours.tls->handshake().value();
      test::move(ours.outgoing, theirs.incoming);
      (void)theirs.tls->handshake().value();
      test::move(theirs.outgoing, ours.incoming);
    }
    EXPECT_EQ(ours.tls->handshake()->kind, Progress::Kind::kDone);
    EXPECT_EQ(ours.read_one()->kind, Progress::Kind::kWantRead) << "tickets are no data";
    return {ours.tls->connection_state().resumed, ours.tls->session().value()};
  }
  Session session_of(const Context& context, const std::string& name = test::kServerName) const {
    return talk(context, {.server_name = name}).session;
  }

  static Result<SslObject> offer(const Context& context, const std::string& name,
                                 const Session& session) {
    MemoryBio incoming;
    MemoryBio outgoing;
    return SslObject::create(context, incoming, outgoing,
                             {.server_name = name, .session = session});
  }
  static void expect_refused(const Context& context, const std::string& name,
                             const Session& session) {
    for (const Session& each : {session, Session::parse(session.serialise()).value()}) {
      auto refused = offer(context, name, each);
      ASSERT_FALSE(refused) << name;
      EXPECT_EQ(refused.error().code, Errc::kInvalid);
    }
  }
  void expect_resumed(const Context& context, const std::string& name, const Session& session) {
    EXPECT_TRUE(talk(context, {.server_name = name, .session = session}).resumed) << name;
  }

  const Identity identity_ = make_self_signed({test::kServerName, kOther, kAddress}).value();
  Context server_ = Context::create(Role::kServer).value();
  test::OwnEntries entries_;
};

TEST_P(SessionOffer, SessionIsForTheNameThatWasAskedForAlone) {
  const Context context = client();
  const Session session = session_of(context);
  expect_refused(context, kOther, session);
  expect_refused(context, kAddress, session);
  expect_refused(context, test::kServerName, session_of(context, kAddress));
  expect_refused(context, "192.0.2.2", session_of(context, kAddress));
  expect_resumed(context, kAddress, session_of(context, kAddress));
  expect_resumed(context, "SERVER.test", session);
  expect_resumed(context, test::kServerName,
                 Session::parse(session_of(context).serialise()).value());
}

// OpenSSL makes one unusable whose connection ends without close_notify, as each of these does.
TEST_P(SessionOffer, SessionIsResumedHoweverItsConnectionsEnd) {
  Context context = client();
  std::vector<Session> told;
  context.on_new_session([&](const ConnectionView&, const Session& session) {
    told.push_back(session);
    return Result<void>();
  });
  const Session session = session_of(context);
  ASSERT_FALSE(told.empty());
  for (const Session& each : {session, told.back()}) {
    EXPECT_TRUE(each.is_resumable());
    expect_resumed(context, test::kServerName, each);
    EXPECT_TRUE(each.is_resumable()) << "after it was resumed";
    expect_resumed(context, test::kServerName, each);
  }
}

// CPython: ThreadedTests.test_session.
TEST_P(SessionOffer, SessionsAreEqualIfTheyAreOne) {
  const Context context = client();
  const Session session = session_of(context);
  const Session copy = session;
  EXPECT_EQ(session, copy);
  EXPECT_EQ(session, Session::parse(session.serialise()).value());
  EXPECT_NE(session, session_of(context));
  // Those of TLS 1.3 have no id before their ticket comes, and yet are two.
  const auto made = [] {
    const openssl::SessionPtr bare(SSL_SESSION_new());
    return Session(bare.get());
  };
  const Session bare = made();
  EXPECT_EQ(bare, Session(bare.native_handle()));
  EXPECT_NE(bare, made());
}

TEST_P(SessionOffer, SessionIsForTheSameTrustAndVerificationAlone) {
  const Session session = session_of(client());
  expect_resumed(client(), test::kServerName, session);
  Context more = client();
  const Identity& other = test::identity();
  more.add_trusted_certificates(test::bytes(other.certificate_pem)).value();
  Context careless = client();
  careless.set_verify_mode(VerifyMode::kNone);
  careless.set_check_hostname(false);
  Context nameless = client();
  nameless.set_check_hostname(false);
  Context known = client();
  known.use_cert_chain(other.certificate_pem, other.key_pem).value();
  Context checks_crls = client();
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(checks_crls.native_handle()),
                              X509_V_FLAG_CRL_CHECK);
  for (const Context* const context : {&more, &careless, &nameless, &known, &checks_crls}) {
    expect_refused(*context, test::kServerName, session);
  }
  for (const Context* const context : {&more, &careless, &nameless, &known}) {
    expect_refused(client(), test::kServerName, session_of(*context));
  }
}

TEST_P(SessionOffer, TrustThatGrewNeedsANewSession) {
  Context context = client();
  const Session session = session_of(context);
  context.add_trusted_certificates(test::bytes(test::identity().certificate_pem)).value();
  expect_refused(context, test::kServerName, session);
}

TEST_P(SessionOffer, SessionOfOtherCodeIsVerifiedAgain) {
  Context context = adopted();
  const Session session = session_of(context);
  for (const Session& each : {session, Session::parse(session.serialise()).value()}) {
    EXPECT_TRUE(offer(client(), test::kServerName, each));
    EXPECT_TRUE(offer(client(), kAddress, each));
  }
  EXPECT_TRUE(offer(client(), kOther, session)) << "whether to resume it is for the server";
  expect_resumed(client(), test::kServerName, session);
  expect_refused(client(), "third.test", session);
  expect_refused(client(), "192.0.2.2", session);
  const Context stranger = test::client_context();
  expect_refused(stranger, test::kServerName, session);
  context.set_verify_mode(VerifyMode::kNone);
  EXPECT_TRUE(offer(context, "third.test", session_of(context)));
}

TEST_P(SessionOffer, AdoptedContextTakesSessionsThatItVerifies) {
  const Session session = session_of(client());
  expect_resumed(adopted(), test::kServerName, session);
  expect_refused(adopted(), "third.test", session);
}

TEST_P(SessionOffer, ServerOffersNone) {
  auto refused = offer(server_, "", session_of(client()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
}

INSTANTIATE_TEST_SUITE_P(Versions, SessionOffer, test::kTlsVersions, test::version_name);

}  // namespace
}  // namespace heddle
