// The lines on kernel TLS in README.md: readme_test.py compares the two, ktls_test.cpp runs these.
#pragma once

#include <cstdio>

#include "heddle/heddle.h"

namespace heddle::test {

// clang-format off
inline  // README
Result<std::size_t> send_file(Context& tls, Socket socket, int file) {
  tls.set_kernel_tls(KernelTls::kAutomatic).value();
  auto stream = Stream::create(tls, std::move(socket)).value();
  const Deadline deadline = this_fiber::after(std::chrono::minutes(1));
  if (const auto done = stream.handshake(deadline); !done) return done.error();
  std::puts(describe(stream.ktls_send()));  // "kernel TLS: in use", or why not.
  const auto sent = stream.sendfile(file, /*offset=*/0, std::size_t{1} << 20, deadline);
  (void)stream.close(deadline);
  return sent;  // Less than a mebibyte if the file is.
}
// clang-format on

}  // namespace heddle::test
