// A transport that passes everything on to another one: something to own, or to change a part of.
#pragma once

#include <cstddef>
#include <span>

#include "heddle/transport.h"

namespace heddle::test {

class ForwardingTransport : public Transport {
 public:
  // `below` must outlive it.
  explicit ForwardingTransport(Transport& below) : below_(below) {}

  IoResult try_read(std::span<std::byte> into) override { return below_.try_read(into); }
  IoResult try_write(std::span<const std::byte> from) override { return below_.try_write(from); }
  Wake wait(Interest interest, Deadline deadline) override {
    return below_.wait(interest, deadline);
  }
  void shutdown_write() noexcept override { below_.shutdown_write(); }

 protected:
  Transport& below() const noexcept { return below_; }

 private:
  Transport& below_;
};

}  // namespace heddle::test
