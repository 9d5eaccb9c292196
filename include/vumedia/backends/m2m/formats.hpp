// The formats of the two queues where raw pictures are made of others (VIDIOC_ENUM_FMT, ENUM_FRAMESIZES,
// G/S/TRY_FMT).
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <span>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/formats.hpp>

namespace vumedia::backends::m2m {

/// A queue's format, in the size that both queues share.
struct Format {
  const v4l2::PixelFormat* pixels = nullptr;  ///< never null once there are formats
  v4l2::Layout layout;                        ///< in the size of both queues

  /// Bytes of a buffer.
  [[nodiscard]] std::uint32_t size_image() const noexcept { return layout.planes[0].sizeimage; }
};

/// What the client says about the numbers of its pictures goes through unchanged.
struct Colours {
  std::uint32_t colorspace = V4L2_COLORSPACE_SRGB;         ///< V4L2_COLORSPACE_*
  std::uint32_t ycbcr_enc = V4L2_YCBCR_ENC_DEFAULT;        ///< V4L2_YCBCR_ENC_*
  std::uint32_t quantization = V4L2_QUANTIZATION_DEFAULT;  ///< V4L2_QUANTIZATION_*
  std::uint32_t xfer_func = V4L2_XFER_FUNC_DEFAULT;        ///< V4L2_XFER_FUNC_*
};

/// OUTPUT determines the size and the colours of both queues; the client chooses each queue's pixel format.
class Formats {
 public:
  static constexpr std::uint32_t min_side = 16;    ///< pixels
  static constexpr std::uint32_t max_side = 8192;  ///< pixels

  /// Of one queue: its type, and the formats that it offers, which live on and are not empty.
  struct Queue {
    std::uint32_t type = 0;                  ///< V4L2_BUF_TYPE_*
    std::span<const std::uint32_t> offered;  ///< V4L2_PIX_FMT_*, the default first
  };
  /// `max_pixels`: the most luma samples of a picture.
  Formats(const Queue& output, const Queue& capture, std::uint32_t max_pixels) noexcept
      : output_(output), capture_(capture), max_pixels_(max_pixels) {
    apply(640, 480, output.offered.front(), capture.offered.front());
  }

  /// A queue's format.
  ///@{
  [[nodiscard]] const Format& output() const noexcept { return output_format_; }
  [[nodiscard]] const Format& capture() const noexcept { return capture_format_; }
  ///@}
  /// Of both queues, in pixels.
  ///@{
  [[nodiscard]] std::uint32_t width() const noexcept { return width_; }
  [[nodiscard]] std::uint32_t height() const noexcept { return height_; }
  ///@}
  /// The most bytes that a picture of any format and size takes.
  [[nodiscard]] static constexpr std::uint32_t most_bytes(std::uint32_t max_pixels) noexcept {
    // No format takes more than four bytes a pixel, and chroma that is rounded up adds less than two lines.
    return 4 * (std::max(max_pixels, min_side * max_side) + 2 * max_side);
  }

  /// VIDIOC_ENUM_FMT. EINVAL: a type of neither queue, or nothing at that index.
  [[nodiscard]] Result<> enumerate(v4l2_fmtdesc& query) const noexcept {
    const Queue* const queue = find(query.type);
    if (queue == nullptr || query.index >= queue->offered.size()) return fail(EINVAL);
    const v4l2::EnumeratedFormat format{queue->offered[query.index], 0};
    const std::uint32_t index = query.index;
    query.index = 0;
    const auto done = v4l2::enum_fmt(query, std::span(&format, 1));
    query.index = index;
    return done;
  }
  /// VIDIOC_ENUM_FRAMESIZES. EINVAL: no format of either queue, or another index than 0.
  [[nodiscard]] Result<> enumerate(v4l2_frmsizeenum& query) const noexcept {
    if (!offers(output_, query.pixel_format) && !offers(capture_, query.pixel_format)) return fail(EINVAL);
    return v4l2::enum_framesizes(query, v4l2_frmsize_stepwise{min_side, max_side, 1, min_side, max_side, 1});
  }

  /// VIDIOC_G_FMT. EINVAL for a type of neither queue, also of the next two.
  [[nodiscard]] Result<> get(v4l2_format& format) const noexcept {
    if (find(format.type) == nullptr) return fail(EINVAL);
    write(format);
    return {};
  }
  /// VIDIOC_TRY_FMT.
  [[nodiscard]] Result<> adjust(v4l2_format& format) const noexcept {
    Formats changed = *this;
    return changed.set(format);
  }
  /// VIDIOC_S_FMT. The caller has made sure that the queue has no buffers, and the other one has none either
  /// or keeps its format: see keeps_other().
  [[nodiscard]] Result<> set(v4l2_format& format, bool /*other_is_busy*/ = false) noexcept {
    const Queue* const queue = find(format.type);
    if (queue == nullptr) return fail(EINVAL);
    const Wanted wanted = read(format);
    const std::uint32_t code = offers(*queue, wanted.code) ? wanted.code : queue->offered.front();
    if (queue == &output_) {
      colours_ = wanted.colours;
      const std::uint32_t width = std::clamp(wanted.width, min_side, max_side);
      const std::uint32_t most = std::clamp(max_pixels_ / width, min_side, max_side);
      apply(width, std::clamp(wanted.height, min_side, most), code, capture_format_.pixels->code);
    } else {
      apply(width_, height_, output_format_.pixels->code, code);
    }
    write(format);
    return {};
  }
  /// Whether setting `format` leaves that of the other queue as it is.
  [[nodiscard]] bool keeps_other(v4l2_format format) const noexcept {
    Formats changed = *this;
    return changed.set(format) && changed.width_ == width_ && changed.height_ == height_;
  }
  /// The bytes that a buffer of the queue must have.
  [[nodiscard]] std::uint32_t size_image(std::uint32_t type) const noexcept {
    return (type == output_.type ? output_format_ : capture_format_).size_image();
  }

 private:
  struct Wanted {
    std::uint32_t width = 0, height = 0, code = 0;
    Colours colours;
  };

  [[nodiscard]] const Queue* find(std::uint32_t type) const noexcept {
    return type == output_.type ? &output_ : type == capture_.type ? &capture_ : nullptr;
  }
  [[nodiscard]] static bool offers(const Queue& queue, std::uint32_t code) noexcept {
    return std::ranges::find(queue.offered, code) != queue.offered.end();
  }
  // Sizes are within the limits, and the formats are offered.
  void apply(std::uint32_t width, std::uint32_t height, std::uint32_t output,
             std::uint32_t capture) noexcept {
    width_ = width;
    height_ = height;
    for (auto [format, code] : {std::pair{&output_format_, output}, std::pair{&capture_format_, capture}}) {
      format->pixels = v4l2::find_pixel_format(code);
      format->layout = *v4l2::compute_layout(*format->pixels, width, height);
    }
  }

  // What a client asks for; undefined values become the default.
  template <class Pixels>
  [[nodiscard]] static Wanted read_from(const Pixels& pixels, bool has_encoding) noexcept {
    Wanted wanted{pixels.width, pixels.height, pixels.pixelformat, {}};
    if (pixels.colorspace != V4L2_COLORSPACE_DEFAULT && pixels.colorspace != V4L2_COLORSPACE_BT878 &&
        pixels.colorspace <= V4L2_COLORSPACE_DCI_P3)
      wanted.colours.colorspace = pixels.colorspace;
    if (!has_encoding) return wanted;
    if (pixels.ycbcr_enc <= V4L2_YCBCR_ENC_SMPTE240M && pixels.ycbcr_enc != V4L2_YCBCR_ENC_SYCC)
      wanted.colours.ycbcr_enc = pixels.ycbcr_enc;
    if (pixels.quantization <= V4L2_QUANTIZATION_LIM_RANGE) wanted.colours.quantization = pixels.quantization;
    if (pixels.xfer_func <= V4L2_XFER_FUNC_SMPTE2084) wanted.colours.xfer_func = pixels.xfer_func;
    return wanted;
  }
  [[nodiscard]] static Wanted read(const v4l2_format& format) noexcept {
    if (v4l2::is_multiplanar(format.type)) return read_from(format.fmt.pix_mp, true);
    // Without the magic number the fields after it do not exist.
    return read_from(format.fmt.pix, format.fmt.pix.priv == V4L2_PIX_FMT_PRIV_MAGIC);
  }

  void write(v4l2_format& format) const noexcept {
    const Format& own = format.type == output_.type ? output_format_ : capture_format_;
    const std::uint32_t type = format.type;
    format = {};
    format.type = type;
    v4l2::fill_format(format, *own.pixels, width_, height_, own.layout);
    if (v4l2::is_multiplanar(type)) {
      v4l2_pix_format_mplane& pixels = format.fmt.pix_mp;
      pixels.field = V4L2_FIELD_NONE;
      pixels.colorspace = colours_.colorspace;
      pixels.ycbcr_enc = static_cast<__u8>(colours_.ycbcr_enc);
      pixels.quantization = static_cast<__u8>(colours_.quantization);
      pixels.xfer_func = static_cast<__u8>(colours_.xfer_func);
    } else {
      v4l2_pix_format& pixels = format.fmt.pix;
      pixels.field = V4L2_FIELD_NONE;
      pixels.colorspace = colours_.colorspace;
      pixels.ycbcr_enc = colours_.ycbcr_enc;
      pixels.quantization = colours_.quantization;
      pixels.xfer_func = colours_.xfer_func;
    }
  }

  Queue output_;
  Queue capture_;
  std::uint32_t max_pixels_;
  Format output_format_;
  Format capture_format_;
  Colours colours_;
  std::uint32_t width_ = 0;
  std::uint32_t height_ = 0;
};

}  // namespace vumedia::backends::m2m
