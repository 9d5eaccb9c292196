// Which of our buffers the guest sees in shared memory region 0, and for how long (VIRTIO 1.4, 5.22.6.4).
//
// Two layers. A window is what the frontend knows: a range of the region that is backed by an arena's file
// and mapped once for all of the arena's buffers, or by one buffer of foreign memory. A buffer is what the
// guest knows: its address lies in a window, it is reference-counted, keeps its memory alive, and ends with
// its last MUNMAP, or a reset.
//
// The frontend answers asynchronously, and what it has mapped is not always what we expect. After a reset
// some frontends have dropped everything and others nothing; an operation that was cut off by a stopping
// queue may have been carried out. Such windows are stale: before their place is used again, the frontend is
// told to unmap exactly that range, and it does not matter if it refuses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/shm_allocator.hpp>
#include <vumedia/virtio/concepts.hpp>

namespace vumedia::media {

// `Owner` has `on_mappings_changed()`, which means that it is time to retry a map that had to wait. It is
// never called from within a member function of this class.
template <virtio::Host Host, class Owner>
class Mappings {
 public:
  // `size` is the size of the region; arenas of up to `ordinary_arena` bytes are kept when they run empty.
  Mappings(Host& host, Owner& owner, std::uint64_t size, std::uint64_t ordinary_arena)
      : host_(host), owner_(owner), places_(size), ordinary_arena_(ordinary_arena) {}
  Mappings(const Mappings&) = delete;
  Mappings& operator=(const Mappings&) = delete;
  ~Mappings() {
    for (Window& window : windows_) {
      if (window.busy()) host_.shm_abandon(window);
    }
  }

  // Counts a reference to the buffer and returns its driver address. Returns nothing if the frontend has to
  // be waited for: no reference is taken then; the owner is notified later and calls again. ENXIO: no shared
  // memory. EACCES: write access to read-only memory. ENOMEM: the region is full. EIO: the frontend refused.
  // EINVAL: not a multiple of a page.
  [[nodiscard]] Result<std::optional<std::uint64_t>> map(const Mappable& buffer, bool writable) {
    if (!host_.has_shm()) return fail(ENXIO);
    const Wanted wanted(buffer);
    if (!wanted.valid(buffer.length)) return fail(EINVAL);
    if (writable && !wanted.writable) return fail(EACCES);
    const Inside inside(*this);
    sweep();

    Window* window = find(wanted);
    if (window == nullptr) {
      const auto place = allocate(wanted.length);
      if (!place) return std::unexpected(place.error());
      if (!*place) return std::nullopt;
      window = &windows_.emplace_back(*this, wanted, **place);
    }
    return bring_up(*window, wanted, buffer);
  }

  // Drops a reference. EINVAL: no buffer is mapped at exactly this address.
  [[nodiscard]] Result<> unmap(std::uint64_t driver_address) {
    const auto found = buffers_.find(driver_address);
    if (found == buffers_.end()) return fail(EINVAL);
    if (--found->second.references != 0) return {};
    const Inside inside(*this);
    Window& window = *found->second.window;
    // Frees the memory, too, if nobody else holds it.
    buffers_.erase(found);
    // Foreign memory has a window to itself, and costs the frontend a slot.
    if (--window.buffers == 0 && !window.shared && !window.busy()) release(window);
    sweep();
    return {};
  }

  // The queues are about to stop: pending operations are abandoned, and nothing is started until map() is
  // called again.
  void stop() noexcept {
    for (Window& window : windows_) give_up(window);
    remove_gone();
  }

  // The device was reset: the guest has no buffer mapped any more.
  void reset() noexcept {
    stop();
    for (Window& window : windows_) {
      window.buffers = 0;
      window.error = 0;
      window.claimed = false;
      if (window.state == State::mapped) window.state = State::stale;
    }
    buffers_.clear();
  }

  // Buffers that the guest has mapped; ranges that the frontend has, or may have.
  [[nodiscard]] std::size_t buffer_count() const noexcept { return buffers_.size(); }
  [[nodiscard]] std::size_t window_count() const noexcept { return windows_.size(); }

 private:
  enum class State : std::uint8_t {
    unmapped,   // only a reserved place; the frontend has nothing there
    mapping,    // requested
    mapped,     // confirmed
    stale,      // the frontend may have it
    clearing,   // stale, being unmapped before it is mapped again
    releasing,  // being unmapped for good
    gone,       // to be removed from the list
  };

  // What a buffer requires of the frontend.
  struct Wanted {
    explicit Wanted(const Mappable& buffer) {
      if (const memory::Block* const block = buffer.block.get()) {
        const std::shared_ptr<memory::Arena>& arena = block->arena();
        key = arena.get();
        keep = arena;
        fd = arena->fd();
        length = arena->size();
        within = block->fd_offset();
        capacity = block->size();
        shared = true;
      } else {
        const std::shared_ptr<const ForeignMemory>& foreign = buffer.foreign;
        key = foreign.get();
        keep = foreign;
        fd = foreign->fd.get();
        fd_offset = foreign->fd_offset;
        capacity = length = align_up(foreign->length, page_size).value_or(0);
        writable = foreign->writable;
      }
    }
    [[nodiscard]] bool valid(std::uint64_t buffer_length) const noexcept {
      return length != 0 && is_aligned(fd_offset, page_size) && buffer_length <= capacity;
    }

    const void* key = nullptr;
    std::shared_ptr<const void> keep;
    int fd = -1;
    std::uint64_t fd_offset = 0;
    std::uint64_t length = 0;
    std::uint64_t within = 0;    // where the buffer begins in the window
    std::uint64_t capacity = 0;  // of the buffer
    bool writable = true;
    bool shared = false;  // with other buffers: an arena
  };

  struct Window final : virtio::ShmOperation {
    Window(Mappings& owner, const Wanted& wanted, memory::ShmOffset at)
        : ShmOperation(on_done),
          mappings(owner),
          key(wanted.key),
          memory(wanted.keep),
          place(at),
          length(wanted.length),
          shared(wanted.shared) {}
    [[nodiscard]] bool busy() const noexcept {
      return state == State::mapping || state == State::clearing || state == State::releasing;
    }
    static void on_done(virtio::ShmOperation& operation, Result<> result) noexcept {
      auto& window = static_cast<Window&>(operation);
      window.mappings.done(window, result);
    }

    Mappings& mappings;
    const void* key;
    std::weak_ptr<const void> memory;
    std::shared_ptr<const void> holder;  // keeps an arena that has become empty
    memory::ShmOffset place;
    std::uint64_t length;
    std::uint32_t buffers = 0;
    int error = 0;  // of the last failed operation, until a map has reported it
    State state = State::unmapped;
    bool shared;
    bool claimed = false;  // somebody waits for it: must not be evicted
  };

  struct Buffer {
    Window* window;
    Mappable memory;
    std::uint64_t references;
  };

  // While set, an operation that completes at once neither removes windows nor calls the owner.
  class Inside {
   public:
    explicit Inside(Mappings& mappings) noexcept : mappings_(mappings) { mappings_.inside_ = true; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside() {
      mappings_.remove_gone();
      mappings_.inside_ = false;
    }

   private:
    Mappings& mappings_;
  };

  [[nodiscard]] bool running() const noexcept { return host_.queue_running(wire::commandq); }

  // A window outlives its memory; afterwards other memory may have the same address.
  [[nodiscard]] Window* find(const Wanted& wanted) noexcept {
    for (Window& window : windows_) {
      if (window.key == wanted.key && window.state != State::gone && !window.memory.expired()) return &window;
    }
    return nullptr;
  }

  // A place in the region, or nothing if one is about to become free.
  [[nodiscard]] Result<std::optional<memory::ShmOffset>> allocate(std::uint64_t length) {
    for (;;) {
      const auto place = places_.allocate(length);
      if (place) return std::optional(*place);
      if (!evict()) return fail(ENOMEM);
      if (remove_gone() == 0) return std::nullopt;
    }
  }

  // Releases windows that no buffer needs; false if this does not free a place, now or later.
  bool evict() noexcept {
    bool any = false;
    for (Window& window : windows_) {
      if (window.state == State::releasing) any = true;
      if (window.buffers != 0 || window.claimed || window.busy() || window.state == State::gone) continue;
      release(window);
      // Otherwise it could not be sent, and nobody would be told that there is a place.
      if (window.state != State::stale) any = true;
    }
    return any;
  }

  // Releases windows whose memory is gone, and foreign ones that the guest lost in a reset.
  void sweep() noexcept {
    for (Window& window : windows_) {
      if (window.buffers != 0 || window.busy() || window.state == State::gone) continue;
      if (window.memory.expired() || (!window.shared && window.state == State::stale)) release(window);
    }
  }

  void release(Window& window) noexcept {
    window.holder.reset();
    if (window.state == State::unmapped) {
      window.state = State::gone;
    } else if (running() && host_.has_shm()) {
      window.state = State::releasing;
      host_.shm_unmap(window, range(window));
    } else {
      window.state = State::stale;
    }
  }

  // Advances the window's state as far as possible without waiting. Each turn starts an operation or returns,
  // and a failed operation is reported, so that a host that answers at once is not asked forever.
  [[nodiscard]] Result<std::optional<std::uint64_t>> bring_up(Window& window, const Wanted& wanted,
                                                              const Mappable& buffer) {
    for (;;) {
      if (const int error = std::exchange(window.error, 0); error != 0) {
        window.claimed = false;
        if (window.state == State::unmapped) window.state = State::gone;
        return fail(error);
      }
      switch (window.state) {
        case State::mapped:
          return refer(window, wanted, buffer);
        case State::unmapped: {
          if (!running()) return fail(EIO);
          window.state = State::mapping;
          auto mapping = range(window);
          mapping.fd = wanted.fd;
          mapping.fd_offset = wanted.fd_offset;
          mapping.writable = wanted.writable;
          host_.shm_map(window, mapping);
          break;
        }
        case State::stale:
          if (!running()) return fail(EIO);
          window.state = State::clearing;
          host_.shm_unmap(window, range(window));
          break;
        default:
          break;
      }
      if (window.busy()) {
        window.claimed = true;
        return std::nullopt;
      }
    }
  }

  [[nodiscard]] std::uint64_t refer(Window& window, const Wanted& wanted, const Mappable& buffer) {
    // Within the region: the place was allocated with the window's length, of which the buffer is a part.
    const std::uint64_t address = window.place.value + wanted.within;
    const auto [entry, added] = buffers_.try_emplace(address, Buffer{&window, buffer, 0});
    ++entry->second.references;
    if (added) ++window.buffers;
    window.claimed = false;
    if (window.shared && window.length <= ordinary_arena_ && window.holder == nullptr) {
      // At most one arena is kept without buffers, so that opening a file again and again does not cost the
      // frontend a map each time.
      for (Window& other : windows_) other.holder.reset();
      window.holder = wanted.keep;
    }
    return address;
  }

  void done(Window& window, Result<> result) noexcept {
    const bool cut_off = !result && result.error().value == ECANCELED;
    // The frontend may still have what it should have unmapped.
    const bool unanswered = !result && virtio::ShmOperation::is_unanswered(result.error().value);
    switch (window.state) {
      case State::mapping:
        window.state = result ? State::mapped : cut_off ? State::stale : State::unmapped;
        if (!result) {
          window.error = EIO;
          host_.log().write(LogLevel::warning, "the frontend did not map %llu bytes at 0x%llx: error %d",
                            static_cast<unsigned long long>(window.length),
                            static_cast<unsigned long long>(window.place.value), result.error().value);
        }
        break;
      case State::clearing:
        window.state = unanswered ? State::stale : State::unmapped;
        if (unanswered) window.error = EIO;
        break;
      case State::releasing:
        window.state = unanswered ? State::stale : State::gone;
        break;
      default:
        break;
    }
    if (inside_) return;
    {
      // There is room now for what could not be sent before.
      const Inside inside(*this);
      sweep();
    }
    owner_.on_mappings_changed();
  }

  void give_up(Window& window) noexcept {
    if (!window.busy()) return;
    host_.shm_abandon(window);
    window.state = State::stale;
  }

  std::size_t remove_gone() noexcept {
    std::size_t removed = 0;
    for (auto window = windows_.begin(); window != windows_.end();) {
      if (window->state != State::gone) {
        ++window;
        continue;
      }
      static_cast<void>(places_.release(window->place));
      window = windows_.erase(window);
      ++removed;
    }
    return removed;
  }

  [[nodiscard]] static virtio::ShmMapping range(const Window& window) noexcept {
    virtio::ShmMapping mapping;
    mapping.region = wire::mmap_region;
    mapping.offset = window.place;
    mapping.length = window.length;
    return mapping;
  }

  Host& host_;
  Owner& owner_;
  memory::ShmAllocator places_;
  std::uint64_t ordinary_arena_;
  std::list<Window> windows_;                // few: arenas, and foreign buffers
  std::map<std::uint64_t, Buffer> buffers_;  // by driver address
  bool inside_ = false;
};

}  // namespace vumedia::media
