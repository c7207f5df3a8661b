// Victims that are switched away from inside an OpenSSL call, or inside their own code.
#include <array>
#include <cstddef>
#include <string>

#include <openssl/err.h>

#include "stale/victims.h"

namespace heddle::stale {
namespace {

using KeyContextPtr = openssl::Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;

Finding read_in_bio(Scene& scene) {
  scene.need_switches_inside();
  scene.start_leaker();
  const Pair& pair = scene.connect(scene.any_role());
  scene.hooks().before_read = [&scene] { scene.leak_inside(); };
  push_switch_bio(scene.native(pair), scene.hooks());
  std::array<std::byte, 16> into{};
  return expect_waiting(pair.victim->read(into, Patience::kNone));
}

Finding handshake_in_bio(Scene& scene) {
  scene.need_switches_inside();
  scene.start_leaker();
  Pair& pair = scene.make_pair(Role::kClient);
  scene.hooks().before_read = [&scene] { scene.leak_inside(); };
  push_switch_bio(scene.native(pair), scene.hooks());
  return expect_done(scene.handshake(pair));
}

// The server's certificate is not trusted. While the alert that says so is written, another fiber
// uses OpenSSL.
Finding untrusted_in_alert(Scene& scene) {
  scene.need_switches_inside();
  scene.start_leaker();
  Pair& pair = scene.make_pair(Role::kClient, Trusts::kNobody);
  SSL* const ssl = scene.native(pair);
  scene.hooks().before_write = [&scene, ssl] {
    if (SSL_get_verify_result(ssl) != X509_V_OK && !scene.origin()) scene.leak_inside();
  };
  push_switch_bio(ssl, scene.hooks());
  return expect_failure(scene.handshake(pair), Answer::kUntrusted);
}

int switch_in_servername(SSL* /*ssl*/, int* /*alert*/, void* scene) {
  static_cast<Scene*>(scene)->leak_inside();
  return SSL_TLSEXT_ERR_OK;
}

Finding handshake_in_servername(Scene& scene) {
  scene.need_switches_inside();
  scene.start_leaker();
  Pair& pair = scene.make_pair(Role::kServer);
  SSL_CTX* const ctx = SSL_get_SSL_CTX(scene.native(pair));
  SSL_CTX_set_tlsext_servername_callback(ctx, switch_in_servername);
  SSL_CTX_set_tlsext_servername_arg(ctx, &scene);
  return expect_done(scene.handshake(pair));
}

int scene_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

int switch_in_verify(int verified, X509_STORE_CTX* store) {
  const auto* const ssl = static_cast<const SSL*>(
      X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* const scene = static_cast<Scene*>(SSL_get_ex_data(ssl, scene_index()));
  if (!scene->origin()) scene->leak_inside();
  return verified;
}

// A client verifies under an error mark, and afterwards drops everything above it: entries of
// others that came meanwhile are lost to their owners.
Finding handshake_in_verify(Scene& scene) {
  scene.need_switches_inside();
  scene.start_leaker();
  Pair& pair = scene.make_pair(Role::kClient);
  SSL* const ssl = scene.native(pair);
  require(SSL_set_ex_data(ssl, scene_index(), &scene) == 1, "no memory");
  SSL_set_verify(ssl, SSL_get_verify_mode(ssl), switch_in_verify);
  Finding finding = expect_done(scene.handshake(pair));
  scene.end();
  if (finding.verdict == Verdict::kHealthy && !scene.leaker_found_its_entries()) {
    return {Verdict::kLost, "the other fiber's errors are gone"};
  }
  return finding;
}

// Plain OpenSSL in the stack's fibers: the switch comes after SSL_read() has failed, and before
// anybody has asked why.
Finding read_before_get_error(Scene& scene) {
  scene.start_leaker();
  const RawPair pair(materials().server_ctx.get());
  char byte = 0;
  const int rc = SSL_read(pair.client(), &byte, 1);
  scene.leak();
  // tidy: this is the careless application.
  const int error = SSL_get_error(pair.client(), rc);
  ERR_clear_error();
  return expect_waiting({error == SSL_ERROR_WANT_READ ? Answer::kWaiting : Answer::kTlsFailed, 0,
                         "SSL_get_error returned " + std::to_string(error)});
}

// The application's own call fails, and it is switched away from before it reads the reason.
Finding evp_before_reading(Scene& scene) {
  scene.start_leaker();
  const openssl::KeyPtr key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  const KeyContextPtr context(EVP_PKEY_CTX_new(key.get(), nullptr));
  std::array<unsigned char, 64> signature{};
  std::size_t size = signature.size();
  ERR_clear_error();
  require(context && EVP_PKEY_sign(context.get(), signature.data(), &size, signature.data(), 1) < 1,
          "a signature without a beginning was made");
  const unsigned long truth = ERR_peek_last_error();
  scene.leak();
  const unsigned long seen = ERR_peek_last_error();
  Finding finding{seen == truth ? Verdict::kHealthy : Verdict::kLost, "its own error"};
  if (seen == 0) finding.saw = "no error at all";
  if (seen != 0 && seen != truth) finding.saw = "the other's: " + ErrorEntry{seen}.message();
  ERR_clear_error();
  return finding;
}

constexpr std::array kSituations = {
    Situation{"read", "bio-read", read_in_bio},
    Situation{"handshake", "bio-read", handshake_in_bio},
    Situation{"untrusted", "alert-write", untrusted_in_alert},
    Situation{"handshake", "sni-callback", handshake_in_servername},
    Situation{"handshake", "verify-callback", handshake_in_verify},
    Situation{"read", "before-get-error", read_before_get_error},
    Situation{"evp", "before-reading", evp_before_reading},
};

}  // namespace

std::span<const Situation> inside_situations() {
  return kSituations;
}

}  // namespace heddle::stale
