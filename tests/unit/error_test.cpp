// Error: what it says in a log, and the context that is added to it.
#include "heddle/error.h"

#include <array>
#include <cerrno>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "heddle/result.h"

#include "openssl/error.h"

namespace heddle {
namespace {

constexpr Error kRefused{
    .code = Errc::kUnreachable, .sys_errno = ECONNREFUSED, .operation = "connect"};

TEST(ErrorTest, MessageIsContextOperationVerdictReasonAndDetail) {
  const Error whole{.code = Errc::kInvalid,
                    .sys_errno = ENOENT,
                    .operation = "load it",
                    .detail = "make it first"};
  EXPECT_EQ(whole.with("a file").message(),
            "a file: load it: not usable: No such file or directory: make it first");
  EXPECT_EQ(kRefused.message(), "connect: unreachable: Connection refused");
  EXPECT_EQ((Error{.code = Errc::kTimedOut, .operation = "read"}.message()), "read: timed out");
  const Error of_openssl{.code = Errc::kProtocol,
                         .openssl_code = ERR_PACK(ERR_LIB_PEM, 0, 108 /* PEM_R_NO_START_LINE */),
                         .operation = "parse it",
                         .detail = "it is PEM"};
  const std::string message = of_openssl.message();
  EXPECT_EQ(message.find("parse it: TLS failure: "), 0U) << message;
  EXPECT_TRUE(message.ends_with(": it is PEM")) << message;
  const Error untrusted{.code = Errc::kUntrusted,
                        .verify_depth = 1,
                        .verify_code = X509_V_ERR_CERT_HAS_EXPIRED,
                        .operation = "SSL_do_handshake",
                        .detail = "renew it"};
  EXPECT_EQ(openssl::message_about(untrusted.with("host.test"), "CN=Inter"),
            "host.test: SSL_do_handshake: the peer's certificate is not trusted: certificate 1, "
            "CN=Inter, has expired (10): renew it");
}

TEST(ErrorTest, PartsThatAreEmptyAreLeftOut) {
  EXPECT_EQ((Error{.code = Errc::kCancelled}.message()), "cancelled");
  EXPECT_EQ((Error{.code = Errc::kCancelled, .detail = "why"}.message()), "cancelled: why");
  EXPECT_EQ((Error{.code = Errc::kCancelled}.with("what for").message()), "what for: cancelled");
}

TEST(ErrorTest, NewestContextComesFirst) {
  EXPECT_EQ(kRefused.context(), "");
  const Error inner = kRefused.with("127.0.0.1:443");
  EXPECT_EQ(inner.context(), "127.0.0.1:443");
  const Error outer = inner.with("upstream eu-1").with("request 7");
  EXPECT_EQ(outer.context(), "request 7: upstream eu-1: 127.0.0.1:443");
  EXPECT_EQ(outer.message(),
            "request 7: upstream eu-1: 127.0.0.1:443: connect: unreachable: Connection refused");
  EXPECT_EQ(inner.context(), "127.0.0.1:443") << "it is another Error";
  EXPECT_EQ(outer.code, kRefused.code);
  EXPECT_EQ(outer.sys_errno, kRefused.sys_errno);
  EXPECT_STREQ(outer.operation, kRefused.operation);
}

TEST(ErrorTest, EmptyTextAddsNothing) {
  EXPECT_EQ(kRefused.with("").context(), "");
  EXPECT_EQ(kRefused.with("host").with("").context(), "host");
}

TEST(ErrorTest, ContextIsOneLineThatDeceivesNobody) {
  EXPECT_EQ(kRefused.with("a\nb\x1b[31m\xff").context(), "a\\0Ab\\1B[31m\\FF");
  EXPECT_EQ(kRefused.with(std::string("a\0b", 3)).context(), "a\\00b");
  EXPECT_EQ(kRefused.with("\xe2\x80\xae").context(), "\\E2\\80\\AE") << "changes the direction";
  EXPECT_EQ(kRefused.with("m\xc3\xbcnchen").context(), "m\xc3\xbcnchen");
}

TEST(ErrorTest, ContextIsBounded) {
  const Error one = kRefused.with(std::string(1000, 'x'));
  EXPECT_EQ(one.context(), std::string(253, 'x') + "...");
  Error many = kRefused.with("innermost");
  for (int i = 0; i < 100; ++i) {
    const std::size_t before = many.context().size();
    many = many.with(std::string(200, 'y'));
    EXPECT_GE(many.context().size(), before);
  }
  EXPECT_GT(many.context().size(), 1000U);
  EXPECT_LE(many.context().size(), 1024U);
  EXPECT_TRUE(many.context().ends_with("yyy: innermost")) << "the cause is kept";
}

TEST(ErrorTest, CopiesShareTheContextAndOutliveEachOther) {
  Error copy;
  {
    const Error error = kRefused.with("host");
    copy = error;
    EXPECT_EQ(copy.context().data(), error.context().data());
  }
  EXPECT_EQ(copy.context(), "host");
  Error moved = std::move(copy);
  EXPECT_EQ(moved.context(), "host");
  Error& same = moved;
  moved = same;
  EXPECT_EQ(moved.context(), "host");
  moved = kRefused;
  EXPECT_EQ(moved.context(), "");
}

TEST(ErrorTest, ContextGoesThroughResultsAndExceptions) {
  const Result<int> number = kRefused.with("host");
  const Result<void> nothing = number.error();
  EXPECT_EQ(nothing.error().context(), "host");
  try {
    (void)Result<int>(number).value();
    ADD_FAILURE() << "it throws";
  } catch (const Exception& thrown) {
    EXPECT_EQ(thrown.error().context(), "host");
    EXPECT_STREQ(thrown.what(), "host: connect: unreachable: Connection refused");
  }
}

TEST(ErrorTest, ThreadsMayShareAContext) {
  const Error error = kRefused.with("host");
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([error] {
      for (int turn = 0; turn < 1000; ++turn) {
        const Error copy = error;
        EXPECT_EQ(copy.with("turn").context(), "turn: host");
      }
    });
  }
}

}  // namespace
}  // namespace heddle
