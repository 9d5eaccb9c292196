// The faults of rules on configuration, formats and parameters.
#pragma once

#include <cstring>
#include <memory>

#include <vumedia/backends/test_pattern.hpp>

#include "client/compliance_faults.hpp"
#include "support/output_device.hpp"

namespace vumedia::client::test {

namespace core_faults {

namespace tag = v4l2::tag;
using vumedia::test::after, vumedia::test::before, vumedia::test::instead, vumedia::test::mistakes;
using vumedia::test::Fault, vumedia::test::IoctlCall;

// A type of buffers that does not exist, which rules try among others.
inline constexpr std::uint32_t no_type = 0x80;
inline constexpr std::uint32_t no_index = 0xffffffff;

template <class F>
Fault configured(F alter) {
  Fault fault;
  fault.config = alter;
  return fault;
}
// Alters successful answers only.
template <class Tag, class F>
Fault answer(F alter) {
  return after<Tag>([alter](auto& payload, Result<>& result) mutable {
    if (result) alter(payload);
  });
}
// Answers success if a payload is `about` something that does not exist.
template <class Tag, class About>
Fault takes(About about) {
  return after<Tag>([about](auto& payload, Result<>& result) {
    if (about(payload)) result = {};
  });
}
// Alters a successful answer depending on the request: `alter(asked, answer)`.
template <class Tag, class F>
Fault reply(F alter) {
  return instead<Tag>([alter](IoctlCall& call) mutable {
    const auto asked = call.payload<Tag>();
    call.forward();
    if (call.result) alter(asked, call.payload<Tag>());
  });
}
template <class Tag>
Fault takes_type() {
  return takes<Tag>([](const auto& payload) { return payload.type == no_type; });
}

inline const SeededFault config_faults[] = {
    {"config/known-type", [] { return configured([](auto& c) { c.device_type = media::DeviceType{9}; }); }},
    {"config/type-fits-capabilities",
     [] { return configured([](auto& c) { c.device_caps |= V4L2_CAP_SDR_CAPTURE; }); }},
    {"config/no-device-caps-flag",
     [] { return configured([](auto& c) { c.device_caps |= V4L2_CAP_DEVICE_CAPS; }); }},
    {"config/one-plane-api",
     [] { return configured([](auto& c) { c.device_caps |= V4L2_CAP_VIDEO_CAPTURE_MPLANE; }); }},
    {"config/extended-formats",
     [] { return configured([](auto& c) { c.device_caps &= ~std::uint32_t{V4L2_CAP_EXT_PIX_FORMAT}; }); }},
    {"config/streaming-has-buffers",
     [] { return configured([](auto& c) { c.device_caps &= ~std::uint32_t{V4L2_CAP_STREAMING}; }); }},
    {"config/card-is-text", [] { return configured([](auto& c) { c.card = "bell\a"; }); }},
};

inline const SeededFault m2m_faults[] = {
    {"config/m2m-stands-alone",
     [] { return configured([](auto& c) { c.device_caps |= V4L2_CAP_VIDEO_OUTPUT; }); }},
};

inline const SeededFault enumeration_faults[] = {
    {"enum-fmt/lists-some",
     [] { return after<tag::ENUM_FMT>([](v4l2_fmtdesc&, Result<>& result) { result = fail(EINVAL); }); }},
    {"enum-fmt/indexes",
     [] {
       return answer<tag::ENUM_FMT>([](v4l2_fmtdesc& format) {
         if (format.index == 1) format.index = 7;
       });
     }},
    {"enum-fmt/reserved-is-zero",
     [] { return answer<tag::ENUM_FMT>([](v4l2_fmtdesc& format) { format.reserved[1] = 1; }); }},
    {"enum-fmt/description",
     [] {
       return answer<tag::ENUM_FMT>(
           [](v4l2_fmtdesc& format) { std::memset(format.description, 'x', sizeof format.description); });
     }},
    {"enum-fmt/distinct",
     [] {
       return answer<tag::ENUM_FMT>([](v4l2_fmtdesc& format) { format.pixelformat = V4L2_PIX_FMT_RGB24; });
     }},
    {"enum-fmt/flags",
     [] {
       return answer<tag::ENUM_FMT>([](v4l2_fmtdesc& format) { format.flags = V4L2_FMT_FLAG_COMPRESSED; });
     }},
    {"enum-fmt/mbus-code",
     [] {
       return before<tag::ENUM_FMT>([](v4l2_fmtdesc& format) {
         if (format.mbus_code != 0) ++format.index;
       });
     }},
    {"enum-fmt/unknown-type", [] { return takes_type<tag::ENUM_FMT>(); }},
    {"enum-framesizes/indexes",
     [] {
       return answer<tag::ENUM_FRAMESIZES>([](v4l2_frmsizeenum& size) {
         if (size.index == 1) size.index = 7;
       });
     }},
    {"enum-framesizes/values",
     [] {
       return answer<tag::ENUM_FRAMESIZES>([](v4l2_frmsizeenum& size) {
         if (size.index == 1) size.discrete.width = 0;
       });
     },
     {"enum-framesizes/can-be-had"}},
    {"enum-framesizes/reserved-is-zero",
     [] { return answer<tag::ENUM_FRAMESIZES>([](v4l2_frmsizeenum& size) { size.reserved[1] = 1; }); }},
    {"enum-framesizes/unknown-format",
     [] {
       return takes<tag::ENUM_FRAMESIZES>([](const auto& size) { return size.pixel_format == 0xffffffff; });
     }},
    {"enum-framesizes/can-be-had",
     [] { return answer<tag::ENUM_FRAMESIZES>([](v4l2_frmsizeenum& size) { size.discrete.width += 2; }); }},
    {"enum-frameintervals/indexes",
     [] {
       return answer<tag::ENUM_FRAMEINTERVALS>([](v4l2_frmivalenum& interval) {
         if (interval.index == 1) interval.index = 7;
       });
     }},
    {"enum-frameintervals/values",
     [] {
       return answer<tag::ENUM_FRAMEINTERVALS>(
           [](v4l2_frmivalenum& interval) { interval.discrete.denominator = 0; });
     }},
    {"enum-frameintervals/reserved-is-zero",
     [] {
       return answer<tag::ENUM_FRAMEINTERVALS>([](v4l2_frmivalenum& interval) { interval.reserved[0] = 1; });
     }},
    {"enum-frameintervals/unknown",
     [] {
       return takes<tag::ENUM_FRAMEINTERVALS>([](const auto& interval) { return interval.width == 0x10001; });
     }},
};

// A format that VIDIOC_TRY_FMT sets although it must not.
inline Fault try_sets() {
  return instead<tag::TRY_FMT>([](IoctlCall& call) {
    call.forward();
    v4l2_format format = call.payload<tag::TRY_FMT>();
    if (call.result) static_cast<void>(call.run<tag::S_FMT>(format));
  });
}

inline const SeededFault format_faults[] = {
    {"g-fmt/answers",
     [] {
       return answer<tag::G_FMT>(
           [count = 0u](v4l2_format& format) mutable { format.fmt.pix.sizeimage += 4096 * (++count % 2); });
     }},
    {"g-fmt/unknown-type", [] { return takes_type<tag::G_FMT>(); }},
    {"g-fmt/sensible", [] { return answer<tag::G_FMT>([](v4l2_format& f) { f.fmt.pix.sizeimage = 100; }); }},
    {"g-fmt/field",
     [] { return answer<tag::G_FMT>([](v4l2_format& f) { f.fmt.pix.field = V4L2_FIELD_ANY; }); }},
    {"g-fmt/colorimetry",
     [] { return answer<tag::G_FMT>([](v4l2_format& f) { f.fmt.pix.colorspace = 0; }); }},
    // Other rules try the same requests.
    {"try-fmt/never-refuses",
     [] {
       return instead<tag::TRY_FMT>([](IoctlCall& call) {
         const bool huge = call.payload<tag::TRY_FMT>().fmt.pix.width == 0xffffffff;
         call.forward();
         if (huge) call.result = fail(EINVAL);
       });
     },
     {"try-fmt/field", "try-fmt/settles", "try-fmt/changes-nothing"}},
    {"try-fmt/each-format",
     [] {
       return before<tag::TRY_FMT>([](v4l2_format& format) {
         if (format.fmt.pix.pixelformat == V4L2_PIX_FMT_YUYV) format.fmt.pix.pixelformat = V4L2_PIX_FMT_RGB24;
       });
     }},
    {"try-fmt/field",
     [] {
       return reply<tag::TRY_FMT>([](const v4l2_format& asked, v4l2_format& format) {
         if (asked.fmt.pix.field == 0xffff) format.fmt.pix.field = 0xffff;
       });
     }},
    {"try-fmt/colorimetry",
     [] {
       return reply<tag::TRY_FMT>([](const v4l2_format& asked, v4l2_format& format) {
         if (asked.fmt.pix.colorspace == 0) format.fmt.pix.colorspace = 0;
       });
     }},
    {"try-fmt/settles",
     [] {
       return reply<tag::TRY_FMT>([](const v4l2_format& asked, v4l2_format& format) {
         if (asked.fmt.pix.sizeimage != 0) format.fmt.pix.sizeimage = asked.fmt.pix.sizeimage + 4096;
         // Not so small that there is no room for its lines.
         if (format.fmt.pix.sizeimage < format.fmt.pix.bytesperline * format.fmt.pix.height * 2)
           format.fmt.pix.sizeimage += format.fmt.pix.bytesperline * format.fmt.pix.height * 2;
       });
     }},
    {"try-fmt/changes-nothing", try_sets},
    {"try-fmt/stride-wish",
     [] {
       return reply<tag::TRY_FMT>([](const v4l2_format& asked, v4l2_format& format) {
         if (asked.fmt.pix.bytesperline == 0x7fffffff) format.fmt.pix.bytesperline = 0x7fffffff;
       });
     }},
    {"try-fmt/unknown-type", [] { return takes_type<tag::TRY_FMT>(); }},
    {"s-fmt/is-got",
     [] {
       return answer<tag::G_FMT>([](v4l2_format& format) {
         if (format.fmt.pix.pixelformat == V4L2_PIX_FMT_YUYV) format.fmt.pix.sizeimage += 4096;
       });
     }},
    {"s-fmt/equals-try-fmt",
     [] {
       return answer<tag::TRY_FMT>([](v4l2_format& format) {
         if (format.fmt.pix.pixelformat == V4L2_PIX_FMT_YUYV) format.fmt.pix.sizeimage += 4096;
       });
     }},
    {"s-fmt/unknown-type", [] { return takes_type<tag::S_FMT>(); }},
    {"s-fmt/busy-with-buffers", [] { return mistakes<tag::S_FMT>(EBUSY, 0); }},
};

inline const SeededFault multiplanar_format_faults[] = {
    {"try-fmt/reserved-is-zero",
     [] { return answer<tag::TRY_FMT>([](v4l2_format& f) { f.fmt.pix_mp.reserved[2] = 1; }); }},
    {"s-fmt/reserved-is-zero",
     [] { return answer<tag::S_FMT>([](v4l2_format& f) { f.fmt.pix_mp.reserved[2] = 1; }); }},
};

[[nodiscard]] inline bool is_zero(const v4l2_fract& interval) {
  return interval.numerator == 0 || interval.denominator == 0;
}

inline const SeededFault parameter_faults[] = {
    {"g-parm/sensible",
     [] { return answer<tag::G_PARM>([](v4l2_streamparm& p) { p.parm.capture.timeperframe = {0, 0}; }); }},
    {"g-parm/reserved-is-zero",
     [] { return answer<tag::G_PARM>([](v4l2_streamparm& p) { p.parm.capture.reserved[3] = 1; }); }},
    {"g-parm/unknown-type", [] { return takes_type<tag::G_PARM>(); }},
    {"s-parm/is-got",
     [] {
       return answer<tag::G_PARM>([](v4l2_streamparm& p) { ++p.parm.capture.timeperframe.denominator; });
     }},
    {"s-parm/zero-is-nominal",
     [] {
       return reply<tag::S_PARM>([](const v4l2_streamparm& asked, v4l2_streamparm& p) {
         if (is_zero(asked.parm.capture.timeperframe)) p.parm.capture.timeperframe = {0, 0};
       });
     }},
    {"s-parm/listed-can-be-had",
     [] {
       return before<tag::S_PARM>([](v4l2_streamparm& p) {
         auto& interval = p.parm.capture.timeperframe;
         if (interval.numerator == 1 && interval.denominator == 30) interval.denominator = 15;
       });
     }},
    {"enuminput/indexes", [] { return answer<tag::ENUMINPUT>([](v4l2_input& input) { ++input.index; }); }},
    {"enuminput/described",
     [] { return answer<tag::ENUMINPUT>([](v4l2_input& input) { input.name[0] = 0; }); }},
    {"g-input/is-listed", [] { return answer<tag::G_INPUT>([](std::uint32_t& index) { index = 5; }); }},
    {"s-input/unknown", [] { return mistakes<tag::S_INPUT>(EINVAL, 0); }},
    {"s-input/is-got", [] { return answer<tag::G_INPUT>([](std::uint32_t& index) { index = 1; }); }},
    // Both check the priority of a device that nobody has changed.
    {"priority/default",
     [] {
       return answer<tag::G_PRIORITY>([](std::uint32_t& priority) { priority = V4L2_PRIORITY_BACKGROUND; });
     },
     {"priority/ends-with-its-file"}},
    {"s-priority/unknown", [] { return mistakes<tag::S_PRIORITY>(EINVAL, 0); }},
    {"g-priority/is-everyones",
     [] {
       return answer<tag::G_PRIORITY>([](std::uint32_t& priority) { priority = V4L2_PRIORITY_INTERACTIVE; });
     }},
    {"priority/ends-with-its-file",
     [] {
       Fault fault;
       fault.ioctl = [highest = std::uint32_t{0}](IoctlCall& call) mutable {
         if (call.is<tag::S_PRIORITY>()) highest = std::max(highest, call.payload<tag::S_PRIORITY>());
         call.forward();
         if (call.is<tag::G_PRIORITY>())
           call.payload<tag::G_PRIORITY>() = std::max(highest, call.payload<tag::G_PRIORITY>());
       };
       return fault;
     }},
    {"priority/guards-changes", [] { return mistakes<tag::S_FMT>(EBUSY, 0); }},
};

inline const SeededFault output_faults[] = {
    {"g-selection/unknown",
     [] { return takes<tag::G_SELECTION>([](const auto& selection) { return selection.target == 0xfff; }); }},
    {"g-selection/bounds",
     [] {
       return answer<tag::G_SELECTION>([](v4l2_selection& selection) {
         if (selection.target == V4L2_SEL_TGT_CROP_DEFAULT) ++selection.r.width;
       });
     }},
    {"s-selection/read-only",
     [] {
       return takes<tag::S_SELECTION>(
           [](const auto& selection) { return selection.target == V4L2_SEL_TGT_CROP_BOUNDS; });
     }},
    {"s-selection/is-got",
     [] { return answer<tag::S_SELECTION>([](v4l2_selection& selection) { ++selection.r.left; }); }},
    {"enumoutput/indexes",
     [] { return answer<tag::ENUMOUTPUT>([](v4l2_output& output) { ++output.index; }); }},
    {"enumoutput/described",
     [] { return answer<tag::ENUMOUTPUT>([](v4l2_output& output) { output.reserved[0] = 1; }); }},
    {"g-output/is-listed", [] { return answer<tag::G_OUTPUT>([](std::uint32_t& index) { index = 5; }); }},
    {"s-output/unknown", [] { return mistakes<tag::S_OUTPUT>(EINVAL, 0); }},
    {"s-output/is-got", [] { return answer<tag::G_OUTPUT>([](std::uint32_t& index) { index = 0; }); }},
};

}  // namespace core_faults

[[nodiscard]] inline std::unique_ptr<vumedia::test::EmbeddedGuest> make_camera(vumedia::test::Fault fault) {
  return guest_of_faulty<backends::TestPattern>(std::move(fault));
}
[[nodiscard]] inline std::unique_ptr<vumedia::test::EmbeddedGuest> make_planar_camera(
    vumedia::test::Fault fault) {
  return guest_of_faulty<backends::TestPattern>(std::move(fault),
                                                backends::TestPatternOptions{.multiplanar = true});
}
[[nodiscard]] inline std::unique_ptr<vumedia::test::EmbeddedGuest> make_output(vumedia::test::Fault fault) {
  return guest_of_faulty<vumedia::test::OutputDevice>(std::move(fault));
}
[[nodiscard]] inline std::unique_ptr<vumedia::test::EmbeddedGuest> make_m2m(vumedia::test::Fault fault) {
  return guest_of_faulty<vumedia::test::OutputDevice>(std::move(fault), std::uint32_t{V4L2_CAP_VIDEO_M2M});
}

}  // namespace vumedia::client::test
