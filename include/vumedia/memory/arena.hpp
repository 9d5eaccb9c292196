// Memory for buffers that the guest sees: blocks, carved from a few large memory files.
//
// Showing a file to the guest costs a round trip to the frontend, and in QEMU one of eight slots. So a whole
// arena is mapped there once, and blocks come and go within it. The files of arenas are sealed against
// resizing; the memory of a freed block is punched out of the file, so that it costs nothing and the next
// owner of the place finds zeros.
//
// An arena lives as long as one of its blocks or a pointer to it. The table of what is mapped at the frontend
// holds such a pointer, so the place of an empty arena is used again; otherwise its file is closed with its
// last block. A guest that has an arena mapped can still write where a block was freed. The next block there
// may then not read as zeros, but the data is the same guest's.
//
// Clearing takes time in proportion to the memory of the block. On a loop, whoever drops the last pointer to
// a block does not have to spend that time: see clean_later().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/arena_file.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/contiguous.hpp>
#include <vumedia/memory/leavings.hpp>
#include <vumedia/memory/shm_allocator.hpp>
#include <vumedia/memory/work.hpp>

namespace vumedia::memory {

/// A piece of an arena. When the last pointer to it goes away, its place is cleared and free again; decoders,
/// mappings and sessions that still use the memory hold one each. Made by Arenas.
class Block {
 public:
  /// For Arenas. `size` is the block's share of the budget, in bytes.
  Block(std::shared_ptr<Arena> arena, ShmOffset place, Share size, std::shared_ptr<Cleaner> cleaner) noexcept
      : arena_(std::move(arena)), place_(place), size_(std::move(size)), cleaner_(std::move(cleaner)) {}
  ~Block() {
    BlockRemains remains(std::move(arena_), place_, std::move(size_));
    if (cleaner_->keeps())
      cleaner_->keep(std::move(remains));
    else
      static_cast<void>(remains.clear(UINT64_MAX));
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  /// The arena it is a piece of, which lives at least as long.
  [[nodiscard]] const std::shared_ptr<Arena>& arena() const noexcept { return arena_; }
  /// Of the arena: borrowed.
  [[nodiscard]] int fd() const noexcept { return arena_->fd(); }
  /// Where the block begins in the arena and its file, page-aligned.
  [[nodiscard]] std::uint64_t fd_offset() const noexcept { return place_.value; }
  /// A page multiple.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_.count(); }
  /// Its first byte in this process.
  [[nodiscard]] std::byte* data() const noexcept { return arena_->data() + place_.value; }
  /// All of its bytes in this process, valid as long as the block.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data(), size()}; }

 private:
  std::shared_ptr<Arena> arena_;
  ShmOffset place_;
  Share size_;  // of bytes
  std::shared_ptr<Cleaner> cleaner_;
};

/// Makes arenas and blocks. Any thread may use it and release blocks; both take locks and make system calls,
/// so neither is for the hot path. Blocks and arenas may outlive it.
class Arenas {
 public:
  /// How much memory there may be, in bytes.
  struct Limits {
    std::uint64_t arena_size = std::uint64_t{64} << 20;  ///< of an ordinary arena
    /// For all living arenas, whether full or not, and separately for all blocks and other uses of budget().
    std::uint64_t total_bytes = std::uint64_t{1} << 30;
  };

  Arenas() : Arenas(Limits{}) {}
  /// Both limits are rounded down to pages.
  explicit Arenas(Limits limits);

  /// A block of `size` bytes, rounded up to pages, all zero. It comes from the oldest arena that has room,
  /// otherwise from a new one. A new arena has the size of the block if that exceeds the ordinary one, and is
  /// smaller than the ordinary one if the total allows no more. EINVAL: size 0. ENOMEM: the total does not
  /// allow it. Otherwise the system's error, such as EMFILE.
  [[nodiscard]] Result<std::shared_ptr<Block>> allocate(std::uint64_t size);

  /// The budget for blocks and for whatever else a peer makes us hold, with the limit Limits::total_bytes.
  [[nodiscard]] const std::shared_ptr<Budget>& budget() const noexcept { return budget_; }
  /// The same arenas for some of the users, whose blocks also count against `budget`, which must share
  /// budget().
  [[nodiscard]] Arenas within(std::shared_ptr<Budget> budget) const {
    Arenas part(*this);
    part.budget_ = std::move(budget);
    return part;
  }

  /// What is left of blocks, and what was given to discard(): to be cleaned and freed.
  using Leavings = memory::Leavings;

  /// Tells the owner that there is something to clean.
  using Dirty = Cleaner::Dirty;
  /// From here on, what ends on the calling thread, the loop's, is kept until clean() is called on it, and
  /// counts as used until then: blocks, and what was given to discard(). `dirtied(owner)` says so, from
  /// within destructors; `owner` outlives these arenas, or calls leave() first. What ends on another thread
  /// is cleaned there at once.
  void clean_later(Dirty dirtied, void* owner) noexcept { cleaner_->begin(dirtied, owner); }
  /// What is kept, to be cleaned without these arenas. They keep nothing any more.
  [[nodiscard]] Leavings leave() noexcept { return cleaner_->end(); }
  /// Cleans up as much as `work` allows. Whether there is more.
  bool clean(Work& work) noexcept { return cleaner_->clean(work); }
  /// Whether memory is kept that could be had after clean().
  [[nodiscard]] bool dirty() const noexcept { return cleaner_->dirty(); }
  /// Unmaps `range`, later if the calling thread cleans later.
  void discard(ContiguousRange range) noexcept {
    if (!range || !cleaner_->keeps()) return;  // it ends here
    cleaner_->keep(std::move(range));
  }
  /// Lets go of `memory`, of so many bytes, as a whole. For what is large: it costs an allocation.
  void discard(std::shared_ptr<const void> memory, std::size_t bytes) noexcept {
    if (memory == nullptr || !cleaner_->keeps()) return;  // it ends here
    cleaner_->keep(std::move(memory), bytes);
  }

  /// Bytes of all living arenas.
  [[nodiscard]] std::uint64_t total_bytes() const { return arenas_->total(); }
  /// Bytes of all living blocks.
  [[nodiscard]] std::uint64_t used_bytes() const { return arenas_->used(); }
  /// Living arenas, full or not.
  [[nodiscard]] std::size_t arena_count() const { return arenas_->count(); }

 private:
  // Arenas and blocks keep what they need of these.
  std::shared_ptr<ArenaList> arenas_;
  std::shared_ptr<Cleaner> cleaner_ = std::make_shared<Cleaner>();
  std::shared_ptr<Budget> budget_;
};

inline Arenas::Arenas(Limits limits) {
  const auto whole_pages = [](std::uint64_t bytes) { return bytes & ~(page_size - 1); };
  arenas_ = std::make_shared<ArenaList>(
      ArenaList::Limits{whole_pages(limits.arena_size), whole_pages(limits.total_bytes)});
  budget_ = std::make_shared<Budget>(whole_pages(limits.total_bytes));
}

inline Result<std::shared_ptr<Block>> Arenas::allocate(std::uint64_t size) {
  if (size == 0) return fail(EINVAL);
  const auto rounded = align_up(size, page_size);
  if (!rounded) return fail(ENOMEM);
  auto share = Share::take(budget_, *rounded);
  if (!share) return std::unexpected(share.error());

  ShmOffset place;
  const auto take = [&](Arena& arena) {
    const auto found = arena.take(*rounded);
    if (found) place = *found;
    return found.has_value();
  };
  auto arena = arenas_->find_or_make(*rounded, take, [this](std::uint64_t bytes, std::uint64_t id) {
    return Arena::create(arenas_, bytes, id);
  });
  if (!arena) return std::unexpected(arena.error());
  return std::make_shared<Block>(std::move(*arena), place, std::move(*share), cleaner_);
}

}  // namespace vumedia::memory
