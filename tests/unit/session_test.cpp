// Sessions and ticket keys as values.
#include "heddle/tls/session.h"

#include <string>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "openssl/handles.h"

namespace heddle {
namespace {

TEST(TicketKey, GeneratedOnesDiffer) {
  const TicketKey one = TicketKey::generate().value();
  const TicketKey other = TicketKey::generate().value();
  EXPECT_NE(one.name, other.name);
  EXPECT_NE(one.aes, other.aes);
  EXPECT_NE(one.hmac, other.hmac);
  EXPECT_NE(one.aes, one.hmac);
}

TEST(TicketKey, ReadsWhatItWrote) {
  const TicketKey key = TicketKey::generate().value();
  const std::string bytes = key.serialise();
  ASSERT_EQ(bytes.size(), 80U);
  const TicketKey read = TicketKey::parse(bytes).value();
  EXPECT_EQ(read.name, key.name);
  EXPECT_EQ(read.aes, key.aes);
  EXPECT_EQ(read.hmac, key.hmac);
  EXPECT_EQ(TicketKey::parse(bytes + "x").error().code, Errc::kInvalid);
  EXPECT_EQ(TicketKey::parse(bytes.substr(1)).error().code, Errc::kInvalid);
}

TEST(Session, WhatIsNoSessionIsRefusedAndLeavesNoEntry) {
  const openssl::SessionPtr made(SSL_SESSION_new());
  SSL_SESSION_set_protocol_version(made.get(), TLS1_2_VERSION);
  const SSL_CIPHER* cipher = nullptr;
  const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_method()));
  const openssl::SslPtr ssl(SSL_new(ctx.get()));
  const std::array<unsigned char, 2> id{0x13, 0x01};
  cipher = SSL_CIPHER_find(ssl.get(), id.data());
  SSL_SESSION_set_cipher(made.get(), cipher);
  const std::string good = Session(made.get()).serialise();
  ERR_clear_error();
  ASSERT_TRUE(Session::parse(good)) << Session::parse(good).error().message();
  for (const std::string& bad :
       {std::string(), std::string("nonsense"), good.substr(0, good.size() - 1), good + "x"}) {
    const auto parsed = Session::parse(bad);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, Errc::kInvalid);
    EXPECT_STREQ(parsed.error().operation, "parse a TLS session");
  }
  EXPECT_EQ(ERR_peek_error(), 0U);
}

}  // namespace
}  // namespace heddle
