// Owners of libavcodec's objects.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/backends/ffmpeg/interruption.hpp>
#include <vumedia/backends/ffmpeg/reference_order.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/budget.hpp>

extern "C" {
#include <libavutil/log.h>
#include <libavutil/opt.h>
}

namespace vumedia::backends::ffmpeg {

/// How libavcodec decodes.
struct CodecOptions {
  /// Threads that one session's decoder may use, 1 or more.
  unsigned threads = 1;
  /// With several threads: decode whole frames in parallel (faster, but delayed by as many frames) rather
  /// than slices of one frame.
  bool frame_threads = false;
  /// The largest picture in luma samples, as coded; a stream with larger ones gets errors.
  std::uint64_t max_pixels = 4096ull * 2304;

  /// Whether several frames are decoded at the same time.
  [[nodiscard]] bool has_frame_threads() const noexcept { return frame_threads && threads > 1; }
};

/// Properties of the stream that a decoder has to know when it is opened.
struct CodecSetup {
  /// The initial AVCodecContext::has_b_frames: how many pictures are held back for those that are shown
  /// before them.
  int held_back = 0;
  /// Parameter sets that packets need not repeat, in the form that packets would have.
  std::vector<std::byte> headers;
};

/// For Frame.
struct FrameDeleter {
  /// Frees the frame and its data.
  void operator()(AVFrame* frame) const noexcept { av_frame_free(&frame); }
};
/// For Packet.
struct PacketDeleter {
  /// Frees the packet and its data.
  void operator()(AVPacket* packet) const noexcept { av_packet_free(&packet); }
};
using Frame = std::unique_ptr<AVFrame, FrameDeleter>;     ///< owned; with its data
using Packet = std::unique_ptr<AVPacket, PacketDeleter>;  ///< owned; with its data

/// The data of `packet`, valid as long as it.
[[nodiscard]] inline std::span<const std::byte> bytes_of(const AVPacket& packet) noexcept {
  return {reinterpret_cast<const std::byte*>(packet.data), static_cast<std::size_t>(packet.size)};
}

/// An open decoder. One thread at a time may use it.
class Codec {
 public:
  /// Called by libavcodec on any of its threads; see AVCodecContext::get_buffer2.
  using GetBuffer = int (*)(AVCodecContext* context, AVFrame* frame, int flags);

  /// libavcodec's own limit is 16 for slices; more parallel frames than this only cost memory and delay.
  static constexpr unsigned max_threads = 32;

  Codec() = default;

  /// `interruption` outlives the decoder, and is its AVCodecContext::opaque. ENODEV if there is no such
  /// decoder here.
  [[nodiscard]] static Result<Codec> open(const CodedFormat& format, const CodecOptions& options,
                                          const CodecSetup& setup, GetBuffer get_buffer,
                                          Interruption& interruption) noexcept {
    const AVCodec* const decoder = find_decoder(format);
    if (decoder == nullptr) return fail(ENODEV);
    Codec codec;
    codec.context_.reset(avcodec_alloc_context3(decoder));
    if (!codec.context_) return fail(ENOMEM);
    AVCodecContext& context = *codec.context_;
    interruption.attach(context);
    context.get_buffer2 = get_buffer;
    // Set before it is opened, because its frame threads do not see later changes.
    context.has_b_frames = setup.held_back;
    if (!set_headers(context, setup.headers)) return fail(ENOMEM);
    context.max_pixels = static_cast<std::int64_t>(options.max_pixels);
    // 0 would mean as many as there are processors.
    context.thread_count = static_cast<int>(std::clamp(options.threads, 1u, max_threads));
    context.thread_type = options.frame_threads ? FF_THREAD_FRAME : FF_THREAD_SLICE;
    // The picture stays where it was decoded; the client learns from G_SELECTION which part of it to show.
    context.apply_cropping = 0;
#if LIBAVCODEC_VERSION_MAJOR < 60
    // Later versions take it for granted.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    context.thread_safe_callbacks = 1;
#pragma GCC diagnostic pop
#endif
    const bool alone = context.thread_count == 1 && decoder->id == AV_CODEC_ID_H264;
    if (alone) let_slices_be_refused(context);
    const int opened = avcodec_open2(&context, decoder, nullptr);
    context.log_level_offset = 0;
    if (opened < 0) return fail(EINVAL);
    interruption.attach(context, alone ? Interruption::Jobs::here : Interruption::Jobs::on_threads);
    return codec;
  }

  /// Whether a decoder is open.
  [[nodiscard]] explicit operator bool() const noexcept { return context_ != nullptr; }
  /// Of the open decoder.
  [[nodiscard]] AVCodecContext& context() const noexcept { return *context_; }

  /// A private copy of `bytes` (not empty), because the guest may change its buffer at any time, and parsers
  /// read past the end. This is the only copy of the bitstream. It counts against `budget` (null: none) for
  /// as long as libavcodec or History has it. None if there is no memory.
  [[nodiscard]] static Packet copy(std::span<const std::byte> bytes,
                                   const std::shared_ptr<memory::Budget>& budget) noexcept {
    Packet packet(av_packet_alloc());
    if (!packet) return nullptr;
    if (bytes.size() > INT32_MAX - AV_INPUT_BUFFER_PADDING_SIZE) return nullptr;
    // No larger than needed, because History may keep it.
    AVBufferRef* const memory = allocate(bytes.size() + AV_INPUT_BUFFER_PADDING_SIZE, budget);
    if (memory == nullptr) return nullptr;
    std::memcpy(memory->data, bytes.data(), bytes.size());
    std::memset(memory->data + bytes.size(), 0, AV_INPUT_BUFFER_PADDING_SIZE);
    packet->buf = memory;
    packet->data = memory->data;
    packet->size = static_cast<int>(bytes.size());
    return packet;
  }

  /// Pictures that are held back from the next packet on, at the least. Threads for frames do not hear of it.
  void hold_back(unsigned pictures) noexcept {
    context_->has_b_frames = std::max(context_->has_b_frames, static_cast<int>(pictures));
  }

  /// Decodes a packet, whose pts comes back as that of its frame. Returns what avcodec_send_packet does. All
  /// frames must have been received before.
  [[nodiscard]] int send(const AVPacket& packet) noexcept {
    return avcodec_send_packet(context_.get(), &packet);
  }

  /// From here on only the remaining frames come out, then AVERROR_EOF, until flush(). `all`: including those
  /// that libavcodec considers incorrect, because the caller knows better (see Recovery).
  [[nodiscard]] int drain(bool all) noexcept {
    if (all) context_->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT;
    return avcodec_send_packet(context_.get(), nullptr);
  }

  /// The next frame, as avcodec_receive_frame returns it; AVERROR(EAGAIN): another packet is needed.
  [[nodiscard]] int receive(AVFrame& frame) noexcept { return avcodec_receive_frame(context_.get(), &frame); }

  /// Forgets all frames; the next packet should begin with a key frame.
  void flush() noexcept {
    context_->flags &= ~AV_CODEC_FLAG_OUTPUT_CORRUPT;
    avcodec_flush_buffers(context_.get());
  }

 private:
  // A slice of a dozen bytes can cover a whole picture, and a packet may hold thousands of them. The H.264
  // decoder asks for slices to be decoded (see Interruption) only if there are threads for them. So it gets a
  // thread, which never has anything to do, and conceals errors as it would without.
  static void let_slices_be_refused(AVCodecContext& context) noexcept {
    context.thread_count = 2;
    context.thread_type = FF_THREAD_SLICE;
    av_opt_set_int(context.priv_data, "enable_er", 1, 0);
    // It would warn that threads must not conceal errors in parallel.
    context.log_level_offset = AV_LOG_MAX_OFFSET;
  }

  struct ContextDeleter {
    void operator()(AVCodecContext* context) const noexcept { avcodec_free_context(&context); }
  };
  // Memory that returns its share of `budget` when its last reference is dropped, on any thread.
  [[nodiscard]] static AVBufferRef* allocate(std::size_t size,
                                             const std::shared_ptr<memory::Budget>& budget) noexcept {
    auto taken = memory::Share::take(budget, size);
    if (!taken) return nullptr;
    std::unique_ptr<memory::Share> share(new (std::nothrow) memory::Share(std::move(*taken)));
    auto* const data = static_cast<std::uint8_t*>(av_malloc(size));
    const auto release = [](void* opaque, std::uint8_t* memory) {
      after_references(opaque);
      av_free(memory);
      delete static_cast<memory::Share*>(opaque);
    };
    before_references(share.get());
    AVBufferRef* const buffer =
        share == nullptr || data == nullptr ? nullptr : av_buffer_create(data, size, release, share.get(), 0);
    if (buffer == nullptr) {
      av_free(data);
      return nullptr;
    }
    static_cast<void>(share.release());  // it belongs to the buffer
    return buffer;
  }

  [[nodiscard]] static bool set_headers(AVCodecContext& context,
                                        std::span<const std::byte> headers) noexcept {
    if (headers.empty()) return true;
    context.extradata = static_cast<std::uint8_t*>(av_mallocz(headers.size() + AV_INPUT_BUFFER_PADDING_SIZE));
    if (context.extradata == nullptr) return false;
    std::memcpy(context.extradata, headers.data(), headers.size());
    context.extradata_size = static_cast<int>(headers.size());
    return true;
  }
  std::unique_ptr<AVCodecContext, ContextDeleter> context_;
};

/// Whether an access unit holds more than parameter sets and the like. libavcodec treats one without a
/// picture as an error, but V4L2 clients may send headers on their own.
[[nodiscard]] inline bool holds_picture(const CodedFormat& format,
                                        std::span<const std::byte> bytes) noexcept {
  if (format.codec != AV_CODEC_ID_H264 && format.codec != AV_CODEC_ID_HEVC) return true;
  for (std::size_t i = 0; i + 3 < bytes.size(); ++i) {
    if (bytes[i] != std::byte{0} || bytes[i + 1] != std::byte{0} || bytes[i + 2] != std::byte{1}) continue;
    const auto header = std::to_integer<unsigned>(bytes[i + 3]);
    const bool picture = format.codec == AV_CODEC_ID_H264 ? (header & 31) >= 1 && (header & 31) <= 5
                                                          : ((header >> 1) & 63) < 32;
    if (picture) return true;
    i += 3;
  }
  return false;
}

}  // namespace vumedia::backends::ffmpeg
