// The buffers of a BufferQueue by their index: which exist, where their memory is, and where the guest maps
// it ("Streaming I/O (Memory Mapping)" of the kernel's V4L2 documentation).
//
// All have the same kind of memory. A Block of an MMAP plane lives as long as anyone holds it, so freeing a
// buffer takes no memory away from a guest that maps it or a decoder that still reads it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/mappable.hpp>
#include <vumedia/v4l2/buffer_index_fifo.hpp>
#include <vumedia/v4l2/buffer_slot.hpp>

namespace vumedia::v4l2 {

/// Owns the buffers, and their memory as long as nobody else holds it. For the device's loop.
class BufferSlots {
 public:
  static constexpr std::uint32_t max_planes = BufferSlot::max_planes;  ///< of any buffer
  /// Every plane of every buffer has an offset of its own: one page for each.
  static constexpr std::uint32_t mem_offset_span =
      static_cast<std::uint32_t>(BufferIndexFifo::capacity * max_planes * page_size);

  /// Indices are below `capacity`; mem_offsets are in [base, base + mem_offset_span).
  BufferSlots(std::uint32_t capacity, std::uint32_t mem_offset_base)
      : slots_(capacity), mem_offset_base_(mem_offset_base) {}

  /// Indices that there may be.
  [[nodiscard]] std::uint32_t capacity() const noexcept { return static_cast<std::uint32_t>(slots_.size()); }
  /// Buffers that exist.
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  /// V4L2_MEMORY_*, 0 while there are no buffers.
  [[nodiscard]] std::uint32_t memory() const noexcept { return memory_; }

  /// Null if there is no such buffer.
  [[nodiscard]] BufferSlot* find(std::uint32_t index) const noexcept {
    return index < slots_.size() ? slots_[index].get() : nullptr;
  }
  /// Of one that exists.
  [[nodiscard]] BufferSlot& operator[](std::uint32_t index) const noexcept { return *slots_[index]; }

  /// The first hole of `wanted` indices, or else the first of as many as possible: where it starts, and its
  /// length. Nothing if no index is free.
  struct Hole {
    std::uint32_t first = 0;  ///< index
    std::uint32_t count = 0;  ///< indices
  };
  /// See Hole.
  [[nodiscard]] std::optional<Hole> find_hole(std::uint32_t wanted) const noexcept {
    for (; wanted > 0; --wanted) {
      std::uint32_t run = 0;
      for (std::uint32_t i = 0; i < slots_.size(); ++i) {
        run = slots_[i] ? 0 : run + 1;
        if (run == wanted) return Hole{i + 1 - wanted, wanted};
      }
    }
    return std::nullopt;
  }

  /// Makes buffers in a hole, with planes of these sizes (1 to max_planes, none 0), until the arenas have no
  /// more memory. Returns how many. If there are others, they have the same kind of memory.
  std::uint32_t allocate(const Hole& hole, std::uint32_t memory, std::span<const std::uint32_t> sizes,
                         memory::Arenas& arenas) {
    memory_ = memory;
    std::uint32_t made = 0;
    while (made < hole.count && make(hole.first + made, sizes, arenas)) ++made;
    if (count_ == 0) memory_ = 0;
    return made;
  }
  /// Frees those of the range that exist.
  void free(std::uint32_t first, std::uint32_t count) noexcept {
    for (std::uint32_t i = first; i < first + count; ++i) {
      if (!slots_[i]) continue;
      slots_[i].reset();
      --count_;
    }
    if (count_ == 0) memory_ = 0;
  }
  /// Frees all of them.
  void free_all() noexcept { free(0, capacity()); }
  /// Whether the guest may free a range of at least one. EINVAL: not all of it exists. EBUSY: one is in use.
  [[nodiscard]] Result<> may_free(std::uint32_t first, std::uint32_t count) const noexcept {
    if (count > count_ || !range_fits(first, count, capacity())) return fail(EINVAL);
    for (std::uint32_t i = first; i < first + count; ++i) {
      if (!slots_[i]) return fail(EINVAL);
      // A prepared buffer still belongs to the guest.
      if (slots_[i]->is_backends()) return fail(EBUSY);
    }
    return {};
  }

  /// All go back to the guest.
  void dequeue_all() noexcept {
    for (auto& slot : slots_) {
      if (slot) slot->state = BufferState::dequeued;
    }
  }

  /// What QUERYBUF tells of a plane.
  [[nodiscard]] std::uint32_t mem_offset(std::uint32_t index, std::uint32_t plane) const noexcept {
    return mem_offset_base_ + static_cast<std::uint32_t>((index * max_planes + plane) * page_size);
  }
  /// The plane at a mem_offset, as a backend's mmap() returns it; the same block while one is held. EINVAL:
  /// there is no such plane.
  [[nodiscard]] Result<memory::Mappable> mappable(std::uint32_t mem_offset);

  /// Guest ranges that USERPTR planes keep.
  [[nodiscard]] std::size_t range_count() const noexcept {
    std::size_t count = 0;
    for (const auto& slot : slots_) {
      if (!slot) continue;
      for (std::uint32_t p = 0; p < slot->plane_count; ++p) count += slot->planes[p].user.range_count();
    }
    return count;
  }

 private:
  [[nodiscard]] bool make(std::uint32_t index, std::span<const std::uint32_t> sizes, memory::Arenas& arenas);

  std::vector<std::unique_ptr<BufferSlot>> slots_;  // by index; null where there is no buffer
  std::uint32_t mem_offset_base_;
  std::uint32_t count_ = 0;
  std::uint32_t memory_ = 0;
};

/// Whether `count` buffers of these sizes must wait until freed memory has been cleaned.
[[nodiscard]] inline bool must_wait_for_memory(std::uint32_t count, std::span<const std::uint32_t> sizes,
                                               const memory::Arenas& arenas) noexcept {
  std::uint64_t bytes = 0;  // no overflow: 64 buffers of 8 planes below 2^32
  for (const std::uint32_t size : sizes) bytes += align_up(size, page_size).value_or(0) * count;
  // The memory that is left may be in places that are too small for these, or that are not clean either.
  return arenas.dirty() && bytes > arenas.budget()->left() / 2;
}

inline bool BufferSlots::make(std::uint32_t index, std::span<const std::uint32_t> sizes,
                              memory::Arenas& arenas) {
  auto slot = std::make_unique<BufferSlot>();
  slot->plane_count = static_cast<std::uint32_t>(sizes.size());
  for (std::size_t p = 0; p < sizes.size(); ++p) {
    BufferPlane& plane = slot->planes[p];
    plane.length = plane.min_length = sizes[p];
    if (memory_ != V4L2_MEMORY_MMAP) continue;
    auto block = arenas.allocate(sizes[p]);
    if (!block) return false;
    plane.block = std::move(*block);
  }
  slots_[index] = std::move(slot);
  ++count_;
  return true;
}

inline Result<memory::Mappable> BufferSlots::mappable(std::uint32_t mem_offset) {
  if (memory_ != V4L2_MEMORY_MMAP || mem_offset < mem_offset_base_ || !is_aligned(mem_offset, page_size))
    return fail(EINVAL);
  const auto cookie = static_cast<std::uint32_t>((mem_offset - mem_offset_base_) / page_size);
  BufferSlot* const slot = find(cookie / max_planes);
  const std::uint32_t number = cookie % max_planes;
  if (slot == nullptr || number >= slot->plane_count) return fail(EINVAL);

  BufferPlane& plane = slot->planes[number];
  if (auto mapped = plane.mapped.lock()) return memory::Mappable(std::move(mapped), plane.length);
  // A separate owner, so that its lifetime shows whether the guest maps the plane (V4L2_BUF_FLAG_MAPPED),
  // whoever else holds the block.
  std::shared_ptr<memory::Block> mapped(plane.block.get(), [keep = plane.block](memory::Block*) {});
  plane.mapped = mapped;
  return memory::Mappable(std::move(mapped), plane.length);
}

}  // namespace vumedia::v4l2
