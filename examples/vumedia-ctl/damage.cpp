#include "damage.hpp"

#include <cstdio>
#include <string>

namespace ctl {

using vumedia::failure;

namespace {
const char* plural(std::uint64_t count) {
  return count == 1 ? "" : "s";
}
}  // namespace

std::unexpected<vumedia::Error> nothing_decoded(const Decoder& decoder, const Bitstream& bitstream) {
  const auto packets = static_cast<unsigned long long>(decoder.packets());
  const std::string stream = bitstream.description();
  if (packets == 0) return failure("the stream (%s) has no packets", stream.c_str());
  if (const std::uint64_t refused = decoder.refused_packets().count(); refused != 0) {
    return failure("the device refused %llu of %llu packet%s and decoded nothing of this stream (%s)",
                   static_cast<unsigned long long>(refused), packets, plural(packets), stream.c_str());
  }
  if (const std::uint64_t frames = decoder.damaged_frames().count(); frames != 0) {
    return failure("the device returned only %llu damaged and empty frame%s for this stream (%s)",
                   static_cast<unsigned long long>(frames), plural(frames), stream.c_str());
  }
  return failure("the device found no picture in %llu packet%s of this stream (%s)", packets, plural(packets),
                 stream.c_str());
}

Status tell_damage(const Decoder& decoder, const Bitstream& bitstream) {
  std::string text;
  const auto add = [&text](const Positions& positions, const char* verb, const char* what) {
    if (positions.count() == 0) return;
    text += vumedia::format_text("%s %s %llu %s%s: ", text.empty() ? "the device" : "; it", verb,
                                 static_cast<unsigned long long>(positions.count()), what,
                                 plural(positions.count()));
    text += positions.text();
  };
  add(decoder.damaged_frames(), "marked as damaged", "frame");
  add(decoder.refused_packets(), "refused", "packet");
  if (const std::uint64_t unreadable = bitstream.unreadable_packets(); unreadable != 0) {
    text += vumedia::format_text("%s%llu packet%s could not be read", text.empty() ? "" : "; ",
                                 static_cast<unsigned long long>(unreadable), plural(unreadable));
  }
  if (!bitstream.cut_short().empty())
    text += (text.empty() ? "" : "; ") + ("the file ends early: " + bitstream.cut_short());
  if (text.empty()) return Status::ok;
  std::fflush(stdout);
  std::fprintf(stderr, "vumedia-ctl: %s\n", text.c_str());
  return Status::damaged;
}

}  // namespace ctl
