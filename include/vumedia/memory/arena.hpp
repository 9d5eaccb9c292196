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

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <pthread.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/contiguous.hpp>
#include <vumedia/memory/shm_allocator.hpp>
#include <vumedia/memory/work.hpp>

namespace vumedia::memory {

class Arena;
class Block;

// Makes arenas and blocks. Any thread may use it and release blocks; both take locks and make system calls,
// so neither is for the hot path. Blocks and arenas may outlive it.
class Arenas {
 public:
  struct Limits {
    std::uint64_t arena_size = std::uint64_t{64} << 20;  // of an ordinary arena
    // For all living arenas, whether full or not, and separately for all blocks and other uses of budget().
    std::uint64_t total_bytes = std::uint64_t{1} << 30;
  };

  Arenas() : Arenas(Limits{}) {}
  // Both limits are rounded down to pages.
  explicit Arenas(Limits limits);

  // A block of `size` bytes, rounded up to pages, all zero. It comes from the oldest arena that has room,
  // otherwise from a new one. A new arena has the size of the block if that exceeds the ordinary one, and is
  // smaller than the ordinary one if the total allows no more. EINVAL: size 0. ENOMEM: the total does not
  // allow it. Otherwise the system's error, such as EMFILE.
  [[nodiscard]] Result<std::shared_ptr<Block>> allocate(std::uint64_t size);

  // The budget for blocks and for whatever else a peer makes us hold, with the limit Limits::total_bytes.
  [[nodiscard]] const std::shared_ptr<Budget>& budget() const noexcept { return budget_; }
  // The same arenas for some of the users, whose blocks also count against `budget`, which must share
  // budget().
  [[nodiscard]] Arenas within(std::shared_ptr<Budget> budget) const {
    Arenas part(*this);
    part.budget_ = std::move(budget);
    return part;
  }

  // What is left of blocks, and what was given to discard(): to be cleaned and freed.
  class Leavings;

  // From here on, what ends on this thread is kept until clean() is called on it, and counts as used until
  // then: blocks, and what was given to discard(). `dirtied(owner)` says so, from within destructors. What
  // ends on another thread is cleaned there at once.
  using Dirty = void (*)(void* owner) noexcept;
  void clean_later(Dirty dirtied, void* owner) noexcept;
  // What is kept, to be cleaned without these arenas. They keep nothing any more.
  [[nodiscard]] Leavings leave() noexcept;
  // Cleans up as much as `work` allows. Whether there is more.
  bool clean(Work& work) noexcept;
  // Whether memory is kept that could be had after clean().
  [[nodiscard]] bool dirty() const noexcept;
  void discard(ContiguousRange range) noexcept;
  // Lets go of `memory`, of so many bytes, as a whole. For what is large: it costs an allocation.
  void discard(std::shared_ptr<const void> memory, std::size_t bytes) noexcept;

  // Bytes of all living arenas.
  [[nodiscard]] std::uint64_t total_bytes() const;
  // Bytes of all living blocks.
  [[nodiscard]] std::uint64_t used_bytes() const;
  [[nodiscard]] std::size_t arena_count() const;

 private:
  friend class Arena;
  friend class Block;

  // What is left of a block.
  struct Remains {
    std::shared_ptr<Arena> arena;
    ShmOffset place;
    Share size;
    std::uint64_t cleared = 0;
    bool failed = false;

    [[nodiscard]] bool clear(std::uint64_t pages) noexcept;
  };

  struct Pool;

  [[nodiscard]] static Result<std::shared_ptr<Arena>> make_arena(const std::shared_ptr<Pool>& pool,
                                                                 std::uint64_t size);

  std::shared_ptr<Pool> pool_;
  std::shared_ptr<Budget> budget_;
};

class Arenas::Leavings {
 public:
  Leavings() = default;
  Leavings(Leavings&&) = default;
  Leavings& operator=(Leavings&&) = delete;
  // Whatever is there still is cleaned at once.
  ~Leavings() {
    Work work;
    do {
      work.begin(INT64_MAX);
    } while (clean(work));
  }

  [[nodiscard]] bool empty() const noexcept { return blocks_.empty() && ranges_.empty() && memory_.empty(); }
  // Cleans as much as `work` allows. Whether there is more.
  bool clean(Work& work) noexcept;

 private:
  friend class Arenas;
  friend class Block;

  struct Memory {
    std::shared_ptr<const void> held;
    std::size_t bytes = 0;
  };
  std::vector<Remains> blocks_;
  std::vector<ContiguousRange> ranges_;
  std::vector<Memory> memory_;
};

struct Arenas::Pool {
  // Whether the caller is to leave what it has to clean().
  [[nodiscard]] bool keeps() const noexcept {
    return ::pthread_equal(::pthread_self(), loop) != 0 && dirtied != nullptr;
  }
  void set_dirty() noexcept {
    if (!dirty.exchange(true, std::memory_order_relaxed)) dirtied(dirty_owner);
  }

  // The loop's own; which thread that is, is said once, before there are others.
  Dirty dirtied = nullptr;
  void* dirty_owner = nullptr;
  pthread_t loop{};
  Leavings kept;
  std::atomic<bool> dirty{false};

  std::mutex mutex;  // guards all below, and the allocators of the arenas
  Limits limits;
  std::uint64_t total = 0;
  std::uint64_t used = 0;
  std::uint64_t last_id = 0;
  std::vector<Arena*> arenas;  // in order of age; an arena takes itself out as it ends
};

// One memory file, mapped here for reading and writing throughout its life.
class Arena : public std::enable_shared_from_this<Arena> {
  struct Key {};
  friend class Arenas;
  friend class Block;

 public:
  Arena(Key, std::shared_ptr<Arenas::Pool> pool, OwnedFd fd, Mapping mapping) noexcept;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Unique among all arenas that the same Arenas ever makes.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] std::uint64_t size() const noexcept { return mapping_.size(); }
  [[nodiscard]] std::byte* data() const noexcept { return mapping_.data(); }

 private:
  // Makes [offset, offset + size) read as zeros again. False if that was not possible.
  [[nodiscard]] bool clear(std::uint64_t offset, std::uint64_t size) noexcept;

  std::shared_ptr<Arenas::Pool> pool_;
  OwnedFd fd_;
  Mapping mapping_;
  std::uint64_t id_ = 0;
  ShmAllocator places_;
};

// A piece of an arena. When the last pointer to it goes away, its place is cleared and free again; decoders,
// mappings and sessions that still use the memory hold one each.
class Block {
  struct Key {};
  friend class Arenas;

 public:
  Block(Key, std::shared_ptr<Arena> arena, ShmOffset place, Share size) noexcept
      : arena_(std::move(arena)), place_(place), size_(std::move(size)) {}
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  [[nodiscard]] const std::shared_ptr<Arena>& arena() const noexcept { return arena_; }
  // Of the arena: borrowed.
  [[nodiscard]] int fd() const noexcept { return arena_->fd(); }
  // Where the block begins in the arena and its file, page-aligned.
  [[nodiscard]] std::uint64_t fd_offset() const noexcept { return place_.value; }
  // A page multiple.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_.count(); }
  [[nodiscard]] std::byte* data() const noexcept { return arena_->data() + place_.value; }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data(), size()}; }

 private:
  std::shared_ptr<Arena> arena_;
  ShmOffset place_;
  Share size_;  // of bytes
};

inline Arenas::Arenas(Limits limits) : pool_(std::make_shared<Pool>()) {
  pool_->limits.arena_size = limits.arena_size & ~(page_size - 1);
  pool_->limits.total_bytes = limits.total_bytes & ~(page_size - 1);
  budget_ = std::make_shared<Budget>(pool_->limits.total_bytes);
}

inline Result<std::shared_ptr<Block>> Arenas::allocate(std::uint64_t size) {
  if (size == 0) return fail(EINVAL);
  const auto rounded = align_up(size, page_size);
  if (!rounded) return fail(ENOMEM);
  auto share = Share::take(budget_, *rounded);
  if (!share) return std::unexpected(share.error());

  // Declared before the lock: an arena that ends here locks the pool itself.
  std::shared_ptr<Arena> arena;
  std::vector<std::shared_ptr<Arena>> passed;
  ShmOffset place;
  {
    const std::lock_guard lock(pool_->mutex);
    for (Arena* const candidate : pool_->arenas) {
      // Null for an arena that is ending on another thread, which waits for the lock to remove itself.
      arena = candidate->weak_from_this().lock();
      if (!arena) continue;
      if (const auto found = arena->places_.allocate(*rounded)) {
        place = *found;
        break;
      }
      passed.push_back(std::move(arena));
    }
    if (!arena) {
      const std::uint64_t left = pool_->limits.total_bytes - pool_->total;
      if (*rounded > left) return fail(ENOMEM);
      auto made = make_arena(pool_, std::max(*rounded, std::min(pool_->limits.arena_size, left)));
      if (!made) return std::unexpected(made.error());
      arena = std::move(*made);
      const auto found = arena->places_.allocate(*rounded);
      if (!found) return std::unexpected(found.error());
      place = *found;
    }
    pool_->used += *rounded;
  }
  return std::make_shared<Block>(Block::Key{}, std::move(arena), place, std::move(*share));
}

// Called with the pool's lock held.
inline Result<std::shared_ptr<Arena>> Arenas::make_arena(const std::shared_ptr<Pool>& pool,
                                                         std::uint64_t size) {
  auto fd = make_sealed_memfd("vumedia-arena", size);
  if (!fd) return std::unexpected(fd.error());
  auto mapping = Mapping::map(fd->get(), 0, size);
  if (!mapping) return std::unexpected(mapping.error());
  auto arena = std::make_shared<Arena>(Arena::Key{}, pool, std::move(*fd), std::move(*mapping));
  arena->id_ = ++pool->last_id;
  pool->total += size;
  pool->arenas.push_back(arena.get());
  return arena;
}

inline std::uint64_t Arenas::total_bytes() const {
  const std::lock_guard lock(pool_->mutex);
  return pool_->total;
}

inline std::uint64_t Arenas::used_bytes() const {
  const std::lock_guard lock(pool_->mutex);
  return pool_->used;
}

inline std::size_t Arenas::arena_count() const {
  const std::lock_guard lock(pool_->mutex);
  return pool_->arenas.size();
}

inline Arena::Arena(Key, std::shared_ptr<Arenas::Pool> pool, OwnedFd fd, Mapping mapping) noexcept
    : pool_(std::move(pool)), fd_(std::move(fd)), mapping_(std::move(mapping)), places_(mapping_.size()) {}

inline Arena::~Arena() {
  const std::lock_guard lock(pool_->mutex);
  pool_->total -= mapping_.size();
  std::erase(pool_->arenas, this);
}

inline bool Arena::clear(std::uint64_t offset, std::uint64_t size) noexcept {
  return ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(size)) == 0;
}

inline Block::~Block() {
  const std::shared_ptr<Arenas::Pool> pool = arena_->pool_;
  Arenas::Remains remains{std::move(arena_), place_, std::move(size_)};
  if (pool->keeps()) {
    pool->kept.blocks_.push_back(std::move(remains));
    pool->set_dirty();
  } else {
    static_cast<void>(remains.clear(UINT64_MAX));
  }
}

// Clears up to `pages` more pages. Returns whether it is done and the place is free.
inline bool Arenas::Remains::clear(std::uint64_t pages) noexcept {
  // In parts, because other users of the file wait while this runs.
  constexpr std::uint64_t part = 512;
  for (; pages > 0 && cleared < size.count();) {
    const std::uint64_t length = std::min({pages, part, (size.count() - cleared) / page_size}) * page_size;
    failed = !arena->clear(place.value + cleared, length) || failed;
    cleared += length;
    pages -= length / page_size;
  }
  if (cleared < size.count()) return false;
  // A place that could not be cleared is not given out again while its arena lives: nobody may see old
  // content.
  Pool& pool = *arena->pool_;
  const std::lock_guard lock(pool.mutex);
  pool.used -= size.count();
  if (!failed) static_cast<void>(arena->places_.release(place));
  return true;
}

inline void Arenas::clean_later(Dirty dirtied, void* owner) noexcept {
  pool_->dirtied = dirtied;
  pool_->dirty_owner = owner;
  pool_->loop = ::pthread_self();
}

inline Arenas::Leavings Arenas::leave() noexcept {
  pool_->dirtied = nullptr;
  pool_->dirty.store(false, std::memory_order_relaxed);
  return std::move(pool_->kept);
}

inline bool Arenas::dirty() const noexcept {
  return pool_->dirty.load(std::memory_order_relaxed);
}

inline bool Arenas::clean(Work& work) noexcept {
  if (pool_->kept.clean(work)) return true;
  pool_->dirty.store(false, std::memory_order_relaxed);
  return false;
}

inline bool Arenas::Leavings::clean(Work& work) noexcept {
  while (!ranges_.empty()) {
    ContiguousRange& last = ranges_.back();
    const std::size_t pages = work.take(last.pages(), Work::unmapped_page);
    const bool done = pages == last.pages();
    last.shrink(pages);
    if (!done) return true;
    ranges_.pop_back();
  }
  while (!memory_.empty()) {
    if (work.left() <= 0) return true;
    work.spend(static_cast<std::int64_t>(memory_.back().bytes / page_size) * Work::cleared_page);
    memory_.pop_back();
  }
  while (!blocks_.empty()) {
    Remains& last = blocks_.back();
    const std::uint64_t left = (last.size.count() - last.cleared) / page_size;
    if (!last.clear(work.take(left, Work::cleared_page))) return true;
    blocks_.pop_back();
  }
  return false;
}

inline void Arenas::discard(ContiguousRange range) noexcept {
  if (!range || !pool_->keeps()) return;  // it ends here
  pool_->kept.ranges_.push_back(std::move(range));
  pool_->set_dirty();
}

inline void Arenas::discard(std::shared_ptr<const void> memory, std::size_t bytes) noexcept {
  if (memory == nullptr || !pool_->keeps()) return;  // it ends here
  pool_->kept.memory_.push_back({std::move(memory), bytes});
  pool_->set_dirty();
}

}  // namespace vumedia::memory
