#include "capture.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <system_error>

#include "commands.hpp"
#include "controls.hpp"
#include "jpeg.hpp"
#include "outputs.hpp"
#include "progress.hpp"
#include "writers.hpp"

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::format_text;
using vumedia::Outcome;
namespace tag = vumedia::v4l2::tag;

constexpr std::chrono::seconds patience{10};

// The first of the device's formats that `accepts(fourcc)`, else one that can be decoded; 0 if there is
// neither.
template <class Accepts>
std::uint32_t first_format(Device& device, std::uint32_t type, Accepts accepts) {
  std::uint32_t jpeg = 0;
  v4l2_fmtdesc description{};
  description.type = type;
  for (; description.index < max_formats; ++description.index) {
    if (!device.try_call<tag::ENUM_FMT>(description)) break;
    if (accepts(std::uint32_t{description.pixelformat})) return description.pixelformat;
    if (jpeg == 0 && is_jpeg(description.pixelformat)) jpeg = description.pixelformat;
  }
  return jpeg;
}

void set_pixels(v4l2_format& format, std::uint32_t fourcc, std::optional<Size> size) {
  if (vumedia::v4l2::is_multiplanar(format.type)) {
    if (fourcc != 0) format.fmt.pix_mp.pixelformat = fourcc;
    if (size) format.fmt.pix_mp.width = size->width, format.fmt.pix_mp.height = size->height;
    for (auto& plane : format.fmt.pix_mp.plane_fmt) plane = {};
  } else {
    if (fourcc != 0) format.fmt.pix.pixelformat = fourcc;
    if (size) format.fmt.pix.width = size->width, format.fmt.pix.height = size->height;
    format.fmt.pix.bytesperline = 0;
    format.fmt.pix.sizeimage = 0;
  }
}

// Sets the device to the requested format, or says what it can do instead.
Outcome<> choose_format(Device& device, std::uint32_t type, const CaptureOptions& options,
                        bool needs_pixels) {
  auto format = get_format(device, type);
  if (!format) return std::unexpected(format.error());
  std::uint32_t fourcc = 0;
  if (!options.format.empty()) {
    fourcc = parse_fourcc(options.format);
  } else if (output_kind(options.output) == OutputKind::mjpeg) {
    if (!is_jpeg(layout_of(*format).fourcc)) fourcc = V4L2_PIX_FMT_MJPEG;
  } else if (const std::uint32_t now = layout_of(*format).fourcc, promised = promised_format(options.output);
             promised != 0) {
    if (!keeps_promise(promised, now)) fourcc = promised;
  } else if (promises_yuv(options.output)) {
    if (!is_yuv(now)) fourcc = first_format(device, type, is_yuv);
    if (!is_yuv(now) && !is_yuv(fourcc))
      return failure("the device has no YUV format, which %s promises; name a file such as FILE.raw",
                     options.output.c_str());
  } else if (needs_pixels && !is_known(now) && !is_jpeg(now)) {
    fourcc = first_format(device, type, is_known);
    if (fourcc == 0)
      return failure("the device has no pixel format that can be read here; capture raw frames instead");
  }
  std::optional<Size> size;
  if (!options.size.empty()) size = parse_size(options.size);
  if (fourcc != 0 || size) {
    set_pixels(*format, fourcc, size);
    if (auto done = device.call<tag::S_FMT>(*format); !done) return done;
    const Layout got = layout_of(*format);
    if (fourcc != 0 && got.fourcc != fourcc) {
      return failure("the device has no format %s; see list-formats", fourcc_text(fourcc).c_str());
    }
    if (size && (got.width != size->width || got.height != size->height)) {
      return failure("the device has no size %s in %s, the nearest is %ux%u", options.size.c_str(),
                     fourcc_text(got.fourcc).c_str(), got.width, got.height);
    }
  }
  if (options.rate > 0) {
    v4l2_streamparm parameters{};
    parameters.type = type;
    parameters.parm.capture.timeperframe = {1000,
                                            static_cast<std::uint32_t>(std::lround(options.rate * 1000))};
    if (const auto done = device.try_call<tag::S_PARM>(parameters); !done && done.error().value == ENOTTY)
      return failure("the frame rate of %s cannot be set; leave out --fps", device.card().c_str());
    else if (!done)
      return vumedia::system_failure(done.error().value, "cannot set the frame rate");
    const Fraction rate = get_rate(device, type);
    const double got = static_cast<double>(rate.numerator) / rate.denominator;
    if (std::abs(got - options.rate) > 0.01 * options.rate) {
      return failure("the device has no rate of %g frames per second, the nearest is %g", options.rate, got);
    }
  }
  return {};
}

// photo.png unchanged for one image; photo-000.png, photo-001.png, ... for several, unless the name has a
// place for the number.
std::string image_path(const std::string& path, std::uint64_t index, std::uint64_t count) {
  if (const auto names = ImageNames::of(path)) return names->name(index);
  if (count == 1) return path;
  const std::size_t dot = path.find_last_of('.');
  return path.substr(0, dot) + format_text("-%03llu", static_cast<unsigned long long>(index)) +
         path.substr(dot);
}

}  // namespace

std::optional<Size> parse_size(const std::string& text) {
  Size size;
  const char* const end = text.data() + text.size();
  const auto width = std::from_chars(text.data(), end, size.width);
  if (width.ec != std::errc{} || width.ptr == end || *width.ptr != 'x') return std::nullopt;
  const auto height = std::from_chars(width.ptr + 1, end, size.height);
  if (height.ec != std::errc{} || height.ptr != end) return std::nullopt;
  constexpr std::uint32_t most = 65535;
  if (size.width == 0 || size.width > most || size.height == 0 || size.height > most) return std::nullopt;
  return size;
}

Outcome<> check_format(const CaptureOptions& options) {
  if (options.format.empty()) return {};
  const std::uint32_t fourcc = parse_fourcc(options.format);
  if (output_kind(options.output) == OutputKind::mjpeg && !is_jpeg(fourcc))
    return failure("%s is for MJPG, not for %s", options.output.c_str(), fourcc_text(fourcc).c_str());
  const std::uint32_t promised = promised_format(options.output);
  if (promised != 0 && !keeps_promise(promised, fourcc)) {
    return failure("%s is for %s, not for %s", options.output.c_str(), fourcc_text(promised).c_str(),
                   fourcc_text(fourcc).c_str());
  }
  if (promises_yuv(options.output) && (is_known(fourcc) || is_jpeg(fourcc)) && !is_yuv(fourcc)) {
    return failure("%s is for YUV formats, not for %s; a name such as FILE.raw promises nothing",
                   options.output.c_str(), fourcc_text(fourcc).c_str());
  }
  return {};
}

Outcome<v4l2_format> get_format(Device& device, std::uint32_t type) {
  v4l2_format format{};
  format.type = type;
  if (auto done = device.call<tag::G_FMT>(format); !done) return std::unexpected(done.error());
  return format;
}

Fraction get_rate(Device& device, std::uint32_t type) {
  v4l2_streamparm parameters{};
  parameters.type = type;
  if (!device.try_call<tag::G_PARM>(parameters)) return {0, 1};
  const v4l2_fract interval = parameters.parm.capture.timeperframe;
  if (interval.numerator == 0 || interval.denominator == 0) return {0, 1};
  return {interval.denominator, interval.numerator};
}

Outcome<> stream_frames(Device& device, std::uint64_t count,
                        const std::function<Outcome<>(const Layout&, const Queue::Filled&)>& consume) {
  const auto type = device.capture_type();
  if (type == 0) return failure("%s does not capture anything", device.card().c_str());
  const auto format = get_format(device, type);
  if (!format) return std::unexpected(format.error());
  const Layout layout = layout_of(*format);
  Queue queue(device, type);
  if (auto done = queue.allocate(4); !done) return done;
  for (std::uint32_t index = 0; index < queue.size(); ++index) {
    if (auto done = queue.queue(index); !done) return done;
  }
  if (auto done = queue.start(); !done) return done;
  for (std::uint64_t frames = 0; frames < count;) {
    auto event = device.wait(patience);
    if (!event) return std::unexpected(event.error());
    if (!*event) return failure("no frame came for %lld s", static_cast<long long>(patience.count()));
    if ((*event)->kind != Event::Kind::buffer || (*event)->buffer.head.type != type) continue;
    const auto& buffer = (*event)->buffer;
    const auto filled = queue.filled(buffer);
    if (!filled) return std::unexpected(filled.error());
    if ((buffer.head.flags & V4L2_BUF_FLAG_ERROR) == 0 && !filled->empty()) {
      if (auto done = consume(layout, *filled); !done) return done;
      ++frames;
    }
    if (frames == count) break;
    if (auto done = queue.queue(buffer.head.index); !done) return done;
  }
  if (auto done = queue.stop(); !done) return done;
  return queue.release();
}

Outcome<> capture(Device& device, const CaptureOptions& options) {
  const auto type = device.capture_type();
  if (device.is_decoder())
    return failure("%s is a decoder, not a capture device; use decode FILE for it", device.card().c_str());
  if (type == 0) return failure("%s is not a capture device", device.card().c_str());
  if (auto done = apply_controls(device, options.controls); !done) return done;
  const OutputKind kind = output_kind(options.output);
  const bool image = kind == OutputKind::png;
  const bool y4m = kind == OutputKind::y4m;
  if (auto done = choose_format(device, type, options, image || y4m); !done) return done;
  const bool one_image = image && !ImageNames::of(options.output);
  const std::uint64_t count = options.count != 0 ? options.count : one_image ? 1 : 100;

  std::optional<Y4mWriter> video;
  std::optional<OutputFile> raw;
  if (!image) {
    auto file = OutputFile::create(options.output);
    if (!file) return std::unexpected(file.error());
    if (y4m) {
      video.emplace(std::move(*file), get_rate(device, type));
    } else {
      raw.emplace(std::move(*file));
    }
  }
  std::optional<JpegDecoder> jpeg;
  const auto picture_in = [&](const Layout& layout, const Queue::Filled& filled) -> Outcome<Picture> {
    if (!is_jpeg(layout.fourcc))
      return make_picture(layout, {0, 0, layout.width, layout.height}, filled.memory());
    if (!jpeg) {
      auto decoder = JpegDecoder::create();
      if (!decoder) return std::unexpected(decoder.error());
      jpeg.emplace(std::move(*decoder));
    }
    return jpeg->decode(layout, filled.planes[0]);
  };
  std::uint64_t frames = 0;
  Layout seen;
  const auto started = std::chrono::steady_clock::now();
  Progress progress("captured", count);
  auto done =
      stream_frames(device, count, [&](const Layout& layout, const Queue::Filled& filled) -> Outcome<> {
        seen = layout;
        if (raw) {
          for (const auto& plane : filled.memory()) {
            if (auto written = raw->write(plane); !written) return written;
          }
        } else {
          const auto picture = picture_in(layout, filled);
          if (!picture) return std::unexpected(picture.error());
          auto written =
              video ? video->add(*picture) : write_png(image_path(options.output, frames, count), *picture);
          if (!written) return written;
        }
        progress.update(++frames);
        return {};
      });
  progress.clear();
  if (done && video) done = video->finish();
  if (done && raw) done = raw->close();
  if (!done) return done;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  std::fprintf(report_beside(options.output), "%llu frames of %ux%u %s in %.2f s\n",
               static_cast<unsigned long long>(frames), seen.width, seen.height,
               fourcc_text(seen.fourcc).c_str(), seconds);
  return {};
}

}  // namespace ctl
