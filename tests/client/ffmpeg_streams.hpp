// Coded streams for the compliance rules on decoders, made once in a program.
#pragma once

#include <cstddef>
#include <span>

#include <vumedia/client/compliance/subject.hpp>

#include "support/clips.hpp"

namespace vumedia::client::test {

[[nodiscard]] inline compliance::CodedStream stream_of(const vumedia::test::Clip& clip) {
  compliance::CodedStream stream;
  stream.fourcc = vumedia::test::fourcc_of(clip.codec);
  for (const auto& unit : clip.units) {
    const auto bytes = std::as_bytes(std::span(unit.bytes));
    stream.units.emplace_back(bytes.begin(), bytes.end());
  }
  return stream;
}
[[nodiscard]] inline const compliance::CodedStream* if_made(const compliance::CodedStream& stream) {
  return stream.units.empty() ? nullptr : &stream;
}

// H.264 with reordering; null if there is no ffmpeg program with its encoder.
[[nodiscard]] inline const compliance::CodedStream* steady_stream() {
  static const auto stream = stream_of(vumedia::test::make_clip(
      vumedia::test::moving_picture(94, 62, 18) + " -g 9 " + vumedia::test::x264_quickly, "steady.264"));
  return if_made(stream);
}
// The same, but it becomes larger and then small again.
[[nodiscard]] inline const compliance::CodedStream* changing_stream() {
  static const auto stream =
      stream_of(vumedia::test::make_changing_clip({{96, 64}, {190, 126}, {96, 64}}, 9));
  return if_made(stream);
}

}  // namespace vumedia::client::test
