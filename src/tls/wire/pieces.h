// Pieces: what is left of a vectored write.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

namespace heddle::tls {

class Pieces {
 public:
  explicit Pieces(std::span<const std::span<const std::byte>> pieces) : pieces_(pieces) {
    skip_empty();
  }

  bool empty() const noexcept { return pieces_.empty(); }

  // Whether front() would copy several pieces into one, if that has room for `bytes`.
  // Precondition: !empty().
  bool gathers(std::size_t bytes) const noexcept {
    return pieces_.size() > 1 && pieces_.front().size() - done_ < bytes;
  }

  // The next bytes to write: at most `bytes_max` of the first piece, or, where that
  // is short and others follow, as many pieces as fit into `gather`.
  // Precondition: !empty().
  std::span<const std::byte> front(std::size_t bytes_max, std::span<std::byte> gather) const {
    const auto first = pieces_.front().subspan(done_);
    if (!gathers(gather.size())) {
      return first.first(std::min(first.size(), bytes_max));
    }
    std::size_t used = 0;
    for (std::size_t i = 0; i < pieces_.size() && used < gather.size(); ++i) {
      const auto piece = i == 0 ? first : pieces_[i];
      const std::size_t count = std::min(piece.size(), gather.size() - used);
      std::copy_n(piece.begin(), count, gather.subspan(used).begin());
      used += count;
    }
    return gather.first(used);
  }

  void remove(std::size_t count) {
    while (count > 0) {
      const std::size_t here = std::min(count, pieces_.front().size() - done_);
      done_ += here;
      count -= here;
      skip_empty();
    }
  }

 private:
  void skip_empty() {
    while (!pieces_.empty() && done_ == pieces_.front().size()) {
      pieces_ = pieces_.subspan(1);
      done_ = 0;
    }
  }

  std::span<const std::span<const std::byte>> pieces_;
  std::size_t done_ = 0;  // Bytes of the first piece.
};

}  // namespace heddle::tls
