// Memory for buffers that the guest sees: blocks, carved from a few large memory files.
//
// Showing a file to the guest costs the frontend a round trip, and QEMU a slot of a table of eight. So an
// arena, not a block, is what is mapped there, once, and blocks come and go within it. Arenas have files that
// are sealed against resizing; what a block gives back is punched out of the file, so that it costs no memory
// and the next owner of the place finds zeros.
//
// An arena lives as long as a block of it, or whoever holds its pointer: the table of what is mapped at the
// frontend keeps one, thus the place of an arena that ran empty is used again; without such a holder its file
// goes with its last block. A guest that has an arena mapped can still write where a block was given back.
// The next block there may then not read as zeros; it is the same guest's data.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <fcntl.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/shm_allocator.hpp>

namespace vumedia::memory {

class Arena;
class Block;

// Makes arenas and blocks. Any thread may use it, and release blocks; both lock and make system calls, so
// neither is for the hot path. Blocks and arenas may outlive it.
class Arenas {
 public:
  struct Limits {
    std::uint64_t arena_size = std::uint64_t{64} << 20;  // of an ordinary arena
    // Of all arenas alive, whether filled or not; and of all blocks, and what else budget() has given.
    std::uint64_t total_bytes = std::uint64_t{1} << 30;
  };

  Arenas() : Arenas(Limits{}) {}
  // Both limits are rounded down to pages.
  explicit Arenas(Limits limits);

  // A block of `size` bytes, rounded up to pages, all zero. It comes from the oldest arena that has room,
  // else from a new one: of its own size if it exceeds the ordinary one, and smaller than that if the total
  // allows no more. EINVAL: size 0. ENOMEM: the total does not allow it. Otherwise what the system answered,
  // such as EMFILE.
  [[nodiscard]] Result<std::shared_ptr<Block>> allocate(std::uint64_t size);

  // What blocks are counted in, and what a peer makes us hold besides: of Limits::total_bytes.
  [[nodiscard]] const std::shared_ptr<Budget>& budget() const noexcept { return budget_; }
  // The same arenas for a part of the users, whose blocks are counted in `budget`, too: one behind which
  // budget() stands.
  [[nodiscard]] Arenas within(std::shared_ptr<Budget> budget) const {
    Arenas part(*this);
    part.budget_ = std::move(budget);
    return part;
  }

  // Bytes of all arenas alive.
  [[nodiscard]] std::uint64_t total_bytes() const;
  // Bytes of all blocks alive.
  [[nodiscard]] std::uint64_t used_bytes() const;
  [[nodiscard]] std::size_t arena_count() const;

 private:
  friend class Arena;
  friend class Block;

  struct Pool {
    std::mutex mutex;  // guards all below, and the allocators of the arenas
    Limits limits;
    std::uint64_t total = 0;
    std::uint64_t used = 0;
    std::uint64_t last_id = 0;
    std::vector<Arena*> arenas;  // in order of age; an arena takes itself out as it ends
  };

  [[nodiscard]] static Result<std::shared_ptr<Arena>> make_arena(const std::shared_ptr<Pool>& pool,
                                                                 std::uint64_t size);

  std::shared_ptr<Pool> pool_;
  std::shared_ptr<Budget> budget_;
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

  // Never again the same for another arena of the same Arenas.
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

// A piece of an arena. As the last pointer to it goes, its place is cleared and free again; decoders,
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
      // Null for an arena that is ending on another thread, which waits for the lock to take itself out.
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

// With the pool's lock held.
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
  // A place that could not be cleared is not given out again before its arena ends: nobody may see old
  // content.
  const bool cleared = arena_->clear(place_.value, size());
  const std::lock_guard lock(arena_->pool_->mutex);
  arena_->pool_->used -= size();
  if (cleared) arena_->places_.release(place_);
}

}  // namespace vumedia::memory
