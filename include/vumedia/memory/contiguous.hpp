// Guest memory that is scattered over pages, as one contiguous range of this process.
//
// A kernel driver that is to fill a guest's own pages takes one address and a length. So the pages are mapped
// a second time, side by side, at a new address: no byte is copied. Each piece that does not follow on its
// predecessor in the file costs the process a mapping, of which Linux allows about 65,530, so they are
// counted against a Budget.
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

// The bytes of a list of guest ranges, in their order. Holds on to the files behind it by itself: a table
// that is replaced, or a frontend that leaves, takes nothing from under it.
class ContiguousRange {
 public:
  // None.
  ContiguousRange() = default;

  // Maps `ranges` (structs with `start`, a GuestAddress, and `length`, in bytes) side by side. Where one
  // range meets the next, both must be at the edge of a page; the first may begin and the last may end within
  // one. Errors:
  //   EINVAL  no bytes, an edge within a page, or memory of huge pages, which cannot be mapped in pieces;
  //   EFAULT  not guest memory, or memory whose file is gone;
  //   ENOMEM  more mappings than `budget` has, or than the process may have.
  template <class Range>
  [[nodiscard]] static Result<ContiguousRange> create(const GuestMemory& memory,
                                                      std::span<const Range> ranges,
                                                      std::shared_ptr<Budget> budget) {
    auto pieces = collect(memory, ranges);
    if (!pieces) return std::unexpected(pieces.error());
    auto range = join(*pieces, std::move(budget));
    if (range) range->entry_ = {memory.mapped(), {range->base_, range->mapped_}};
    return range;
  }

  ContiguousRange(ContiguousRange&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        mapped_(std::exchange(other.mapped_, 0)),
        before_(other.before_),
        size_(std::exchange(other.size_, 0)),
        pieces_(std::move(other.pieces_)),
        entry_(std::move(other.entry_)) {}
  ContiguousRange& operator=(ContiguousRange&& other) noexcept {
    if (this != &other) {
      reset();
      base_ = std::exchange(other.base_, nullptr);
      mapped_ = std::exchange(other.mapped_, 0);
      before_ = other.before_;
      size_ = std::exchange(other.size_, 0);
      pieces_ = std::move(other.pieces_);
      entry_ = std::move(other.entry_);
    }
    return *this;
  }
  ~ContiguousRange() { reset(); }

  [[nodiscard]] explicit operator bool() const noexcept { return base_ != nullptr; }
  // The first byte of the first range, at the same place within a page as in the guest.
  [[nodiscard]] std::byte* data() const noexcept { return base_ == nullptr ? nullptr : base_ + before_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // Mappings that it costs.
  [[nodiscard]] std::size_t mappings() const noexcept { return pieces_.count(); }

 private:
  struct Piece {
    std::byte* data;
    std::size_t size;
    const std::byte* region;
  };
  using Pieces = std::vector<Piece>;

  // The pieces as they are mapped already, those that follow on each other as one. Only within a region: what
  // lies behind its end in this process may be another file.
  template <class Range>
  [[nodiscard]] static Result<Pieces> collect(const GuestMemory& memory, std::span<const Range> ranges) {
    Pieces pieces;
    for (const Range& range : ranges) {
      GuestAddress address = range.start;
      // Each turn takes at least one byte of a region and goes on in another.
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
    }
    if (pieces.empty()) return fail(EINVAL);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const auto begin = reinterpret_cast<std::uintptr_t>(pieces[i].data);
      if (i != 0 && !is_aligned(begin, page_size)) return fail(EINVAL);
      if (i + 1 != pieces.size() && !is_aligned(begin + pieces[i].size, page_size)) return fail(EINVAL);
    }
    return pieces;
  }

  [[nodiscard]] static Result<ContiguousRange> join(const Pieces& pieces, std::shared_ptr<Budget> budget) {
    ContiguousRange range;
    const auto first = reinterpret_cast<std::uintptr_t>(pieces.front().data);
    range.before_ = static_cast<std::size_t>(first & (page_size - 1));
    // No sum overflows: each piece lies in a mapping of this process, and there are few enough of them.
    for (const Piece& piece : pieces) range.size_ += piece.size;
    range.mapped_ = *align_up(range.before_ + range.size_, page_size);

    auto share = Share::take(std::move(budget), pieces.size());
    if (!share) return std::unexpected(share.error());
    range.pieces_ = std::move(*share);
    void* const base =
        ::mmap(nullptr, range.mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return fail(ENOMEM);
    range.base_ = static_cast<std::byte*>(base);

    std::byte* to = range.base_;
    for (const Piece& piece : pieces) {
      const std::size_t skipped = to == range.base_ ? range.before_ : 0;
      const std::size_t length = *align_up(skipped + piece.size, page_size);
      // An old size of 0 asks for a second view of shared pages, which needs no descriptor of their file.
      void* const view = ::mremap(piece.data - skipped, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, to);
      if (view == MAP_FAILED) return fail(errno == ENOMEM || errno == EINVAL ? errno : EFAULT);
      to += length;
    }
    return range;
  }

  void reset() noexcept {
    entry_.reset();
    if (base_ != nullptr) ::munmap(base_, mapped_);
    base_ = nullptr;
    mapped_ = size_ = 0;
    pieces_ = {};
  }

  std::byte* base_ = nullptr;
  std::size_t mapped_ = 0;  // bytes from base_ on
  std::size_t before_ = 0;  // of the first page, which the first range does not name
  std::size_t size_ = 0;
  Share pieces_;  // of mappings
  MappedRanges::Entry entry_;
};

}  // namespace vumedia::memory
