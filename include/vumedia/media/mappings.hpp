// MMAP and MUNMAP: which of our buffers the guest sees in shared memory region 0, and for how long (VIRTIO
// 1.4, 5.22.6.4).
//
// Two layers. A window is what the frontend knows: a range of the region that is backed by an arena's file
// and mapped once for all of the arena's buffers, or by one buffer of foreign memory. A buffer is what the
// guest knows: its address lies in a window, it is reference-counted, keeps its memory alive, and ends with
// its last MUNMAP, or a reset.
//
// The frontend answers asynchronously. An MMAP waits with its window (media/window.hpp) until that is mapped,
// or, if the region is full, for a window that leaves its place.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <vumedia/core/intrusive_list.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/answers.hpp>
#include <vumedia/media/trace.hpp>
#include <vumedia/media/window.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/mappable.hpp>
#include <vumedia/memory/shm_allocator.hpp>
#include <vumedia/virtio/chain.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/reader_writer.hpp>

namespace vumedia::media {

/// A command, whose first bytes have been read as those of an IOCTL. ENODATA: the rest is not there.
template <class Command>
[[nodiscard]] Result<Command> read_rest(const wire::virtio_media_cmd_ioctl& head,
                                        virtio::Reader& rest) noexcept {
  static_assert(sizeof(Command) >= sizeof head);
  Command command;
  const auto bytes = std::as_writable_bytes(std::span(&command, 1));
  std::memcpy(bytes.data(), &head, sizeof head);
  if (auto done = rest.read_bytes(bytes.subspan(sizeof head)); !done) return std::unexpected(done.error());
  return command;
}

/// All that the guest has mapped, and the commands that change it. For the host's loop.
template <virtio::Host Host, class Backend>
class Mappings {
  using State = Window::State;

 public:
  /// `size` is the size of the region; arenas of up to `ordinary_arena` bytes are kept when they run empty.
  Mappings(Host& host, Answers<Host, Backend>& answers, Trace trace, std::uint64_t size,
           std::uint64_t ordinary_arena)
      : host_(host), answers_(answers), trace_(trace), places_(size), ordinary_arena_(ordinary_arena) {}
  Mappings(const Mappings&) = delete;
  Mappings& operator=(const Mappings&) = delete;
  ~Mappings() { reset(); }

  /// Reads an MMAP, whose first bytes are in `head`. EINVAL: the chain is shorter than the command or its
  /// answer.
  [[nodiscard]] static Result<wire::virtio_media_cmd_mmap> read(const virtio::Chain& chain,
                                                                const wire::virtio_media_cmd_ioctl& head,
                                                                virtio::Reader& rest) noexcept {
    const auto command = read_rest<wire::virtio_media_cmd_mmap>(head, rest);
    if (!command || chain.writable_size() < sizeof(wire::virtio_media_resp_mmap)) return fail(EINVAL);
    return *command;
  }

  /// Maps `buffer` for that command, counts a reference to it and answers with its driver address, or with an
  /// errno, at once or when the frontend has answered. There are not too_many() answers owed. ENXIO: no
  /// shared memory. EACCES: write access to read-only memory. ENOMEM: the region is full. EIO: the frontend
  /// refused, or the queues were stopped. EINVAL: not a multiple of a page.
  void map(const virtio::Chain& chain, const wire::virtio_media_cmd_mmap& command, memory::Mappable buffer) {
    WaitingMap& map = maps_.emplace_back(this, &on_late, std::move(buffer));
    map.self = std::prev(maps_.end());
    answers_.owe(map, chain, sizeof(wire::virtio_media_resp_mmap), command.session_id);
    const bool writable = (command.flags & wire::mmap_flag_rw) != 0;
    if (const auto possible = check(map.buffer, writable); !possible)
      return refuse(map, possible.error().value);
    sweep();
    begin(map);
    if (remove_unused()) retry_places();
  }

  /// Carries out an MUNMAP, which drops a reference. EINVAL: no buffer is mapped at exactly this address.
  [[nodiscard]] Written unmap(const virtio::Chain& chain, const wire::virtio_media_cmd_ioctl& head,
                              virtio::Reader& rest) noexcept {
    if (chain.writable_size() < sizeof(wire::virtio_media_resp_munmap)) return 0;
    const auto command = read_rest<wire::virtio_media_cmd_munmap>(head, rest);
    const auto done = command ? unmap(command->driver_addr) : fail(EINVAL);
    trace_.command("MUNMAP", 0, done);
    if (!done) return answers_.status(chain, done.error().value);
    return write_response(chain.writer(), wire::virtio_media_resp_munmap{});
  }

  /// The queues are about to stop: pending operations are abandoned, maps that wait for them are answered
  /// EIO, and nothing is started until map() is called again.
  void stop() noexcept {
    for (Window& window : windows_) {
      if (!window.busy()) continue;
      host_.shm_abandon(window);
      window.abandoned();
      window.state = State::stale;
    }
    while (!maps_.empty()) refuse(maps_.front(), EIO);
    static_cast<void>(remove_unused());
  }

  /// The device was reset: the guest has no buffer mapped any more, and waits for no answer.
  void reset() noexcept {
    while (!maps_.empty()) {
      answers_.drop(maps_.front());
      maps_.pop_front();
    }
    stop();
    for (Window& window : windows_) {
      window.buffers = 0;
      if (window.state == State::mapped) window.state = State::stale;
    }
    buffers_.clear();
  }

  /// Buffers that the guest has mapped; ranges that the frontend has, or may have.
  [[nodiscard]] std::size_t buffer_count() const noexcept { return buffers_.size(); }
  [[nodiscard]] std::size_t window_count() const noexcept { return windows_.size(); }  ///< see buffer_count()

 private:
  struct Buffer {
    Window* window;
    memory::Mappable memory;
    std::uint64_t references;
  };

  [[nodiscard]] bool running() const noexcept { return host_.queue_running(wire::commandq); }

  [[nodiscard]] Result<> check(const memory::Mappable& buffer, bool writable) const {
    if (!host_.has_shm()) return fail(ENXIO);
    const WantedWindow wanted(buffer);
    if (!wanted.valid(buffer.length)) return fail(EINVAL);
    if (writable && !wanted.writable) return fail(EACCES);
    return {};
  }

  // Has the map wait with its window, or for a place to have one at, and answers it if it can be.
  void begin(WaitingMap& map) {
    const WantedWindow wanted(map.buffer);
    Window* window = find(wanted);
    if (window == nullptr) {
      const auto place = allocate(wanted.length);
      if (!place) return refuse(map, place.error().value);
      if (!*place) return for_place_.push_back(map);
      window = &windows_.emplace_back(this, &on_answer, wanted, **place);
    }
    window->waiting.push_back(map);
    advance(*window);
  }

  // A window outlives its memory; afterwards other memory may have the same address.
  [[nodiscard]] Window* find(const WantedWindow& wanted) noexcept {
    for (Window& window : windows_) {
      if (window.key == wanted.key && !window.unused() && !window.memory.expired()) return &window;
    }
    return nullptr;
  }

  // Brings the window up for those that wait for it, as far as possible without waiting. Each turn starts a
  // request or ends a wait, so a host that answers at once is not asked forever.
  void advance(Window& window) {
    while (!window.busy() && !window.waiting.empty()) {
      WaitingMap& first = *window.waiting.front();
      if (window.state == State::mapped) {
        answer(first, refer(window, first.buffer));
      } else if (!running()) {
        refuse(first, EIO);
      } else if (window.state == State::stale) {
        request_unmap(window, State::clearing);
      } else {
        request_map(window, WantedWindow(first.buffer));
      }
    }
  }

  void request_map(Window& window, const WantedWindow& wanted) {
    auto mapping = window.range();
    mapping.fd = wanted.fd;
    mapping.fd_offset = wanted.fd_offset;
    mapping.writable = wanted.writable;
    window.state = State::mapping;
    if (const auto result = window.send([&] { host_.shm_map(window, mapping); })) answered(window, *result);
  }
  void request_unmap(Window& window, State until_then) {
    window.state = until_then;
    if (const auto result = window.send([&] { host_.shm_unmap(window, window.range()); }))
      answered(window, *result);
  }

  // One map is told of a failure; the others try again.
  void answered(Window& window, Result<> result) {
    const bool maps = window.state == State::mapping;
    const bool releases = window.state == State::releasing;
    window.answered(result);
    if (maps && !result) {
      host_.log().write(LogLevel::warning, "the frontend did not map %llu bytes at 0x%llx: error %d",
                        static_cast<unsigned long long>(window.length),
                        static_cast<unsigned long long>(window.place.value), result.error().value);
    }
    const bool failed = maps ? !result : window.state == State::stale && !releases;
    if (failed && !window.waiting.empty()) refuse(*window.waiting.front(), EIO);
  }

  static void on_answer(ShmRequest& request, Result<> result) noexcept {
    auto& window = static_cast<Window&>(request);
    auto& self = *static_cast<Mappings*>(window.mappings);
    const bool released = window.state == State::releasing;
    self.answered(window, result);
    // There is room now for what could not be sent before.
    self.sweep();
    self.advance(window);
    if (self.remove_unused() || released) self.retry_places();
  }

  // A place in the region, or nothing if one is about to become free.
  [[nodiscard]] Result<std::optional<memory::ShmOffset>> allocate(std::uint64_t length) {
    for (;;) {
      const auto place = places_.allocate(length);
      if (place) return std::optional(*place);
      if (!evict()) return fail(ENOMEM);
      if (!remove_unused()) return std::nullopt;
    }
  }

  // Releases windows that no buffer needs; false if this does not free a place, now or later.
  bool evict() {
    bool any = false;
    for (Window& window : windows_) {
      if (window.state == State::releasing) any = true;
      if (window.needed() || window.busy()) continue;
      release(window);
      // Otherwise it could not be sent, and nobody would be told that there is a place.
      if (window.state != State::stale) any = true;
    }
    return any;
  }

  // Releases windows whose memory is gone, and foreign ones that the guest lost in a reset.
  void sweep() {
    for (Window& window : windows_) {
      if (window.needed() || window.busy()) continue;
      if (window.memory.expired() || (!window.shared && window.state == State::stale)) release(window);
    }
  }

  void release(Window& window) {
    window.holder.reset();
    if (window.state == State::unmapped) return;
    if (running() && host_.has_shm()) {
      request_unmap(window, State::releasing);
    } else {
      window.state = State::stale;
    }
  }

  // Windows may have left their places, or not as was hoped.
  void retry_places() {
    IntrusiveList<WaitingMap> retried;
    while (WaitingMap* const map = for_place_.pop_front()) retried.push_back(*map);
    while (WaitingMap* const map = retried.pop_front()) begin(*map);
    static_cast<void>(remove_unused());
  }

  // Frees the places of windows that nobody needs and the frontend does not have. False if there are none.
  bool remove_unused() noexcept {
    return std::erase_if(windows_, [this](const Window& window) {
             if (!window.unused()) return false;
             static_cast<void>(places_.release(window.place));
             return true;
           }) != 0;
  }

  // Counts a reference to the buffer, and returns its address.
  [[nodiscard]] std::uint64_t refer(Window& window, const memory::Mappable& buffer) {
    const WantedWindow wanted(buffer);
    // Within the region: the place was allocated with the window's length, of which the buffer is a part.
    const std::uint64_t address = window.place.value + wanted.within;
    const auto [entry, added] = buffers_.try_emplace(address, Buffer{&window, buffer, 0});
    ++entry->second.references;
    if (added) ++window.buffers;
    if (window.shared && window.length <= ordinary_arena_ && window.holder == nullptr) {
      // At most one arena is kept without buffers, so that opening a file again and again does not cost the
      // frontend a map each time.
      for (Window& other : windows_) other.holder.reset();
      window.holder = wanted.keep;
    }
    return address;
  }

  [[nodiscard]] Result<> unmap(std::uint64_t driver_address) {
    const auto found = buffers_.find(driver_address);
    if (found == buffers_.end()) return fail(EINVAL);
    if (--found->second.references != 0) return {};
    Window& window = *found->second.window;
    // Frees the memory, too, if nobody else holds it.
    buffers_.erase(found);
    // Foreign memory has a window to itself, and costs the frontend a slot.
    if (--window.buffers == 0 && !window.shared && !window.needed() && !window.busy()) release(window);
    sweep();
    if (remove_unused()) retry_places();
    return {};
  }

  void answer(WaitingMap& map, std::uint64_t address) noexcept {
    const wire::virtio_media_resp_mmap response{{0, 0}, address, map.buffer.length};
    give(map, write_response(map.writer(), response));
  }
  void refuse(WaitingMap& map, int error) noexcept { give(map, answers_.status(map.writer(), error)); }
  void give(WaitingMap& map, Written written) noexcept {
    answers_.give(map, written);
    maps_.erase(map.self);
  }
  static void on_late(TimedAnswer& late) noexcept {
    auto& map = static_cast<WaitingMap&>(late);
    static_cast<Mappings*>(map.mappings)->refuse(map, ETIMEDOUT);
  }

  Host& host_;
  Answers<Host, Backend>& answers_;
  const Trace trace_;
  memory::ShmAllocator places_;
  std::uint64_t ordinary_arena_;
  std::list<Window> windows_;                // few: arenas, and foreign buffers
  std::map<std::uint64_t, Buffer> buffers_;  // by driver address
  std::list<WaitingMap> maps_;               // all of them, in order of arrival
  IntrusiveList<WaitingMap> for_place_;      // those that have no window yet
};

}  // namespace vumedia::media
