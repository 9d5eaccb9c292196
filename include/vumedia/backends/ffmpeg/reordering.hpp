// How many pictures libavcodec has to hold back, and when it must be reopened for that.
//
// Pictures come in the order of decoding, and go out in that of display. What says how far the two may differ
// is in the headers; but libavcodec follows H.264's only where they write the number out. Where they leave it
// to be inferred, it guesses from the pictures that it has seen (a player has read ahead with a prober that
// made the guesses, and nothing is read ahead here) and drops what comes later than guessed. So it is told
// before the first picture of each sequence. To one that is under way only more can be told, for once held
// back, it holds back for good; and nothing if it has threads for frames, which would not hear of it.
//
// Its MPEG-2 decoder loses the picture that it holds back when the next sequence differs (in size or aspect).
// H.265 always states its numbers, and libavcodec follows them; VP8, VP9 and AV1 do not reorder but have
// hidden frames.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/h264_parameter_sets.hpp>
#include <vumedia/backends/ffmpeg/history.hpp>
#include <vumedia/backends/ffmpeg/picture_order.hpp>

namespace vumedia::backends::ffmpeg {

/// Of one stream, for the worker.
class Reordering {
 public:
  /// `tells_later`: the decoder can be told of more pictures to hold back (see held_back()) at any time.
  explicit Reordering(bool tells_later = true) noexcept : tells_later_(tells_later) {}

  /// Takes note of the next packet of the stream. True if it begins a sequence for which a decoder that has
  /// had packets before has to give out what it holds, and a new one has to be opened with setup(). Any
  /// bytes.
  [[nodiscard]] bool begins_sequence(AVCodecID codec, std::span<const std::byte> bytes) {
    if (codec == AV_CODEC_ID_H264) return begins_h264_sequence(bytes);
    if (codec == AV_CODEC_ID_MPEG2VIDEO) return begins_mpeg2_sequence(bytes);
    return false;
  }

  /// The decoder has no pictures (any more), so a sequence may begin with any picture.
  void forget_pictures() noexcept { idle_ = true; }

  /// For the decoder of the latest packet: what it has to hold back at the least from that packet on.
  [[nodiscard]] unsigned held_back() const noexcept { return std::max(depth_, needed_); }

  /// The same, for one that is opened with the latest packet.
  [[nodiscard]] CodecSetup setup() const { return {static_cast<int>(held_back()), sets_.stream()}; }

 private:
  [[nodiscard]] bool begins_h264_sequence(std::span<const std::byte> bytes) {
    constexpr auto is_wanted = [](unsigned header) {
      const unsigned type = header & 31;
      return type == 1 || type == 2 || type == 5 || type == 7 || type == 8;
    };
    constexpr unsigned max_parameter_sets = 32 + 256;
    unsigned parameter_sets = 0;
    std::optional<H264Slice> slice;
    bool has_slice = false;
    bool may_begin = false;
    for (auto at = detail::find_unit(bytes, is_wanted); at; at = detail::find_unit(bytes, is_wanted)) {
      bytes = bytes.subspan(*at);
      const unsigned type = std::to_integer<unsigned>(bytes[0]) & 31;
      // A packet that contains nothing else could hold a million.
      if (type >= 7 && ++parameter_sets > max_parameter_sets) continue;
      if (type == 7) sets_.add_sps(unit_at(bytes));
      if (type == 8) sets_.add_pps(unit_at(bytes));
      if (type > 5 || std::exchange(has_slice, true)) continue;
      slice = sets_.slice_of(bytes);
      may_begin = type == 5 || idle_;
    }
    if (has_slice && idle_) order_.restart();
    if (has_slice) idle_ = false;
    if (!slice) return false;
    const unsigned told = held_back();
    if (tells_later_) needed_ = order_.note(*slice);
    if (!may_begin) return false;
    const bool at_once = tells_later_ && !order_.reorders();
    depth_ = at_once ? reorder_depth(*slice->sps) : max_reorder_depth(*slice->sps);
    return held_back() != told;
  }

  // The NAL unit at the beginning of `bytes`.
  [[nodiscard]] static std::span<const std::byte> unit_at(std::span<const std::byte> bytes) noexcept {
    const auto next = detail::find_unit(bytes, [](unsigned) { return true; });
    return next ? bytes.first(*next - 3) : bytes;
  }

  // H.262, 6.2.2.1 and 6.2.2.3: size, aspect and rate; everything in the extension except the rates.
  [[nodiscard]] bool begins_mpeg2_sequence(std::span<const std::byte> bytes) {
    const auto header = detail::find_unit(bytes, [](unsigned code) { return code == 0xb3; });
    if (!header || bytes.size() - *header < 5) return false;
    bytes = bytes.subspan(*header + 1);
    const auto word = [](std::span<const std::byte> at) {
      std::uint64_t value = 0;
      for (const std::byte byte : at.first(4)) value = value << 8 | std::to_integer<unsigned>(byte);
      return value;
    };
    std::uint64_t sequence = word(bytes) << 32;
    // The first unit after the header.
    const auto next = detail::find_unit(bytes, [](unsigned) { return true; });
    constexpr std::byte extension{0xb5};
    if (next && bytes[*next] == extension && bytes.size() - *next >= 7 &&
        (std::to_integer<unsigned>(bytes[*next + 1]) >> 4) == 1) {
      constexpr std::uint64_t before_bit_rate = 0xffffe000;
      const bool low_delay = (std::to_integer<unsigned>(bytes[*next + 6]) & 0x80) != 0;
      sequence |= (word(bytes.subspan(*next + 1)) & before_bit_rate) | (low_delay ? 1 : 0);
    }
    const std::uint64_t before = std::exchange(mpeg2_sequence_, sequence);
    return before != 0 && before != sequence;
  }

  bool tells_later_;
  H264ParameterSets sets_;
  PictureOrder order_;
  unsigned depth_ = 0;
  unsigned needed_ = 0;
  bool idle_ = true;
  std::uint64_t mpeg2_sequence_ = 0;  // 0: none yet
};

}  // namespace vumedia::backends::ffmpeg
