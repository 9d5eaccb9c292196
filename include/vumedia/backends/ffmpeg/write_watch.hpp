// Finds the parts of a picture that a decoder has left unwritten.
//
// When slices are missing or cut, some of libavcodec's decoders conceal that and say so, and others say
// nothing: they leave the memory as it was, which may hold an older picture, or whatever the guest had there.
// To clear each picture's memory first would cost as much as to copy it. So eight samples of each block of
// 16x16 are marked before a picture is decoded; where a mark is found afterwards nothing was written, and the
// block is painted black.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <vumedia/backends/ffmpeg/codec.hpp>

extern "C" {
#include <libavutil/buffer.h>
#include <libavutil/frame.h>
#include <libavutil/pixdesc.h>
}

namespace vumedia::backends::ffmpeg {

/// The marks in a picture's memory.
///
/// A block is 16x16 samples of luma, and those of chroma that belong to them. Each has a mark in its middle,
/// away from its edges, where filters of neighbours write; in every other row of blocks on an odd line, so
/// that each block of a field has one, too (it is two blocks high), and a missing field shows. Samples of 10
/// bits stay below 1024, for libavcodec may refer to a picture before anybody has looked for marks.
class Marks {
 public:
  /// Chroma is written with its luma, except where a picture may have a scan of its own for each (JPEG).
  enum class Planes : std::uint8_t { luma, all };

  /// The part of `frame`, which has memory, that will be written: `width` x `height` luma samples.
  Marks(const AVFrame& frame, int width, int height, Planes planes) noexcept {
    const AVPixFmtDescriptor* const format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
    if (format == nullptr || width <= 0 || height <= 0) return;
    constexpr std::uint64_t others =
        AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_HWACCEL;
    const int components = format->nb_components;
    if ((format->flags & others) != 0 || (components != 1 && components != 3)) return;
    sample_bytes_ = format->comp[0].depth > 8 ? 2 : 1;
    for (int i = 0; i < components; ++i) {
      if (format->comp[i].plane != i || format->comp[i].step != sample_bytes_) return;
    }
    columns_ = (width + block - 1) / block;
    rows_ = (height + block - 1) / block;
    for (int i = 0; i < components; ++i) {
      const int across = i == 0 ? 0 : format->log2_chroma_w;
      const int down = i == 0 ? 0 : format->log2_chroma_h;
      const int depth = format->comp[i].depth;
      planes_[static_cast<std::size_t>(i)] = {
          .data = frame.data[i],
          .stride = frame.linesize[i],
          .width = (width + (1 << across) - 1) >> across,
          .height = (height + (1 << down) - 1) >> down,
          .block_width = block >> across,
          .block_height = block >> down,
          .black = static_cast<std::uint16_t>(i == 0 ? 1 << (depth - 4) : 1 << (depth - 1)),
      };
    }
    plane_count_ = static_cast<std::size_t>(components);
    marked_planes_ = planes == Planes::luma ? 1 : plane_count_;
  }

  /// Marks all blocks.
  void set() const noexcept {
    for_each(
        [mark = pattern()](std::uint8_t* at, auto size, int, int) { std::memcpy(at, mark.data(), size); });
  }

  /// What find() has found.
  enum class Found : std::uint8_t { none, some, a_field };

  /// Which marks are left: none; all of one field and none of the other; or any others.
  [[nodiscard]] Found find() const noexcept {
    // Counted without a branch: hardly ever is there one.
    std::array<std::size_t, 2> all{};
    std::array<std::size_t, 2> left{};
    for_each([&, mark = pattern()](const std::uint8_t* at, auto size, int, int row) {
      ++all[row & 1];
      left[row & 1] += is_marked(at, mark, size) ? 1 : 0;
    });
    if (left[0] == 0 && left[1] == 0) return Found::none;
    const bool even = left[0] == all[0] && left[1] == 0;
    const bool odd = left[1] == all[1] && left[0] == 0;
    return (even || odd) && all[0] != 0 && all[1] != 0 ? Found::a_field : Found::some;
  }

  /// Paints the blocks that still have a mark.
  void paint() const {
    std::vector<bool> unwritten(static_cast<std::size_t>(columns_) * static_cast<std::size_t>(rows_));
    std::vector<bool> marked(unwritten.size());
    for_each([&, mark = pattern()](const std::uint8_t* at, auto size, int column, int row) {
      marked[index(column, row)] = true;
      if (is_marked(at, mark, size)) unwritten[index(column, row)] = true;
    });
    for (int row = 0; row < rows_; ++row) {
      for (int column = 0; column < columns_; ++column) {
        bool paints = unwritten[index(column, row)];
        // A block too narrow for a mark is treated like its neighbours.
        for (int y = std::max(row - 1, 0); !marked[index(column, row)] && y <= std::min(row + 1, rows_ - 1);
             ++y)
          paints = paints || (column > 0 && unwritten[index(column - 1, y)]);
        if (paints) paint(column, row);
      }
    }
  }

 private:
  static constexpr int block = 16;
  struct Plane {
    std::uint8_t* data = nullptr;
    std::ptrdiff_t stride = 0;
    int width = 0;
    int height = 0;
    int block_width = block;
    int block_height = block;
    std::uint16_t black = 0;
  };

  // A pattern that no picture has: one sample in black, one in white. With 10 bits, the upper byte is below
  // 4.
  [[nodiscard]] static const std::array<std::uint8_t, 16>& pattern(int sample_bytes) noexcept {
    static constexpr std::array<std::uint8_t, 16> of_one{0xe9, 0x13, 0xf4, 0x07, 0xdb, 0x21, 0xfe, 0x1a,
                                                         0xe9, 0x13, 0xf4, 0x07, 0xdb, 0x21, 0xfe, 0x1a};
    static constexpr std::array<std::uint8_t, 16> of_two{0xe9, 3, 0x13, 0, 0xf4, 3, 0x07, 0,
                                                         0xdb, 3, 0x21, 0, 0xfe, 3, 0x1a, 0};
    return sample_bytes == 1 ? of_one : of_two;
  }
  [[nodiscard]] const std::array<std::uint8_t, 16>& pattern() const noexcept {
    return pattern(sample_bytes_);
  }

  template <class Word>
  [[nodiscard]] static Word word_at(const std::uint8_t* at) noexcept {
    Word word;
    std::memcpy(&word, at, sizeof word);
    return word;
  }
  // Compared as words, because this runs for each mark of each picture.
  template <std::size_t Bytes>
  [[nodiscard]] static bool is_marked(const std::uint8_t* at, const std::array<std::uint8_t, 16>& mark,
                                      std::integral_constant<std::size_t, Bytes>) noexcept {
    const auto alike = [&]<class Word>(Word, std::size_t offset) {
      return word_at<Word>(at + offset) == word_at<Word>(mark.data() + offset);
    };
    bool all = true;
    constexpr std::size_t quads = Bytes / 8 * 8;
    for (std::size_t i = 0; i < quads; i += 8) all = all && alike(std::uint64_t{}, i);
    if constexpr (Bytes % 8 >= 4) all = all && alike(std::uint32_t{}, quads);
    if constexpr (Bytes % 4 == 2) all = all && alike(std::uint16_t{}, Bytes - 2);
    return all;
  }

  [[nodiscard]] std::size_t index(int column, int row) const noexcept {
    return static_cast<std::size_t>(row) * static_cast<std::size_t>(columns_) +
           static_cast<std::size_t>(column);
  }

  // Calls use(address, bytes, column, row) for each mark that lies within the picture. The number of bytes is
  // a constant: a call of memcpy for each mark would cost a fifth of decoding.
  template <class Use>
  void for_each(Use use) const noexcept {
    for (const Plane& plane : std::span(planes_).first(marked_planes_)) {
      switch (length_in(plane) * sample_bytes_) {
        case 2:
          each_mark<2>(plane, use);
          break;
        case 4:
          each_mark<4>(plane, use);
          break;
        case 6:
          each_mark<6>(plane, use);
          break;
        case 8:
          each_mark<8>(plane, use);
          break;
        case 12:
          each_mark<12>(plane, use);
          break;
        default:
          each_mark<16>(plane, use);
      }
    }
  }

  [[nodiscard]] static int length_in(const Plane& plane) noexcept {
    return plane.block_width < 16 ? plane.block_width - 2 : 8;
  }

  // In a block that is cut off by the picture's edge the mark is as near to the middle as it can be.
  template <std::size_t Bytes, class Use>
  void each_mark(const Plane& plane, Use& use) const noexcept {
    constexpr std::integral_constant<std::size_t, Bytes> bytes;
    const int length = length_in(plane);
    const int before = (plane.block_width - length) / 2;
    const int whole = std::min(plane.width / plane.block_width, columns_);
    for (int row = 0; row < rows_; ++row) {
      const int top = row * plane.block_height;
      int y = top + plane.block_height / 2 - (row & 1);
      if (y >= plane.height) y = plane.height - 1 - ((plane.height - 1 - row) & 1);
      if (y < top) continue;
      std::uint8_t* const start = plane.data + y * plane.stride;
      for (int column = 0; column < whole; ++column) {
        const std::ptrdiff_t x = column * plane.block_width + before;
        use(start + x * sample_bytes_, bytes, column, row);
      }
      const int left = whole * plane.block_width;
      if (whole == columns_ || left + length > plane.width) continue;
      const std::ptrdiff_t x = std::min(left + before, plane.width - length);
      use(start + x * sample_bytes_, bytes, whole, row);
    }
  }

  // Includes invisible parts of the block, because pictures that refer to this one may show them: frames have
  // memory for whole blocks.
  void paint(int column, int row) const noexcept {
    for (std::size_t i = 0; i < plane_count_; ++i) {
      const Plane& plane = planes_[i];
      const int left = column * plane.block_width;
      const int top = row * plane.block_height;
      for (int y = top; y < top + plane.block_height; ++y) {
        std::uint8_t* const line = plane.data + y * plane.stride;
        for (int x = left; x < left + plane.block_width; ++x) {
          const std::ptrdiff_t at = std::ptrdiff_t{x} * sample_bytes_;
          line[at] = static_cast<std::uint8_t>(plane.black);
          if (sample_bytes_ == 2) line[at + 1] = static_cast<std::uint8_t>(plane.black >> 8);
        }
      }
    }
  }

  std::array<Plane, 3> planes_;
  std::size_t plane_count_ = 0;
  std::size_t marked_planes_ = 0;
  int sample_bytes_ = 1;
  int columns_ = 0;
  int rows_ = 0;
};

/// The marks of all pictures that one decoder is working on.
///
/// begin() is for get_buffer2, on whatever thread libavcodec calls it. The other functions belong to the
/// thread that sends packets.
class WriteWatch {
 public:
  /// `frame` has just got its memory. If there is no memory for the bookkeeping, the picture is not watched.
  void begin(const AVCodecContext& context, AVFrame& frame) {
    if (frame.opaque_ref != nullptr) return;
    touched();
    AVBufferRef* const state = av_buffer_allocz(sizeof(State));
    if (state == nullptr) return;
    // Visible samples are all written, others may not be.
    State& own = state_of(*state);
    own.width = std::min(frame.width, context.width + static_cast<int>(frame.crop_left));
    own.height = std::min(frame.height, context.height + static_cast<int>(frame.crop_top));
    frame.opaque_ref = state;
    own.watch = this;
    own.planes = context.codec_id == AV_CODEC_ID_MJPEG ? Marks::Planes::all : Marks::Planes::luma;
    Marks(frame, own.width, own.height, own.planes).set();
    touched();
    // Synchronises here as well as in libavcodec, for tools that see only our code.
    std::atomic_ref(own.is_marked).store(1, std::memory_order_release);
    // With threads for frames a picture is known to be complete only when it comes out.
    if ((context.active_thread_type & FF_THREAD_FRAME) != 0) return;
    own.packet = packets_;
    if (Frame copy{hold(frame)}) begun_.push_back(std::move(copy));
  }

  /// To be called before each packet.
  void next_packet() noexcept { ++packets_; }

  /// A call of libavcodec has returned: the pictures begun in it are complete, and no other refers to them
  /// yet. Only a picture with one field waits for the other, which the next packet may bring.
  void call_done() {
    std::erase_if(begun_, [this](const Frame& frame) {
      return settle(*frame, state_of(*frame->opaque_ref).packet == packets_);
    });
  }

  /// Whether a picture that has come out had holes. They have been painted.
  [[nodiscard]] static bool had_holes(const AVFrame& frame) {
    if (frame.opaque_ref == nullptr) return false;
    (void)settle(frame, false);
    return state_of(*frame.opaque_ref).holes;
  }

  /// Forgets the pictures that are under way.
  void clear() noexcept { begun_.clear(); }

  /// To be called after each use of a picture's memory, on any thread: libavcodec may reuse it for another
  /// picture. libavcodec orders the two itself; this tells tools that see only our code.
  void touched() noexcept { uses_.fetch_add(1, std::memory_order_acq_rel); }

 private:
  struct State {
    WriteWatch* watch;
    int width;
    int height;
    std::uint64_t packet;
    std::uint32_t is_marked;
    Marks::Planes planes;
    bool settled;
    bool holes;
  };

  [[nodiscard]] static State& state_of(const AVBufferRef& buffer) noexcept {
    return *reinterpret_cast<State*>(buffer.data);
  }

  [[nodiscard]] static bool settle(const AVFrame& frame, bool may_wait) {
    State& state = state_of(*frame.opaque_ref);
    if (std::atomic_ref(state.is_marked).load(std::memory_order_acquire) == 0 || state.settled) return true;
    const Marks marks(frame, state.width, state.height, state.planes);
    const auto found = marks.find();
    if (found == Marks::Found::a_field && may_wait) return false;
    state.settled = true;
    state.holes = found != Marks::Found::none;
    if (state.holes) marks.paint();
    state.watch->touched();
    return true;
  }

  // A frame of the same memory.
  [[nodiscard]] static AVFrame* hold(const AVFrame& frame) noexcept {
    Frame copy(av_frame_alloc());
    if (!copy) return nullptr;
    copy->format = frame.format;
    copy->opaque_ref = av_buffer_ref(frame.opaque_ref);
    if (copy->opaque_ref == nullptr) return nullptr;
    for (std::size_t i = 0; i < AV_NUM_DATA_POINTERS; ++i) {
      copy->data[i] = frame.data[i];
      copy->linesize[i] = frame.linesize[i];
      if (frame.buf[i] == nullptr) continue;
      copy->buf[i] = av_buffer_ref(frame.buf[i]);
      if (copy->buf[i] == nullptr) return nullptr;
    }
    return copy.release();
  }

  std::vector<Frame> begun_;
  std::uint64_t packets_ = 0;
  std::atomic<std::uint32_t> uses_{0};
};

}  // namespace vumedia::backends::ffmpeg
