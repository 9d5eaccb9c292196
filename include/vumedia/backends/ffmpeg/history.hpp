// What a decoder needs to continue after a drain as if there had been none.
//
// V4L2_DEC_CMD_START resumes "with all the state from before the drain": the next frame may refer to earlier
// ones. But libavcodec outputs its last frames only at the end of a stream, after which it must be flushed
// and then has no references any more. So the packets since the last key frame are kept. If the packet after
// a drain is not a key frame itself, they are decoded once more and their frames are dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>

#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/backends/ffmpeg/nal_reader.hpp>

namespace vumedia::backends::ffmpeg {

/// Whether decoding can begin with a packet: not at all; with everything that follows; or with everything
/// that follows except the pictures that are shown before it (H.264's recovery points, H.265's CRA, I
/// pictures of MPEG-2).
enum class ResumePoint : std::uint8_t { none, open, closed };

namespace detail {

// Most significant bit first. After the end there are zeros.
class BitReader {
 public:
  explicit BitReader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
  [[nodiscard]] bool bit() noexcept {
    const std::size_t at = position_++;
    if (at / 8 >= bytes_.size()) return false;
    return ((std::to_integer<unsigned>(bytes_[at / 8]) >> (7 - at % 8)) & 1) != 0;
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

// VP9 bitstream specification, 6.2: a frame of type 0 that does not show an existing frame. A superframe
// begins with its first frame.
[[nodiscard]] inline bool vp9_key_frame(std::span<const std::byte> bytes) noexcept {
  BitReader bits(bytes);
  if (bytes.empty() || !bits.bit() || bits.bit()) return false;  // frame_marker
  const bool low = bits.bit();
  const bool high = bits.bit();
  if (low && high) (void)bits.bit();  // reserved, of profile 3
  const bool shown_again = bits.bit();
  return !shown_again && !bits.bit();
}

// AV1 bitstream specification, 5.3 and 5.9: a sequence header, followed by a key frame.
[[nodiscard]] inline bool av1_key_frame(std::span<const std::byte> bytes) noexcept {
  bool sequence = false;
  while (bytes.size() >= 2) {
    const auto header = std::to_integer<unsigned>(bytes[0]);
    std::size_t at = (header & 4) != 0 ? 2 : 1;
    std::uint64_t size = bytes.size() - at;
    if ((header & 2) != 0) {
      size = 0;
      for (unsigned i = 0; i < 8 && at < bytes.size(); ++i) {
        const auto byte = std::to_integer<std::uint64_t>(bytes[at++]);
        size |= (byte & 127) << (7 * i);
        if ((byte & 128) == 0) break;
      }
    }
    if (size > bytes.size() - at) return false;
    const auto payload = bytes.subspan(at, static_cast<std::size_t>(size));
    const unsigned type = (header >> 3) & 15;
    if (type == 1) sequence = true;
    if (type == 3 || type == 6) {
      BitReader bits(payload);
      const bool shown_again = bits.bit();
      const bool high = bits.bit();
      const bool low = bits.bit();
      return sequence && !payload.empty() && !shown_again && !high && !low;
    }
    bytes = bytes.subspan(at + payload.size());
  }
  return false;
}

// The position of the first start code that is followed by a byte that `wanted` accepts; nothing if there is
// none.
template <class Wanted>
[[nodiscard]] std::optional<std::size_t> find_unit(std::span<const std::byte> bytes, Wanted wanted) noexcept {
  for (std::size_t i = 0; i + 3 < bytes.size();) {
    // The third byte tells most often that none of the three is in a start code.
    const auto third = std::to_integer<unsigned>(bytes[i + 2]);
    if (third > 1) {
      i += 3;
    } else if (third == 0 || bytes[i] != std::byte{0} || bytes[i + 1] != std::byte{0}) {
      ++i;
    } else {
      i += 3;
      if (wanted(std::to_integer<unsigned>(bytes[i]))) return i;
    }
  }
  return std::nullopt;
}

// recovery_frame_cnt of H.264's recovery point message (D.1.8), if `bytes` hold one: after how many more
// references the pictures decoded from here on are correct.
[[nodiscard]] inline std::optional<unsigned> h264_recovery_frames(std::span<const std::byte> bytes) noexcept {
  constexpr auto is_sei = [](unsigned header) { return (header & 31) == 6; };
  for (auto at = find_unit(bytes, is_sei); at; at = find_unit(bytes, is_sei)) {
    bytes = bytes.subspan(*at);
    const auto next = find_unit(bytes, [](unsigned) { return true; });
    NalReader bits((next ? bytes.first(*next - 3) : bytes).subspan(1));
    const auto number = [&bits] {
      std::uint32_t sum = 0;
      std::uint32_t byte = 0;
      do {
        byte = bits.bits(8);
        sum += byte;
      } while (byte == 255 && !bits.past_end());
      return sum;
    };
    while (!bits.past_end()) {
      const std::uint32_t type = number();
      const std::uint32_t size = number();
      if (type == 6 && size > 0 && !bits.past_end()) return bits.ue();
      for (std::uint32_t i = 0; i < size && !bits.past_end(); ++i) bits.skip(8);
    }
  }
  return std::nullopt;
}

}  // namespace detail

/// `bytes`: the contents of an OUTPUT buffer. They may be anything; at worst they are misinterpreted.
[[nodiscard]] inline ResumePoint resume_point_of(AVCodecID codec, std::span<const std::byte> bytes) noexcept {
  const auto closed_if = [](bool key) { return key ? ResumePoint::closed : ResumePoint::none; };
  switch (codec) {
    case AV_CODEC_ID_H264: {
      // The first slice determines the kind of the picture.
      const auto slice =
          detail::find_unit(bytes, [](unsigned unit) { return (unit & 31) >= 1 && (unit & 31) <= 5; });
      if (!slice) return ResumePoint::none;
      if ((std::to_integer<unsigned>(bytes[*slice]) & 31) == 5) return ResumePoint::closed;
      // A picture that is refreshed gradually is completely correct by the next such point, but not always
      // exactly.
      return detail::h264_recovery_frames(bytes.first(*slice)) == 0u ? ResumePoint::open : ResumePoint::none;
    }
    case AV_CODEC_ID_HEVC: {
      const auto slice = detail::find_unit(bytes, [](unsigned unit) { return ((unit >> 1) & 63) < 32; });
      if (!slice) return ResumePoint::none;
      const unsigned type = (std::to_integer<unsigned>(bytes[*slice]) >> 1) & 63;
      return type == 21 ? ResumePoint::open : closed_if(type >= 16 && type <= 20);
    }
    case AV_CODEC_ID_VP8:
      return closed_if(!bytes.empty() && (std::to_integer<unsigned>(bytes[0]) & 1) == 0);
    case AV_CODEC_ID_VP9:
      return closed_if(detail::vp9_key_frame(bytes));
    case AV_CODEC_ID_AV1:
      return closed_if(detail::av1_key_frame(bytes));
    case AV_CODEC_ID_MPEG2VIDEO: {
      const auto sequence = detail::find_unit(bytes, [](unsigned unit) { return unit == 0xb3; });
      const auto picture = detail::find_unit(bytes, [](unsigned unit) { return unit == 0; });
      if (!sequence || !picture || *picture + 2 >= bytes.size()) return ResumePoint::none;
      const unsigned type = (std::to_integer<unsigned>(bytes[*picture + 2]) >> 3) & 7;
      return type == 1 ? ResumePoint::open : ResumePoint::none;
    }
    default:
      // Each picture of Motion-JPEG is independent.
      return ResumePoint::closed;
  }
}

/// Whether libavcodec's output is fit to be shown if a stream begins with this packet. Its other decoders
/// find that out by themselves and wait; the H.265 decoder uses grey pictures in place of missing references.
/// Streams without any such picture, which are refreshed gradually, state where decoding may begin (H.265,
/// D.3.8).
[[nodiscard]] inline bool can_begin_with(AVCodecID codec, ResumePoint point,
                                         std::span<const std::byte> bytes) noexcept {
  if (codec != AV_CODEC_ID_HEVC || point != ResumePoint::none) return true;
  constexpr unsigned prefix_sei = 39;
  constexpr std::byte recovery_point{6};
  const auto message =
      detail::find_unit(bytes, [](unsigned unit) { return ((unit >> 1) & 63) == prefix_sei; });
  return message && *message + 2 < bytes.size() && bytes[*message + 2] == recovery_point;
}

/// The packets of a stream from a resume point on: references to the decoded ones, not copies.
class History {
 public:
  /// How much is kept of a stream that never has another resume point. Beyond that nothing is kept, and
  /// decoding continues after a drain with the next resume point. This is some seconds at the highest rates.
  static constexpr std::size_t max_bytes = std::size_t{16} << 20;
  static constexpr std::size_t max_packets = 600;  ///< likewise

  /// Keeps no more than `limit` bytes.
  explicit History(std::size_t limit = max_bytes) noexcept : limit_(limit) {}

  /// A packet that is about to be decoded, with its id as pts.
  void add(ResumePoint point, const AVPacket& packet) {
    if (point == ResumePoint::closed) clear();
    if (point == ResumePoint::open) {
      // The pictures shown before it need those since the previous resume point.
      forget(latest_);
      latest_ = packets_.size();
    }
    // Before the first resume point there is nothing with which decoding could begin.
    if (packets_.empty() && point == ResumePoint::none) return;
    packets_.emplace_back(av_packet_clone(&packet));
    // Without memory decoding cannot continue from here, but nothing else is lost.
    if (packets_.back() == nullptr) return clear();
    bytes_ += static_cast<std::size_t>(packet.size);
    if (bytes_ > limit_ || packets_.size() > max_packets) clear();
  }

  /// Keeps nothing any more.
  void clear() noexcept {
    packets_.clear();
    bytes_ = 0;
    latest_ = 0;
  }

  /// What is kept, in the order of decoding.
  [[nodiscard]] const std::deque<Packet>& packets() const noexcept { return packets_; }

 private:
  void forget(std::size_t count) {
    for (; count > 0 && !packets_.empty(); --count) {
      bytes_ -= static_cast<std::size_t>(packets_.front()->size);
      packets_.pop_front();
    }
  }

  const std::size_t limit_;
  std::deque<Packet> packets_;
  std::size_t bytes_ = 0;
  std::size_t latest_ = 0;  // place of the latest resume point
};

}  // namespace vumedia::backends::ffmpeg
