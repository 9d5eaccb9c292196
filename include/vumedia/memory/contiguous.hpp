// Guest memory that is scattered over pages, as one contiguous range of this process.
//
// A kernel driver that fills a guest's own pages takes one address and a length. So the pages are mapped a
// second time, side by side, at a new address: no byte is copied. Each piece that does not follow its
// predecessor in the file costs the process a mapping. Linux allows about 65,530 of them, so they are counted
// against a Budget.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/guest_memory.hpp>

namespace vumedia::memory {

/// The bytes of a list of guest ranges, in their order. It keeps the underlying files by itself: it stays
/// valid when a table is replaced or a frontend leaves.
class ContiguousRange {
 public:
  /// None.
  ContiguousRange() = default;

  /// Maps `ranges` (structs with `start`, a GuestAddress, and `length`, in bytes) side by side. Where one
  /// range meets the next, both must be at the edge of a page; the first may begin and the last may end
  /// within one. Errors:
  // clang-format off
  ///   EINVAL  no bytes, an edge within a page, or memory of huge pages, which cannot be mapped in pieces;
  ///   EFAULT  not guest memory, or memory whose file is gone;
  ///   ENOMEM  more mappings than `budget` has, or than the process may have.
  // clang-format on
  template <class Range>
  [[nodiscard]] static Result<ContiguousRange> create(const GuestMemory& memory,
                                                      std::span<const Range> ranges,
                                                      std::shared_ptr<Budget> budget) {
    Pieces pieces;
    for (const Range& range : ranges) {
      if (auto found = collect(memory, range, pieces); !found) return std::unexpected(found.error());
    }
    auto joined = reserve(memory, pieces, std::move(budget));
    if (!joined) return joined;
    for (const Piece& piece : pieces) {
      if (auto added = joined->add(piece); !added) return std::unexpected(added.error());
    }
    return joined;
  }

  // -- The same in parts: collect() each range, reserve() room for all, add() one piece after another.

  /// A part of a range that is contiguous in this process, within one region.
  struct Piece {
    std::byte* data;          ///< where it is mapped already
    std::size_t size;         ///< in bytes
    const std::byte* region;  ///< the first byte of its region
  };
  /// The pieces of a list of ranges, in their order.
  using Pieces = std::vector<Piece>;

  /// Adds the pieces of one range as they are mapped already; those that follow each other become one. Only
  /// within a region: what lies after its end in this process may be another file. EFAULT.
  template <class Range>
  [[nodiscard]] static Result<> collect(const GuestMemory& memory, const Range& range, Pieces& pieces) {
    GuestAddress address = range.start;
    // Each iteration takes at least one byte of a region and continues in another.
    for (std::uint64_t left = range.length; left > 0;) {
      const GuestMemory::Window window = memory.window(address);
      if (window.size == 0) return fail(EFAULT);
      const std::uint64_t offset = address.value - window.guest;
      const std::uint64_t taken = std::min(left, window.size - offset);
      std::byte* const data = window.data + offset;
      if (!pieces.empty() && pieces.back().region == window.data &&
          pieces.back().data + pieces.back().size == data) {
        pieces.back().size += taken;
      } else {
        pieces.push_back({data, taken, window.data});
      }
      address.value += taken;  // no overflow: a region ends within 64 bits
      left -= taken;
    }
    return {};
  }

  /// EINVAL, ENOMEM.
  [[nodiscard]] static Result<ContiguousRange> reserve(const GuestMemory& memory, const Pieces& pieces,
                                                       std::shared_ptr<Budget> budget) {
    if (pieces.empty()) return fail(EINVAL);
    ContiguousRange range;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const auto begin = reinterpret_cast<std::uintptr_t>(pieces[i].data);
      if (i != 0 && !is_aligned(begin, page_size)) return fail(EINVAL);
      if (i + 1 != pieces.size() && !is_aligned(begin + pieces[i].size, page_size)) return fail(EINVAL);
      // No sum overflows: each piece lies in a mapping of this process, and there are few enough of them.
      range.size_ += pieces[i].size;
    }
    const auto first = reinterpret_cast<std::uintptr_t>(pieces.front().data);
    range.before_ = static_cast<std::size_t>(first & (page_size - 1));
    auto share = Share::take(std::move(budget), pieces.size());
    if (!share) return std::unexpected(share.error());
    range.pieces_ = std::move(*share);
    const std::size_t room = *align_up(range.before_ + range.size_, page_size);
    void* const base = ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return fail(ENOMEM);
    range.base_ = static_cast<std::byte*>(base);
    range.mapped_ = room;
    range.entry_ = {memory.mapped(), {range.base_, room}};
    return range;
  }

  /// The next piece of those that room was reserved for.
  [[nodiscard]] Result<> add(const Piece& piece) {
    const std::size_t skipped = filled_ == 0 ? before_ : 0;
    const std::size_t length = *align_up(skipped + piece.size, page_size);
    // An old size of 0 asks for a second view of shared pages, without a descriptor of their file.
    void* const view =
        ::mremap(piece.data - skipped, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, base_ + filled_);
    if (view == MAP_FAILED) return fail(errno == ENOMEM || errno == EINVAL ? errno : EFAULT);
    filled_ += length;
    return {};
  }

  // -- And its end

  /// Unmaps `pages` from the end, or all that are left; then nothing is mapped.
  void shrink(std::size_t pages) noexcept {
    entry_.reset();  // an unmapped range may be reused at once, and nobody uses the rest
    const std::size_t length = std::min(mapped_, pages * page_size);
    if (length != 0) ::munmap(base_ + (mapped_ - length), length);
    mapped_ -= length;
    if (mapped_ != 0) return;
    base_ = nullptr;
    size_ = filled_ = 0;
    pieces_ = {};
  }
  /// Pages that are mapped.
  [[nodiscard]] std::size_t pages() const noexcept { return mapped_ / page_size; }

  /// Leaves `other` with nothing.
  ContiguousRange(ContiguousRange&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        mapped_(std::exchange(other.mapped_, 0)),
        before_(other.before_),
        size_(std::exchange(other.size_, 0)),
        filled_(std::exchange(other.filled_, 0)),
        pieces_(std::move(other.pieces_)),
        entry_(std::move(other.entry_)) {}
  /// Unmaps what it had before, and leaves `other` with nothing.
  ContiguousRange& operator=(ContiguousRange&& other) noexcept {
    if (this != &other) {
      reset();
      base_ = std::exchange(other.base_, nullptr);
      mapped_ = std::exchange(other.mapped_, 0);
      before_ = other.before_;
      size_ = std::exchange(other.size_, 0);
      filled_ = std::exchange(other.filled_, 0);
      pieces_ = std::move(other.pieces_);
      entry_ = std::move(other.entry_);
    }
    return *this;
  }
  ~ContiguousRange() { reset(); }

  /// Whether something is mapped.
  [[nodiscard]] explicit operator bool() const noexcept { return base_ != nullptr; }
  /// The first byte of the first range, at the same offset within a page as in the guest.
  [[nodiscard]] std::byte* data() const noexcept { return base_ == nullptr ? nullptr : base_ + before_; }
  /// Bytes of all ranges.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Mappings that it costs.
  [[nodiscard]] std::size_t mappings() const noexcept { return pieces_.count(); }

 private:
  void reset() noexcept {
    // In parts, because other threads wait for the lock on the mappings in the meantime.
    while (base_ != nullptr) shrink(512);
  }

  std::byte* base_ = nullptr;
  std::size_t mapped_ = 0;  // bytes from base_ on
  std::size_t before_ = 0;  // of the first page, before the first range
  std::size_t size_ = 0;
  std::size_t filled_ = 0;  // bytes from base_ on that have pieces
  Share pieces_;            // of mappings
  MappedRanges::Entry entry_;
};

}  // namespace vumedia::memory
