// A media device and its driver in one process and on one thread, for targets: real rings in real guest
// memory, a loop whose time an input moves, and the laws that hold for every answer and every event.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <vumedia/media/device.hpp>
#include <vumedia/media/wire.hpp>

#include "fuzz/input.hpp"
#include "fuzz/loop.hpp"
#include "support/embedded_host.hpp"

namespace vumedia::fuzz {

namespace wire = media::wire;
using Bytes = std::vector<std::byte>;

template <class T>
void append(Bytes& to, const T& value) {
  const auto* const bytes = reinterpret_cast<const std::byte*>(&value);
  to.insert(to.end(), bytes, bytes + sizeof value);
}
template <class T>
[[nodiscard]] T read_as(std::span<const std::byte> bytes) {
  T value{};
  if (!bytes.empty())
    std::memcpy(static_cast<void*>(&value), bytes.data(), std::min(sizeof value, bytes.size()));
  return value;
}

// The limits that a device of a target has.
inline constexpr std::uint32_t max_sessions = 4;
inline constexpr std::uint64_t max_buffer_bytes = std::uint64_t{16} << 20;

template <class B>
class FuzzGuest {
 public:
  using Host = vumedia::test::SharedLoopHost<Loop>;
  using Device = media::Device<B, Host>;
  // An answer: its command as it was sent, and what came back.
  struct Answer {
    Bytes command;
    Bytes bytes;
  };

  static constexpr std::size_t command_room = 24 * 1024, answer_room = 16 * 1024, event_slots = 16;
  static constexpr std::size_t slots = 8;
  static constexpr std::size_t user_bytes = 512 * 1024;

  template <class... Arguments>
  explicit FuzzGuest(Loop& loop, bool hold_shm_answers, Arguments&&... arguments)
      : loop_(loop),
        host_(
            loop,
            {.queue_size = 64, .memory_size = std::uint64_t{1} << 20, .hold_shm_answers = hold_shm_answers}),
        device_(host_,
                media::DeviceOptions{.shm_size = std::uint64_t{32} << 20,
                                     .max_sessions = max_sessions,
                                     .max_buffer_bytes = max_buffer_bytes,
                                     .arena_bytes = std::uint64_t{4} << 20,
                                     .max_waiting_events = 32},
                std::forward<Arguments>(arguments)...) {
    for (Slot& slot : slots_)
      slot = {host_.allocate(command_room), host_.allocate(answer_room), {}, 0, false};
    for (auto& buffer : event_buffers_) buffer = host_.allocate(wire::max_event_size);
    user_ = host_.allocate(user_bytes);
  }
  FuzzGuest(const FuzzGuest&) = delete;
  FuzzGuest& operator=(const FuzzGuest&) = delete;
  ~FuzzGuest() { host_.detach(); }

  [[nodiscard]] Host& host() { return host_; }
  [[nodiscard]] Device& device() { return device_; }
  [[nodiscard]] memory::GuestAddress user() const { return user_; }
  [[nodiscard]] std::size_t under_way() const { return by_head_.size(); }
  [[nodiscard]] const std::set<std::uint32_t>& sessions() const { return sessions_; }

  // Sends a command whose bytes are cut where `cuts` says, with `room` for the answer. False if too many are
  // under way.
  bool send(const Bytes& command, std::size_t room, std::span<const std::size_t> cuts = {},
            bool indirect = false) {
    const auto slot = std::ranges::find(slots_, false, &Slot::used);
    if (slot == slots_.end()) return false;
    slot->command.assign(command.begin(), command.begin() + static_cast<std::ptrdiff_t>(
                                                                std::min(command.size(), command_room)));
    slot->room = std::min(room, answer_room);
    std::ranges::copy(slot->command, host_.bytes(slot->at));
    std::memset(host_.bytes(slot->answer_at), 0xee, slot->room);
    std::vector<virtio::Piece> pieces;
    split(pieces, slot->at, slot->command.size(), cuts, false);
    split(pieces, slot->answer_at, slot->room, cuts, true);
    if (pieces.empty()) return false;
    const auto head = host_.driver_queue(wire::commandq).add(pieces, indirect);
    if (!head) return false;
    slot->used = true;
    by_head_[*head] = static_cast<std::size_t>(slot - slots_.begin());
    static_cast<void>(host_.driver_queue(wire::commandq).publish());
    return true;
  }
  void kick() {
    device_.process(wire::commandq);
    loop_.settle();
    check();
  }
  // Every answer that has come, and before their sessions end, every event.
  template <class F>
  void take_answers(F&& take) {
    std::vector<Answer> batch;
    while (true) {
      const auto used = host_.driver_queue(wire::commandq).pop_used();
      require(used.has_value(),
              "the device returns chains that it has, and no more bytes than there is room for");
      if (!*used) break;
      const auto found = by_head_.find((*used)->head);
      require(found != by_head_.end(), "a command is answered once");
      Slot& slot = slots_[found->second];
      by_head_.erase(found);
      slot.used = false;
      const std::byte* const data = host_.bytes(slot.answer_at);
      batch.push_back({std::move(slot.command), Bytes(data, data + (*used)->length)});
      check_answer(batch.back(), slot.room);
    }
    for (const Answer& answer : batch) {
      if (const auto id = opened(answer)) {
        const bool closes =
            std::ranges::any_of(batch, [&](const Answer& other) { return closed(other) == id; });
        require(sessions_.insert(*id).second || closes, "a session has an id of its own");
        failed_.erase(*id);
      }
    }
    take_events();
    for (auto answer = batch.begin(); answer != batch.end(); ++answer) {
      const auto id = closed(*answer);
      // Unless another has got it by now.
      if (id && std::none_of(answer, batch.end(), [&](const Answer& other) { return opened(other) == id; }))
        sessions_.erase(*id);
    }
    for (const Answer& answer : batch) take(answer);
  }

  void lend_events(std::size_t most = event_slots) {
    for (std::size_t i = 0; i < event_slots; ++i) {
      if (lent_[i] || most == 0) continue;
      --most;
      const virtio::Piece piece{event_buffers_[i], wire::max_event_size, true};
      const auto head = host_.driver_queue(wire::eventq).add(std::span(&piece, 1));
      require(head.has_value(), "there is room for event buffers");
      lent_[i] = true;
      event_of_head_[*head] = i;
    }
    static_cast<void>(host_.driver_queue(wire::eventq).publish());
    device_.process(wire::eventq);
    loop_.settle();
    check();
  }
  void take_events() {
    while (true) {
      const auto used = host_.driver_queue(wire::eventq).pop_used();
      require(used.has_value(), "the device returns event buffers that it has");
      if (!*used) return;
      const std::size_t slot = event_of_head_[(*used)->head];
      require(std::exchange(lent_[slot], false), "an event buffer comes back once");
      const std::byte* const data = host_.bytes(event_buffers_[slot]);
      const std::span<const std::byte> bytes(data, (*used)->length);
      check_event(bytes);
      if (on_event) on_event(bytes);
    }
  }
  // Called with each event.
  std::function<void(std::span<const std::byte>)> on_event;

  // Some time passes, until the next timer. What is due is done.
  void advance() {
    if (loop_.advance()) loop_.settle();
    check();
  }
  // All commands are answered, in a bounded time.
  template <class F>
  void finish(F&& take) {
    for (int i = 0; i < 2000 && !by_head_.empty(); ++i) {
      while (!host_.held.empty()) answer_shm();
      kick();
      take_answers(take);
      if (!by_head_.empty()) advance();
    }
    require(by_head_.empty(), "every command is answered in time");
    require(device_.in_flight(wire::commandq) == 0, "the device knows that all commands are answered");
  }
  void answer_shm() {
    if (host_.held.empty()) return;
    host_.answer_shm();
    loop_.settle();
  }
  // The driver is loaded anew: nothing of before is left. A VMM may take away what was mapped; then it
  // refuses later to do so again.
  void reset(bool unmaps) {
    host_.reset(device_);
    host_.held.clear();
    if (unmaps) host_.frontend.ranges.clear();
    if (unmaps) refuses_ = true;
    loop_.settle();
    for (Slot& slot : slots_) slot.used = false;
    by_head_.clear();
    lent_.fill(false);
    sessions_.clear();
    failed_.clear();
    require(device_.session_count() == 0, "no session outlives a reset");
    require(device_.in_flight(wire::commandq) == 0, "no command outlives a reset");
    require(device_.waiting_events() == 0, "no event outlives a reset");
    check();
  }

 private:
  struct Slot {
    memory::GuestAddress at, answer_at;
    Bytes command;
    std::size_t room = 0;
    bool used = false;
  };

  static void split(std::vector<virtio::Piece>& pieces, memory::GuestAddress at, std::size_t size,
                    std::span<const std::size_t> cuts, bool writable) {
    std::size_t done = 0;
    for (const std::size_t cut : cuts) {
      if (cut <= done || cut >= size) continue;
      pieces.push_back({{at.value + done}, static_cast<std::uint32_t>(cut - done), writable});
      done = cut;
    }
    if (done < size) pieces.push_back({{at.value + done}, static_cast<std::uint32_t>(size - done), writable});
  }

  // What holds whenever the device has been called.
  void check() {
    require(device_.session_count() <= max_sessions, "sessions have a limit");
    require(device_.arenas().used_bytes() <= max_buffer_bytes, "buffers have a limit");
    require(device_.in_flight(wire::commandq) <= by_head_.size(),
            "a command that is answered is not under way");
    require(host_.errors.empty(), "a driver that keeps the rules of queues breaks none");
    std::size_t maps = 0, unmaps = 0;
    for (const auto& request : host_.frontend.requests) ++(request.map ? maps : unmaps);
    // Those that were refused, if any, make a difference.
    require(refuses_ || maps - unmaps == host_.frontend.ranges.size() + forgotten_,
            "a frontend can do what it is asked");
    if (host_.frontend.requests.size() > 64) {
      forgotten_ = 0 - host_.frontend.ranges.size();
      host_.frontend.requests.clear();
    }
  }
  void check_answer(const Answer& answer, std::size_t room) {
    require(answer.bytes.size() <= room, "an answer has the room that it takes");
    const auto command = read_as<wire::virtio_media_cmd_ioctl>(answer.command);
    if (answer.command.size() < sizeof command.hdr) return;
    if (command.hdr.cmd == wire::cmd_close) return require(answer.bytes.empty(), "CLOSE has no answer");
    if (room < sizeof(wire::virtio_media_resp_header)) return;
    require(answer.bytes.size() >= sizeof(wire::virtio_media_resp_header), "a command has a status");
    const auto head = read_as<wire::virtio_media_resp_header>(answer.bytes);
    require(head.status < 4096, "a status is an errno");
    if (command.hdr.cmd == wire::cmd_open && head.status == 0)
      require(answer.bytes.size() == sizeof(wire::virtio_media_resp_open), "OPEN has its answer");
  }
  // The session that it has opened, or closed.
  [[nodiscard]] static std::optional<std::uint32_t> opened(const Answer& answer) {
    const auto open = read_as<wire::virtio_media_resp_open>(answer.bytes);
    const bool is_open = answer.command.size() >= sizeof(wire::virtio_media_cmd_open) &&
                         read_as<wire::virtio_media_cmd_header>(answer.command).cmd == wire::cmd_open;
    if (!is_open || answer.bytes.size() < sizeof open || open.hdr.status != 0) return std::nullopt;
    return open.session_id;
  }
  [[nodiscard]] static std::optional<std::uint32_t> closed(const Answer& answer) {
    const auto close = read_as<wire::virtio_media_cmd_close>(answer.command);
    if (answer.command.size() < sizeof close || close.hdr.cmd != wire::cmd_close) return std::nullopt;
    return close.session_id;
  }
  void check_event(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;  // reset
    const auto head = read_as<wire::virtio_media_event_header>(bytes);
    const std::size_t size = head.event == wire::event_error   ? sizeof(wire::virtio_media_event_error)
                             : head.event == wire::event_dqbuf ? sizeof(wire::virtio_media_event_dqbuf)
                             : head.event == wire::event_event ? sizeof(wire::virtio_media_event_event)
                                                               : 0;
    require(size != 0 && bytes.size() == size, "an event has a type and its size");
    require(sessions_.contains(head.session_id), "an event is of a session that lives");
    require(!failed_.contains(head.session_id), "ERROR is a session's last event");
    if (head.event == wire::event_error) failed_.insert(head.session_id);
  }

  Loop& loop_;
  Host host_;
  Device device_;
  std::array<Slot, slots> slots_;
  std::map<std::uint16_t, std::size_t> by_head_;
  std::array<memory::GuestAddress, event_slots> event_buffers_;
  std::array<bool, event_slots> lent_{};
  std::map<std::uint16_t, std::size_t> event_of_head_;
  memory::GuestAddress user_;
  std::set<std::uint32_t> sessions_, failed_;
  std::size_t forgotten_ = 0;
  bool refuses_ = false;
};

}  // namespace vumedia::fuzz
