// Memory of USERPTR buffers (virtio-media's SHARED_PAGES) in this process: VIRTIO 1.4, 5.22.6.3.3, and
// "Streaming I/O (User Pointers)" of the kernel's V4L2 documentation.
//
// A queued plane is a list of ranges of the guest's memory, usually single pages in no order. Backends want
// one address and a length, so a UserPlane gives them that in the first possible one of three ways:
// clang-format off
//   direct        one piece of one region: the frontend's memory as it is mapped here already;
//   side_by_side  the pages mapped a second time, in the plane's order (memory/contiguous.hpp);
//   copied        a buffer of ours and one copy: edges within a page, huge pages, which cannot be mapped in
//                 pieces, or a Budget of mappings that is used up.
// clang-format on
// BufferQueue does this at QBUF and PREPARE_BUF. Where needed it copies at QBUF (what the guest has written)
// and at complete() (what the backend has written). Backends need not know: BufferQueue::Plane::bytes() and
// owner() are the same for MMAP and USERPTR planes.
//
// The owner keeps the memory valid, whatever happens to the buffer, the session, or the frontend's table: a
// worker that still reads or writes holds one. It may be dropped on any thread.
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
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/guest_ranges.hpp>

namespace vumedia::v4l2 {

/// The default number of mappings for pages side by side: for a session, ten frames of 1080p (4:2:0, 8 bits)
/// from single pages; for all sessions of a device, a quarter of what Linux allows a process.
inline constexpr std::size_t max_session_mappings = 8192;
inline constexpr std::size_t max_device_mappings = 16384;  ///< see max_session_mappings

/// The means to map USERPTR planes: a Context's memory(), arenas() and work(), which bounds a call (null:
/// everything is done at once). Borrowed for the call.
struct UserMemory {
  const std::shared_ptr<const memory::GuestMemory>& table;  ///< the guest's memory
  memory::Arenas& arenas;                                   ///< for copies
  memory::Work* work = nullptr;                             ///< how much may be done; null: all
};

/// The memory of one plane. Movable.
class UserPlane {
 public:
  /// How the bytes are reached, as the head of this file says.
  enum class Way : std::uint8_t { unmapped, direct, side_by_side, copied };

  /// None.
  UserPlane() = default;

  /// Maps all bytes of `ranges`, which together must have `length` (> 0) bytes. If `mappings` is null no page
  /// is mapped a second time. Errors:
  // clang-format off
  ///   EFAULT  not guest memory, memory whose file is gone, or other than `length` bytes;
  ///   ENOMEM  neither mappings nor arenas have room, or the arenas' budget none for the list.
  // clang-format on
  /// or the system's own error, such as EMFILE.
  [[nodiscard]] static Result<UserPlane> map(const UserMemory& user, std::span<const GuestRange> ranges,
                                             std::uint64_t length,
                                             const std::shared_ptr<memory::Budget>& mappings) {
    Result<UserPlane> plane(std::in_place);
    const UserMemory at_once{user.table, user.arenas};
    if (auto mapped = plane->begin_or_go_on(at_once, ranges, length, mappings); !mapped)
      return std::unexpected(mapped.error());
    return plane;
  }
  /// The same in as many calls as user.work requires, for a plane that is unmapped: memory::again until it is
  /// done. The memory is that of the table of the first call. If it fails the plane stays unmapped.
  [[nodiscard]] Result<> begin_or_go_on(const UserMemory& user, std::span<const GuestRange> ranges,
                                        std::uint64_t length,
                                        const std::shared_ptr<memory::Budget>& mappings);

  /// Whether map() would give the same memory: it was called with these ranges and length, with this table or
  /// one that has the same bytes of the same files there.
  [[nodiscard]] bool maps(const UserMemory& user, std::span<const GuestRange> ranges,
                          std::uint64_t length) noexcept {
    Comparison comparison;
    return *maps({user.table, user.arenas}, ranges, length, comparison);
  }
  /// How far that has come.
  struct Comparison {
    std::size_t equal = 0;         ///< ranges that are as before
    std::size_t same = 0;          ///< ranges that are where they were
    std::uint64_t generation = 0;  ///< of the table that has them there
  };
  /// The same in as many calls as user.work takes: memory::again until it is known.
  [[nodiscard]] Result<bool> maps(const UserMemory& user, std::span<const GuestRange> ranges,
                                  std::uint64_t length, Comparison& comparison) noexcept;

  /// See Way.
  [[nodiscard]] Way way() const noexcept { return way_; }
  /// Whether begin_or_go_on() is to be called again.
  [[nodiscard]] bool unfinished() const noexcept { return building_ != nullptr; }
  /// Empty unless mapped. The first byte has the guest's alignment, which may be arbitrary.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  /// Keeps bytes() valid. The same pointer for as long as maps() stays true.
  [[nodiscard]] const std::shared_ptr<const void>& owner() const noexcept { return owner_; }
  /// Ranges of its list; 0 unless it is mapped.
  [[nodiscard]] std::size_t range_count() const noexcept {
    return list_ == nullptr ? 0 : list_->ranges.size();
  }

  /// The progress of a copy.
  struct Cursor {
    std::size_t done = 0;      ///< bytes
    std::size_t range = 0;     ///< the next one
    std::uint32_t within = 0;  ///< bytes of it that are done
  };
  /// Copies the first `count` bytes (at most all) from the guest's memory, or to it. Does nothing unless the
  /// plane is `copied`. EFAULT does not occur, because the table has been held since the memory was found.
  [[nodiscard]] Result<> fetch(std::size_t count) noexcept {
    Cursor cursor;
    return fetch(count, cursor, nullptr);
  }
  /// Likewise, to the guest's memory.
  [[nodiscard]] Result<> store(std::size_t count) const noexcept {
    Cursor cursor;
    return store(count, cursor, nullptr);
  }
  /// The same in as many calls as `work` requires: memory::again until all is copied.
  [[nodiscard]] Result<> fetch(std::size_t count, Cursor& cursor, memory::Work* work) noexcept {
    return copy(count, cursor, work, [](std::span<const GuestRange> from, const auto& table, auto bytes) {
      return copy_from_ranges(table, from, bytes);
    });
  }
  /// Likewise, to the guest's memory.
  [[nodiscard]] Result<> store(std::size_t count, Cursor& cursor, memory::Work* work) const noexcept {
    return copy(count, cursor, work, [](std::span<const GuestRange> to, const auto& table, auto bytes) {
      return copy_to_ranges(table, to, bytes);
    });
  }

 private:
  // The list of a plane. A long one may be left to its arenas to be freed.
  struct List {
    List(const memory::Arenas& of, memory::Share share) : arenas(of), bytes(std::move(share)) {}
    List(const List&) = delete;
    List& operator=(const List&) = delete;
    ~List() {
      constexpr std::size_t large = std::size_t{64} << 10;
      if (bytes.count() < large) return;
      using Freed = std::pair<std::vector<GuestRange>, memory::Share>;
      const std::size_t count = bytes.count();
      arenas.discard(std::make_shared<Freed>(std::move(ranges), std::move(bytes)), count);
    }
    memory::Arenas arenas;
    std::vector<GuestRange> ranges;
    memory::Share bytes;
  };
  // Pages side by side. They may be left to their arenas to be taken apart.
  struct Sides {
    explicit Sides(const memory::Arenas& of) : arenas(of) {}
    Sides(const Sides&) = delete;
    Sides& operator=(const Sides&) = delete;
    ~Sides() { arenas.discard(std::move(range)); }
    memory::Arenas arenas;
    memory::ContiguousRange range;
  };
  // A plane that is being mapped.
  struct Building {
    std::uint64_t length = 0;
    memory::ContiguousRange::Pieces pieces;
    std::shared_ptr<Sides> sides;
    std::size_t mapped = 0;  // pieces
    bool copies = false;
  };
  [[nodiscard]] Result<> begin(const UserMemory& user, std::span<const GuestRange> ranges);
  [[nodiscard]] Result<> go_on(const UserMemory& user, std::span<const GuestRange> ranges,
                               std::uint64_t length, const std::shared_ptr<memory::Budget>& mappings);
  [[nodiscard]] Result<> walk(const UserMemory& user, std::span<const GuestRange> ranges,
                              std::uint64_t length);
  [[nodiscard]] Result<> map_pieces(const UserMemory& user, const std::shared_ptr<memory::Budget>& mappings);
  template <class Copy>
  [[nodiscard]] Result<> copy(std::size_t count, Cursor& cursor, memory::Work* work,
                              Copy&& copy) const noexcept;

  std::shared_ptr<const memory::GuestMemory> table_;
  std::unique_ptr<List> list_;  // null: there is none
  std::span<std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  std::unique_ptr<Building> building_;
  std::uint64_t generation_ = 0;  // of the last table that maps() agreed to
  Way way_ = Way::unmapped;
};

inline Result<> UserPlane::begin_or_go_on(const UserMemory& user, std::span<const GuestRange> ranges,
                                          std::uint64_t length,
                                          const std::shared_ptr<memory::Budget>& mappings) {
  if (building_ == nullptr) {
    if (auto begun = begin(user, ranges); !begun) return begun;
  }
  const auto done = go_on(user, ranges, length, mappings);
  if (!done && done.error().value == memory::again) return done;
  building_.reset();
  if (!done) *this = {};
  return done;
}

inline Result<> UserPlane::begin(const UserMemory& user, std::span<const GuestRange> ranges) {
  auto list_bytes = memory::Share::take(user.arenas.budget(), ranges.size_bytes());
  if (!list_bytes) return std::unexpected(list_bytes.error());
  list_ = std::make_unique<List>(user.arenas, std::move(*list_bytes));
  table_ = user.table;
  generation_ = user.table->generation();
  building_ = std::make_unique<Building>();
  // For all of them, so that they are not moved as they are added, which is done in parts. Memory that is not
  // used costs nothing.
  list_->ranges.reserve(ranges.size());
  building_->pieces.reserve(ranges.size());
  return {};
}

inline Result<> UserPlane::go_on(const UserMemory& user, std::span<const GuestRange> ranges,
                                 std::uint64_t length, const std::shared_ptr<memory::Budget>& mappings) {
  Building& building = *building_;
  if (auto walked = walk(user, ranges, length); !walked) return walked;
  if (building.pieces.size() == 1) {
    way_ = Way::direct;
    bytes_ = {building.pieces[0].data, length};
    owner_ = table_;
    return {};
  }
  if (mappings != nullptr && !building.copies) {
    const auto mapped = map_pieces(user, mappings);
    if (mapped) {
      way_ = Way::side_by_side;
      bytes_ = {building.sides->range.data(), building.sides->range.size()};
      owner_ = std::move(building.sides);
      return {};
    }
    if (mapped.error().value != EINVAL && mapped.error().value != ENOMEM) return mapped;
    building.copies = true;
    building.sides.reset();
  }
  // Copies because these pages cannot be mapped side by side. The copy counts against the same limit as MMAP
  // buffers, so a guest cannot get more of our memory this way.
  auto block = user.arenas.allocate(length);
  if (!block && block.error().value == ENOMEM && user.work != nullptr && user.arenas.dirty())
    return fail(memory::again);
  if (!block) return std::unexpected(block.error());
  way_ = Way::copied;
  bytes_ = (*block)->bytes().first(length);
  owner_ = std::move(*block);
  return {};
}

// Keeps the list, and finds all pieces.
inline Result<> UserPlane::walk(const UserMemory& user, std::span<const GuestRange> ranges,
                                std::uint64_t length) {
  Building& building = *building_;
  std::vector<GuestRange>& walked = list_->ranges;
  const std::size_t left = ranges.size() - walked.size();
  const std::size_t count = memory::take(user.work, left, memory::Work::listed_range);
  for (const GuestRange& range : ranges.subspan(walked.size(), count)) {
    walked.push_back(range);
    if (auto found = memory::ContiguousRange::collect(*table_, range, building.pieces); !found) return found;
    building.length += range.length;
  }
  if (walked.size() != ranges.size()) return fail(memory::again);
  if (length == 0 || building.length != length) return fail(EFAULT);
  return {};
}

// Maps them side by side. EINVAL, ENOMEM: that is not possible.
inline Result<> UserPlane::map_pieces(const UserMemory& user,
                                      const std::shared_ptr<memory::Budget>& mappings) {
  Building& building = *building_;
  if (building.sides == nullptr) {
    auto room = memory::ContiguousRange::reserve(*user.table, building.pieces, mappings);
    // Mappings of freed buffers may become available soon.
    if (!room && room.error().value == ENOMEM && user.work != nullptr && user.arenas.dirty())
      return fail(memory::again);
    if (!room) return std::unexpected(room.error());
    building.sides = std::make_shared<Sides>(user.arenas);
    building.sides->range = std::move(*room);
  }
  const std::size_t left = building.pieces.size() - building.mapped;
  const std::size_t count = memory::take(user.work, left, memory::Work::mapping);
  for (std::size_t i = 0; i < count; ++i) {
    if (auto added = building.sides->range.add(building.pieces[building.mapped++]); !added) return added;
  }
  return building.mapped == building.pieces.size() ? Result<>() : fail(memory::again);
}

template <class Copy>
Result<> UserPlane::copy(std::size_t count, Cursor& cursor, memory::Work* work, Copy&& copy) const noexcept {
  if (way_ != Way::copied) return {};
  count = std::min(count, bytes_.size());
  while (cursor.done < count) {
    // A range is worth the search for it, however short.
    const GuestRange& range = list_->ranges[cursor.range];
    const std::size_t part = std::min<std::size_t>(range.length - cursor.within, count - cursor.done);
    if (memory::take(work, 1, memory::Work::listed_range) == 0) return fail(memory::again);
    const std::size_t length = memory::take(work, part, memory::Work::copied_byte);
    if (length == 0) return fail(memory::again);
    const GuestRange piece{{range.start.value + cursor.within}, static_cast<std::uint32_t>(length)};
    if (auto done = copy(std::span(&piece, 1), *table_, bytes_.subspan(cursor.done, length)); !done)
      return done;
    cursor.done += length;
    cursor.within += static_cast<std::uint32_t>(length);
    if (cursor.within != range.length) continue;
    cursor.within = 0;
    ++cursor.range;
  }
  return {};
}

inline Result<bool> UserPlane::maps(const UserMemory& user, std::span<const GuestRange> ranges,
                                    std::uint64_t length, Comparison& comparison) noexcept {
  if (way_ == Way::unmapped || length != bytes_.size() || ranges.size() != range_count()) return false;
  const std::size_t unequal = ranges.size() - comparison.equal;
  const std::size_t compared = memory::take(user.work, unequal, memory::Work::compared_range);
  if (!std::ranges::equal(ranges.subspan(comparison.equal, compared),
                          std::span(list_->ranges).subspan(comparison.equal, compared)))
    return false;
  comparison.equal += compared;
  if (compared != unequal) return fail(memory::again);

  const std::uint64_t generation = user.table->generation();
  if (generation_ == generation) return true;
  if (comparison.generation != generation) comparison.same = 0;
  comparison.generation = generation;
  const std::size_t unknown = ranges.size() - comparison.same;
  const std::size_t looked_up = memory::take(user.work, unknown, 2 * memory::Work::listed_range);
  for (const GuestRange& range : ranges.subspan(comparison.same, looked_up)) {
    if (!table_->same_bytes(*user.table, range.start, range.length)) return false;
  }
  comparison.same += looked_up;
  if (looked_up != unknown) return fail(memory::again);
  generation_ = generation;
  // Pages side by side have a mapping of their own. The others need the regions of the old table, which are
  // certainly mapped.
  if (way_ == Way::side_by_side) table_ = user.table;
  return true;
}

}  // namespace vumedia::v4l2
