#include "container_end.hpp"

#include <bit>
#include <cstdint>
#include <memory>
#include <string_view>

#include <vumedia/core/result.hpp>

extern "C" {
#include <libavutil/opt.h>
}

namespace ctl {
namespace {

using vumedia::format_text;
using Missing = std::optional<std::string>;

struct Close {
  void operator()(AVIOContext* file) const noexcept { avio_closep(&file); }
};

std::string count_of_bytes(std::int64_t wanted, std::int64_t there) {
  return format_text("of %lld bytes, %lld are there", static_cast<long long>(wanted),
                     static_cast<long long>(there));
}

// A number of Matroska's with a length of its own (RFC 8794, 4): as many bytes follow the first as it has
// zeros before its first one. Nothing where the file ends or no number stands.
struct Number {
  std::uint64_t value = 0;  // without the mark of its length
  std::uint64_t marked = 0;
  bool unknown = false;  // all ones: the length of an element that is not known
};
std::optional<Number> read_number(AVIOContext& file, int most) {
  const auto first = static_cast<std::uint8_t>(avio_r8(&file));
  const int more = std::countl_zero(first);
  if (more >= most) return std::nullopt;
  Number number;
  number.marked = first;
  for (int i = 0; i < more; ++i)
    number.marked = number.marked << 8 | static_cast<std::uint8_t>(avio_r8(&file));
  if (avio_feof(&file) != 0) return std::nullopt;
  const std::uint64_t mark = std::uint64_t{1} << (7 * (more + 1));
  number.value = number.marked & (mark - 1);
  number.unknown = number.value == mark - 1;
  return number;
}

// From element to element. Segments and clusters that do not know their length are entered, others are passed
// over.
Missing missing_of_matroska(AVIOContext& file, std::int64_t size) {
  constexpr std::uint64_t segment = 0x18538067, cluster = 0x1f43b675;
  for (std::int64_t at = 0; at < size;) {
    if (avio_seek(&file, at, SEEK_SET) < 0) return std::nullopt;
    const auto id = read_number(file, 4);
    const auto length = id ? read_number(file, 8) : std::nullopt;
    if (!length) {
      // What stands there may be anything, unless it is the end.
      return avio_feof(&file) != 0 ? Missing("its last element is not whole") : std::nullopt;
    }
    const std::int64_t body = avio_tell(&file);
    if (length->unknown) {
      if (id->marked != segment && id->marked != cluster) return std::nullopt;
      at = body;
      continue;
    }
    if (length->value > static_cast<std::uint64_t>(size - body))
      return count_of_bytes(body + static_cast<std::int64_t>(length->value), size);
    if (id->marked == segment) return std::nullopt;
    at = body + static_cast<std::int64_t>(length->value);
  }
  return std::nullopt;
}

// Chunks of RIFF one after the other; a length of 0 was never filled in.
Missing missing_of_avi(AVIOContext& file, std::int64_t size) {
  for (std::int64_t at = 0; at + 8 <= size;) {
    if (avio_seek(&file, at, SEEK_SET) < 0 || avio_rl32(&file) != MKTAG('R', 'I', 'F', 'F'))
      return std::nullopt;
    const std::int64_t length = avio_rl32(&file);
    if (length == 0 || length == 0xffffffff) return std::nullopt;
    if (length > size - at - 8) return count_of_bytes(at + 8 + length, size);
    at += 8 + length + length % 2;
  }
  return std::nullopt;
}

Missing missing_of_transport_stream(AVFormatContext& container, std::int64_t size) {
  std::int64_t packet = 0;
  if (av_opt_get_int(&container, "ts_packetsize", AV_OPT_SEARCH_CHILDREN, &packet) < 0 || packet <= 0 ||
      size % packet == 0)
    return std::nullopt;
  return "its last packet is not whole";
}

// MPEG program stream (ISO/IEC 13818-1, 2.5): packs, and packets that say how long they are.
Missing missing_of_program_stream(AVIOContext& file, std::int64_t size) {
  constexpr std::uint32_t end = 0x1b9, pack = 0x1ba;
  for (std::int64_t at = 0; at + 6 <= size;) {
    if (avio_seek(&file, at, SEEK_SET) < 0) return std::nullopt;
    const std::uint32_t code = avio_rb32(&file);
    std::int64_t length = 4;
    if (code == pack) {
      const bool first_edition = avio_r8(&file) >> 6 == 0;
      length = 12;
      if (!first_edition) {
        avio_skip(&file, 8);
        length = 14 + (avio_r8(&file) & 7);
      }
    } else if (code > pack && code <= 0x1ff) {
      length = 6 + static_cast<std::int64_t>(avio_rb16(&file));
      if (length == 6) return std::nullopt;
    } else if (code != end) {
      return std::nullopt;
    }
    at += length;
    if (at > size) return count_of_bytes(at, size);
  }
  return std::nullopt;
}

}  // namespace

Missing missing_end(AVFormatContext& container, const std::string& url) {
  if (container.pb == nullptr || (container.pb->seekable & AVIO_SEEKABLE_NORMAL) == 0) return std::nullopt;
  const std::int64_t size = avio_size(container.pb);
  const std::string_view name = container.iformat->name;
  if (size <= 0) return std::nullopt;
  if (name == "mpegts") return missing_of_transport_stream(container, size);
  Missing (*const missing)(AVIOContext&, std::int64_t) = name.starts_with("matroska") ? missing_of_matroska
                                                         : name == "avi"              ? missing_of_avi
                                                         : name == "mpeg" ? missing_of_program_stream
                                                                          : nullptr;
  if (missing == nullptr) return std::nullopt;
  AVIOContext* opened = nullptr;
  if (avio_open(&opened, url.c_str(), AVIO_FLAG_READ) < 0) return std::nullopt;
  const std::unique_ptr<AVIOContext, Close> file(opened);
  return missing(*file, size);
}

}  // namespace ctl
