// Reads syntax elements of H.264 from a NAL unit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vumedia::backends::ffmpeg::detail {

// The bits of a NAL unit after its header, without emulation prevention bytes (7.3.1). After the end there
// are zeros.
class NalReader {
 public:
  explicit NalReader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  [[nodiscard]] unsigned bit() noexcept {
    if (left_ == 0) load();
    --left_;
    return (byte_ >> left_) & 1;
  }
  // At most 32 of them.
  std::uint32_t bits(unsigned count) noexcept {
    std::uint32_t value = 0;
    while (count-- > 0) value = value << 1 | bit();
    return value;
  }
  void skip(unsigned count) noexcept {
    while (count-- > 0) (void)bit();
  }
  // Exp-Golomb, 9.1. One with more than 32 bits has no value, and then the rest of the unit is ignored.
  std::uint32_t ue() noexcept {
    unsigned zeros = 0;
    while (!past_end_ && bit() == 0) ++zeros;
    if (zeros >= 32) past_end_ = true;
    return past_end_ ? 0 : ((1u << zeros) - 1) + bits(zeros);
  }
  std::int32_t se() noexcept {
    const std::uint32_t code = ue();
    const auto half = static_cast<std::int32_t>(code / 2);
    return (code & 1) != 0 ? half + 1 : -half;
  }
  // Whether more was read than there is.
  [[nodiscard]] bool past_end() const noexcept { return past_end_; }

 private:
  void load() noexcept {
    left_ = 8;
    byte_ = 0;
    if (zeros_ >= 2 && at_ < bytes_.size() && bytes_[at_] == std::byte{3}) {
      ++at_;
      zeros_ = 0;
    }
    if (at_ >= bytes_.size()) {
      past_end_ = true;
      return;
    }
    byte_ = std::to_integer<unsigned>(bytes_[at_++]);
    zeros_ = byte_ == 0 ? zeros_ + 1 : 0;
  }

  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  unsigned zeros_ = 0;
  unsigned byte_ = 0;
  unsigned left_ = 0;
  bool past_end_ = false;
};

}  // namespace vumedia::backends::ffmpeg::detail
