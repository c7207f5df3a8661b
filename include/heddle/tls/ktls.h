// Kernel TLS: records that Linux encrypts and decrypts itself, so that files go out with
// sendfile().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "heddle/export.h"

namespace heddle {

// What a Context asks for: see Context::set_kernel_tls(). Kernel TLS needs a TCP socket as
// transport, Linux with the module `tls`, an OpenSSL that is built for it, and AES-GCM or
// ChaCha20-Poly1305; AES-CCM where OpenSSL offers it. Receiving under TLS 1.3 needs OpenSSL 3.2.
//
// The trap is TLS 1.3's KeyUpdate (RFC 8446, 4.6.3): either peer may send one at any time, and may
// ask for one in return; the kernel then needs the new keys. Measured:
//
//   OpenSSL                  Linux < 6.14                  Linux >= 6.14
//   3.0, 3.1                 goes on with the old key in silence: the peer gets garbage
//   3.2 to 3.4               fails                         not measured: taken for unable
//   3.5 on                   fails                         works
//
// Heddle never sends garbage: where the kernel would not get the new keys, the connection fails
// with kDisconnected before the KeyUpdate leaves, that is, when this end writes after the peer has
// asked for one, or after SSL_key_update() was called. TLS 1.2 has no KeyUpdate.
enum class KernelTls : std::uint8_t {
  kOff,
  // Where it is available and a KeyUpdate does no harm: under TLS 1.3 only with OpenSSL 3.5 and
  // Linux 6.14 or newer. Everything else stays in user space, and Stream::ktls_send() says why.
  kAutomatic,
  // The kernel encrypts what is sent, or the handshake fails. Under TLS 1.3 a peer that asks for a
  // KeyUpdate may end the connection, as said above. Receiving is as with kAutomatic.
  kOn,
};

// Whether the kernel handles one direction of a connection; if not, why.
enum class KernelTlsState : std::uint8_t {
  kActive,      // The kernel.
  kNotAsked,    // The context says KernelTls::kOff.
  kHandshake,   // The handshake is not done.
  kNoOpenssl,   // OpenSSL is built without it.
  kNoModule,    // The kernel has no module `tls`, or none that this process may use.
  kNoSocket,    // The transport is no TCP socket.
  kOldOpenssl,  // Receiving under TLS 1.3 takes OpenSSL 3.2.
  kKeyUpdate,   // TLS 1.3, and a KeyUpdate would break the connection.
  kCipher,      // OpenSSL does not hand this cipher to the kernel.
  kSetting,     // A setting forbids it: maximum fragment size, padding, or SSL_OP_ENABLE_KTLS taken
                // away.
  kRefused,     // The kernel did not take the keys: it may lack the cipher.
  kBusy,        // Bytes under the old keys were still to be sent, or had been read ahead.
};
inline constexpr std::size_t kKernelTlsStates = 12;

// Describes the state in one line.
HEDDLE_API const char* describe(KernelTlsState state) noexcept;

// What is available to this process. It is determined once, by a connection to itself.
struct KernelTlsSupport {
  KernelTlsState state;  // kActive, kNoOpenssl or kNoModule.
  int sys_errno;         // Why there is no module, such as ENOENT; else 0.
  bool key_update;       // Whether OpenSSL and kernel together survive a KeyUpdate.
};
HEDDLE_API const KernelTlsSupport& kernel_tls_support();

// Counted since the process started, over all threads. A connection counts when its handshake is
// done.
struct KernelTlsStats {
  std::uint64_t connections = 0;                          // Of contexts that do not say kOff.
  std::array<std::uint64_t, kKernelTlsStates> send{};     // By KernelTlsState.
  std::array<std::uint64_t, kKernelTlsStates> receive{};  // The same.
  std::uint64_t key_updates_refused = 0;                  // Connections ended for that.
  std::uint64_t sendfile_kernel_bytes = 0;                // Of Stream::sendfile().
  std::uint64_t sendfile_copied_bytes = 0;
};
HEDDLE_API KernelTlsStats kernel_tls_stats() noexcept;

}  // namespace heddle
