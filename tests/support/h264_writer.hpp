// H.264 written by hand, for streams that no encoder makes: pictures in any order, marked in any way. All
// consist of I_PCM macroblocks, with each picture in one shade, so that the output is known without a
// decoder.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/clip.hpp"
#include "support/media_file.hpp"

namespace vumedia::test {

// A NAL unit without its start code.
[[nodiscard]] inline std::span<const std::byte> nal(const std::vector<std::uint8_t>& unit) {
  return std::as_bytes(std::span(unit)).subspan(4);
}

// The bits of a NAL unit that is being written.
class BitWriter {
 public:
  void bit(unsigned value) { bits(1, value); }
  // The lower `count` bits of `value`.
  void bits(unsigned count, std::uint32_t value) {
    while (count > 0) {
      if (used_ == 0) bytes_.push_back(0);
      const unsigned taken = std::min(count, 8 - used_);
      count -= taken;
      const unsigned part = (value >> count) & ((1u << taken) - 1);
      bytes_.back() = static_cast<std::uint8_t>(bytes_.back() | part << (8 - used_ - taken));
      used_ = (used_ + taken) % 8;
    }
  }
  void ue(std::uint32_t value) {
    unsigned length = 0;
    while ((std::uint64_t{value} + 1) >> (length + 1) != 0) ++length;
    bits(length, 0);
    bit(1);
    bits(length, value + 1);
  }
  void se(std::int32_t value) {
    const auto magnitude = static_cast<std::uint32_t>(value < 0 ? -value : value);
    ue(value > 0 ? 2 * magnitude - 1 : 2 * magnitude);
  }
  void align() { used_ = 0; }

  // With a start code, the header, stop bit and emulation prevention.
  [[nodiscard]] std::vector<std::uint8_t> unit(unsigned header) {
    bit(1);
    // At most every other byte needs one before it.
    std::vector<std::uint8_t> all(5 + bytes_.size() + bytes_.size() / 2);
    all[3] = 1;
    all[4] = static_cast<std::uint8_t>(header);
    std::uint8_t* to = all.data() + 5;
    const std::uint8_t* const end = bytes_.data() + bytes_.size();
    unsigned zeros = 0;
    for (const std::uint8_t* from = bytes_.data(); from != end; ++from) {
      if (zeros == 2 && *from <= 3) {
        *to++ = 3;
        zeros = 0;
      }
      zeros = *from == 0 ? zeros + 1 : 0;
      *to++ = *from;
    }
    all.resize(static_cast<std::size_t>(to - all.data()));
    return all;
  }

 private:
  std::vector<std::uint8_t> bytes_;
  unsigned used_ = 0;  // bits of the last byte
};

// VUI parameters; each part is left out where it is not set.
struct VuiRecipe {
  struct Restriction {
    unsigned reorder_frames = 0;
    unsigned frame_buffers = 0;
  };
  std::optional<Restriction> restriction = std::nullopt;
  bool everything_else = false;  // aspect, timing, HRD and so on
};

struct SpsRecipe {
  unsigned profile = 100;
  unsigned constraints = 0;
  unsigned level = 10;
  unsigned id = 0;
  unsigned order_type = 0;
  unsigned reference_frames = 1;
  unsigned width = 6;   // in macroblocks
  unsigned height = 4;  // likewise, of a field if there are fields
  bool frames_only = true;
  bool gaps = false;
  bool scaling_lists = false;
  std::optional<VuiRecipe> vui = std::nullopt;
};

namespace detail {

inline void write_hrd(BitWriter& bits) {
  bits.ue(1);  // two schedules
  bits.bits(8, 0x35);
  for (unsigned i = 0; i < 2; ++i) {
    bits.ue(1000 + i);
    bits.ue(70000 + i);
    bits.bit(i);
  }
  bits.bits(20, 0xabcde);
}

inline void write_vui(BitWriter& bits, const VuiRecipe& vui) {
  const unsigned all = vui.everything_else ? 1 : 0;
  bits.bit(all);
  if (all != 0) {  // an explicit aspect
    bits.bits(8, 255);
    bits.bits(32, 0x00100011);
  }
  bits.bit(all);
  if (all != 0) bits.bit(1);  // overscan
  bits.bit(all);
  if (all != 0) {  // video signal
    bits.bits(5, 5 << 2 | 1);
    bits.bits(24, 0x010101);
  }
  bits.bit(all);
  if (all != 0) {  // chroma location
    bits.ue(0);
    bits.ue(3);
  }
  bits.bit(all);
  if (all != 0) {  // timing
    bits.bits(32, 1);
    bits.bits(32, 50);
    bits.bit(1);
  }
  for (int i = 0; i < 2; ++i) {
    bits.bit(all);
    if (all != 0) write_hrd(bits);
  }
  if (all != 0) bits.bit(0);
  bits.bit(all);  // picture structures
  bits.bit(vui.restriction ? 1 : 0);
  if (!vui.restriction) return;
  bits.bit(1);
  for (const unsigned value : {0u, 0u, 10u, 10u}) bits.ue(value);
  bits.ue(vui.restriction->reorder_frames);
  bits.ue(vui.restriction->frame_buffers);
}

}  // namespace detail

[[nodiscard]] inline std::vector<std::uint8_t> write_sps(const SpsRecipe& sps) {
  BitWriter bits;
  bits.bits(8, sps.profile);
  bits.bits(8, sps.constraints);
  bits.bits(8, sps.level);
  bits.ue(sps.id);
  if (sps.profile >= 100 || sps.profile == 44) {
    bits.ue(1);
    bits.ue(0);
    bits.ue(0);
    bits.bit(0);
    bits.bit(sps.scaling_lists ? 1 : 0);
    for (unsigned list = 0; sps.scaling_lists && list < 8; ++list) {
      bits.bit(list % 2);
      if (list % 2 == 0) continue;
      // 16 at all positions; every other list ends early.
      bits.se(8);
      for (unsigned i = 1; list % 4 == 1 && i < (list < 6 ? 16u : 64u); ++i) bits.se(0);
      if (list % 4 == 3) bits.se(-16);
    }
  }
  bits.ue(4);  // frame_num of 8 bits
  bits.ue(sps.order_type);
  if (sps.order_type == 0) bits.ue(4);  // likewise
  if (sps.order_type == 1) {
    bits.bit(0);
    bits.se(-1);
    bits.se(1);
    bits.ue(1);
    bits.se(2);
  }
  bits.ue(sps.reference_frames);
  bits.bit(sps.gaps ? 1 : 0);
  bits.ue(sps.width - 1);
  bits.ue(sps.height - 1);
  bits.bit(sps.frames_only ? 1 : 0);
  if (!sps.frames_only) bits.bit(0);
  bits.bit(1);
  bits.bit(0);
  bits.bit(sps.vui ? 1 : 0);
  if (sps.vui) detail::write_vui(bits, *sps.vui);
  return bits.unit(0x67);
}

[[nodiscard]] inline std::vector<std::uint8_t> write_pps(unsigned id, unsigned sps_id) {
  BitWriter bits;
  bits.ue(id);
  bits.ue(sps_id);
  bits.bits(2, 0);
  for (int i = 0; i < 3; ++i) bits.ue(0);
  bits.bits(3, 0);
  for (int i = 0; i < 3; ++i) bits.se(0);
  bits.bits(3, 4);
  return bits.unit(0x68);
}

// A recovery point message (D.1.8), with another message before it.
[[nodiscard]] inline std::vector<std::uint8_t> write_recovery_point(unsigned frames,
                                                                    std::size_t other_size = 0) {
  BitWriter bits;
  bits.bits(8, 255);  // the type: 260, in two bytes
  bits.bits(8, 5);
  std::size_t left = other_size;
  for (; left >= 255; left -= 255) bits.bits(8, 255);
  bits.bits(8, static_cast<std::uint32_t>(left));
  for (std::size_t i = 0; i < other_size; ++i) bits.bits(8, 0);
  BitWriter payload;
  payload.ue(frames);
  payload.bits(4, 8);  // exact, not broken, the same slice groups
  bits.bits(8, 6);
  bits.bits(8, static_cast<std::uint32_t>(payload.unit(0).size() - 5));
  bits.ue(frames);
  bits.bits(4, 8);
  bits.align();
  return bits.unit(6);
}

struct PictureRecipe {
  enum class Structure : std::uint8_t { frame, top, bottom };
  bool idr = false;
  unsigned frame_num = 0;
  unsigned order = 0;  // pic_order_cnt_lsb, or the delta of type 1
  bool reference = true;
  std::uint8_t shade = 128;
  Structure structure = Structure::frame;
  bool no_output_of_prior = false;
  bool resets = false;  // memory_management_control_operation 5
  unsigned pps = 0;
};

[[nodiscard]] inline std::vector<std::uint8_t> write_picture(const SpsRecipe& sps,
                                                             const PictureRecipe& picture) {
  BitWriter bits;
  const bool field = picture.structure != PictureRecipe::Structure::frame;
  bits.ue(0);
  bits.ue(7);
  bits.ue(picture.pps);
  bits.bits(8, picture.frame_num);
  if (!sps.frames_only) {
    bits.bit(field ? 1 : 0);
    if (field) bits.bit(picture.structure == PictureRecipe::Structure::bottom ? 1 : 0);
  }
  if (picture.idr) bits.ue(picture.shade);  // consecutive ones have to differ
  if (sps.order_type == 0) bits.bits(8, picture.order);
  if (sps.order_type == 1) bits.se(static_cast<std::int32_t>(picture.order));
  if (picture.idr) {
    bits.bit(picture.no_output_of_prior ? 1 : 0);
    bits.bit(0);
  } else if (picture.reference) {
    bits.bit(picture.resets ? 1 : 0);
    if (picture.resets) {
      bits.ue(5);
      bits.ue(0);
    }
  }
  bits.se(0);
  bits.ue(1);
  const unsigned macroblocks = sps.width * sps.height * (field || sps.frames_only ? 1 : 2);
  for (unsigned i = 0; i < macroblocks; ++i) {
    bits.ue(25);
    bits.align();
    for (unsigned sample = 0; sample < 384; ++sample) bits.bits(8, sample < 256 ? picture.shade : 128);
  }
  return bits.unit((picture.reference || picture.idr ? 0x60u : 0u) | (picture.idr ? 5u : 1u));
}

// MD5 of a frame with one shade, or with two in alternating lines.
[[nodiscard]] inline std::string md5_of_shade(const SpsRecipe& sps, std::uint8_t top, std::uint8_t bottom) {
  const std::size_t width = std::size_t{16} * sps.width;
  const std::size_t height = std::size_t{16} * sps.height * (sps.frames_only ? 1 : 2);
  std::vector<std::uint8_t> samples(width * height * 3 / 2, 128);
  for (std::size_t y = 0; y < height; ++y)
    std::fill_n(samples.begin() + static_cast<std::ptrdiff_t>(y * width), width, y % 2 == 0 ? top : bottom);
  return md5_of(samples);
}

// A stream that is being written, and the frames that it marks for output, in order.
class H264Writer {
 public:
  explicit H264Writer(const SpsRecipe& sps) { set(sps); }

  // Parameter sets come with the next picture, which has to be an IDR picture.
  void set(const SpsRecipe& sps, unsigned pps = 0) {
    sps_ = sps;
    pps_ = pps;
    append(pending_, write_sps(sps));
    append(pending_, write_pps(pps, sps.id));
  }
  // Uses parameter sets that came earlier.
  void use(const SpsRecipe& sps, unsigned pps) {
    sps_ = sps;
    pps_ = pps;
  }
  // Parameter sets that have not come yet get a packet of their own.
  void send_headers_alone() { clip.units.push_back({std::exchange(pending_, {}), false}); }

  // A packet of its own.
  void add(PictureRecipe picture) {
    picture.pps = pps_;
    append(pending_, write_picture(sps_, picture));
    clip.units.push_back({std::exchange(pending_, {}), picture.idr});
  }
  void expect(std::uint8_t top, std::uint8_t bottom) { expected.push_back(md5_of_shade(sps_, top, bottom)); }
  void expect(std::uint8_t shade) { expect(shade, shade); }

  // An IDR picture, and then `groups` groups of pictures in which `depth` come before one that is shown
  // before them all.
  void add_reordered(unsigned depth, unsigned groups) {
    std::uint8_t shade = next_shade_;
    add({.idr = true, .shade = shade});
    expect(shade);
    unsigned frame_num = 1;
    unsigned shown = 1;
    for (unsigned group = 0; group < groups; ++group, shown += depth + 1) {
      for (unsigned i = depth + 1; i-- > 0;) {
        // The one that is shown first is not a reference, and need not be stored.
        const bool reference = i != 0;
        add({.frame_num = frame_num,
             .order = 2 * (shown + i),
             .reference = reference,
             .shade = static_cast<std::uint8_t>(shade + shown + i)});
        if (reference) ++frame_num;
      }
      for (unsigned i = 0; i <= depth; ++i) expect(static_cast<std::uint8_t>(shade + shown + i));
    }
    next_shade_ = static_cast<std::uint8_t>(shade + shown);
  }

  Clip clip{AV_CODEC_ID_H264, {}};
  std::vector<std::string> expected;

 private:
  static void append(std::vector<std::uint8_t>& to, const std::vector<std::uint8_t>& bytes) {
    to.insert(to.end(), bytes.begin(), bytes.end());
  }
  SpsRecipe sps_;
  unsigned pps_ = 0;
  std::vector<std::uint8_t> pending_;
  std::uint8_t next_shade_ = 10;
};

}  // namespace vumedia::test
