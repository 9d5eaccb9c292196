// JPEG pictures with any sampling, made by hand because FFmpeg's encoder only knows three. They are like
// those of webcams: without Huffman tables, which are those that the standard suggests.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

namespace vumedia::test {

// The horizontal and vertical sampling factors of each component. A single component is grey.
struct JpegShape {
  std::uint16_t width = 0;
  std::uint16_t height = 0;
  std::vector<std::pair<unsigned, unsigned>> factors;
};

class SmallJpeg {
 public:
  // Every block has a random level, and a random slope to either side.
  [[nodiscard]] static std::vector<std::uint8_t> make(const JpegShape& shape, unsigned seed) {
    SmallJpeg jpeg;
    jpeg.write_headers(shape);
    std::minstd_rand random(seed);
    unsigned across = 1, down = 1;
    for (const auto& [x, y] : shape.factors) across = std::max(across, x), down = std::max(down, y);
    // The blocks of one component alone come one by one, whatever its factors.
    if (shape.factors.size() == 1) across = down = 1;
    const auto units = [](unsigned size, unsigned blocks) { return (size + 8 * blocks - 1) / (8 * blocks); };
    std::array<int, 3> levels{};
    for (unsigned unit = 0; unit < units(shape.width, across) * units(shape.height, down); ++unit) {
      for (std::size_t c = 0; c < shape.factors.size(); ++c) {
        const unsigned blocks =
            shape.factors.size() == 1 ? 1 : shape.factors[c].first * shape.factors[c].second;
        for (unsigned block = 0; block < blocks; ++block) {
          const int level = static_cast<int>(random() % 129) - 64;
          jpeg.put_block(level - levels[c], static_cast<int>(random() % 63) - 31,
                         static_cast<int>(random() % 63) - 31);
          levels[c] = level;
        }
      }
    }
    jpeg.put(0x7f, 7);  // fills the last byte
    jpeg.bytes_.insert(jpeg.bytes_.end(), {0xff, 0xd9});
    return jpeg.bytes_;
  }

 private:
  struct Code {
    unsigned bits;
    unsigned length;
  };
  // The suggested tables for luma: for DC by the size of the difference, for AC by the size of a value that
  // follows no zero.
  static constexpr std::array<Code, 9> dc_codes{
      {{0, 2}, {2, 3}, {3, 3}, {4, 3}, {5, 3}, {6, 3}, {14, 4}, {30, 5}, {62, 6}}};
  static constexpr std::array<Code, 6> ac_codes{{{10, 4}, {0, 2}, {1, 2}, {4, 3}, {11, 4}, {26, 5}}};

  void write_headers(const JpegShape& shape) {
    const auto word = [&](unsigned value) {
      bytes_.insert(bytes_.end(), {static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)});
    };
    const auto count = static_cast<unsigned>(shape.factors.size());
    bytes_ = {0xff, 0xd8, 0xff, 0xdb};  // quantizers, all alike
    word(67);
    bytes_.push_back(0);
    bytes_.insert(bytes_.end(), 64, 8);
    bytes_.insert(bytes_.end(), {0xff, 0xc0});  // a baseline picture
    word(8 + 3 * count);
    bytes_.push_back(8);
    word(shape.height);
    word(shape.width);
    bytes_.push_back(static_cast<std::uint8_t>(count));
    for (unsigned c = 0; c < count; ++c) {
      const auto& [across, down] = shape.factors[c];
      bytes_.insert(bytes_.end(),
                    {static_cast<std::uint8_t>(c + 1), static_cast<std::uint8_t>(across << 4 | down), 0});
    }
    bytes_.insert(bytes_.end(), {0xff, 0xda});  // one scan of all
    word(6 + 2 * count);
    bytes_.push_back(static_cast<std::uint8_t>(count));
    for (unsigned c = 0; c < count; ++c) bytes_.insert(bytes_.end(), {static_cast<std::uint8_t>(c + 1), 0});
    bytes_.insert(bytes_.end(), {0, 63, 0});
  }

  void put(unsigned bits, unsigned length) {
    while (length-- > 0) {
      byte_ = byte_ << 1 | (bits >> length & 1);
      if (++filled_ < 8) continue;
      bytes_.push_back(static_cast<std::uint8_t>(byte_));
      if ((byte_ & 0xff) == 0xff) bytes_.push_back(0);
      filled_ = 0;
    }
  }
  template <std::size_t count>
  void put_value(const std::array<Code, count>& codes, int value) {
    const auto size = static_cast<unsigned>(std::bit_width(static_cast<unsigned>(std::abs(value))));
    put(codes.at(size).bits, codes.at(size).length);
    put(static_cast<unsigned>(value < 0 ? value - 1 : value), size);
  }
  void put_block(int level, int across, int down) {
    put_value(dc_codes, level);
    // One of 0 would be written as a run.
    put_value(ac_codes, across == 0 ? 1 : across);
    put_value(ac_codes, down == 0 ? 1 : down);
    put(ac_codes[0].bits, ac_codes[0].length);  // the end of the block
  }

  std::vector<std::uint8_t> bytes_;
  unsigned byte_ = 0;
  unsigned filled_ = 0;
};

}  // namespace vumedia::test
