// What a connection has to do with kernel TLS: detection, keys, records that are no application
// data.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "heddle/result.h"
#include "heddle/tls/ktls.h"
#include "heddle/transport.h"

#include "fiber/user_code.h"
#include "openssl/handles.h"

namespace heddle::tls {

// KernelTlsStates are those of a connection's two directions.
struct KernelTlsStates {
  KernelTlsState send = KernelTlsState::kNotAsked;
  KernelTlsState receive = KernelTlsState::kNotAsked;
};

// What OpenSSL tells a BIO of kernel TLS, and has no names for in its headers. Of these numbers,
// <openssl/bio.h> says in a comment that they are taken. If they change one day, keys stay in user
// space.
inline constexpr int kControlSetKeys = 72;
inline constexpr int kControlSetRecordType = 74;
inline constexpr int kControlClearRecordType = 75;

// Why this transport cannot have kernel TLS; kActive if it can.
KernelTlsState kernel_tls_obstacle(const Transport& transport);

// An Error that says so, for those who insist.
Error kernel_tls_error(KernelTlsState state);

// KernelRecords is the kernel's half of one connection: the descriptor below the transport, used
// only for what read() and write() of the transport cannot do. It takes part from the start of the
// handshake.
//
// OpenSSL tells its BIO of the keys by control calls that are not public, and the socket BIO alone
// understands what is handed over. So one is kept here, and gets those calls, and the reading of
// records.
class KernelRecords {
 public:
  // `mode` is not kOff. Both others outlive it. Tells `ssl` to offer its keys.
  KernelRecords(KernelTls mode, SSL* ssl, Transport& transport);

  bool sends() const noexcept { return states_.send == KernelTlsState::kActive; }
  bool receives() const noexcept { return states_.receive == KernelTlsState::kActive; }
  const KernelTlsStates& states() const noexcept { return states_; }

  // Whether bytes may be read of which OpenSSL does not know yet: not while the kernel may get the
  // keys.
  bool may_read_ahead() const noexcept { return settled_ && !receives(); }
  bool settled() const noexcept { return settled_; }

  // The kernel gets the keys of a direction, or new ones, if that is wise. Returns whether it has
  // them.
  bool take_keys(bool for_sending, void* keys) noexcept;
  // It does not: `why`.
  void refuse_keys(bool for_sending, KernelTlsState why) noexcept;

  // The handshake is done: finds out why the kernel does not have what it does not have, and
  // counts. Fails if the context insists.
  Result<void> settle();

  // Whether what OpenSSL writes is a KeyUpdate that would leave the kernel with the old keys.
  static bool is_key_update(std::uint8_t record_type, std::span<const std::byte> message) noexcept;
  bool survives_key_update() const noexcept { return kernel_tls_support().key_update; }

  // One record, with the header that OpenSSL expects. Precondition: receives().
  IoResult read(std::span<std::byte> into);
  // Bytes of any records, to be dropped. Precondition: receives().
  IoResult drop(std::span<std::byte> into);
  // A record that is no application data. Precondition: sends().
  IoResult write(std::uint8_t record_type, std::span<const std::byte> from);
  // Application data from a file: kEnd at its end. Precondition: sends().
  IoResult sendfile(int file, std::uint64_t offset, std::size_t count);

 private:
  IoResult outcome(ssize_t count, int sys_errno, Interest interest) noexcept;
  KernelTlsState why_not_offered(bool for_sending) const noexcept;

  const KernelTls mode_;
  SSL* const ssl_;
  Transport& transport_;
  const int descriptor_;
  openssl::BioPtr socket_bio_;  // From the first keys on.
  KernelTlsStates states_{KernelTlsState::kHandshake, KernelTlsState::kHandshake};
  bool settled_ = false;
};

// KernelDrain reads what nobody wants any more. A plain recv() fails on records that are no
// application data.
class KernelDrain final : public Transport {
 public:
  KernelDrain(KernelRecords& records, Transport& below) noexcept
      : records_(records), below_(below) {}

  IoResult try_read(std::span<std::byte> into) override { return records_.drop(into); }
  IoResult try_write(std::span<const std::byte> from) override {
    return fiber::call_user(&Transport::try_write, below_, from);
  }
  Wake wait(Interest interest, Deadline deadline) override {
    return fiber::call_user(&Transport::wait, below_, interest, deadline);
  }
  void shutdown_write() noexcept override { fiber::call_user(&Transport::shutdown_write, below_); }

 private:
  KernelRecords& records_;
  Transport& below_;
};

// For KernelTlsStats.
void count_kernel_connection(const KernelTlsStates& states) noexcept;
void count_refused_key_update() noexcept;
void count_sendfile(bool by_kernel, std::size_t bytes) noexcept;

}  // namespace heddle::tls
