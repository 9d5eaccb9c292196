// Memory of USERPTR buffers (virtio-media's SHARED_PAGES) in this process: VIRTIO 1.4, 5.22.6.3.3, and
// "Streaming I/O (User Pointers)" of the kernel's V4L2 documentation.
//
// A queued plane is a list of ranges of the guest's memory, as a rule single pages in no order. Backends want
// one address and a length, so a UserPlane gives them that in the first of three ways that is possible:
//   direct        one piece of one region: the frontend's memory as it is mapped here already;
//   side_by_side  the pages mapped a second time, in the plane's order (memory/contiguous.hpp);
//   copied        a buffer of ours and one copy: edges within a page, huge pages, which cannot be mapped in
//                 pieces, or a Budget of mappings that is used up.
// BufferQueue does this at QBUF and PREPARE_BUF, and copies, where need be, at QBUF (what the guest has
// written) and at complete() (what the backend has). Backends need not know: BufferQueue::Plane::bytes() and
// owner() are the same for MMAP and USERPTR planes.
//
// The owner keeps the memory valid, whatever becomes of the buffer, the session, or the frontend's table:
// a worker that still reads or writes holds one. It may be dropped on any thread.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <vumedia/core/result.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/contiguous.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/v4l2/guest_ranges.hpp>

namespace vumedia::v4l2 {

// Mappings that a session and all sessions of a device may have for pages side by side, unless a backend has
// reasons for others: ten frames of 1080p (4:2:0, 8 bits) from single pages; and a quarter of what Linux
// allows a process. Each makes a first QBUF cost some 4 us, so the first number bounds what one costs the
// loop, too.
inline constexpr std::size_t max_session_mappings = 8192;
inline constexpr std::size_t max_device_mappings = 16384;

// What USERPTR planes are mapped with: a Context's memory() and arenas(). Borrowed for the call.
struct UserMemory {
  const std::shared_ptr<const memory::GuestMemory>& table;
  memory::Arenas& arenas;
};

class UserPlane {
 public:
  enum class Way : std::uint8_t { unmapped, direct, side_by_side, copied };

  // None.
  UserPlane() = default;

  // All bytes of `ranges`, which are `length` (> 0) together. `mappings` may be null: no page is mapped a
  // second time. Errors:
  //   EFAULT  not guest memory, memory whose file is gone, or other than `length` bytes;
  //   ENOMEM  neither mappings nor arenas have room, or the arenas' budget none for the list.
  // else what the system answered, such as EMFILE.
  [[nodiscard]] static Result<UserPlane> map(const UserMemory& user, std::span<const GuestRange> ranges,
                                             std::uint64_t length,
                                             const std::shared_ptr<memory::Budget>& mappings);

  // Whether map() would give the same memory: it was called with these ranges and length, by this table, or
  // by one that has the same bytes of the same files there.
  [[nodiscard]] bool maps(const UserMemory& user, std::span<const GuestRange> ranges,
                          std::uint64_t length) noexcept;

  [[nodiscard]] Way way() const noexcept { return way_; }
  // Empty unless mapped. The first byte has the guest's alignment, which may be none.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  // Keeps bytes() valid. The same pointer for as long as maps() stays true.
  [[nodiscard]] const std::shared_ptr<const void>& owner() const noexcept { return owner_; }
  [[nodiscard]] std::size_t range_count() const noexcept { return ranges_.size(); }

  // Copies the first `count` bytes (at most all) from the guest's memory, or to it. Nothing to do unless
  // `copied`. EFAULT does not occur: the table is held since map() found the memory.
  [[nodiscard]] Result<> fetch(std::size_t count) noexcept {
    if (way_ != Way::copied) return {};
    return copy_from_ranges(*table_, ranges_, bytes_.first(std::min(count, bytes_.size())));
  }
  [[nodiscard]] Result<> store(std::size_t count) const noexcept {
    if (way_ != Way::copied) return {};
    return copy_to_ranges(*table_, ranges_, bytes_.first(std::min(count, bytes_.size())));
  }

 private:
  // What `ranges` are, walked once.
  struct Extent {
    std::uint64_t length = 0;
    std::byte* one_piece = nullptr;  // null if they are several
  };
  [[nodiscard]] static Result<Extent> measure(const memory::GuestMemory& memory,
                                              std::span<const GuestRange> ranges) noexcept;

  std::shared_ptr<const memory::GuestMemory> table_;
  std::vector<GuestRange> ranges_;
  memory::Share list_bytes_;  // of ranges_
  std::span<std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  std::uint64_t generation_ = 0;  // of the last table that maps() agreed to
  Way way_ = Way::unmapped;
};

inline Result<UserPlane::Extent> UserPlane::measure(const memory::GuestMemory& memory,
                                                    std::span<const GuestRange> ranges) noexcept {
  Extent extent;
  const std::byte* region = nullptr;
  bool several = false;
  for (const GuestRange& range : ranges) {
    memory::GuestAddress address = range.start;
    // Each turn takes at least one byte of a region and goes on in another.
    for (std::uint64_t left = range.length; left > 0;) {
      const memory::GuestMemory::Window window = memory.window(address);
      if (window.size == 0) return fail(EFAULT);
      const std::uint64_t offset = address.value - window.guest;
      const std::uint64_t taken = std::min(left, window.size - offset);
      std::byte* const data = window.data + offset;
      if (extent.one_piece == nullptr) {
        extent.one_piece = data;
        region = window.data;
      }
      // What lies behind a region's end in this process may be another file: a neighbour by chance.
      several = several || window.data != region || extent.one_piece + extent.length != data;
      extent.length += taken;
      address.value += taken;  // no overflow: a region ends within 64 bits
      left -= taken;
    }
  }
  if (several) extent.one_piece = nullptr;
  return extent;
}

inline Result<UserPlane> UserPlane::map(const UserMemory& user, std::span<const GuestRange> ranges,
                                        std::uint64_t length,
                                        const std::shared_ptr<memory::Budget>& mappings) {
  const auto extent = measure(*user.table, ranges);
  if (!extent) return std::unexpected(extent.error());
  if (length == 0 || extent->length != length) return fail(EFAULT);

  UserPlane plane;
  auto list_bytes = memory::Share::take(user.arenas.budget(), ranges.size_bytes());
  if (!list_bytes) return std::unexpected(list_bytes.error());
  plane.list_bytes_ = std::move(*list_bytes);
  if (extent->one_piece != nullptr) {
    plane.way_ = Way::direct;
    plane.bytes_ = {extent->one_piece, length};
    plane.owner_ = user.table;
  }
  if (plane.way_ == Way::unmapped && mappings != nullptr) {
    auto range = memory::ContiguousRange::create(*user.table, ranges, mappings);
    if (range) {
      auto held = std::make_shared<const memory::ContiguousRange>(std::move(*range));
      plane.way_ = Way::side_by_side;
      plane.bytes_ = {held->data(), held->size()};
      plane.owner_ = std::move(held);
    } else if (range.error().value != EINVAL && range.error().value != ENOMEM) {
      return std::unexpected(range.error());
    }
  }
  if (plane.way_ == Way::unmapped) {
    // The copy's reason: these pages cannot be had side by side. Its bytes are counted where those of MMAP
    // buffers are, so a guest gets no more of ours this way than that way.
    auto block = user.arenas.allocate(length);
    if (!block) return std::unexpected(block.error());
    plane.way_ = Way::copied;
    plane.bytes_ = (*block)->bytes().first(length);
    plane.owner_ = std::move(*block);
  }
  plane.table_ = user.table;
  plane.generation_ = user.table->generation();
  plane.ranges_.assign(ranges.begin(), ranges.end());
  return plane;
}

inline bool UserPlane::maps(const UserMemory& user, std::span<const GuestRange> ranges,
                            std::uint64_t length) noexcept {
  if (way_ == Way::unmapped || length != bytes_.size() || !std::ranges::equal(ranges, ranges_)) return false;
  if (generation_ == user.table->generation()) return true;
  for (const GuestRange& range : ranges) {
    if (!table_->same_bytes(*user.table, range.start, range.length)) return false;
  }
  generation_ = user.table->generation();
  // Pages side by side have a mapping of their own. The others need the regions of the old table, which are
  // mapped for certain.
  if (way_ == Way::side_by_side) table_ = user.table;
  return true;
}

}  // namespace vumedia::v4l2
