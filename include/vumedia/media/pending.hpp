// Commands that still have to be answered: deferred ioctls, and maps that wait for the frontend.
//
// Each keeps the place for its answer, and the memory table that this belongs to. A queue can hold more
// commands than there is memory for their state, so their number has a limit of its own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <vumedia/core/intrusive_list.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/media/chores.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/virtio/chain.hpp>
#include <vumedia/virtio/reader_writer.hpp>

namespace vumedia::media {

// What of a command is still to be read, of its chain's readable part, which its queue forgets as well.
struct UnreadPart {
  // `read_to` is where the chain has been read to, `bytes` are of the copy of its readable segments.
  UnreadPart(const virtio::Chain& chain, const virtio::Reader& read_to, memory::Share bytes)
      : segments(chain.readable().begin(), chain.readable().end()),
        segment_bytes(std::move(bytes)),
        reader(segments, chain.readable_size()) {
    // No further than the chain has been read.
    static_cast<void>(reader.skip(chain.readable_size() - read_to.remaining()));
  }
  UnreadPart(const UnreadPart&) = delete;
  UnreadPart& operator=(const UnreadPart&) = delete;

  const std::vector<virtio::Segment> segments;
  const memory::Share segment_bytes;
  virtio::Reader reader;
};

template <class Device>
struct PendingCommand : ListHook<PendingCommand<Device>> {
  // Writes the answer to a deferred ioctl and returns its length.
  using Answer = std::uint32_t (*)(Device& device, PendingCommand& command, Result<> result) noexcept;
  // Does another part of an ioctl.
  using Step = Result<> (*)(Device& device, PendingCommand& command) noexcept;

  PendingCommand() : step_chore(*this) {}

  [[nodiscard]] virtio::Writer writer() const noexcept { return {segments, writable_size}; }

  std::uint16_t head = 0;
  std::uint32_t session_id = 0;
  io::TimePoint deadline;
  std::uint64_t begun = 0;  // for the backend's statistics, if it has any

  // The part of the chain's writable segments that the answer needs. The queue forgets them at the next pop.
  std::vector<virtio::Segment> segments;
  std::size_t writable_size = 0;
  std::shared_ptr<const memory::GuestMemory> memory;

  // A deferred ioctl, or OPEN...
  std::shared_ptr<detail::Deferred> deferred;
  bool opens = false;
  Answer answer = nullptr;
  void* payload = nullptr;
  // ...or an ioctl that takes several turns of the loop, in each of which the chore calls `go_on`...
  Step step = nullptr;
  std::unique_ptr<UnreadPart> unread;
  void (*go_on)(PendingCommand& command) noexcept = nullptr;
  struct StepChore final : Chore {
    explicit StepChore(PendingCommand& owner) noexcept
        : Chore([](Chore& chore) noexcept {
            PendingCommand& of = static_cast<StepChore&>(chore).command;
            of.go_on(of);
          }),
          command(owner) {}
    PendingCommand& command;
  } step_chore;
  Device* device = nullptr;
  // ...or a map.
  std::optional<Mappable> mappable;
  bool map_writable = false;

 private:
  template <class>
  friend class PendingCommands;
  // NOLINTBEGIN(readability-identifier-naming): its friend's, to whom they are public.
  std::uint32_t slot = 0;
  bool in_use = false;
  // NOLINTEND(readability-identifier-naming)
};

// Slots, reused, and a list in order of arrival, which is that of the deadlines.
template <class Device>
class PendingCommands {
 public:
  using Command = PendingCommand<Device>;

  // Linux has one command under way at a time; other drivers may have one a session.
  static constexpr std::uint32_t max_count = 128;
  [[nodiscard]] bool full() const noexcept { return count_ >= max_count; }

  // The answer has at most `room` bytes, and only those of the chain are kept. Must not be called if full().
  [[nodiscard]] Command& add(const virtio::Chain& chain, std::size_t room,
                             std::shared_ptr<const memory::GuestMemory> memory, io::TimePoint deadline) {
    if (free_.empty()) {
      slots_.push_back(std::make_unique<Command>());
      slots_.back()->slot = static_cast<std::uint32_t>(slots_.size() - 1);
      free_.reserve(slots_.size());
      free_.push_back(slots_.back().get());
    }
    Command& command = *free_.back();
    free_.pop_back();
    command.in_use = true;
    command.head = chain.head();
    command.deadline = deadline;
    command.writable_size = std::min<std::size_t>(room, chain.writable_size());
    std::size_t kept = 0;
    for (const virtio::Segment& segment : chain.writable()) {
      if (kept >= command.writable_size) break;
      command.segments.push_back(segment);
      kept += segment.size();
    }
    command.memory = std::move(memory);
    commands_.push_back(command);
    ++count_;
    return command;
  }

  void remove(Command& command) noexcept {
    commands_.remove(command);
    command.in_use = false;
    command.segments.clear();
    command.memory.reset();
    command.deferred.reset();
    command.opens = false;
    command.step = nullptr;
    command.step_chore.cancel();
    command.unread.reset();
    command.mappable.reset();
    free_.push_back(&command);  // within what add() reserved
    --count_;
  }

  // The command that waits for this answer; null if it was answered or dropped already.
  [[nodiscard]] Command* find(const detail::Deferred& deferred) noexcept {
    if (deferred.slot >= slots_.size()) return nullptr;
    Command& command = *slots_[deferred.slot];
    return command.in_use && command.deferred.get() == &deferred ? &command : nullptr;
  }
  [[nodiscard]] static std::uint32_t slot(const Command& command) noexcept { return command.slot; }

  // The one with the earliest deadline, or null; and the one after `command`.
  [[nodiscard]] Command* first() const noexcept { return commands_.front(); }
  [[nodiscard]] Command* next(Command& command) const noexcept { return commands_.after(command); }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint32_t count_of(std::uint32_t session) const noexcept {
    std::uint32_t count = 0;
    for (const Command& command : commands_) count += command.session_id == session ? 1 : 0;
    return count;
  }

 private:
  std::vector<std::unique_ptr<Command>> slots_;
  std::vector<Command*> free_;
  IntrusiveList<Command> commands_;
  std::uint32_t count_ = 0;
};

}  // namespace vumedia::media
