// How a decoding engine works.
#pragma once

#include <cstddef>
#include <memory>

#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/history.hpp>
#include <vumedia/memory/budget.hpp>

namespace vumedia::backends::ffmpeg {

/// How an Engine decodes.
struct EngineOptions {
  CodecOptions codec;  ///< for libavcodec
  /// Decode directly into the client's buffers where that is possible: those of planar formats with 8 bits.
  /// It is never possible for P010, because libavcodec has the bits at other places in its words.
  bool direct = true;
  /// Bytes of bitstream that are kept so that decoding can continue after a drain.
  std::size_t history_bytes = History::max_bytes;
  /// The budget for that, and for the packets that libavcodec has. Null: none. A coded buffer for which
  /// nothing is left comes back as damaged.
  std::shared_ptr<memory::Budget> bytes = nullptr;
};

}  // namespace vumedia::backends::ffmpeg
