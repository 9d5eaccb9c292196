// Converts chroma from one sampling to another. libswscale is not used, because it changes full-range values
// when it converts to another format.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <vumedia/backends/ffmpeg/samples.hpp>

namespace vumedia::backends::ffmpeg {

/// One plane of samples of 8 bits, or of 10 in two bytes. Lines may run backwards in memory (a negative
/// stride).
struct Plane {
  const std::uint8_t* data = nullptr;  ///< the first sample of the first line
  std::ptrdiff_t stride = 0;           ///< bytes from line to line
  std::size_t width = 0;               ///< samples
  std::size_t height = 0;              ///< lines
  /// Where the visible part ends. Samples beyond it do not count in means.
  std::size_t end_x = 0;
  std::size_t end_y = 0;  ///< likewise

  /// The first sample of line `y` < height.
  [[nodiscard]] const std::uint8_t* line(std::size_t y) const noexcept {
    return data + static_cast<std::ptrdiff_t>(y) * stride;
  }
  /// Every other line, from `first` on: a field of a frame.
  [[nodiscard]] Plane field(std::size_t first) const noexcept {
    return {data + static_cast<std::ptrdiff_t>(first) * stride,
            2 * stride,
            width,
            (height + 1 - first) / 2,
            end_x,
            (end_y + 1 - first) / 2};
  }
};

/// How many samples are made at a time. It is a constant, so that the loops below are vectorised at any level
/// of optimisation.
inline constexpr std::size_t strip_length = 256;

/// `strip_length` samples, each the rounded mean of those that it stands for: 2^across side by side in each
/// of 2^down lines. With `across` -1 it is the other way round: one sample gives two of the result.
template <int across, int down, class Sample>
void average_strip(Sample* to, const Sample* upper, const Sample* lower) noexcept {
  static_assert(across >= -1 && across <= 1 && down >= 0 && down <= 1);
  constexpr int shift = std::max(across, 0) + down;
  constexpr std::uint32_t half = shift > 0 ? 1u << (shift - 1) : 0;
  const auto sum = [](const Sample* line, std::size_t x) -> std::uint32_t {
    if constexpr (across == 1) return std::uint32_t{line[2 * x]} + line[2 * x + 1];
    if constexpr (across == 0) return line[x];
    return line[x / 2];
  };
  for (std::size_t x = 0; x < strip_length; ++x) {
    // NOLINTNEXTLINE(misc-const-correctness): it changes where `down` is 1.
    std::uint32_t all = sum(upper, x);
    if constexpr (down == 1) all += sum(lower, x);
    to[x] = static_cast<Sample>((all + half) >> shift);
  }
}

/// Reads the chroma planes of a picture with sampling `from` as if it had sampling `to`, one strip after
/// another. `to` is `from`, or 4:2:0. One object for each of U and V.
template <class Depth, Sampling from, Sampling to>
class ChromaReader {
  using Sample = typename Depth::Sample;
  static constexpr int across = static_cast<int>(shift_x_of(to)) - static_cast<int>(shift_x_of(from));
  static constexpr int down = static_cast<int>(shift_y_of(to)) - static_cast<int>(shift_y_of(from));
  static constexpr std::size_t source_length = across == 1 ? 2 * strip_length : strip_length;

 public:
  static constexpr bool as_it_is = from == to;  ///< nothing is made, lines are read in place
  /// Whether a line is made from two.
  static constexpr bool joins_lines = down != 0;

  ChromaReader() noexcept {
    if constexpr (from == Sampling::grey) made_.fill(Depth::neutral);
  }

  /// At most `count` samples of line `y` from sample `first` on, a multiple of strip_length; strip_size() is
  /// the number returned at once. They are valid until the next call.
  [[nodiscard]] const std::uint8_t* read(const Plane& plane, std::size_t y, std::size_t first,
                                         std::size_t count) noexcept {
    if constexpr (as_it_is) {
      return plane.line(y) + first * sizeof(Sample);
    } else if constexpr (from == Sampling::grey) {
      return reinterpret_cast<const std::uint8_t*>(made_.data());
    } else {
      // The last line and the last sample also stand for the missing next ones.
      const std::size_t upper = y << down;
      load(upper_, plane, upper, first, count);
      if constexpr (down == 1) {
        const std::size_t lower = upper + 1;
        const bool is_there = lower != plane.end_y && lower < plane.height;
        load(lower_, plane, is_there ? lower : upper, first, count);
      }
      average_strip<across, down>(made_.data(), upper_.data(), lower_.data());
      return reinterpret_cast<const std::uint8_t*>(made_.data());
    }
  }

  /// How many of `count` samples read() returns at a time.
  [[nodiscard]] static constexpr std::size_t strip_size(std::size_t count) noexcept {
    return as_it_is ? count : std::min(count, strip_length);
  }

 private:
  using Line = std::array<Sample, source_length>;

  static void load(Line& line, const Plane& plane, std::size_t y, std::size_t first,
                   std::size_t count) noexcept {
    const auto in_source = [](std::size_t samples) {
      return across == 1 ? 2 * samples : across == -1 ? (samples + 1) / 2 : samples;
    };
    const std::size_t start = in_source(first);
    const std::size_t wanted = in_source(count);
    const std::size_t there = std::min(wanted, plane.width - start);
    std::memcpy(line.data(), plane.line(y) + start * sizeof(Sample), there * sizeof(Sample));
    if constexpr (across != 1) return;
    if (there < wanted) line[there] = line[there - 1];
    const std::size_t end = plane.end_x - start;
    if (plane.end_x > start && end < there && end % 2 != 0) line[end] = line[end - 1];
  }

  Line upper_{};
  Line lower_{};
  std::array<Sample, strip_length> made_{};
};

}  // namespace vumedia::backends::ffmpeg
