// The formats of a decoder's two queues, as its client and its stream determine them.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/backends/ffmpeg/layout.hpp>
#include <vumedia/backends/ffmpeg/negotiation.hpp>
#include <vumedia/backends/ffmpeg/raw_formats.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

namespace vumedia::backends::ffmpeg {

/// OUTPUT's format is the client's choice. CAPTURE's is the picture of the stream, in one of the formats that
/// suit it; until the stream is known, what OUTPUT's format suggests.
class DecoderFormats {
 public:
  /// `known` are the formats that can be decoded, at least one; they outlive it.
  DecoderFormats(const QueueTypes& types, std::span<const CodedFormat* const> known, const SizeLimits& limits)
      : types_(types),
        known_(known),
        limits_(limits),
        coded_(adjust_coded({1920, 1080, 0, 0, 0, {}}, known_, limits_)) {
    expect_picture();
  }

  /// VIDIOC_ENUM_FMT. EINVAL: a type of neither queue, or nothing at that index.
  [[nodiscard]] Result<> enumerate(v4l2_fmtdesc& description) const {
    return enumerate_format(description, types_, known_, offered());
  }
  /// VIDIOC_ENUM_FRAMESIZES. EINVAL: a format that neither queue offers, or another index than 0.
  [[nodiscard]] Result<> enumerate(v4l2_frmsizeenum& size) const {
    return enumerate_size(size, known_, offered());
  }
  /// VIDIOC_G_FMT. EINVAL for a type of neither queue, also of the next ones.
  [[nodiscard]] Result<> get(v4l2_format& format) const {
    if (!types_.contains(format.type)) return fail(EINVAL);
    write_format(format, format.type == types_.output ? coded_ : describe_raw(picture_, *raw_));
    return {};
  }
  /// VIDIOC_TRY_FMT.
  [[nodiscard]] Result<> adjust(v4l2_format& format) const {
    if (!types_.contains(format.type)) return fail(EINVAL);
    write_format(format, adjusted(format));
    return {};
  }
  /// VIDIOC_S_FMT. CAPTURE's format follows OUTPUT's, unless its buffers were made for the current one
  /// (`other_is_busy`), which OUTPUT's must keep then.
  [[nodiscard]] Result<> set(v4l2_format& format, bool other_is_busy) {
    if (!types_.contains(format.type)) return fail(EINVAL);
    const FormatDescription description = adjusted(format);
    if (format.type == types_.capture) {
      set_raw(description.fourcc);
    } else {
      set_coded(description, other_is_busy);
    }
    write_format(format, description);
    return {};
  }
  /// Whether setting `format` leaves that of the other queue as it is.
  [[nodiscard]] bool keeps_other(const v4l2_format& format) const {
    return format.type == types_.capture || adjusted(format) == coded_;
  }

  /// VIDIOC_G_SELECTION: the visible part of the picture, or its bounds. EINVAL: another type or target.
  [[nodiscard]] Result<> ioctl(v4l2::tag::G_SELECTION, v4l2_selection& selection) const {
    return get_selection(selection, picture_);
  }
  /// VIDIOC_S_SELECTION. Nothing is scaled or moved: requests are adjusted to the actual rectangle, or get
  /// ERANGE if their flags do not allow that.
  [[nodiscard]] Result<> ioctl(v4l2::tag::S_SELECTION, v4l2_selection& selection) const;

  /// What S_FMT would set. `format.type` is one of the queues'.
  [[nodiscard]] FormatDescription adjusted(const v4l2_format& format) const noexcept {
    const FormatDescription wanted = read_format(format);
    if (format.type == types_.output) return adjust_coded(wanted, known_, limits_);
    // The stream determines the choices; until it is known, the client may guess.
    const RawFormat* const chosen = find_raw_format(wanted.fourcc, offered());
    return describe_raw(picture_, chosen != nullptr ? *chosen : *raw_);
  }
  /// OUTPUT's format, which adjusted() has returned. CAPTURE follows, unless its buffers were made for the
  /// current format.
  void set_coded(const FormatDescription& format, bool keeps_capture) noexcept {
    coded_ = format;
    if (!keeps_capture) expect_picture();
  }
  /// CAPTURE's, which is one of raw_formats.
  void set_raw(std::uint32_t fourcc) noexcept {
    set_raw(*find_raw_format(fourcc));
    choices_.remember(*raw_);
  }

  /// The stream has another picture. False if the client has set up CAPTURE for exactly that before it was
  /// told; `streaming`: whether CAPTURE streams.
  [[nodiscard]] bool change(const PictureChanged& change, bool streaming) noexcept;
  /// It looks different, but has the same shape.
  void change(const LookChanged& change) noexcept {
    picture_.samples = change.samples;
    set_colours(change.colours);
    picture_.field = change.field;
  }

  /// OUTPUT's format.
  [[nodiscard]] const FormatDescription& coded() const noexcept { return coded_; }
  /// The stream's picture, or what stands for it until it is known.
  [[nodiscard]] const Picture& picture() const noexcept { return picture_; }
  /// libavcodec's codec for OUTPUT's format.
  [[nodiscard]] AVCodecID codec() const noexcept {
    const CodedFormat* const coded = find_coded_format(coded_.fourcc);
    return coded != nullptr ? coded->codec : AV_CODEC_ID_NONE;
  }
  /// The bytes that a buffer of the queue must have.
  [[nodiscard]] std::uint32_t size_image(std::uint32_t type) const noexcept {
    return type == types_.output ? coded_.size_image : static_cast<std::uint32_t>(layout_.size_image());
  }
  /// For the engine, when CAPTURE starts.
  [[nodiscard]] CaptureSetup capture_setup() const noexcept {
    return {raw_->fourcc(), layout_, serial_, picture_.visible};
  }

 private:
  void expect_picture() noexcept {
    picture_known_ = false;
    picture_.size = *CodedSize::of(coded_.width, coded_.height);  // adjust_coded has checked the limits
    picture_.samples = {};
    set_raw(choices_.best_for(picture_.samples));
    picture_.visible = {0, 0, coded_.width, coded_.height};
    picture_.colours = coded_.colours;
    picture_.field = V4L2_FIELD_NONE;
  }
  void set_raw(const RawFormat& format) noexcept {
    raw_ = &format;
    layout_ = Layout::of(picture_.size, *format.pixels);
  }
  void set_colours(const Colours& colours) noexcept { coded_.colours = picture_.colours = colours; }
  // The formats that CAPTURE offers: those that suit the stream, or all that its codec may have until the
  // stream is known.
  [[nodiscard]] RawFormatSet offered() const noexcept {
    if (picture_known_) return raw_formats_of(picture_.samples);
    const CodedFormat* const coded = find_coded_format(coded_.fourcc);
    return coded != nullptr ? raw_formats_of(coded->samples) : 0;
  }

  const QueueTypes types_;
  const std::span<const CodedFormat* const> known_;
  const SizeLimits limits_;
  FormatDescription coded_;
  Picture picture_;
  const RawFormat* raw_ = &raw_formats.front();  // CAPTURE's format now
  Layout layout_;                                // of picture_ in that format
  RawFormatChoices choices_;
  bool picture_known_ = false;  // from the stream
  std::uint64_t serial_ = 0;    // PictureChanged::serial of picture_
};

inline Result<> DecoderFormats::ioctl(v4l2::tag::S_SELECTION, v4l2_selection& selection) const {
  if (selection.target != V4L2_SEL_TGT_CROP && selection.target != V4L2_SEL_TGT_COMPOSE) return fail(EINVAL);
  v4l2_selection present = selection;
  if (auto got = get_selection(present, picture_); !got) return got;
  const bool larger = present.r.width > selection.r.width || present.r.height > selection.r.height;
  const bool smaller = present.r.width < selection.r.width || present.r.height < selection.r.height;
  if ((larger && (selection.flags & V4L2_SEL_FLAG_LE) != 0) ||
      (smaller && (selection.flags & V4L2_SEL_FLAG_GE) != 0)) {
    return fail(ERANGE);
  }
  selection.r = present.r;
  return {};
}

inline bool DecoderFormats::change(const PictureChanged& change, bool streaming) noexcept {
  // A client that streams into CAPTURE buffers of exactly this shape has nothing to set up, and gets its
  // frames at once. If it were told about a change it would restart CAPTURE, as GStreamer 1.22 does, and lose
  // the first frames.
  const bool expected = !picture_known_ && streaming && picture_.same_shape(change.picture) &&
                        suits(*raw_, change.picture.samples);
  picture_ = change.picture;
  picture_known_ = true;
  set_raw(expected ? *raw_ : choices_.best_for(picture_.samples));
  serial_ = change.serial;
  coded_.width = picture_.size.width;
  coded_.height = picture_.size.height;
  set_colours(change.picture.colours);
  return !expected;
}

}  // namespace vumedia::backends::ffmpeg
