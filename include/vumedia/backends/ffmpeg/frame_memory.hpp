// The memory that libavcodec decodes into: the client's buffers, where possible.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <vumedia/backends/ffmpeg/capture_slots.hpp>
#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/engine_options.hpp>
#include <vumedia/backends/ffmpeg/engine_state.hpp>
#include <vumedia/backends/ffmpeg/failure_log.hpp>
#include <vumedia/backends/ffmpeg/interruption.hpp>
#include <vumedia/backends/ffmpeg/layout.hpp>
#include <vumedia/backends/ffmpeg/picture.hpp>
#include <vumedia/backends/ffmpeg/write_watch.hpp>

namespace vumedia::backends::ffmpeg {

/// What is to be announced along with a picture.
[[nodiscard]] inline StreamTraits traits_of(const AVCodecContext& context,
                                            const CodecOptions& options) noexcept {
  // The number of buffers with which all frames can be decoded in place, but at most 16: fewer work too, and
  // browsers consider decoders that ask for more to be broken.
  const std::uint32_t in_flight = options.frame_threads ? std::max(options.threads, 1u) : 1u;
  const auto buffers = references_of(context) + in_flight + static_cast<std::uint32_t>(CaptureSlots::reserve);
  return {std::min(buffers, 16u), context.profile, context.level};
}

/// get_buffer() is called on libavcodec's threads.
class FrameMemory {
 public:
  /// All of them outlive it.
  FrameMemory(SharedState& shared, const EngineOptions& options, WriteWatch& watch,
              FailureLog& failures) noexcept
      : shared_(shared),
        options_(options),
        watch_(watch),
        failures_(failures),
        interruption_(this, shared.stop_flag()) {}
  FrameMemory(const FrameMemory&) = delete;
  FrameMemory& operator=(const FrameMemory&) = delete;

  /// To be attached to the decoders that have get_buffer().
  [[nodiscard]] Interruption& interruption() noexcept { return interruption_; }

  /// AVCodecContext::get_buffer2.
  static int get_buffer(AVCodecContext* context, AVFrame* frame, int flags) noexcept {
    const Interruption& interruption = Interruption::of(*context);
    auto& self = *static_cast<FrameMemory*>(interruption.owner());
    if (!is_supported(static_cast<AVPixelFormat>(frame->format))) {
      self.failures_.refused(frame->format);
      return AVERROR(ENOTSUP);
    }
    if (interruption.stopped()) return AVERROR_EXIT;
    // libavcodec's own pool: get_buffer2 cannot wait for the guest to queue a buffer.
    const int got = self.try_lend(*context, *frame) ? 0 : avcodec_default_get_buffer2(context, frame, flags);
    if (got < 0) return got;
    self.shared_.begun.fetch_add(1, std::memory_order_relaxed);
    self.watch_.begin(*context, *frame);
    return got;
  }

 private:
  [[nodiscard]] bool try_lend(AVCodecContext& context, AVFrame& frame) {
    auto picture = picture_at_allocation(context, frame);
    if (!picture) return false;
    const RawFormat* const format = raw_format_at(
        0, raw_formats_if([&](const RawFormat& one) { return is_decoded_in_place(one, picture->samples); }));
    const Layout layout = format != nullptr ? Layout::of(picture->size, *format->pixels) : Layout();
    const bool can_render = format != nullptr && (context.codec->capabilities & AV_CODEC_CAP_DR1) != 0 &&
                            satisfies(layout, shift_y_of(picture->samples.sampling), context, frame);
    CaptureSlots::Lent lent;
    {
      const auto state = shared_.lock();
      if (state->start_is_due() || state->phase().closed()) return false;
      // The client can prepare its buffers while the first frames are decoded.
      if (!state->picture().known()) {
        picture->field = state->picture().hints().field;
        state->announce(*picture, traits_of(context, options_.codec));
      }
      if (!options_.direct || !can_render) return false;
      lent = state->lend(format->fourcc(), layout);
    }
    if (lent.buffer == nullptr) return false;
    frame.buf[0] = lent.buffer;
    // Parts that are never decoded must not show what others left here. From then on the buffer holds
    // pictures of this stream, as the buffers of libavcodec's own pool do. Pictures that are decoded in place
    // have 8 bits and separate planes.
    if (lent.is_new) {
      std::uint8_t* const data = lent.buffer->data;
      std::fill_n(data, layout.offsets[1], std::uint8_t{16});
      std::fill_n(data + layout.offsets[1], layout.size_image() - layout.offsets[1], std::uint8_t{128});
    }
    place_planes(frame, layout, lent.buffer->data);
    return true;
  }

  SharedState& shared_;
  const EngineOptions& options_;
  WriteWatch& watch_;
  FailureLog& failures_;
  Interruption interruption_;
};

}  // namespace vumedia::backends::ffmpeg
