// Bytes of a filled CAPTURE buffer on their way to a guest whose pages could not be mapped: those of USERPTR
// planes that are copied (v4l2/user_planes.hpp). A large buffer is stored in several turns of the loop.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include <vumedia/core/result.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/buffer_slot.hpp>

namespace vumedia::v4l2 {

/// One buffer at a time; another one begins anew.
class PlaneStoring {
 public:
  /// Stores the first `bytesused` bytes of each plane, as much as `work` allows (null: nothing). True if
  /// nothing is left; otherwise it must be called again for this buffer.
  [[nodiscard]] bool go_on(std::uint32_t index, const BufferSlot& slot,
                           std::span<const std::uint32_t, BufferSlot::max_planes> bytesused,
                           memory::Work* work) noexcept {
    if (index_ != index) *this = PlaneStoring(index);
    for (; plane_ < slot.plane_count; ++plane_, cursor_ = {}) {
      const BufferPlane& plane = slot.planes[plane_];
      const std::uint32_t used = std::min(bytesused[plane_], plane.length);
      if (plane.user.way() != UserPlane::Way::copied || used == 0) continue;
      if (work == nullptr) return false;
      const auto stored = plane.user.store(used, cursor_, work);
      if (!stored && stored.error().value == memory::again) return false;
      failed_ = failed_ || !stored;
    }
    return true;
  }
  /// Whether bytes of the buffer did not reach the guest.
  [[nodiscard]] bool failed() const noexcept { return failed_; }

  /// The buffer is complete, or taken back.
  void reset() noexcept { *this = PlaneStoring(); }
  /// Forgets how far it has come with this buffer, if it is the one.
  void forget(std::uint32_t index) noexcept {
    if (index_ == index) reset();
  }

  PlaneStoring() = default;

 private:
  explicit PlaneStoring(std::uint32_t index) noexcept : index_(index) {}

  std::uint32_t index_ = UINT32_MAX;
  std::uint32_t plane_ = 0;
  UserPlane::Cursor cursor_ = {};
  bool failed_ = false;
};

}  // namespace vumedia::v4l2
