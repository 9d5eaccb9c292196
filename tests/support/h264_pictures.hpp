// What a stream's own headers say about its pictures, for tests that count what comes out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <vumedia/backends/ffmpeg/h264_parameter_sets.hpp>
#include <vumedia/backends/ffmpeg/history.hpp>

#include "support/clip.hpp"
#include "support/h264_writer.hpp"

namespace vumedia::test {

namespace detail {

namespace ffmpeg_detail = backends::ffmpeg::detail;

// The NAL units of a packet, each starting with its header.
[[nodiscard]] inline std::vector<std::span<const std::byte>> units_of(std::span<const std::uint8_t> packet) {
  std::vector<std::span<const std::byte>> units;
  auto rest = std::as_bytes(packet);
  const auto any = [](unsigned) { return true; };
  for (auto at = ffmpeg_detail::find_unit(rest, any); at; at = ffmpeg_detail::find_unit(rest, any)) {
    rest = rest.subspan(*at);
    const auto next = ffmpeg_detail::find_unit(rest, any);
    std::size_t size = next ? *next - 3 : rest.size();
    while (size > 0 && rest[size - 1] == std::byte{0}) --size;
    units.push_back(rest.first(size));
  }
  return units;
}

// Reads a sequence parameter set, and writes what it reads.
class SpsReader {
 public:
  struct Fields {
    unsigned id = 0;
    bool separate_planes = false;
    unsigned frame_num_bits = 0;
    unsigned order_type = 0;
    unsigned order_bits = 0;
    bool delta_always_zero = false;
    bool frames_only = true;
  };

  explicit SpsReader(std::span<const std::byte> unit) : in_(unit.subspan(1)) {
    const unsigned profile = bits(8);
    bits(16);
    fields.id = ue();
    if (profile >= 100) read_format();
    fields.frame_num_bits = ue() + 4;
    fields.order_type = ue();
    if (fields.order_type == 0) fields.order_bits = ue() + 4;
    if (fields.order_type == 1) {
      fields.delta_always_zero = bits(1) != 0;
      ue();
      ue();
      for (unsigned i = ue(); i > 0; --i) ue();
    }
    ue();
    bits(1);
    ue();
    ue();
    fields.frames_only = bits(1) != 0;
    if (!fields.frames_only) bits(1);
    bits(1);
    if (bits(1) != 0) {
      for (int i = 0; i < 4; ++i) ue();
    }
  }

  Fields fields;

  // The set up to its VUI parameters, which must be absent.
  [[nodiscard]] std::vector<std::uint8_t> without_vui() {
    out_.bit(0);
    return out_.unit(0x67);
  }

 private:
  void read_format() {
    const bool three = ue() == 3;
    if (three) fields.separate_planes = bits(1) != 0;
    ue();
    ue();
    bits(1);
    // Our encoders write no scaling lists.
    if (bits(1) != 0) bits(three ? 12 : 8);
  }
  std::uint32_t bits(unsigned count) {
    const std::uint32_t value = in_.bits(count);
    out_.bits(count, value);
    return value;
  }
  std::uint32_t ue() {
    const std::uint32_t value = in_.ue();
    out_.ue(value);
    return value;
  }

  ffmpeg_detail::NalReader in_;
  BitWriter out_;
};

// Counts a stream's primary coded frames and pairs of fields.
class PictureCounter {
 public:
  void take(std::span<const std::byte> unit) {
    const unsigned type = std::to_integer<unsigned>(unit[0]) & 31;
    if (type == 7) {
      const auto fields = SpsReader(unit).fields;
      sequences_[fields.id] = fields;
    }
    if (type == 8) take_pps(unit);
    if (type == 1 || type == 2 || type == 5) take_slice(unit, type == 5);
  }
  std::size_t count = 0;

 private:
  struct Pps {
    unsigned sequence = 0;
    bool bottom_order = false;
    bool redundant = false;
  };
  void take_pps(std::span<const std::byte> unit) {
    ffmpeg_detail::NalReader bits(unit.subspan(1));
    const unsigned id = bits.ue();
    Pps& pps = pictures_[id];
    pps.sequence = bits.ue();
    bits.skip(1);
    pps.bottom_order = bits.bit() != 0;
    // libavcodec does not have slice groups.
    for (int i = 0; i < 3; ++i) (void)bits.ue();
    bits.skip(3);
    for (int i = 0; i < 3; ++i) (void)bits.ue();
    bits.skip(2);
    pps.redundant = bits.bit() != 0;
  }
  void take_slice(std::span<const std::byte> unit, bool idr) {
    ffmpeg_detail::NalReader bits(unit.subspan(1));
    if (bits.ue() != 0) return;  // not the first slice of a picture
    (void)bits.ue();
    const Pps& pps = pictures_[bits.ue()];
    const auto& sps = sequences_[pps.sequence];
    if (sps.separate_planes) bits.skip(2);
    const unsigned frame_num = bits.bits(sps.frame_num_bits);
    const bool field = !sps.frames_only && bits.bit() != 0;
    const unsigned bottom = field ? bits.bit() : 0;
    if (idr) (void)bits.ue();
    if (sps.order_type == 0) {
      bits.skip(sps.order_bits);
      if (pps.bottom_order && !field) (void)bits.ue();
    }
    if (sps.order_type == 1 && !sps.delta_always_zero) {
      (void)bits.ue();
      if (pps.bottom_order && !field) (void)bits.ue();
    }
    if (pps.redundant && bits.ue() != 0) return;
    const bool second = field && first_field_ == std::pair(frame_num, 1 - bottom);
    first_field_.reset();
    if (second) return;
    if (field) first_field_ = {frame_num, bottom};
    ++count;
  }

  std::map<unsigned, SpsReader::Fields> sequences_;
  std::map<unsigned, Pps> pictures_;
  std::optional<std::pair<unsigned, unsigned>> first_field_;
};

}  // namespace detail

// How many pictures a stream of H.264 or VP8 has to show according to its headers; two fields are one
// picture.
[[nodiscard]] inline std::size_t count_shown_pictures(const Clip& clip) {
  detail::PictureCounter counter;
  for (const auto& packet : clip.units) {
    if (clip.codec == AV_CODEC_ID_H264) {
      for (const auto unit : detail::units_of(packet.bytes)) {
        if (!unit.empty()) counter.take(unit);
      }
    } else if (!packet.bytes.empty() && (packet.bytes[0] & 16) != 0) {
      ++counter.count;  // show_frame of VP8 (RFC 6386, 9.1)
    }
  }
  return counter.count;
}

// An H.264 clip without VUI parameters in its sequence parameter sets, and therefore without a limit on
// reordering.
[[nodiscard]] inline Clip without_vui(const Clip& clip) {
  Clip rewritten{clip.codec, {}};
  for (const auto& packet : clip.units) {
    Clip::Unit changed{{}, packet.key};
    for (const auto unit : detail::units_of(packet.bytes)) {
      std::vector<std::uint8_t> bytes{0, 0, 0, 1};
      for (const std::byte byte : unit) bytes.push_back(std::to_integer<std::uint8_t>(byte));
      if ((std::to_integer<unsigned>(unit[0]) & 31) == 7) bytes = detail::SpsReader(unit).without_vui();
      changed.bytes.insert(changed.bytes.end(), bytes.begin(), bytes.end());
    }
    rewritten.units.push_back(std::move(changed));
  }
  return rewritten;
}

}  // namespace vumedia::test
