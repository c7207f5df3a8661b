// How a context that nobody has configured verifies. Its ciphers, groups and modes: context_test.
#include <gtest/gtest.h>
#include <openssl/x509_vfy.h>

#include "heddle/tls/context.h"

#include "support/own_entries.h"

namespace heddle {
namespace {

class ContextDefaultsTest : public testing::TestWithParam<Role> {
 protected:
  Context context_ = Context::create(GetParam(), Trust::kNothing).value();
  test::OwnEntries entries_;
};

// CPython: ContextTests.test_create_default_context.
TEST_P(ContextDefaultsTest, ChainsMayBePartialAndMustBeStrict) {
  EXPECT_TRUE(context_.strict());
  EXPECT_NE(context_.verify_flags() & X509_V_FLAG_PARTIAL_CHAIN, 0U);
}

// CPython: ContextTests.test_load_default_certs, test_set_default_verify_paths. What the system
// trusts, if anything, is its own business.
TEST_P(ContextDefaultsTest, TrustOfTheSystemMayBeAdded) {
  const auto loaded = context_.load_default_certs();
  EXPECT_TRUE(loaded) << loaded.error().message();
}

INSTANTIATE_TEST_SUITE_P(Roles, ContextDefaultsTest, testing::Values(Role::kClient, Role::kServer));

}  // namespace
}  // namespace heddle
