// Pre-shared keys, and the key log: by callbacks that park.
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "heddle/tls/callbacks.h"

#include "support/callback_world.h"
#include "support/seeds.h"

namespace heddle {
namespace {

using test::Conversation;

const std::string kKey(32, 'k');

class PskSim : public testing::TestWithParam<std::tuple<TlsVersion, std::uint64_t>> {
 protected:
  PskSim() {
    client_.set_versions(version(), version()).value();
    client_.on_psk_client([this](const ConnectionView&, std::string_view) {
      world_.park();
      return offered_;
    });
    server_.on_psk_server([this](const ConnectionView&, std::string_view identity) {
      world_.park();
      return identity == "me" ? known_ : std::nullopt;
    });
  }

  TlsVersion version() const { return std::get<0>(GetParam()); }
  bool tls13() const { return version() == TlsVersion::kTls13; }

  std::unique_ptr<Conversation> talk() { return world_.talk(server_, client_); }

  test::CallbackWorld world_{std::get<1>(GetParam())};
  // Neither has a certificate, or trusts one.
  Context client_ = Context::create(Role::kClient, Trust::kNothing).value();
  Context server_ = Context::create(Role::kServer).value();
  std::optional<Psk> offered_ = Psk{.identity = "me", .key = kKey};
  std::optional<Psk> known_ = Psk{.key = kKey};
};

TEST_P(PskSim, KeyOfBothReplacesCertificates) {
  world_.run([&] {
    const auto well = talk();
    well->expect_well();
    EXPECT_TRUE(well->client.stream->peer_certificates().empty());
  });
  EXPECT_EQ(world_.parks(), 2) << "each is asked once";
}

TEST_P(PskSim, WrongKeyEndsTheHandshake) {
  known_->key[0] = 'x';
  world_.run([&] {
    const auto wrong = talk();
    EXPECT_FALSE(wrong->client.well());
    ASSERT_TRUE(wrong->server.error);
    EXPECT_EQ(wrong->server.error->code, Errc::kProtocol) << wrong->server.message();
  });
}

TEST_P(PskSim, UnknownIdentityEndsTheHandshakeOrFallsBackToACertificate) {
  const Identity& identity = test::identity();
  server_.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
  client_.add_trusted_certificates(test::bytes(identity.certificate_pem)).value();
  if (!tls13()) client_.set_ciphers("PSK-AES128-GCM-SHA256").value();
  offered_->identity = "somebody else";
  world_.run([&] {
    const auto unknown = talk();
    if (tls13()) {
      unknown->expect_well();
      EXPECT_EQ(unknown->client.stream->peer_certificates().size(), 1U);
    } else {
      EXPECT_EQ(ERR_GET_REASON(unknown->client.error->openssl_code),
                SSL_AD_REASON_OFFSET + SSL_AD_UNKNOWN_PSK_IDENTITY);
    }
  });
  EXPECT_EQ(world_.parks(), 2) << "each is asked once";
}

TEST_P(PskSim, ClientWithoutAKeyIsAskedOnceAndGoesOnWithCertificates) {
  const Identity& identity = test::identity();
  server_.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
  client_.add_trusted_certificates(test::bytes(identity.certificate_pem)).value();
  offered_.reset();
  world_.run([&] { talk()->expect_well(); });
  EXPECT_EQ(world_.parks(), tls13() ? 1 : 0) << "TLS 1.2 asks when a PSK cipher was chosen";
}

TEST_P(PskSim, HashOfTheKeyIsTheCiphersuites) {
  if (!tls13()) return;
  offered_->hash = known_->hash = Psk::Hash::kSha384;
  server_.set_ciphersuites("TLS_AES_256_GCM_SHA384").value();
  world_.run([&] {
    const auto well = talk();
    well->expect_well();
    EXPECT_EQ(well->client.stream->connection_state().cipher, "TLS_AES_256_GCM_SHA384");
  });
}

TEST_P(PskSim, KeyOfAnImpossibleSizeIsRefused) {
  for (const std::string& key : {std::string(), std::string(257, 'k')}) {
    offered_ = Psk{.identity = "me", .key = key};
    world_.run([&] {
      const auto refused = talk();
      ASSERT_TRUE(refused->client.error);
      EXPECT_EQ(refused->client.error->code, Errc::kInvalid) << refused->client.message();
    });
  }
}

TEST_P(PskSim, ErrorsOfTheCallbacksEndTheConnectionWhole) {
  const auto fail = [&](std::string_view whose) -> Result<std::optional<Psk>> {
    world_.park();
    return Error{.code = Errc::kUnreachable, .operation = "find a key"}.with(whose);
  };
  server_.on_psk_server([&](const ConnectionView&, std::string_view) { return fail("server's"); });
  world_.run([&] {
    const auto talk = this->talk();
    EXPECT_EQ(talk->server.message(), "server's: find a key: unreachable");
    EXPECT_FALSE(talk->client.well());
  });
  client_.on_psk_client([&](const ConnectionView&, std::string_view) { return fail("client's"); });
  world_.run([&] {
    const auto talk = this->talk();
    EXPECT_EQ(talk->client.message(), "client's: find a key: unreachable");
    EXPECT_FALSE(talk->server.well());
  });
}

TEST_P(PskSim, IdentityThatIsTooLongIsRefused) {
  for (const std::size_t bytes : {std::size_t{129}, std::size_t{1000}}) {
    offered_->identity = std::string(bytes, 'i');
    world_.run([&] {
      const auto refused = talk();
      ASSERT_TRUE(refused->client.error);
      EXPECT_EQ(refused->client.error->code, Errc::kInvalid) << refused->client.message();
    });
  }
}

TEST_P(PskSim, RemovedCallbacksAreNotAskedAnyMore) {
  const Identity& identity = test::identity();
  server_.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
  client_.add_trusted_certificates(test::bytes(identity.certificate_pem)).value();
  client_.on_psk_client({});
  server_.on_psk_server({});
  world_.run([&] {
    const auto talk = this->talk();
    talk->expect_well();
    EXPECT_EQ(talk->client.stream->peer_certificates().size(), 1U);
  });
  EXPECT_EQ(world_.parks(), 0);
}

TEST_P(PskSim, WhatTheCallbacksThrowComesOutUnharmed) {
  server_.on_psk_server([&](const ConnectionView&, std::string_view) -> std::optional<Psk> {
    world_.park();
    throw std::runtime_error("of the server");
  });
  world_.run([&] {
    const auto talk = this->talk();
    EXPECT_EQ(talk->server.thrown, "of the server");
    EXPECT_FALSE(talk->client.well());
  });
  client_.on_psk_client([&](const ConnectionView&, std::string_view) -> std::optional<Psk> {
    world_.park();
    throw std::runtime_error("of the client");
  });
  world_.run([&] {
    const auto talk = this->talk();
    EXPECT_EQ(talk->client.thrown, "of the client");
    EXPECT_FALSE(talk->server.well());
  });
}

class KeyLogSim : public PskSim {
 protected:
  KeyLogSim() {
    std::string name = testing::TempDir() + "heddle-key-log-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~KeyLogSim() override { std::filesystem::remove_all(folder_); }

  std::string content() const {
    std::ostringstream text;
    text << std::ifstream(folder_ / "keys").rdbuf();
    return text.str();
  }

  const char* label() const { return tls13() ? "CLIENT_TRAFFIC_SECRET_0 " : "CLIENT_RANDOM "; }

  std::filesystem::path folder_;
};

TEST_P(KeyLogSim, LinesGoToTheCallback) {
  std::string lines;
  client_.on_key_log([&](const ConnectionView&, std::string_view line) {
    world_.park();
    lines += std::string(line) + '\n';
    return Result<void>();
  });
  world_.run([&] { talk()->expect_well(); });
  EXPECT_NE(lines.find(label()), std::string::npos) << lines;
  EXPECT_EQ(lines.find("\n\n"), std::string::npos) << lines;
}

TEST_P(KeyLogSim, LinesGoToTheEndOfAFileThatIsTheOwnersAlone) {
  const ::mode_t before = ::umask(0);
  ASSERT_TRUE(client_.set_key_log_file(folder_ / "keys"));
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat((folder_ / "keys").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  std::ofstream(folder_ / "keys") << "of another program\n";
  world_.run([&] { talk()->expect_well(); });
  const std::string of_client = content();
  EXPECT_EQ(of_client.find("of another program\n"), 0U);
  EXPECT_NE(of_client.find(label()), std::string::npos) << of_client;
  // Another context, the same file.
  ASSERT_TRUE(server_.set_key_log_file(folder_ / "keys"));
  world_.run([&] { talk()->expect_well(); });
  EXPECT_EQ(content().find(of_client), 0U);
  EXPECT_GE(content().size(),
            3 * of_client.size() - 3 * std::string("of another program\n").size());
}

TEST_P(KeyLogSim, FileThatCannotBeOpenedIsRefused) {
  const auto refused = client_.set_key_log_file(folder_ / "missing" / "keys");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
  EXPECT_EQ(refused.error().sys_errno, ENOENT);
  EXPECT_EQ(client_.set_key_log_file(folder_).error().sys_errno, EISDIR);
}

TEST_P(KeyLogSim, ErrorOfTheCallbackEndsTheConnectionWhole) {
  for (Context* const context : {&client_, &server_}) {
    context->on_key_log([&](const ConnectionView&, std::string_view) -> Result<void> {
      world_.park();
      return Error{.code = Errc::kExhausted, .sys_errno = ENOSPC, .operation = "log a key"}.with(
          "keys.log");
    });
    world_.run([&] {
      const auto talk = this->talk();
      const auto& failed = context == &client_ ? talk->client : talk->server;
      ASSERT_TRUE(failed.error);
      EXPECT_EQ(failed.error->message(),
                "keys.log: log a key: out of resources: No space left on device");
    });
    context->on_key_log({});
  }
}

TEST_P(KeyLogSim, WhatTheCallbackThrowsComesOutUnharmed) {
  server_.on_key_log([&](const ConnectionView&, std::string_view) -> Result<void> {
    world_.park();
    throw std::runtime_error("nowhere to write");
  });
  world_.run([&] {
    const auto talk = this->talk();
    EXPECT_EQ(talk->server.thrown, "nowhere to write");
    EXPECT_FALSE(talk->client.well());
  });
}

auto all() {
  return testing::Combine(testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                          test::seeds(1, 9));
}

std::string case_name(const testing::TestParamInfo<PskSim::ParamType>& test) {
  return (std::get<0>(test.param) == TlsVersion::kTls12 ? "tls12_seed_" : "tls13_seed_") +
         std::to_string(std::get<1>(test.param));
}

INSTANTIATE_TEST_SUITE_P(Seeds, PskSim, all(), case_name);
INSTANTIATE_TEST_SUITE_P(Seeds, KeyLogSim, all(), case_name);

}  // namespace
}  // namespace heddle
