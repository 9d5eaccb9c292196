// The commands that only query: what the device is, and its formats.
#include <array>
#include <cinttypes>
#include <cstdio>
#include <string>

#include "commands.hpp"
#include "peer.hpp"
#include "picture.hpp"
#include "text.hpp"

namespace ctl {
namespace {

using vumedia::format_text;
using vumedia::Outcome;
namespace tag = vumedia::v4l2::tag;

struct Name {
  std::uint32_t value = 0;
  const char* text = "";
};

constexpr std::array capability_names{
    Name{V4L2_CAP_VIDEO_CAPTURE, "video capture"},
    Name{V4L2_CAP_VIDEO_CAPTURE_MPLANE, "video capture, multi-planar"},
    Name{V4L2_CAP_VIDEO_OUTPUT, "video output"},
    Name{V4L2_CAP_VIDEO_OUTPUT_MPLANE, "video output, multi-planar"},
    Name{V4L2_CAP_VIDEO_M2M, "memory to memory"},
    Name{V4L2_CAP_VIDEO_M2M_MPLANE, "memory to memory, multi-planar"},
    Name{V4L2_CAP_VIDEO_OVERLAY, "overlay"},
    Name{V4L2_CAP_VBI_CAPTURE, "VBI capture"},
    Name{V4L2_CAP_TUNER, "tuner"},
    Name{V4L2_CAP_AUDIO, "audio"},
    Name{V4L2_CAP_RADIO, "radio"},
    Name{V4L2_CAP_SDR_CAPTURE, "software-defined radio"},
    Name{V4L2_CAP_META_CAPTURE, "metadata capture"},
    Name{V4L2_CAP_READWRITE, "read and write"},
    Name{V4L2_CAP_STREAMING, "streaming"},
    Name{V4L2_CAP_EXT_PIX_FORMAT, "extended pixel formats"},
    Name{V4L2_CAP_TOUCH, "touch"},
};

constexpr std::array device_types{"video", "vbi", "radio", "subdev", "sdr", "touch"};

std::string interval_text(const v4l2_fract& interval) {
  if (interval.numerator == 0) return "?";
  return format_text("%.4g", static_cast<double>(interval.denominator) / interval.numerator);
}

void print_intervals(Device& device, std::uint32_t fourcc, std::uint32_t width, std::uint32_t height) {
  v4l2_frmivalenum interval{};
  interval.pixel_format = fourcc;
  interval.width = width;
  interval.height = height;
  std::string rates;
  // Bounded: a device may answer every index.
  for (; interval.index < 256 && device.try_call<tag::ENUM_FRAMEINTERVALS>(interval); ++interval.index) {
    if (!rates.empty()) rates += ", ";
    if (interval.type != V4L2_FRMIVAL_TYPE_DISCRETE) {
      rates += interval_text(interval.stepwise.max) + " to " + interval_text(interval.stepwise.min);
      break;
    }
    rates += interval_text(interval.discrete);
  }
  if (!rates.empty()) std::printf(" at %s frames per second", rates.c_str());
}

void print_sizes(Device& device, std::uint32_t fourcc) {
  v4l2_frmsizeenum size{};
  size.pixel_format = fourcc;
  for (; size.index < 256 && device.try_call<tag::ENUM_FRAMESIZES>(size); ++size.index) {
    if (size.type != V4L2_FRMSIZE_TYPE_DISCRETE) {
      std::printf("    %ux%u to %ux%u in steps of %ux%u\n", size.stepwise.min_width, size.stepwise.min_height,
                  size.stepwise.max_width, size.stepwise.max_height, size.stepwise.step_width,
                  size.stepwise.step_height);
      return;
    }
    std::printf("    %ux%u", size.discrete.width, size.discrete.height);
    print_intervals(device, fourcc, size.discrete.width, size.discrete.height);
    std::printf("\n");
  }
}

}  // namespace

Outcome<> print_info(Device& device) {
  std::printf("card: %s\n", device.card().c_str());
  const std::uint32_t type = device.device_type();
  std::printf("type: %s\n",
              type < device_types.size() ? device_types[type] : format_text("%u", type).c_str());
  std::printf("capabilities: 0x%08x\n", device.capabilities());
  for (const auto& name : capability_names) {
    if ((device.capabilities() & name.value) != 0) std::printf("  %s\n", name.text);
  }
  std::printf("shared memory: %" PRIu64 " MiB\n", device.shared_memory_size() >> 20);
  if (const auto peer = Peer::of_socket(device.socket())) {
    std::printf("process: %s (%d)\n", peer->name().c_str(), static_cast<int>(peer->pid()));
  }
  v4l2_input input{};
  for (; input.index < 64 && device.try_call<tag::ENUMINPUT>(input); ++input.index) {
    std::printf("input %u: %s\n", input.index, text_of(input.name).c_str());
  }
  for (const std::uint32_t queue : {device.output_type(), device.capture_type()}) {
    v4l2_format format{};
    format.type = queue;
    if (queue == 0 || !device.try_call<tag::G_FMT>(format)) continue;
    const Layout layout = layout_of(format);
    std::printf("%s format: %s, %ux%u, %u bytes\n", vumedia::v4l2::is_output(queue) ? "output" : "capture",
                fourcc_text(layout.fourcc).c_str(), layout.width, layout.height, layout.size[0]);
  }
  return device.alive();
}

Outcome<> list_formats(Device& device) {
  for (const std::uint32_t type : {device.output_type(), device.capture_type()}) {
    if (type == 0) continue;
    std::printf("%s:\n", vumedia::v4l2::is_output(type) ? "output" : "capture");
    v4l2_fmtdesc description{};
    description.type = type;
    for (; description.index < max_formats && device.try_call<tag::ENUM_FMT>(description);
         ++description.index) {
      std::printf("  %-4s  %s%s\n", fourcc_text(description.pixelformat).c_str(),
                  text_of(description.description).c_str(),
                  (description.flags & V4L2_FMT_FLAG_COMPRESSED) != 0 ? " (compressed)" : "");
      print_sizes(device, description.pixelformat);
    }
  }
  return device.alive();
}

}  // namespace ctl
