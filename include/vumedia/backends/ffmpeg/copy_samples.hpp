// Copies a decoded picture into a CAPTURE buffer, with one function for each pair of a source's samples and a
// format that suits them. The functions are composed at compile time from a depth (copy.hpp), a way to read
// chroma (resample.hpp) and an arrangement.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <vumedia/backends/ffmpeg/copy.hpp>
#include <vumedia/backends/ffmpeg/layout.hpp>
#include <vumedia/backends/ffmpeg/raw_formats.hpp>
#include <vumedia/backends/ffmpeg/resample.hpp>

namespace vumedia::backends::ffmpeg {

/// The picture to copy. Chroma planes are empty if there is no chroma.
struct PictureSource {
  Plane luma;                   ///< or grey
  std::array<Plane, 2> chroma;  ///< U and V
  /// Its lines alternate between two fields. The chroma of one field is not mixed with that of the other.
  bool fields = false;
};

// ---- Where chroma is stored: `count` samples from sample `first` of a line on

/// Planes of their own for U and V.
struct PlanarChroma {
  /// `u` and `v` have the samples, `lines` are those of the two planes.
  template <class Depth>
  static void store(const std::array<std::uint8_t*, 2>& lines, std::size_t first, const std::uint8_t* u,
                    const std::uint8_t* v, std::size_t count) noexcept {
    Depth::copy_line(lines[0] + first * sizeof(typename Depth::Sample), u, count);
    Depth::copy_line(lines[1] + first * sizeof(typename Depth::Sample), v, count);
  }
};
/// One plane of pairs U V.
struct PairedChroma {
  /// `u` and `v` have the samples, the first of `lines` is that of the plane.
  template <class Depth>
  static void store(const std::array<std::uint8_t*, 2>& lines, std::size_t first, const std::uint8_t* u,
                    const std::uint8_t* v, std::size_t count) noexcept {
    Depth::interleave(lines[0] + 2 * first * sizeof(typename Depth::Sample), u, v, count);
  }
};

// ---- Whole planes

/// All lines of luma, or of grey.
template <class Depth>
void copy_luma(const Plane& from, const Layout& layout, std::uint8_t* to) noexcept {
  for (std::size_t y = 0; y < from.height; ++y) {
    Depth::copy_line(to + y * layout.stride(), from.line(y), from.width);
  }
}

/// `size` in samples of the target, in lines that are `strides` apart.
template <class Depth, class Reader, class Store>
void copy_chroma(const std::array<Plane, 2>& from, std::array<std::uint8_t*, 2> to,
                 const std::array<std::size_t, 2>& strides, std::size_t width, std::size_t height) noexcept {
  std::array<Reader, 2> readers;
  const std::size_t step = Reader::strip_size(width);
  for (std::size_t y = 0; y < height; ++y) {
    for (std::size_t first = 0; first < width; first += step) {
      const std::size_t count = std::min(step, width - first);
      const std::uint8_t* const u = readers[0].read(from[0], y, first, count);
      const std::uint8_t* const v = readers[1].read(from[1], y, first, count);
      Store::template store<Depth>(to, first, u, v, count);
    }
    to[0] += strides[0];
    to[1] += strides[1];
  }
}

/// Luma and chroma, which `Store` puts where the format has it.
template <class Depth, Sampling from, Sampling to, class Store>
void copy_planes(const PictureSource& source, const Layout& layout, std::uint8_t* memory) noexcept {
  using Reader = ChromaReader<Depth, from, to>;
  copy_luma<Depth>(source.luma, layout, memory);
  const std::size_t width = shrink(source.luma.width, shift_x_of(to));
  const std::size_t height = shrink(source.luma.height, shift_y_of(to));
  // The second is the same as the first if one component holds both.
  const std::array<std::uint8_t*, 2> lines{memory + layout.offsets[1], memory + layout.offsets[2]};
  const std::array<std::size_t, 2> strides{layout.strides[1], layout.strides[2]};
  if constexpr (Reader::joins_lines) {
    if (source.fields) {
      for (std::size_t field = 0; field < 2; ++field) {
        const std::array planes{source.chroma[0].field(field), source.chroma[1].field(field)};
        copy_chroma<Depth, Reader, Store>(planes,
                                          {lines[0] + field * strides[0], lines[1] + field * strides[1]},
                                          {2 * strides[0], 2 * strides[1]}, width, (height + 1 - field) / 2);
      }
      return;
    }
  }
  copy_chroma<Depth, Reader, Store>(source.chroma, lines, strides, width, height);
}

/// Y U Y V: pairs of U and V, interleaved with Y. The source is already 4:2:2.
template <class Depth>
void copy_packed(const PictureSource& source, const Layout& layout, std::uint8_t* memory) noexcept {
  constexpr std::size_t bytes = sizeof(typename Depth::Sample);
  std::array<typename Depth::Sample, 2 * strip_length> pairs{};
  auto* const pair = reinterpret_cast<std::uint8_t*>(pairs.data());
  const std::size_t width = source.luma.width;
  for (std::size_t y = 0; y < source.luma.height; ++y, memory += layout.stride()) {
    for (std::size_t x = 0; x < width; x += pairs.size()) {
      const std::size_t count = std::min(width - x, pairs.size());
      const std::size_t chroma = x / 2 * bytes;
      const std::uint8_t* const luma = source.luma.line(y) + x * bytes;
      Depth::pair(pair, source.chroma[0].line(y) + chroma, source.chroma[1].line(y) + chroma,
                  (count + 1) / 2);
      Depth::interleave(memory + 2 * x * bytes, luma, pair, count);
      // A single last sample also stands for its missing neighbour.
      if (count % 2 != 0)
        Depth::interleave(memory + 2 * (x + count) * bytes, luma + (count - 1) * bytes, pair + count * bytes,
                          1);
    }
  }
}

// ---- All of them

/// `source` has the samples that the function is for; `memory` has room for `layout`, which has the format
/// that the function is for and is not smaller than the picture.
using CopySamples = void (*)(const PictureSource& source, const Layout& layout, std::uint8_t* memory);

/// The function for raw_formats[format] and that Sampling; null if they do not suit each other.
template <std::size_t format, std::size_t sampling>
[[nodiscard]] consteval CopySamples copier_of() noexcept {
  constexpr RawFormat raw = raw_formats[format];
  constexpr auto from = static_cast<Sampling>(sampling);
  if constexpr (!suits(raw, {from, raw.samples.bytes})) {
    return nullptr;
  } else {
    using Depth = std::conditional_t<raw.samples.bytes == 1, EightBits, TenBits>;
    using Store = std::conditional_t<raw.arrangement == Arrangement::planar, PlanarChroma, PairedChroma>;
    if constexpr (raw.arrangement == Arrangement::packed) {
      static_assert(raw.samples.sampling == Sampling::yuv422);
      return &copy_packed<Depth>;
    } else {
      return &copy_planes<Depth, from, raw.samples.sampling, Store>;
    }
  }
}

/// By format and Sampling.
inline constexpr auto copiers = []<std::size_t... formats>(std::index_sequence<formats...>) {
  constexpr auto row = []<std::size_t format, std::size_t... samplings>(std::index_sequence<samplings...>) {
    return std::array{copier_of<format, samplings>()...};
  };
  return std::array { row.template operator()<formats>(std::make_index_sequence<sampling_count>())... };
}(std::make_index_sequence<raw_formats.size()>());

/// The function for a format that suits the samples; `format` is one of raw_formats.
[[nodiscard]] inline CopySamples find_copier(const RawFormat& format, Sampling sampling) noexcept {
  return copiers[static_cast<std::size_t>(&format - raw_formats.data())][static_cast<std::size_t>(sampling)];
}

}  // namespace vumedia::backends::ffmpeg
