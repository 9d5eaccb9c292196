// The samples of a libavcodec frame as a test expects them from a decoder: computed without the library's
// code.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

extern "C" {
#include <libavutil/frame.h>
#include <libavutil/pixdesc.h>
}

namespace vumedia::test {

// Whether chroma is wanted as in the stream, or as 4:2:0.
enum class Chroma : std::uint8_t { as_coded, yuv420 };

// Planar: Y, U, V without padding; two bytes each if they have more than 8 bits. Grey gets neutral chroma if
// that is wanted.
inline std::vector<std::uint8_t> plain_samples(const AVFrame& frame, Chroma chroma = Chroma::as_coded) {
  const auto& description = *av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  const int depth = description.comp[0].depth;
  const int bytes = depth > 8 ? 2 : 1;
  std::vector<std::uint8_t> out;
  const auto append = [&](unsigned value) {
    out.push_back(static_cast<std::uint8_t>(value));
    if (bytes == 2) out.push_back(static_cast<std::uint8_t>(value >> 8));
  };
  const auto sample = [&](int plane, int x, int y) -> unsigned {
    const auto* const at = frame.data[plane] + std::ptrdiff_t{y} * frame.linesize[plane] + x * bytes;
    return bytes == 1 ? *at : at[0] | unsigned{at[1]} << 8;
  };
  // libavcodec's planes have their samples as they are wanted here.
  const auto append_line = [&](int plane, int y, int width) {
    const auto* const at = frame.data[plane] + std::ptrdiff_t{y} * frame.linesize[plane];
    out.insert(out.end(), at, at + std::ptrdiff_t{width} * bytes);
  };
  for (int y = 0; y < frame.height; ++y) append_line(0, y, frame.width);
  const auto shrunk = [](int size, int shift) { return (size + (1 << shift) - 1) >> shift; };
  const int width = shrunk(frame.width, description.log2_chroma_w);
  const int height = shrunk(frame.height, description.log2_chroma_h);
  const bool grey = description.nb_components == 1;
  if (chroma == Chroma::as_coded) {
    for (int plane = 1; plane < 3 && !grey; ++plane) {
      for (int y = 0; y < height; ++y) append_line(plane, y, width);
    }
    return out;
  }
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 7, 100)
  const bool interlaced = (frame.flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
  const bool interlaced = frame.interlaced_frame != 0;
#endif
  // The lines of the source that line `y` of 4:2:0 stands for: the next two, of the same field.
  const auto lines_of = [&](int y) -> std::pair<int, int> {
    if (description.log2_chroma_h == 1) return {y, y};
    if (!interlaced) return {2 * y, std::min(2 * y + 1, height - 1)};
    const int first = y / 2 * 4 + y % 2;
    return {first, first + 2 < height ? first + 2 : first};
  };
  const auto columns_of = [&](int x) -> std::pair<int, int> {
    if (description.log2_chroma_w == 2) return {x / 2, x / 2};
    if (description.log2_chroma_w == 1) return {x, x};
    return {2 * x, std::min(2 * x + 1, width - 1)};
  };
  for (int plane = 1; plane < 3; ++plane) {
    for (int y = 0; y < shrunk(frame.height, 1); ++y) {
      const auto [line, other_line] = lines_of(y);
      for (int x = 0; x < shrunk(frame.width, 1); ++x) {
        if (grey) {
          append(1u << (depth - 1));
          continue;
        }
        const auto [column, other_column] = columns_of(x);
        const unsigned sum = sample(plane, column, line) + sample(plane, other_column, line) +
                             sample(plane, column, other_line) + sample(plane, other_column, other_line);
        append((sum + 2) / 4);
      }
    }
  }
  return out;
}

}  // namespace vumedia::test
