// What this process can have of kernel TLS, and what has come of it.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include <openssl/crypto.h>
#include <openssl/opensslconf.h>

#if __has_include(<linux/tls.h>)
#include <linux/tls.h>
#define HEDDLE_HAS_LINUX_TLS 1
#else
#define HEDDLE_HAS_LINUX_TLS 0
#endif

#include "heddle/tls/ktls.h"

#include "base/unique_fd.h"
#include "tls/kernel/ktls.h"

namespace heddle {
namespace {

struct Counters {
  std::atomic<std::uint64_t> connections{0};
  std::array<std::atomic<std::uint64_t>, kKernelTlsStates> send{};
  std::array<std::atomic<std::uint64_t>, kKernelTlsStates> receive{};
  std::atomic<std::uint64_t> key_updates_refused{0};
  std::atomic<std::uint64_t> sendfile_kernel_bytes{0};
  std::atomic<std::uint64_t> sendfile_copied_bytes{0};
};

Counters& counters() noexcept {
  static Counters all;
  return all;
}

void add(std::atomic<std::uint64_t>& counter, std::uint64_t more = 1) noexcept {
  counter.fetch_add(more, std::memory_order_relaxed);
}

#if HEDDLE_HAS_LINUX_TLS && !defined(OPENSSL_NO_KTLS)

// A TCP connection of this process to itself, as the module takes no other socket.
UniqueFd connect_to_ourselves(UniqueFd& listener) {
  constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC;
  listener = UniqueFd(::socket(AF_INET, kType, 0));
  UniqueFd client(::socket(AF_INET, kType, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  const bool connected =
      listener && client && ::bind(listener.get(), generic, sizeof(address)) == 0 &&
      ::listen(listener.get(), 1) == 0 && ::getsockname(listener.get(), generic, &size) == 0 &&
      ::connect(client.get(), generic, sizeof(address)) == 0;
  return connected ? std::move(client) : UniqueFd();
}

// Whether the kernel takes keys in place of those that it has: from Linux 6.14 on.
bool takes_new_keys(int descriptor) {
  tls12_crypto_info_aes_gcm_128 keys{};
  keys.info.version = TLS_1_3_VERSION;
  keys.info.cipher_type = TLS_CIPHER_AES_GCM_128;
  const auto hand_over = [&] {
    return ::setsockopt(descriptor, 282 /* SOL_TLS */, TLS_TX, &keys, sizeof(keys)) == 0;
  };
  return hand_over() && hand_over();
}

bool openssl_hands_new_keys_over() {
  return OPENSSL_version_major() > 3 ||
         (OPENSSL_version_major() == 3 && OPENSSL_version_minor() >= 5);
}

KernelTlsSupport find_support() {
  constexpr char kName[] = "tls";
  UniqueFd listener;
  const UniqueFd socket = connect_to_ourselves(listener);
  if (!socket || ::setsockopt(socket.get(), IPPROTO_TCP, TCP_ULP, kName, sizeof(kName) - 1) != 0) {
    return {.state = KernelTlsState::kNoModule, .sys_errno = errno, .key_update = false};
  }
  return {.state = KernelTlsState::kActive,
          .sys_errno = 0,
          .key_update = openssl_hands_new_keys_over() && takes_new_keys(socket.get())};
}

#else

KernelTlsSupport find_support() {
  return {.state = KernelTlsState::kNoOpenssl, .sys_errno = 0, .key_update = false};
}

#endif

}  // namespace

const char* describe(KernelTlsState state) noexcept {
  switch (state) {
    case KernelTlsState::kActive:
      return "kernel TLS: in use";
    case KernelTlsState::kNotAsked:
      return "kernel TLS: not asked for";
    case KernelTlsState::kHandshake:
      return "kernel TLS: the handshake is not done";
    case KernelTlsState::kNoOpenssl:
      return "kernel TLS: OpenSSL is built without it";
    case KernelTlsState::kNoModule:
      return "kernel TLS: the kernel has no module tls, or it is not loaded (modprobe tls)";
    case KernelTlsState::kNoSocket:
      return "kernel TLS: the transport is no TCP socket";
    case KernelTlsState::kOldOpenssl:
      return "kernel TLS: receiving under TLS 1.3 takes OpenSSL 3.2";
    case KernelTlsState::kKeyUpdate:
      return "kernel TLS: under TLS 1.3 a KeyUpdate takes OpenSSL 3.5 and Linux 6.14";
    case KernelTlsState::kCipher:
      return "kernel TLS: OpenSSL does not hand this cipher to the kernel";
    case KernelTlsState::kSetting:
      return "kernel TLS: a setting of the connection forbids it";
    case KernelTlsState::kRefused:
      return "kernel TLS: the kernel did not take the keys; it may lack the cipher";
    case KernelTlsState::kBusy:
      return "kernel TLS: bytes under the old keys were still on their way";
  }
  return "kernel TLS";
}

const KernelTlsSupport& kernel_tls_support() {
  static const KernelTlsSupport support = find_support();
  return support;
}

KernelTlsStats kernel_tls_stats() noexcept {
  const Counters& all = counters();
  const auto load = [](const std::atomic<std::uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  KernelTlsStats stats{.connections = load(all.connections),
                       .key_updates_refused = load(all.key_updates_refused),
                       .sendfile_kernel_bytes = load(all.sendfile_kernel_bytes),
                       .sendfile_copied_bytes = load(all.sendfile_copied_bytes)};
  std::ranges::transform(all.send, stats.send.begin(), load);
  std::ranges::transform(all.receive, stats.receive.begin(), load);
  return stats;
}

void tls::count_kernel_connection(const KernelTlsStates& states) noexcept {
  add(counters().connections);
  add(counters().send.at(static_cast<std::size_t>(states.send)));
  add(counters().receive.at(static_cast<std::size_t>(states.receive)));
}

void tls::count_refused_key_update() noexcept {
  add(counters().key_updates_refused);
}

void tls::count_sendfile(bool by_kernel, std::size_t bytes) noexcept {
  add(by_kernel ? counters().sendfile_kernel_bytes : counters().sendfile_copied_bytes, bytes);
}

}  // namespace heddle
