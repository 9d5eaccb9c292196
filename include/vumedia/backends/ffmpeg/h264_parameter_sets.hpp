// The parameter sets of an H.264 stream (H.264, 7.3.2), as far as they tell how many pictures a decoder has
// to hold back so that all come out in order, and where a slice's own place in that order is written.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <vumedia/backends/ffmpeg/nal_reader.hpp>

namespace vumedia::backends::ffmpeg {

/// The parts of a sequence parameter set that affect the output order.
struct H264Sps {
  unsigned profile = 0;                    ///< profile_idc
  unsigned constraints = 0;                ///< constraint_set0_flag is the most significant of 8 bits
  unsigned level = 0;                      ///< level_idc
  unsigned id = 0;                         ///< seq_parameter_set_id
  unsigned frame_num_bits = 4;             ///< log2_max_frame_num
  unsigned order_type = 0;                 ///< pic_order_cnt_type
  unsigned order_bits = 4;                 ///< of pic_order_cnt_lsb, with type 0
  bool separate_planes = false;            ///< separate_colour_plane_flag
  bool frames_only = true;                 ///< frame_mbs_only_flag
  unsigned reference_frames = 0;           ///< max_num_ref_frames
  std::uint64_t macroblocks = 0;           ///< of a frame
  std::optional<unsigned> reorder_frames;  ///< max_num_reorder_frames, if it is written

  [[nodiscard]] bool operator==(const H264Sps&) const = default;
  /// Whether constraint_set0_flag to constraint_set5_flag, by `set`, is there.
  [[nodiscard]] bool has_constraint(unsigned set) const noexcept {
    return (constraints >> (7 - set) & 1) != 0;
  }
};

namespace detail {

inline void skip_scaling_list(NalReader& bits, unsigned size) noexcept {
  std::int32_t next = 8;
  for (unsigned i = 0; i < size && next != 0 && !bits.past_end(); ++i)
    next = static_cast<std::int32_t>(
        (static_cast<std::uint32_t>(next) + static_cast<std::uint32_t>(bits.se())) & 255);
}

// Chroma format, depths and scaling lists, which the later profiles have (7.3.2.1.1).
// Whether each plane has slices of its own.
inline bool skip_sample_format(NalReader& bits) noexcept {
  const bool three_planes = bits.ue() == 3;
  const bool separate_planes = three_planes && bits.bit() != 0;
  (void)bits.ue();
  (void)bits.ue();
  bits.skip(1);
  if (bits.bit() == 0) return separate_planes;
  for (unsigned list = 0; list < (three_planes ? 12u : 8u); ++list) {
    if (bits.bit() != 0) skip_scaling_list(bits, list < 6 ? 16 : 64);
  }
  return separate_planes;
}

// What only the first type of order has, or only the second (7.3.2.1.1).
inline void read_order(NalReader& bits, H264Sps& sps) noexcept {
  sps.order_type = bits.ue();
  if (sps.order_type == 0) sps.order_bits = std::min(bits.ue(), 12u) + 4;
  if (sps.order_type != 1) return;
  bits.skip(1);
  (void)bits.se();
  (void)bits.se();
  const std::uint32_t cycle = std::min(bits.ue(), 255u);
  for (std::uint32_t i = 0; i < cycle; ++i) (void)bits.se();
}

// E.1.2.
inline void skip_hrd(NalReader& bits) noexcept {
  const std::uint32_t last = std::min(bits.ue(), 31u);
  bits.skip(8);
  for (std::uint32_t i = 0; i <= last && !bits.past_end(); ++i) {
    (void)bits.ue();
    (void)bits.ue();
    bits.skip(1);
  }
  bits.skip(20);
}

// E.1.1.
[[nodiscard]] inline std::optional<unsigned> reorder_frames_of_vui(NalReader& bits) noexcept {
  constexpr unsigned extended_aspect = 255;
  if (bits.bit() != 0 && bits.bits(8) == extended_aspect) bits.skip(32);
  if (bits.bit() != 0) bits.skip(1);  // overscan
  if (bits.bit() != 0) {              // video signal
    bits.skip(4);
    if (bits.bit() != 0) bits.skip(24);
  }
  if (bits.bit() != 0) {  // chroma location
    (void)bits.ue();
    (void)bits.ue();
  }
  if (bits.bit() != 0) bits.skip(65);  // timing
  const bool nal_hrd = bits.bit() != 0;
  if (nal_hrd) skip_hrd(bits);
  const bool vcl_hrd = bits.bit() != 0;
  if (vcl_hrd) skip_hrd(bits);
  if (nal_hrd || vcl_hrd) bits.skip(1);
  bits.skip(1);
  if (bits.bit() == 0) return std::nullopt;  // bitstream_restriction_flag
  bits.skip(1);
  for (int i = 0; i < 4; ++i) (void)bits.ue();
  const unsigned frames = bits.ue();
  // libavcodec, too, ignores a truncated restriction.
  return bits.past_end() ? std::nullopt : std::optional(frames);
}

// MaxDpbMbs of table A-1; nothing for a level that the table does not have.
[[nodiscard]] inline std::optional<std::uint64_t> max_dpb_macroblocks(const H264Sps& sps) noexcept {
  struct Row {
    unsigned level;
    std::uint64_t macroblocks;
  };
  constexpr std::array<Row, 20> table{{{9, 396},     {10, 396},    {11, 900},    {12, 2376},   {13, 2376},
                                       {20, 2376},   {21, 4752},   {22, 8100},   {30, 8100},   {31, 18000},
                                       {32, 20480},  {40, 32768},  {41, 32768},  {42, 34816},  {50, 110400},
                                       {51, 184320}, {52, 184320}, {60, 696320}, {61, 696320}, {62, 696320}}};
  // Level 1b has a number of its own in the later profiles only.
  const bool early = sps.profile == 66 || sps.profile == 77 || sps.profile == 88;
  const unsigned level = early && sps.level == 11 && sps.has_constraint(3) ? 9 : sps.level;
  for (const auto& row : table) {
    if (row.level == level) return row.macroblocks;
  }
  return std::nullopt;
}

}  // namespace detail

/// `unit`: a NAL unit, starting with its header. Nothing if it ends before the size of the picture.
[[nodiscard]] inline std::optional<H264Sps> parse_h264_sps(std::span<const std::byte> unit) noexcept {
  if (unit.empty()) return std::nullopt;
  constexpr std::array<unsigned, 13> with_sample_format{100, 110, 122, 244, 44,  83, 86,
                                                        118, 128, 138, 139, 134, 135};
  detail::NalReader bits(unit.subspan(1));
  H264Sps sps;
  sps.profile = bits.bits(8);
  sps.constraints = bits.bits(8);
  sps.level = bits.bits(8);
  sps.id = bits.ue();
  if (std::ranges::find(with_sample_format, sps.profile) != with_sample_format.end())
    sps.separate_planes = detail::skip_sample_format(bits);
  sps.frame_num_bits = std::min(bits.ue(), 12u) + 4;
  detail::read_order(bits, sps);
  sps.reference_frames = bits.ue();
  bits.skip(1);
  const std::uint64_t width = std::uint64_t{bits.ue()} + 1;
  const std::uint64_t height = std::uint64_t{bits.ue()} + 1;
  sps.frames_only = bits.bit() != 0;
  if (!sps.frames_only) bits.skip(1);
  if (bits.past_end()) return std::nullopt;
  sps.macroblocks = std::min(width, std::uint64_t{1} << 16) * std::min(height, std::uint64_t{1} << 16) *
                    (sps.frames_only ? 1 : 2);
  bits.skip(1);
  if (bits.bit() != 0) {  // cropping
    for (int i = 0; i < 4; ++i) (void)bits.ue();
  }
  if (bits.bit() != 0) sps.reorder_frames = detail::reorder_frames_of_vui(bits);
  return sps;
}

/// How many pictures may come before another in the stream and after it on the screen, by the letter (E.2.1
/// infers it where it is not written): 0 to 16.
[[nodiscard]] inline unsigned max_reorder_depth(const H264Sps& sps) noexcept {
  constexpr std::uint64_t most = 16;
  if (sps.order_type == 2) return 0;
  if (sps.reorder_frames) return static_cast<unsigned>(std::min<std::uint64_t>(*sps.reorder_frames, most));
  constexpr std::array<unsigned, 6> with_intra{44, 86, 100, 110, 122, 244};
  const bool intra = sps.has_constraint(3) && std::ranges::find(with_intra, sps.profile) != with_intra.end();
  if (intra || sps.reference_frames == 0) return 0;
  const auto held = detail::max_dpb_macroblocks(sps);
  if (!held) return most;
  // A level that is too low for the picture or its references is ignored.
  return static_cast<unsigned>(
      std::min(std::max<std::uint64_t>(*held / sps.macroblocks, sps.reference_frames), most));
}

/// Whether no encoder is known to reorder such a stream, though the letter lets it: one that has no B
/// pictures by its profile (Baseline, Constrained High). So that it comes without delay it is held to nothing
/// until its own order of pictures shows otherwise: see PictureOrder.
[[nodiscard]] inline bool seldom_reorders(const H264Sps& sps) noexcept {
  if (sps.reorder_frames) return false;
  const bool early = sps.profile == 77 || sps.profile == 88;
  const bool baseline = sps.profile == 66 || (early && sps.has_constraint(0));
  return baseline || ((sps.profile == 77 || sps.profile == 100) && sps.has_constraint(5));
}

/// How many pictures to hold back to begin with.
[[nodiscard]] inline unsigned reorder_depth(const H264Sps& sps) noexcept {
  return seldom_reorders(sps) ? 0 : max_reorder_depth(sps);
}

/// Where a slice's picture stands.
struct H264Slice {
  const H264Sps* sps = nullptr;   ///< of the parameter sets that it was found with
  bool idr = false;               ///< of an IDR picture
  unsigned frame_num = 0;         ///< frame_num
  bool field = false;             ///< field_pic_flag
  bool bottom = false;            ///< bottom_field_flag
  std::optional<unsigned> order;  ///< pic_order_cnt_lsb
};

/// The latest parameter sets of a stream. Any bytes; what cannot be one is passed over.
class H264ParameterSets {
 public:
  /// No more is kept of each: real ones have at most a few hundred bytes.
  static constexpr std::size_t max_bytes = 4096;

  /// A NAL unit of type 7 or 8, starting with its header.
  void add_sps(std::span<const std::byte> unit) {
    const auto sps = parse_h264_sps(unit);
    if (!sps || sps->id >= 32 || unit.size() > max_bytes) return;
    sequences_[sps->id] = {*sps, {unit.begin(), unit.end()}};
  }
  /// Likewise.
  void add_pps(std::span<const std::byte> unit) {
    if (unit.empty() || unit.size() > max_bytes) return;
    detail::NalReader bits(unit.subspan(1));
    const unsigned id = bits.ue();
    const unsigned sequence = bits.ue();
    if (bits.past_end() || id >= 256 || sequence >= 32) return;
    pictures_[id] = {sequence, {unit.begin(), unit.end()}};
  }

  /// Of a NAL unit of type 1, 2 or 5 (7.3.3), if its parameter sets are known.
  [[nodiscard]] std::optional<H264Slice> slice_of(std::span<const std::byte> unit) const noexcept {
    if (unit.empty()) return std::nullopt;
    detail::NalReader bits(unit.subspan(1));
    (void)bits.ue();  // first_mb_in_slice
    (void)bits.ue();  // slice_type
    const auto picture = pictures_.find(bits.ue());
    if (bits.past_end() || picture == pictures_.end()) return std::nullopt;
    const auto sequence = sequences_.find(picture->second.about);
    if (sequence == sequences_.end()) return std::nullopt;
    const H264Sps& sps = sequence->second.about;
    H264Slice slice;
    slice.sps = &sps;
    slice.idr = (std::to_integer<unsigned>(unit[0]) & 31) == 5;
    if (sps.separate_planes) bits.skip(2);
    slice.frame_num = bits.bits(sps.frame_num_bits);
    if (!sps.frames_only) slice.field = bits.bit() != 0;
    if (slice.field) slice.bottom = bits.bit() != 0;
    if (slice.idr) (void)bits.ue();  // idr_pic_id
    const unsigned order = sps.order_type == 0 ? bits.bits(sps.order_bits) : 0;
    if (sps.order_type == 0 && !bits.past_end()) slice.order = order;
    return slice;
  }

  /// reorder_depth() of the sequence that a slice belongs to, if it is known.
  [[nodiscard]] std::optional<unsigned> depth_of_slice(std::span<const std::byte> unit) const noexcept {
    const auto slice = slice_of(unit);
    return slice ? std::optional(reorder_depth(*slice->sps)) : std::nullopt;
  }

  /// All of them as a stream (annex B) with which a decoder can begin.
  [[nodiscard]] std::vector<std::byte> stream() const {
    std::vector<std::byte> all;
    const auto append = [&all](const auto& sets) {
      for (const auto& [id, set] : sets) {
        all.insert(all.end(), {std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}});
        all.insert(all.end(), set.unit.begin(), set.unit.end());
      }
    };
    append(sequences_);
    append(pictures_);
    return all;
  }

 private:
  template <class About>
  struct Set {
    About about;
    std::vector<std::byte> unit;
  };
  std::map<unsigned, Set<H264Sps>> sequences_;
  std::map<unsigned, Set<unsigned>> pictures_;  // each with the number of its sequence
};

}  // namespace vumedia::backends::ffmpeg
