// One memory file that is divided into places for blocks, and the list of all such files.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <fcntl.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/shm_allocator.hpp>

namespace vumedia::memory {

class Arena;

/// The living arenas, in order of age. It does not own them. Any thread may use it.
class ArenaList {
 public:
  /// What a new arena may have, of the total that is left.
  struct Limits {
    std::uint64_t arena_size = 0;  ///< of an ordinary one
    std::uint64_t total = 0;       ///< of all living ones
  };

  /// Empty at first.
  explicit ArenaList(const Limits& limits) noexcept : limits_(limits) {}

  /// Calls `take(arena)` with each arena, the oldest first, until it returns true. If none does,
  /// `make(size, id)` makes another, of at least `least` bytes, with an id of its own, which is added and
  /// taken from. The lock is held during all calls. ENOMEM: the limits do not allow it; or the error of
  /// `make`.
  template <class Take, class Make>
  [[nodiscard]] Result<std::shared_ptr<Arena>> find_or_make(std::uint64_t least, Take take, Make make);

  /// For arenas that end.
  void remove(const Arena& arena, std::uint64_t size) noexcept {
    const std::lock_guard lock(mutex_);
    total_ -= size;
    std::erase(arenas_, &arena);
  }

  /// Counts bytes that come into use in the arenas.
  void use(std::uint64_t bytes) noexcept { used_.fetch_add(bytes, std::memory_order_relaxed); }
  /// Counts bytes that go out of use.
  void free(std::uint64_t bytes) noexcept { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  /// Bytes in use, of all arenas.
  [[nodiscard]] std::uint64_t used() const noexcept { return used_.load(std::memory_order_relaxed); }

  /// Bytes of all arenas.
  [[nodiscard]] std::uint64_t total() const {
    const std::lock_guard lock(mutex_);
    return total_;
  }
  /// Living arenas, full or not.
  [[nodiscard]] std::size_t count() const {
    const std::lock_guard lock(mutex_);
    return arenas_.size();
  }

 private:
  const Limits limits_;
  std::atomic<std::uint64_t> used_{0};  // orders nothing
  mutable std::mutex mutex_;            // guards what follows
  std::uint64_t total_ = 0;
  std::uint64_t last_id_ = 0;
  std::vector<Arena*> arenas_;
};

/// Mapped here for reading and writing throughout its life. Any thread may use it.
class Arena : public std::enable_shared_from_this<Arena> {
 public:
  /// `file` has the size of `mapping`, which is of all of it. It removes itself from `list` as it ends.
  Arena(std::shared_ptr<ArenaList> list, OwnedFd file, Mapping mapping, std::uint64_t id) noexcept
      : list_(std::move(list)),
        fd_(std::move(file)),
        mapping_(std::move(mapping)),
        id_(id),
        places_(mapping_.size()) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { list_->remove(*this, mapping_.size()); }

  /// Makes the file. The error is the system's, such as EMFILE.
  [[nodiscard]] static Result<std::shared_ptr<Arena>> create(std::shared_ptr<ArenaList> list,
                                                             std::uint64_t size, std::uint64_t id) {
    auto fd = make_sealed_memfd("vumedia-arena", size);
    if (!fd) return std::unexpected(fd.error());
    auto mapping = Mapping::map(fd->get(), 0, size);
    if (!mapping) return std::unexpected(mapping.error());
    return std::make_shared<Arena>(std::move(list), std::move(*fd), std::move(*mapping), id);
  }

  /// Unique among all arenas of its list.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// The memory file: borrowed.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// Bytes of the file, a page multiple.
  [[nodiscard]] std::uint64_t size() const noexcept { return mapping_.size(); }
  /// The first byte of the file in this process.
  [[nodiscard]] std::byte* data() const noexcept { return mapping_.data(); }

  // The rest is for those who make and end blocks, and for nobody else.

  /// A free place of that many bytes, a page multiple, which count as used. ENOMEM if there is none.
  [[nodiscard]] Result<ShmOffset> take(std::uint64_t size) {
    const std::lock_guard lock(mutex_);
    auto place = places_.allocate(size);
    if (place) list_->use(size);
    return place;
  }
  /// Ends the use of those bytes at `place`. Only if they read as zeros is the place given out again.
  void give_back(ShmOffset place, std::uint64_t size, bool cleared) {
    const std::lock_guard lock(mutex_);
    list_->free(size);
    if (cleared) static_cast<void>(places_.release(place));
  }
  /// Makes [offset, offset + size) read as zeros again, and gives its memory back. False if that was not
  /// possible.
  [[nodiscard]] bool clear(std::uint64_t offset, std::uint64_t size) noexcept {
    return ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                       static_cast<off_t>(size)) == 0;
  }

 private:
  std::shared_ptr<ArenaList> list_;
  OwnedFd fd_;
  Mapping mapping_;
  const std::uint64_t id_;
  std::mutex mutex_;  // guards places_
  ShmAllocator places_;
};

template <class Take, class Make>
Result<std::shared_ptr<Arena>> ArenaList::find_or_make(std::uint64_t least, Take take, Make make) {
  // Declared before the lock: an arena that ends here removes itself, which locks again.
  std::vector<std::shared_ptr<Arena>> passed;
  Result<std::shared_ptr<Arena>> made;
  const std::lock_guard lock(mutex_);
  for (Arena* const candidate : arenas_) {
    // Null for an arena that is ending on another thread, which waits for the lock to remove itself.
    std::shared_ptr<Arena> arena = candidate->weak_from_this().lock();
    if (!arena) continue;
    passed.push_back(arena);
    if (take(*arena)) return arena;
  }
  const std::uint64_t left = limits_.total - total_;
  if (least > left) return fail(ENOMEM);
  const std::uint64_t size = std::max(least, std::min(limits_.arena_size, left));
  made = make(size, last_id_ + 1);
  if (!made) return made;
  ++last_id_;
  total_ += size;
  arenas_.push_back(made->get());
  if (!take(**made)) return fail(ENOMEM);
  return made;
}

}  // namespace vumedia::memory
