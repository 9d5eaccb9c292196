// A stateful video decoder on libavcodec ("Memory-to-Memory Stateful Video Decoder Interface" of the kernel's
// V4L2 documentation): it takes H264, HEVC, VP80, VP90, AV01, MPG2 and MJPG, as far as libavcodec has
// decoders for them, and outputs YU12 and NV12, or P010 for streams with 10 bits. Streams in 4:2:2 can also
// be output as such (422P, NV16, YUYV; Y210 with 10 bits), those in 4:4:4 as NV24, in 4:1:1 as 411P, each
// with 8 bits. FFmpeg 5.1 or newer.
//
// Each session decodes on a thread of its own; the loop only queues and answers. Frames of planar 8-bit
// formats are decoded where the guest sees them if libavcodec allows it and enough buffers are queued, and
// copied otherwise; those of other formats are interleaved when they are copied to the buffer. Buffers are
// MMAP or USERPTR: the guest's own pages are used in place, even if they are scattered. Samples are never
// converted, except that chroma of other samplings becomes that of 4:2:0 as the rounded mean of its samples
// (within one field, if the frame has two), and a stream without chroma gets the neutral value. A stream that
// is RGB, or has more than 10 bits per sample, gets its OUTPUT buffers back with V4L2_BUF_FLAG_ERROR, and no
// source-change event; the log names its pixel format. A change of sampling in mid-stream is a source change
// if the CAPTURE format does not suit what follows. Frames are in their buffers as coded; VIDIOC_G_SELECTION
// returns the visible part, VIDIOC_G_FMT the colours.
//
// An OUTPUT buffer holds one access unit, as the documentation of these formats demands; if there are
// several, all are decoded, with the buffer's time stamp. After a drain decoding continues as if there had
// been none; in streams with very rare key frames (see ffmpeg::History) it waits for the next one.
//
// libavcodec also logs through av_log, which is global to the process: the program sets its level and
// callback.
//
// A program that serves connections one after another uses one set of threads:
// clang-format off
//   FfmpegDecoderOptions options;
//   options.workers = std::make_shared<ffmpeg::Workers>(32);
// clang-format on
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/session.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/ioctls.hpp>
#include <vumedia/v4l2/priority.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::backends {

struct FfmpegDecoderOptions {
  ffmpeg::SessionOptions session;
  // The compressed formats to offer (V4L2_PIX_FMT_*), in this order; those that cannot be decoded here are
  // left out. Empty: all that can. Leaving some out is useful: v4l2-compliance 1.30 does not know AV1, and
  // does not recognise a device that offers it as a decoder; and it considers Motion-JPEG a different kind of
  // decoder that cannot be combined with others.
  std::vector<std::uint32_t> codecs;
  // Open files at a time; more get ENFILE. An open file costs little: programs that only query the device,
  // such as compliance tests, open a hundred.
  std::uint32_t max_sessions = 256;
  // The number of decoding threads, unless `workers` sets it: one for each file from its first STREAMON on,
  // and for a moment as many again for closed files whose picture is not complete. STREAMON of more gets
  // EBUSY. For H.264 libavcodec has one more, which is idle.
  std::uint32_t max_workers = 32;
  // The threads on which sessions decode. Closed sessions finish their picture there, so a set that outlives
  // the device saves its loop the wait. None: the backend makes its own.
  std::shared_ptr<ffmpeg::Workers> workers;
};

class FfmpegDecoder : public v4l2::Ioctls<FfmpegDecoder, v4l2::ControlIoctls, v4l2::QueueIoctls,
                                          v4l2::EventIoctls, v4l2::PriorityIoctls> {
 public:
  using Ioctls::ioctl;

  struct Session {
    Session(FfmpegDecoder& device, media::Context handle)
        : context(handle),
          priority(device.priorities_),
          decoder(device.options_.session, device.known_, *device.workers_, device.mappings_, handle,
                  subscriptions,
                  [poster = handle.poster<Session>()] {
                    poster.post([](Session& session, media::Context) { session.decoder.handle_events(); });
                  }),
          sessions(device.sessions_) {
      ++sessions;
    }
    ~Session() { --sessions; }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    media::Context context;
    v4l2::Subscriptions subscriptions;
    v4l2::Priority priority;
    ffmpeg::DecoderSession decoder;
    std::uint32_t& sessions;
  };

  explicit FfmpegDecoder(FfmpegDecoderOptions options = {})
      : options_(std::move(options)), workers_(options_.workers) {
    if (workers_ == nullptr) workers_ = std::make_shared<ffmpeg::Workers>(options_.max_workers);
    const auto offer = [this](const ffmpeg::CodedFormat* format) {
      if (format == nullptr || ffmpeg::find_decoder(*format) == nullptr) return;
      if (std::ranges::find(known_, format) == known_.end()) known_.push_back(format);
    };
    for (const std::uint32_t fourcc : options_.codecs) offer(ffmpeg::find_coded_format(fourcc));
    if (!options_.codecs.empty()) return;
    for (const auto& format : ffmpeg::coded_formats) offer(&format);
  }
  FfmpegDecoder(const FfmpegDecoder&) = delete;
  FfmpegDecoder& operator=(const FfmpegDecoder&) = delete;

  [[nodiscard]] media::Config config() const noexcept {
    const std::uint32_t kind = options_.session.multiplanar ? V4L2_CAP_VIDEO_M2M_MPLANE : V4L2_CAP_VIDEO_M2M;
    return {.device_caps = kind | V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT,
            .device_type = media::DeviceType::video,
            .card = "vumedia decoder"};
  }

  // ENODEV if libavcodec can decode none of the formats that V4L2 knows or the program chose.
  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context context) {
    if (known_.empty()) return fail(ENODEV);
    if (sessions_ >= options_.max_sessions) return fail(ENFILE);
    return std::make_unique<Session>(*this, context);
  }

  // Mappings of guest pages side by side: those of all sessions, and of closed ones that are still decoding.
  [[nodiscard]] const memory::Budget& mappings() const noexcept { return *mappings_; }

  // -- What only a decoder serves, and in its own way

  template <class Tag>
    requires ffmpeg::Answers<ffmpeg::DecoderSession, Tag>
  [[nodiscard]] Result<> ioctl(Session& session, Tag tag, typename Tag::Payload& payload) {
    if (auto allowed = v4l2::may_run<Tag>(session, payload); !allowed) return allowed;
    return session.decoder.ioctl(tag, payload);
  }

  // -- What the inherited ioctls ask for

  using Queue = v4l2::BufferQueue;
  static constexpr std::array<std::uint32_t, 2> event_types{V4L2_EVENT_SOURCE_CHANGE, V4L2_EVENT_EOS};

  [[nodiscard]] v4l2::Controls& controls_of(Session& session) noexcept { return session.decoder.controls(); }
  [[nodiscard]] std::array<Queue*, 2> queues_of(Session& session) noexcept {
    ffmpeg::DecoderQueues& queues = session.decoder.queues();
    return {&queues.output(), &queues.capture()};
  }
  [[nodiscard]] std::array<std::uint32_t, 1> plane_sizes(Session& session, const Queue& queue) noexcept {
    return {session.decoder.size_image(queue)};
  }
  [[nodiscard]] memory::Arenas& arenas_of(Session& session) noexcept {
    return session.decoder.queues().arenas();
  }
  template <class Request>
  [[nodiscard]] Result<> may_allocate(Session& session, const Queue& queue, Request& request) noexcept {
    return session.decoder.may_allocate(queue, request);
  }
  [[nodiscard]] Result<> may_queue(Session& session, const Queue& queue,
                                   const v4l2::BufferPayload& payload) noexcept {
    return session.decoder.may_queue(queue, payload);
  }
  void queued(Session& session, const Queue& queue) { session.decoder.queued(queue); }
  [[nodiscard]] Result<> may_start(Session& session, const Queue& queue) {
    return session.decoder.may_start(queue);
  }
  void started(Session& session, const Queue& queue) { session.decoder.started(queue); }
  void cancelled(Session& session, const Queue& queue) { session.decoder.cancelled(queue); }
  void removed(Session& session, const Queue& queue, std::uint32_t first, std::uint32_t count) {
    session.decoder.removed(queue, first, count);
  }

 private:
  const FfmpegDecoderOptions options_;
  std::shared_ptr<ffmpeg::Workers> workers_;
  std::vector<const ffmpeg::CodedFormat*> known_;
  std::uint32_t sessions_ = 0;
  const std::shared_ptr<memory::Budget> mappings_ =
      std::make_shared<memory::Budget>(v4l2::max_device_mappings);
  v4l2::Priorities priorities_;  // of the files, which have nothing else in common
};

}  // namespace vumedia::backends
