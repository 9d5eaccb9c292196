// What the markers of a JPEG picture say and libavcodec does not report.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace vumedia::backends::ffmpeg {

/// A summary of a picture's markers.
struct JpegMarkers {
  /// Its last scan is followed by the end of the image. A picture without it is truncated.
  bool complete = false;
  /// Upper bounds: bytes of other meaning may look like markers.
  std::size_t scans = 0;
  std::size_t segments = 0;  ///< likewise, of tables and the like

  /// A scan of a few bytes can cover the whole picture, and a table of a few bytes takes long to build.
  /// Progressive pictures have some ten scans; a picture with more than these was made to take time.
  static constexpr std::size_t max_scans = 128;
  static constexpr std::size_t max_segments = 4096;  ///< likewise
  /// Whether the picture is worth the time to decode it.
  [[nodiscard]] bool reasonable() const noexcept { return scans <= max_scans && segments <= max_segments; }

  /// ITU-T T.81, B.1.1.3. Within a scan the byte FF is either part of a marker or followed by a zero.
  [[nodiscard]] static JpegMarkers of(std::span<const std::byte> bytes) noexcept {
    JpegMarkers markers;
    const auto* at = reinterpret_cast<const std::uint8_t*>(bytes.data());
    const auto* const end = at + bytes.size();
    while (end - at >= 2) {
      at = static_cast<const std::uint8_t*>(std::memchr(at, 0xff, static_cast<std::size_t>(end - at) - 1));
      if (at == nullptr) break;
      const std::uint8_t code = *++at;
      constexpr std::uint8_t first_restart = 0xd0;
      constexpr std::uint8_t start_of_image = 0xd8;
      constexpr std::uint8_t end_of_image = 0xd9;
      constexpr std::uint8_t start_of_scan = 0xda;
      if (code < 0xc0 || code == 0xff || (code >= first_restart && code < start_of_image)) continue;
      if (code == end_of_image) markers.complete = markers.scans > 0;
      if (code == start_of_scan) {
        ++markers.scans;
        markers.complete = false;
      }
      ++markers.segments;
    }
    return markers;
  }
};

}  // namespace vumedia::backends::ffmpeg
