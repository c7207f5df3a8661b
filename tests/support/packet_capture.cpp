// An AF_PACKET socket with a filter.
#include "support/packet_capture.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include <net/if.h>

namespace heddle::test {
namespace {

constexpr std::uint8_t kFin = 0x01;
constexpr std::uint8_t kRst = 0x04;

// Passes TCP over IPv4 with FIN or RST. SOCK_DGRAM: a packet begins with its IP header.
std::array<sock_filter, 8> ends_only() {
  return {{
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),  // Protocol.
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 4),
      BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),  // Length of the IP header.
      BPF_STMT(BPF_LD | BPF_B | BPF_IND, 13),  // TCP flags.
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kFin | kRst, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 128),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0),
  }};
}

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

std::optional<PacketCapture> PacketCapture::start() {
  // No protocol yet, so that nothing comes before the filter is there.
  UniqueFd fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd && (errno == EPERM || errno == EACCES || errno == EAFNOSUPPORT)) return std::nullopt;
  if (!fd) fail("socket(AF_PACKET)");
  auto code = ends_only();
  const sock_fprog program{.len = static_cast<unsigned short>(code.size()), .filter = code.data()};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0) {
    fail("SO_ATTACH_FILTER");
  }
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = htons(ETH_P_IP);
  where.sll_ifindex = static_cast<int>(::if_nametoindex("lo"));
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&where), sizeof(where)) != 0) fail("bind");
  return PacketCapture(std::move(fd));
}

std::vector<EndingSegment> PacketCapture::between(std::uint16_t one, std::uint16_t other) {
  for (;;) {
    std::array<std::uint8_t, 128> packet{};
    sockaddr_ll from{};
    socklen_t size = sizeof(from);
    const ssize_t count = ::recvfrom(fd_.get(), packet.data(), packet.size(), 0,
                                     reinterpret_cast<sockaddr*>(&from), &size);
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0) fail("recvfrom(AF_PACKET)");
    if (from.sll_pkttype == PACKET_OUTGOING) continue;  // Each comes twice on the loopback.
    const std::size_t tcp = std::size_t{4} * (packet[0] & 0x0F);
    const auto port = [&](std::size_t at) {
      return static_cast<std::uint16_t>(packet.at(at) << 8 | packet.at(at + 1));
    };
    const std::uint8_t flags = packet.at(tcp + 13);
    seen_.push_back({.from = port(tcp),
                     .to = port(tcp + 2),
                     .fin = (flags & kFin) != 0,
                     .rst = (flags & kRst) != 0});
  }
  std::vector<EndingSegment> matching;
  for (const EndingSegment& each : seen_) {
    const bool forth = each.from == one && each.to == other;
    const bool back = each.from == other && each.to == one;
    if (forth || back) matching.push_back(each);
  }
  return matching;
}

}  // namespace heddle::test
