// The pieces of shared memory region 0 that the frontend is asked to map, and the MMAPs that wait for them.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <utility>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/intrusive_list.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/answers.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/mappable.hpp>
#include <vumedia/virtio/concepts.hpp>

namespace vumedia::media {

/// An operation of a host whose answer may come before the call that starts it returns: then it is the call's
/// result. Only later ones reach the handler.
class ShmRequest : public virtio::ShmOperation {
 public:
  using Answered = void (*)(ShmRequest& request, Result<> result) noexcept;  ///< the host has answered
  /// `answered` is called for answers that come after send().
  explicit ShmRequest(Answered answered) noexcept : ShmOperation(&on_done), answered_(answered) {}

  /// Calls `start()`, which gives this to the host. Nothing: the answer will come.
  template <class Start>
  [[nodiscard]] std::optional<Result<>> send(Start start) {
    state_ = State::starting;
    start();
    if (state_ == State::idle) return result_;
    state_ = State::pending;
    return std::nullopt;
  }
  /// Whether an answer is to come.
  [[nodiscard]] bool busy() const noexcept { return state_ == State::pending; }
  /// The host has forgotten it.
  void abandoned() noexcept { state_ = State::idle; }

 protected:
  ~ShmRequest() = default;

 private:
  enum class State : std::uint8_t { idle, starting, pending };

  static void on_done(virtio::ShmOperation& operation, Result<> result) noexcept {
    auto& self = static_cast<ShmRequest&>(operation);
    if (std::exchange(self.state_, State::idle) == State::pending) return self.answered_(self, result);
    self.result_ = result;
  }

  const Answered answered_;
  Result<> result_;
  State state_ = State::idle;
};

/// An MMAP that waits for the frontend.
struct WaitingMap final : TimedAnswer, ListHook<WaitingMap> {
  /// `waits_in` is the Mappings, which `when_late` needs.
  WaitingMap(void* waits_in, Expire when_late, memory::Mappable of) noexcept
      : TimedAnswer(when_late), mappings(waits_in), buffer(std::move(of)) {}

  void* const mappings;                  ///< the Mappings it waits in
  memory::Mappable buffer;               ///< what the guest wants to map
  std::list<WaitingMap>::iterator self;  ///< its own place in a list
};

/// What a buffer requires of the frontend.
struct WantedWindow {
  /// What `buffer` needs: a window of its own, or that of its arena.
  explicit WantedWindow(const memory::Mappable& buffer) {
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
      const std::shared_ptr<const memory::ForeignMemory>& foreign = buffer.foreign;
      key = foreign.get();
      keep = foreign;
      fd = foreign->fd.get();
      fd_offset = foreign->fd_offset;
      capacity = length = align_up(foreign->length, page_size).value_or(0);
      writable = foreign->writable;
    }
  }
  /// Whether it can be mapped, and holds a buffer of `buffer_length` bytes.
  [[nodiscard]] bool valid(std::uint64_t buffer_length) const noexcept {
    return length != 0 && is_aligned(fd_offset, page_size) && buffer_length <= capacity;
  }

  const void* key = nullptr;         ///< the same for buffers that share a window
  std::shared_ptr<const void> keep;  ///< keeps the memory alive
  int fd = -1;                       ///< the file: borrowed
  std::uint64_t fd_offset = 0;       ///< in the file, a page multiple
  std::uint64_t length = 0;          ///< of the window, a page multiple
  std::uint64_t within = 0;          ///< where the buffer begins in the window
  std::uint64_t capacity = 0;        ///< of the buffer
  bool writable = true;              ///< whether a window may be writable
  bool shared = false;               ///< with other buffers: an arena
};

/// A range of the region. What the frontend has mapped is not always what we expect. After a reset some
/// frontends have dropped everything and others nothing; an operation that was cut off by a stopping queue
/// may have been carried out. Such windows are stale: before their place is used again, the frontend is told
/// to unmap exactly that range, and it does not matter if it refuses.
struct Window final : ShmRequest {
  /// What the frontend has of it.
  enum class State : std::uint8_t {
    unmapped,   ///< only a reserved place; the frontend has nothing there
    mapping,    ///< requested
    mapped,     ///< confirmed
    stale,      ///< the frontend may have it
    clearing,   ///< stale, being unmapped before it is mapped again
    releasing,  ///< being unmapped for good
  };

  /// `owner` is the Mappings, which `on_answer` needs.
  Window(void* owner, Answered on_answer, const WantedWindow& wanted, memory::ShmOffset at) noexcept
      : ShmRequest(on_answer),
        mappings(owner),
        key(wanted.key),
        memory(wanted.keep),
        place(at),
        length(wanted.length),
        shared(wanted.shared) {}

  /// Whether a buffer is in it, or will be.
  [[nodiscard]] bool needed() const noexcept { return buffers != 0 || !waiting.empty(); }
  /// Whether nobody would miss it.
  [[nodiscard]] bool unused() const noexcept { return state == State::unmapped && !needed(); }
  /// What the host is asked to map, or to unmap.
  [[nodiscard]] virtio::ShmMapping range() const noexcept {
    virtio::ShmMapping mapping;
    mapping.region = wire::mmap_region;
    mapping.offset = place;
    mapping.length = length;
    return mapping;
  }

  /// What the answer to its request makes of it.
  void answered(Result<> result) noexcept {
    // The frontend may still have what it should have unmapped.
    const bool unanswered = !result && virtio::ShmOperation::is_unanswered(result.error().value);
    if (state == State::mapping) {
      const bool cut_off = !result && result.error().value == ECANCELED;
      state = result ? State::mapped : cut_off ? State::stale : State::unmapped;
    } else {
      state = unanswered ? State::stale : State::unmapped;
    }
  }

  void* const mappings;                    ///< the Mappings it belongs to
  const void* const key;                   ///< WantedWindow::key
  const std::weak_ptr<const void> memory;  ///< what it shows
  std::shared_ptr<const void> holder;      ///< keeps an arena that has become empty
  const memory::ShmOffset place;           ///< in the region
  const std::uint64_t length;              ///< in bytes
  std::uint32_t buffers = 0;               ///< that the guest has mapped in it
  IntrusiveList<WaitingMap> waiting;       ///< maps that wait for its request
  State state = State::unmapped;           ///< see State
  const bool shared;                       ///< by all buffers of an arena
};

}  // namespace vumedia::media
