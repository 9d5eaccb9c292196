// The formats, intervals and rectangles that a camera reports, and how a requested format is adjusted to one
// that exists ("Data Format Negotiation", "Image Format Enumeration" and the selection API of the kernel's
// V4L2 documentation).
//
// Formats never fail: an unknown fourcc becomes the first one, a size the nearest one, any field order
// progressive. More bytes per line than needed are granted, up to `max_stride`; an absurd request is ignored.
// The camera determines the colours: it converts nothing, so V4L2_PIX_FMT_FLAG_SET_CSC comes back unset.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/camera/modes.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/formats.hpp>

namespace vumedia::backends::camera {

/// What the camera is set to, and what it could be set to. For the device's loop.
class Negotiation {
 public:
  /// `modes` satisfy valid_modes(), and what they refer to outlives this. `compressed`: a format that is
  /// offered after the raw ones; 0: none. `first`: the initial one, if it is offered.
  Negotiation(const Modes& modes, bool multiplanar, std::uint32_t compressed, std::uint32_t first = 0)
      : modes_(modes), type_(multiplanar ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE) {
    for (const std::uint32_t code : modes.formats) {
      if (multiplanar || v4l2::find_pixel_format(code)->memory_planes == 1) formats_.push_back({code, 0});
    }
    if (compressed != 0) formats_.push_back({compressed, 0});
    for (const FrameSize& size : modes.sizes) sizes_.push_back({size.width, size.height});
    use(make_mode(known(first), modes.sizes.front()));
    interval_ = nearest_interval(*mode_.size, modes.usual_interval, modes.usual_interval);
  }

  /// V4L2_BUF_TYPE_VIDEO_CAPTURE, or its multi-planar type.
  [[nodiscard]] std::uint32_t type() const noexcept { return type_; }
  /// The format and size that are set.
  [[nodiscard]] const Mode& mode() const noexcept { return mode_; }
  /// Seconds for a frame.
  [[nodiscard]] const v4l2_fract& interval() const noexcept { return interval_; }

  // ---- Ioctls. EINVAL: a different buffer type, or nothing at that index.

  /// As the ioctl of that name.
  ///@{
  [[nodiscard]] Result<> enum_fmt(v4l2_fmtdesc& query) const noexcept {
    if (query.type != type_) return fail(EINVAL);
    return v4l2::enum_fmt(query, formats_);
  }

  [[nodiscard]] Result<> enum_framesizes(v4l2_frmsizeenum& query) const noexcept {
    if (!offers(query.pixel_format)) return fail(EINVAL);
    return v4l2::enum_framesizes(query, sizes_);
  }

  [[nodiscard]] Result<> enum_frameintervals(v4l2_frmivalenum& query) const noexcept {
    const FrameSize* const size = find_size(modes_, query.width, query.height);
    if (!offers(query.pixel_format) || size == nullptr) return fail(EINVAL);
    return v4l2::enum_frameintervals(query, size->intervals);
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
  ///@}
  /// The caller must make sure that there are no buffers.
  [[nodiscard]] Result<> s_fmt(v4l2_format& format) noexcept {
    if (format.type != type_) return fail(EINVAL);
    use(adjust(format));
    interval_ = nearest_interval(*mode_.size, interval_, modes_.usual_interval);
    format = description_;
    return {};
  }

  /// As the ioctl of that name.
  ///@{
  [[nodiscard]] Result<> g_parm(v4l2_streamparm& parameters) const noexcept {
    if (parameters.type != type_) return fail(EINVAL);
    parameters = {};
    parameters.type = type_;
    // There is no capture mode, no extended mode, and there are no buffers for read(), which is not
    // supported.
    parameters.parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
    parameters.parm.capture.timeperframe = interval_;
    return {};
  }
  [[nodiscard]] Result<> s_parm(v4l2_streamparm& parameters) noexcept {
    if (parameters.type != type_) return fail(EINVAL);
    interval_ = nearest_interval(*mode_.size, parameters.parm.capture.timeperframe, modes_.usual_interval);
    return g_parm(parameters);
  }
  ///@}

  /// A camera that cannot crop has a default and bounds, from which programs learn the shape of its pixels,
  /// but no current rectangle: uvcvideo does the same, and v4l2-compliance demands it of a device with
  /// several discrete sizes. Linux passes the single-planar type whichever a program used; both are accepted.
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
  [[nodiscard]] bool offers(std::uint32_t code) const noexcept {
    return std::ranges::find(formats_, code, &v4l2::EnumeratedFormat::code) != formats_.end();
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
    return make_mode(known(code), nearest_size(modes_, width, height), stride);
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

  Modes modes_;
  std::uint32_t type_;
  std::vector<v4l2::EnumeratedFormat> formats_;
  std::vector<v4l2::FrameSize> sizes_;
  Mode mode_;
  v4l2_format description_{};  // of mode_, which guests ask for more often than they change it
  v4l2_fract interval_{};
};

}  // namespace vumedia::backends::camera
