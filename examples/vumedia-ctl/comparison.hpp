// Compares a device's frames with libavcodec's own, one by one. Frames that the device refused or marked as
// damaged are distinguished from frames that differ.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <vumedia/core/result.hpp>

#include "bitstream.hpp"
#include "commands.hpp"
#include "decoder.hpp"
#include "picture.hpp"

namespace ctl {

class Comparison {
 public:
  // `refused`: whether the device refused the packet of this number.
  using Refused = std::function<bool(std::uint64_t packet)>;

  Comparison(ReferenceDecoder reference, Refused refused)
      : reference_(std::move(reference)), refused_(std::move(refused)) {}

  // The device's next frame.
  [[nodiscard]] vumedia::Outcome<> add(const Picture& picture, const FrameNote& note);
  [[nodiscard]] vumedia::Outcome<> seek(double seconds) { return reference_.seek(seconds); }
  // After the device's last frame.
  [[nodiscard]] vumedia::Outcome<> finish();

  // Describes the first difference in a frame that is neither marked as damaged nor follows one that is;
  // empty: none.
  [[nodiscard]] const std::string& first_difference() const noexcept { return first_difference_; }
  // Frames marked as damaged that differ, and frames of packets that the device refused.
  [[nodiscard]] std::uint64_t damaged_that_differ() const noexcept { return damaged_that_differ_; }
  // Others that differ after those: frames that refer to a damaged picture depend on how it was concealed.
  [[nodiscard]] std::uint64_t later_that_differ() const noexcept { return later_that_differ_; }
  [[nodiscard]] std::uint64_t refused_frames() const noexcept { return refused_frames_; }

 private:
  // The reference's next frame that the device may also have.
  [[nodiscard]] vumedia::Outcome<std::optional<Picture>> next(std::uint64_t packet);

  ReferenceDecoder reference_;
  Refused refused_;
  std::uint64_t count_ = 0;
  std::string first_difference_;
  bool damage_seen_ = false;
  std::uint64_t damaged_that_differ_ = 0;
  std::uint64_t later_that_differ_ = 0;
  std::uint64_t refused_frames_ = 0;
};

}  // namespace ctl
