#include "comparison.hpp"

#include <cstring>
#include <limits>
#include <optional>

namespace ctl {
namespace {

using vumedia::format_text;
using vumedia::Outcome;

// Describes the first sample of a component that differs. `averaged`: see can_average.
std::optional<std::string> difference(const Picture& device, const Picture& reference, std::uint32_t plane,
                                      bool averaged) {
  const std::size_t width = device.plane_width(plane);
  const Plane& a = device.planes[plane];
  const Plane& b = reference.planes[plane];
  const bool bytes = device.bits == 8 && a.step == 1 && b.step == 1 && (plane == 0 || !averaged);
  for (std::size_t y = 0; y < device.plane_height(plane); ++y) {
    if (bytes && std::memcmp(a.at(0, y), b.at(0, y), width) == 0) continue;
    for (std::size_t x = 0; x < width; ++x) {
      const std::uint32_t ours = device.sample(plane, x, y);
      const std::uint32_t theirs =
          averaged ? averaged_sample(reference, device, plane, x, y) : reference.sample(plane, x, y);
      if (ours == theirs) continue;
      constexpr const char* names[] = {"Y", "Cb", "Cr"};
      return format_text("%s at %zu,%zu is %u, libavcodec's is %u", names[plane], x, y, ours, theirs);
    }
  }
  return std::nullopt;
}

// Describes where two pictures first differ; nothing if they do not.
std::optional<std::string> difference(const Picture& device, const Picture& reference) {
  if (device.width != reference.width || device.height != reference.height) {
    return format_text("the device's is %ux%u, libavcodec's is %ux%u", device.width, device.height,
                       reference.width, reference.height);
  }
  if (device.bits != reference.bits) {
    return format_text("the device's has %u bits per sample, libavcodec's has %u", device.bits,
                       reference.bits);
  }
  // A decoder may output 4:2:0 chroma for any other sampling: the mean of libavcodec's, or no colour.
  const bool averaged = can_average(reference, device);
  if (!averaged && (device.plane_count() != reference.plane_count() || device.shift_x != reference.shift_x ||
                    device.shift_y != reference.shift_y)) {
    return std::string("their chroma is sampled differently");
  }
  for (std::uint32_t plane = 0; plane < device.plane_count(); ++plane) {
    if (auto found = difference(device, reference, plane, averaged)) return found;
  }
  return std::nullopt;
}

}  // namespace

Outcome<std::optional<Picture>> Comparison::next(std::uint64_t packet) {
  for (;;) {
    auto reference = reference_.next();
    if (!reference || !*reference) return reference;
    const std::uint64_t theirs = reference_.packet();
    if (theirs == packet || !refused_(theirs)) return reference;
    ++refused_frames_;
    damage_seen_ = true;
  }
}

Outcome<> Comparison::add(const Picture& picture, const FrameNote& note) {
  const std::uint64_t index = count_++;
  damage_seen_ = damage_seen_ || note.damaged;
  if (!first_difference_.empty()) return {};
  auto reference = next(note.packet);
  if (!reference) return std::unexpected(reference.error());
  if (!*reference) {
    first_difference_ = format_text("libavcodec ends after %llu frames, but the device continues",
                                    static_cast<unsigned long long>(index));
  } else if (const auto found = difference(picture, **reference)) {
    if (note.damaged) {
      ++damaged_that_differ_;
    } else if (damage_seen_) {
      ++later_that_differ_;
    } else {
      first_difference_ =
          format_text("frame %llu: %s", static_cast<unsigned long long>(index), found->c_str());
    }
  }
  return {};
}

Outcome<> Comparison::finish() {
  if (!first_difference_.empty()) return {};
  auto more = next(std::numeric_limits<std::uint64_t>::max());
  if (!more) return std::unexpected(more.error());
  if (*more) {
    first_difference_ = format_text("the device ends after %llu frames, but libavcodec continues",
                                    static_cast<unsigned long long>(count_));
  }
  return {};
}

}  // namespace ctl
