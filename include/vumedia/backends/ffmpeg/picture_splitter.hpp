// Where in an OUTPUT buffer one picture ends and the next begins.
//
// V4L2 demands one access unit in each buffer, but a buffer of several megabytes can hold a hundred thousand
// pictures. libavcodec decodes what it is given in one call, without a limit on time, and some of its
// decoders lose all pictures of a packet except one. So it is given one picture at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <vumedia/backends/ffmpeg/history.hpp>

namespace vumedia::backends::ffmpeg {

/// Used for one stream, in order. It takes any bytes; at worst a picture is cut in the wrong place.
class PictureSplitter {
 public:
  /// No conforming picture has this many: one of 4096x2304 does if each unit has two macroblocks. A picture
  /// with more is cut, so that the work of a call is bounded.
  static constexpr std::size_t max_units = 16384;

  /// How many bytes the first picture of `bytes` takes, including everything before it that belongs to it;
  /// all of them if there is no other picture.
  [[nodiscard]] std::size_t first(AVCodecID codec, std::span<const std::byte> bytes) noexcept {
    switch (codec) {
      case AV_CODEC_ID_H264:
        return first_h264(bytes);
      case AV_CODEC_ID_HEVC:
        return first_hevc(bytes);
      case AV_CODEC_ID_MPEG2VIDEO:
        return first_mpeg2(bytes);
      case AV_CODEC_ID_AV1:
        return first_av1(bytes);
      default:
        // VP8 and Motion-JPEG have one; VP9's superframes have at most 8, and libavcodec splits them.
        return bytes.size();
    }
  }

 private:
  struct Unit {
    std::size_t begin = 0;    // of its start code
    std::size_t payload = 0;  // after its start code, before the end
  };
  // Whether a zero before a start code is part of it. In H.262 it may be the last byte of the unit before.
  enum class Zero : std::uint8_t { of_start_code, of_unit };

  // Walks the units between start codes.
  class Units {
   public:
    explicit Units(std::span<const std::byte> bytes, Zero zero = Zero::of_start_code) noexcept
        : bytes_(bytes), zero_(zero) {}
    [[nodiscard]] std::optional<Unit> next() noexcept {
      while (at_ + 3 < bytes_.size()) {
        const auto third = std::to_integer<unsigned>(bytes_[at_ + 2]);
        if (third > 1) {
          at_ += 3;
        } else if (third == 0 || bytes_[at_] != std::byte{0} || bytes_[at_ + 1] != std::byte{0}) {
          ++at_;
        } else {
          const bool longer = zero_ == Zero::of_start_code && at_ > 0 && bytes_[at_ - 1] == std::byte{0};
          const std::size_t begin = longer ? at_ - 1 : at_;
          at_ += 3;
          return Unit{begin, at_};
        }
      }
      return std::nullopt;
    }

   private:
    std::span<const std::byte> bytes_;
    Zero zero_;
    std::size_t at_ = 0;
  };

  // After the end there are zeros.
  [[nodiscard]] static unsigned byte_at(std::span<const std::byte> bytes, std::size_t at) noexcept {
    return at < bytes.size() ? std::to_integer<unsigned>(bytes[at]) : 0;
  }

  // H.264, 7.4.1.2.3. A slice with macroblock 0 begins a picture (which may be a field), and what comes
  // between it and the slices before belongs to it. Redundant pictures also begin like this: in a stream that
  // may have them, only a unit that cannot be within a picture ends one.
  [[nodiscard]] std::size_t first_h264(std::span<const std::byte> bytes) noexcept {
    Units units(bytes);
    bool slices = false;
    std::size_t end = 0;  // of the picture, if another follows; then not 0
    for (std::size_t count = 0; const auto unit = units.next(); ++count) {
      if (count == max_units) return unit->begin;
      const unsigned type = byte_at(bytes, unit->payload) & 31;
      if (type >= 1 && type <= 5) {
        const bool first = (byte_at(bytes, unit->payload + 1) & 0x80) != 0;
        const bool partition = type >= 3 && type <= 4;
        if (slices && first && !partition && (end != 0 || !redundant_pictures_))
          return end != 0 ? end : unit->begin;
        slices = true;
        end = 0;
      } else if ((type >= 6 && type <= 9) || (type >= 14 && type <= 18)) {
        if (type == 8) note_pps(bytes.subspan(unit->payload));
        if (slices && end == 0) end = unit->begin;
      }
    }
    return bytes.size();
  }

  // H.264, 7.3.2.2: whether slices may be redundant ones.
  void note_pps(std::span<const std::byte> bytes) noexcept {
    // Without the bytes that keep start codes from appearing.
    std::array<std::byte, 32> plain{};
    std::size_t size = 0;
    for (std::size_t i = 1; i < bytes.size() && size < plain.size(); ++i) {
      const bool added =
          i >= 2 && bytes[i] == std::byte{3} && bytes[i - 1] == std::byte{0} && bytes[i - 2] == std::byte{0};
      if (added) continue;
      plain[size++] = bytes[i];
    }
    detail::BitReader bits(plain);
    const auto skip = [&](unsigned count) {
      while (count-- > 0) (void)bits.bit();
    };
    const auto skip_golomb = [&] {
      unsigned zeros = 0;
      while (zeros < 32 && !bits.bit()) ++zeros;
      skip(zeros);
    };
    skip_golomb();            // pic_parameter_set_id
    skip_golomb();            // seq_parameter_set_id
    skip(2);                  // entropy_coding_mode_flag, bottom_field_pic_order_in_frame_present_flag
    if (!bits.bit()) return;  // slice groups: libavcodec decodes none
    skip_golomb();            // num_ref_idx_l0_default_active_minus1
    skip_golomb();            // num_ref_idx_l1_default_active_minus1
    skip(3);                  // weighted_pred_flag, weighted_bipred_idc
    for (int i = 0; i < 3; ++i) skip_golomb();  // quantisers
    skip(2);  // deblocking_filter_control_present_flag, constrained_intra_pred_flag
    if (bits.bit()) redundant_pictures_ = true;
  }

  // H.265, 7.4.2.4.4. Pictures of other layers belong to the one of the base layer.
  [[nodiscard]] static std::size_t first_hevc(std::span<const std::byte> bytes) noexcept {
    Units units(bytes);
    bool slices = false;
    std::size_t end = 0;  // of the picture, if another follows; then not 0
    for (std::size_t count = 0; const auto unit = units.next(); ++count) {
      if (count == max_units) return unit->begin;
      const unsigned header = byte_at(bytes, unit->payload);
      const unsigned type = (header >> 1) & 63;
      const bool base_layer = (header & 1) == 0 && byte_at(bytes, unit->payload + 1) < 8;
      if (!base_layer) continue;
      const bool in_front = (type >= 32 && type <= 35) || type == 39 || (type >= 41 && type <= 44) ||
                            (type >= 48 && type <= 55);
      if (type < 32) {
        const bool first = (byte_at(bytes, unit->payload + 2) & 0x80) != 0;
        if (slices && first) return end != 0 ? end : unit->begin;
        slices = true;
        end = 0;
      } else if (in_front && slices && end == 0) {
        end = unit->begin;
      }
    }
    return bytes.size();
  }

  // H.262, 6.2. Both fields of a frame are one picture here, as in libavcodec's parser; and a header that
  // only repeats the previous one does not begin a picture.
  [[nodiscard]] static std::size_t first_mpeg2(std::span<const std::byte> bytes) noexcept {
    constexpr unsigned frame = 3;
    Units units(bytes, Zero::of_unit);
    bool slices = false;
    unsigned pictures = 0;
    unsigned structure = frame;
    unsigned numbers = 0;    // temporal_reference, picture_coding_type
    std::size_t end = 0;     // of the picture, where that is known; then not 0
    bool undecided = false;  // whether the picture at `end` is the second field
    for (std::size_t count = 0; const auto unit = units.next(); ++count) {
      if (count == max_units) return unit->begin;
      const unsigned code = byte_at(bytes, unit->payload);
      const auto at = [&](std::size_t offset) { return byte_at(bytes, unit->payload + offset); };
      if (code == 0xb3 || code == 0xb8) {
        if (slices && end == 0) end = unit->begin;
      } else if (code == 0) {
        const unsigned these = (at(1) << 8 | at(2)) & 0xfff8;
        if (end != 0) return end;
        if (slices && structure == frame && these == numbers) continue;
        if (!slices) numbers = these;
        if (slices) {
          end = unit->begin;
          undecided = true;
        }
      } else if (code == 0xb5 && at(1) >> 4 == 8) {
        const unsigned present = at(3) & 3;
        if (undecided) {
          if (pictures != 1 || present + structure != frame) return end;
          undecided = false;
          end = 0;
        }
        structure = present;
        ++pictures;
      } else if (code >= 1 && code <= 0xaf) {
        if (undecided) return end;
        slices = true;
      }
    }
    return bytes.size();
  }

  // AV1, 5.3 and 7.5. Frames of several spatial layers stay together, because all of them determine which one
  // is shown.
  [[nodiscard]] static std::size_t first_av1(std::span<const std::byte> bytes) noexcept {
    std::optional<unsigned> layer;  // of the frame before
    std::size_t end = 0;            // of the picture, if another follows; then not 0
    std::size_t at = 0;
    for (std::size_t count = 0; at < bytes.size(); ++count) {
      if (count == max_units) return at;
      const unsigned header = byte_at(bytes, at);
      const bool extended = (header & 4) != 0;
      std::size_t payload = at + (extended ? 2 : 1);
      std::uint64_t size = 0;
      if ((header & 2) == 0) break;  // it continues to the end
      for (unsigned i = 0; i < 8; ++i) {
        const unsigned byte = byte_at(bytes, payload++);
        size |= std::uint64_t{byte & 127} << (7 * i);
        if ((byte & 128) == 0) break;
      }
      const unsigned type = (header >> 3) & 15;
      const unsigned spatial = extended ? (byte_at(bytes, at + 1) >> 3) & 3 : 0;
      if (type == 3 || type == 6) {
        if (layer && spatial <= *layer) return end != 0 ? end : at;
        layer = spatial;
        end = 0;
      } else if ((type == 1 || type == 2 || type == 5) && layer && end == 0) {
        end = at;
      }
      if (payload > bytes.size() || size > bytes.size() - payload) break;
      at = payload + static_cast<std::size_t>(size);
    }
    return bytes.size();
  }

  bool redundant_pictures_ = false;
};

/// Whether the first slice in `bytes` does not begin a picture. libavcodec drops an H.265 picture whose first
/// slice is missing, and does not report it.
[[nodiscard]] inline bool lacks_beginning(AVCodecID codec, std::span<const std::byte> bytes) noexcept {
  if (codec != AV_CODEC_ID_HEVC) return false;
  const auto slice =
      detail::find_unit(bytes, [](unsigned header) { return (header & 1) == 0 && header < 64; });
  return slice && *slice + 2 < bytes.size() && (bytes[*slice + 2] & std::byte{0x80}) == std::byte{0};
}

}  // namespace vumedia::backends::ffmpeg
