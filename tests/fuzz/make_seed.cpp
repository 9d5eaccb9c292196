// make_seed CLIP OUT [FRAMES]: an input of the decoder's target from the first frames of a file, 5 if it is
// not said. The corpus was made with it; see README.md.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <vumedia/backends/ffmpeg/formats.hpp>

#include "fuzz/records.hpp"
#include "support/clip.hpp"

int main(int count, char** arguments) {
  using namespace vumedia;
  if (count < 3) return std::fprintf(stderr, "make_seed CLIP OUT [FRAMES]\n"), 2;
  const test::Clip clip = test::read_clip(arguments[1]);
  fuzz::Records input;
  const auto format =
      std::ranges::find(backends::ffmpeg::coded_formats, clip.codec, &backends::ffmpeg::CodedFormat::codec);
  if (format == std::end(backends::ffmpeg::coded_formats))
    return std::fprintf(stderr, "%s: not such a clip\n", arguments[1]), 1;
  input.codec = static_cast<std::uint8_t>(format - std::begin(backends::ffmpeg::coded_formats));
  const std::size_t frames = count > 3 ? std::strtoul(arguments[3], nullptr, 10) : 5;
  for (const auto& unit : clip.units) {
    if (input.records.size() < frames) input.records.push_back({fuzz::Record::packet, unit.bytes});
  }
  const auto bytes = input.write();
  std::ofstream(arguments[2], std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}
