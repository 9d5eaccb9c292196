// The picture that a stream has, what the client was told about it, and whether its CAPTURE queue is set up
// for it.
#pragma once

#include <cstdint>
#include <optional>

#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/layout.hpp>
#include <vumedia/backends/ffmpeg/raw_formats.hpp>
#include <vumedia/backends/ffmpeg/stream_hints.hpp>

namespace vumedia::backends::ffmpeg {

/// What a decoder knows about its stream besides the picture: see PictureChanged.
struct StreamTraits {
  std::uint32_t min_buffers = 0;  ///< PictureChanged::min_buffers
  int profile = -1;               ///< PictureChanged::profile
  int level = -1;                 ///< PictureChanged::level
};

/// Part of EngineState, whose mutex guards it.
class PictureState {
 public:
  // -- CAPTURE

  /// CAPTURE starts, with buffers for that, or stops.
  ///@{
  void start(const CaptureSetup& setup) noexcept { capture_ = setup; }
  void stop() noexcept { capture_.reset(); }
  ///@}
  /// The client has set up its queue differently; without effect unless it streams.
  void set_up(const CaptureSetup& setup) noexcept {
    if (capture_) capture_ = setup;
  }
  /// Whether CAPTURE streams.
  [[nodiscard]] bool streaming() const noexcept { return capture_.has_value(); }
  /// Only while it streams.
  [[nodiscard]] const CaptureSetup& setup() const noexcept { return *capture_; }

  // -- The stream

  /// Another stream follows: its first picture is news, whatever it is.
  void reset() noexcept {
    current_.reset();
    first_serial_ = serial_ + 1;
  }
  /// Its headers follow, from which hints may come before its first picture is announced.
  void forget_hints() noexcept { hints_ = {}; }
  /// What the headers of the stream have said, to be filled in.
  [[nodiscard]] StreamHints& hints() noexcept { return hints_; }

  /// Whether a picture of this stream has been announced.
  [[nodiscard]] bool known() const noexcept { return current_.has_value(); }

  /// The number of the change that was announced last.
  [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
  /// That of the first change of this stream.
  [[nodiscard]] std::uint64_t first_serial() const noexcept { return first_serial_; }
  /// How many buffers the client was told to make.
  [[nodiscard]] std::uint32_t asked_buffers() const noexcept { return asked_buffers_; }

  /// Whether the client must be told about a frame like this before it can have it, and has not been told
  /// yet.
  [[nodiscard]] bool is_news(const Picture& picture) const noexcept {
    if (!current_ || !current_->same_shape(picture)) return true;
    if (takes(picture.samples)) return false;
    // Without CAPTURE, it takes just those that the client was told of.
    const bool is_told = streaming() && capture_->serial != serial_ && current_->samples == picture.samples;
    return !is_told;
  }

  /// Whether frames like the one that was announced last can go to the client's buffers.
  [[nodiscard]] bool fits() const noexcept {
    if (!streaming() || !current_ || !takes(current_->samples)) return false;
    if (capture_->layout.width != current_->size.width || capture_->layout.height != current_->size.height)
      return false;
    // A client may have guessed right before it was told.
    return capture_->serial == serial_ ||
           (serial_ == first_serial_ && capture_->visible == current_->visible);
  }

  /// To be sent.
  [[nodiscard]] PictureChanged announce(const Picture& picture, const StreamTraits& traits) noexcept {
    current_ = picture;
    min_buffers_ = asked_buffers_ = traits.min_buffers;
    return {picture, ++serial_, min_buffers_, traits.profile, traits.level, hints_.tier};
  }

  /// To be sent, if a frame of the shape that was announced last differs otherwise.
  [[nodiscard]] std::optional<LookChanged> notice(const Picture& picture,
                                                  std::uint32_t min_buffers) noexcept {
    const bool field_changed = !covers(current_->field, picture.field);
    if (current_->samples == picture.samples && current_->colours == picture.colours && !field_changed &&
        min_buffers == min_buffers_)
      return std::nullopt;
    current_->samples = picture.samples;
    current_->colours = picture.colours;
    if (field_changed) current_->field = picture.field;
    min_buffers_ = min_buffers;
    return LookChanged{current_->samples, current_->colours, current_->field, min_buffers_};
  }

 private:
  // Whether the format of the client's buffers suits the samples. Before there is a format, only the samples
  // that were reported to the client suit, because it may be about to choose a format by them.
  [[nodiscard]] bool takes(const Samples& samples) const noexcept {
    if (!streaming()) return current_ && current_->samples == samples;
    const RawFormat* const format = find_raw_format(capture_->fourcc);
    return format != nullptr && suits(*format, samples);
  }

  std::optional<CaptureSetup> capture_;  // while it streams
  std::optional<Picture> current_;
  std::uint32_t min_buffers_ = 0;    // as announced last
  std::uint32_t asked_buffers_ = 0;  // as announced with current_
  std::uint64_t serial_ = 0;         // of current_, or of the one before it
  std::uint64_t first_serial_ = 1;
  StreamHints hints_;
};

}  // namespace vumedia::backends::ffmpeg
