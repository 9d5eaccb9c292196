// The formats, rates and rectangles that the test pattern camera reports, and how a requested format is
// adjusted to one that exists ("Data Format Negotiation", "Image Format Enumeration" and the selection API of
// the kernel's V4L2 documentation).
//
// Formats never fail: an unknown fourcc becomes the first one, a size the nearest one, any field order
// progressive. More bytes per line than needed are granted, up to `max_stride`; an absurd request is ignored.
// The camera determines the colours: it converts nothing, so V4L2_PIX_FMT_FLAG_SET_CSC comes back unset.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/backends/test_pattern/modes.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/formats.hpp>

namespace vumedia::backends::test_pattern {

// A current format.
struct Mode {
  const v4l2::PixelFormat* format = nullptr;
  const FrameSize* size = nullptr;
  // Compressed: one plane, whose size is the limit for a picture, and no components.
  v4l2::Layout layout;
};

// Bytes of a line in memory.
inline constexpr std::uint32_t max_stride = 16384;

// A size that no compressed picture exceeds: noise at the best quality takes little more than one byte per
// pixel. Android's camera refuses a format of more than two.
[[nodiscard]] constexpr std::uint32_t compressed_size(const FrameSize& size) noexcept {
  return size.width * size.height * 2;
}

// `stride`: the requested bytes per line of the first plane.
[[nodiscard]] constexpr Mode make_mode(const v4l2::PixelFormat& format, const FrameSize& size,
                                       std::uint32_t stride = 0) noexcept {
  Mode mode{&format, &size, {}};
  if (format.compressed) {
    mode.layout.plane_count = 1;
    mode.layout.planes[0].sizeimage = compressed_size(size);
    return mode;
  }
  // There always is one: no size in the table comes near 32 bits.
  mode.layout =
      *v4l2::compute_layout(format, size.width, size.height,
                            {.stride = stride <= max_stride ? stride : 0, .max_stride = max_stride});
  return mode;
}

// The maximum size of a plane of a buffer: that of the largest picture with the longest lines.
[[nodiscard]] constexpr std::uint32_t most_plane_bytes() noexcept {
  std::uint32_t most = 0;
  for (const FrameSize& size : frame_sizes) {
    most = std::max(most, compressed_size(size));
    for (const std::uint32_t code : raw_formats) {
      const Mode mode = make_mode(*v4l2::find_pixel_format(code), size, max_stride);
      for (std::size_t p = 0; p < mode.layout.plane_count; ++p)
        most = std::max(most, mode.layout.planes[p].sizeimage);
    }
  }
  return most;
}

class Negotiation {
 public:
  // `compressed`: a format that is offered after the raw ones; 0: none. `first`: the initial one.
  Negotiation(bool multiplanar, std::uint32_t compressed, std::uint32_t first = raw_formats[0]) noexcept
      : type_(multiplanar ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE) {
    for (const std::uint32_t code :
         std::span(raw_formats).first(multiplanar ? raw_formats.size() : single_plane_formats))
      formats_[count_++] = {code, 0};
    if (compressed != 0) formats_[count_++] = {compressed, 0};
    use(make_mode(known(first), frame_sizes.front()));
  }

  [[nodiscard]] std::uint32_t type() const noexcept { return type_; }
  [[nodiscard]] const Mode& mode() const noexcept { return mode_; }
  // Frames a second.
  [[nodiscard]] std::uint32_t rate() const noexcept { return rate_; }

  // ---- Ioctls. EINVAL: a different buffer type, or nothing at that index.

  [[nodiscard]] Result<> enum_fmt(v4l2_fmtdesc& query) const noexcept {
    if (query.type != type_) return fail(EINVAL);
    return v4l2::enum_fmt(query, formats());
  }

  [[nodiscard]] Result<> enum_framesizes(v4l2_frmsizeenum& query) const noexcept {
    static constexpr auto sizes = [] {
      std::array<v4l2::FrameSize, frame_sizes.size()> list{};
      for (std::size_t i = 0; i < list.size(); ++i) list[i] = {frame_sizes[i].width, frame_sizes[i].height};
      return list;
    }();
    if (!offers(query.pixel_format)) return fail(EINVAL);
    return v4l2::enum_framesizes(query, sizes);
  }

  [[nodiscard]] Result<> enum_frameintervals(v4l2_frmivalenum& query) const noexcept {
    const FrameSize* const size = find_frame_size(query.width, query.height);
    if (!offers(query.pixel_format) || size == nullptr) return fail(EINVAL);
    std::array<v4l2_fract, frame_rates.size()> intervals{};
    const auto rates = rates_of(*size);
    for (std::size_t i = 0; i < rates.size(); ++i) intervals[i] = {1, rates[i]};
    return v4l2::enum_frameintervals(query, std::span(intervals).first(rates.size()));
  }

  [[nodiscard]] Result<> g_fmt(v4l2_format& format) const noexcept {
    if (format.type != type_) return fail(EINVAL);
    format = description_;
    return {};
  }
  [[nodiscard]] Result<> try_fmt(v4l2_format& format) const noexcept {
    if (format.type != type_) return fail(EINVAL);
    describe(adjust(format), format);
    return {};
  }
  // The caller must make sure that there are no buffers.
  [[nodiscard]] Result<> s_fmt(v4l2_format& format) noexcept {
    if (format.type != type_) return fail(EINVAL);
    use(adjust(format));
    rate_ = nearest_rate(*mode_.size, {1, rate_});
    format = description_;
    return {};
  }

  [[nodiscard]] Result<> g_parm(v4l2_streamparm& parameters) const noexcept {
    if (parameters.type != type_) return fail(EINVAL);
    parameters = {};
    parameters.type = type_;
    // There is no capture mode, no extended mode, and there are no buffers for read(), which is not
    // supported.
    parameters.parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
    parameters.parm.capture.timeperframe = {1, rate_};
    return {};
  }
  [[nodiscard]] Result<> s_parm(v4l2_streamparm& parameters) noexcept {
    if (parameters.type != type_) return fail(EINVAL);
    rate_ = nearest_rate(*mode_.size, parameters.parm.capture.timeperframe);
    return g_parm(parameters);
  }

  // A camera that cannot crop has a default and bounds, from which programs learn the shape of its pixels,
  // but no current rectangle: uvcvideo does the same, and v4l2-compliance demands it of a device with several
  // discrete sizes. Linux passes the single-planar type whichever a program used; both are accepted.
  [[nodiscard]] Result<> g_selection(v4l2_selection& selection) const noexcept {
    const std::uint32_t target = selection.target;
    if (!is_capture(selection.type) ||
        (target != V4L2_SEL_TGT_CROP_DEFAULT && target != V4L2_SEL_TGT_CROP_BOUNDS))
      return fail(EINVAL);
    selection = {.type = selection.type,
                 .target = target,
                 .flags = 0,
                 .r = {0, 0, mode_.size->width, mode_.size->height},
                 .reserved = {}};
    return {};
  }

 private:
  [[nodiscard]] static constexpr bool is_capture(std::uint32_t type) noexcept {
    return type == V4L2_BUF_TYPE_VIDEO_CAPTURE || type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
  }
  [[nodiscard]] std::span<const v4l2::EnumeratedFormat> formats() const noexcept {
    return std::span(formats_).first(count_);
  }
  [[nodiscard]] bool offers(std::uint32_t code) const noexcept {
    return std::ranges::find(formats(), code, &v4l2::EnumeratedFormat::code) != formats().end();
  }

  // That format, or the first.
  [[nodiscard]] const v4l2::PixelFormat& known(std::uint32_t code) const noexcept {
    return *v4l2::find_pixel_format(offers(code) ? code : formats_[0].code);
  }

  [[nodiscard]] Mode adjust(const v4l2_format& asked) const noexcept {
    const bool multiplanar = v4l2::is_multiplanar(type_);
    const v4l2_pix_format& pix = asked.fmt.pix;
    const v4l2_pix_format_mplane& pix_mp = asked.fmt.pix_mp;
    const std::uint32_t code = multiplanar ? pix_mp.pixelformat : pix.pixelformat;
    const std::uint32_t width = multiplanar ? pix_mp.width : pix.width;
    const std::uint32_t height = multiplanar ? pix_mp.height : pix.height;
    const std::uint32_t stride = multiplanar ? pix_mp.plane_fmt[0].bytesperline : pix.bytesperline;
    return make_mode(known(code), nearest_frame_size(width, height), stride);
  }

  void use(const Mode& mode) noexcept {
    mode_ = mode;
    describe(mode_, description_);
  }

  void describe(const Mode& mode, v4l2_format& format) const noexcept {
    format = {};
    format.type = type_;
    v4l2::fill_format(format, *mode.format, mode.size->width, mode.size->height, mode.layout);
    const auto colours = [&mode](auto& pix) {
      pix.field = V4L2_FIELD_NONE;
      // The colours of sRGB in all formats, as YCbCr of BT.601. Motion-JPEG has a colorspace for this with
      // the full range.
      const bool rgb = mode.format->code == V4L2_PIX_FMT_RGB24;
      const bool jpeg = mode.format->compressed;
      pix.colorspace = jpeg ? V4L2_COLORSPACE_JPEG : V4L2_COLORSPACE_SRGB;
      pix.ycbcr_enc = static_cast<decltype(pix.ycbcr_enc)>(rgb ? V4L2_YCBCR_ENC_DEFAULT : V4L2_YCBCR_ENC_601);
      pix.quantization = static_cast<decltype(pix.quantization)>(rgb || jpeg ? V4L2_QUANTIZATION_FULL_RANGE
                                                                             : V4L2_QUANTIZATION_LIM_RANGE);
      pix.xfer_func = V4L2_XFER_FUNC_SRGB;
    };
    if (v4l2::is_multiplanar(type_)) {
      colours(format.fmt.pix_mp);
    } else {
      colours(format.fmt.pix);
    }
  }

  std::uint32_t type_;
  std::array<v4l2::EnumeratedFormat, raw_formats.size() + 1> formats_{};
  std::size_t count_ = 0;
  Mode mode_;
  v4l2_format description_{};  // of mode_, which guests ask for more often than they change it
  std::uint32_t rate_ = default_rate;
};

}  // namespace vumedia::backends::test_pattern
