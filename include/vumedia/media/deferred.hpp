// Commands that their backend answers later, and those that take several turns of the loop.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <vumedia/core/intrusive_list.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/answers.hpp>
#include <vumedia/media/chores.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/media/held_commands.hpp>
#include <vumedia/media/session_order.hpp>
#include <vumedia/media/turns.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/virtio/chain.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/reader_writer.hpp>

namespace vumedia::media {

/// What of a command is still to be read, of its chain's readable part, which its queue forgets as well.
struct UnreadPart {
  /// `read_to` is where the chain has been read to, `bytes` are of the copy of its readable segments.
  UnreadPart(const virtio::Chain& chain, const virtio::Reader& read_to, memory::Share bytes)
      : segments(chain.readable().begin(), chain.readable().end()),
        segment_bytes(std::move(bytes)),
        reader(segments, chain.readable_size()) {
    // No further than the chain has been read.
    static_cast<void>(reader.skip(chain.readable_size() - read_to.remaining()));
  }
  UnreadPart(const UnreadPart&) = delete;
  UnreadPart& operator=(const UnreadPart&) = delete;

  const std::vector<virtio::Segment> segments;  ///< what the device reads
  const memory::Share segment_bytes;            ///< what they take of the budget
  virtio::Reader reader;                        ///< at the first byte that was not read
};

/// A command that is under way, in one of those two manners. It stays where it is until it is answered.
struct DeferredCommand : TimedAnswer, ListHook<DeferredCommand> {
  /// Ends the command: gives its answer, to which `result` has led.
  using Finish = void (*)(void* owner, DeferredCommand& command, Result<> result) noexcept;
  /// Does another part. memory::again: there is more. `handed_over`: the backend has got the command.
  using Step = Result<> (*)(void* owner, DeferredCommand& command) noexcept;
  /// A Step's result: the backend has got the command, and answers it later.
  static constexpr int handed_over = -EINPROGRESS;

  /// With what gives the answer at the deadline.
  using TimedAnswer::TimedAnswer;

  void* owner = nullptr;                       ///< whose functions these are
  Finish finish = nullptr;                     ///< ends the command
  bool finish_if_late = false;                 ///< with ETIMEDOUT; else it is only answered so
  std::shared_ptr<detail::Deferred> deferred;  ///< shared with the Completion
  void* payload = nullptr;                     ///< in the storage of that

  /// While it takes several turns, in each of which the chore calls `step`.
  Step step = nullptr;
  SessionOrder* order = nullptr;       ///< of the session whose commands wait
  void* session_record = nullptr;      ///< for `step` and OPEN, which end with the session at the latest
  std::unique_ptr<UnreadPart> unread;  ///< what go_on() reads, of a list that is long
};

/// All commands that are under way. For the host's loop.
template <virtio::Host Host, class Backend>
class DeferredCommands {
 public:
  using Command = DeferredCommand;  ///< in a list of these

  /// The arguments outlive it.
  DeferredCommands(Host& host, Answers<Host, Backend>& answers, HeldCommands<Host, Backend>& held,
                   Turns<Host>& turns, memory::Arenas& arenas)
      : host_(host), answers_(answers), held_(held), turns_(turns), arenas_(arenas) {}
  /// Answers that come from now on are discarded.
  ~DeferredCommands() { clear(); }
  DeferredCommands(const DeferredCommands&) = delete;
  DeferredCommands& operator=(const DeferredCommands&) = delete;

  /// For a command and its Completion to share.
  [[nodiscard]] std::shared_ptr<detail::Deferred> make() {
    auto deferred = std::make_shared<detail::Deferred>();
    deferred->inbox = host_.inbox();
    deferred->answered = [](detail::Deferred& answered) noexcept {
      auto& command = *static_cast<Command*>(answered.command);
      command.finish(command.owner, command, answered.result);
    };
    return deferred;
  }

  /// The command that has begun is answered later, in up to `room` bytes of its chain, by
  /// `finish(owner, command, result)`. There are not too_many() answers owed.
  [[nodiscard]] Command& add(const virtio::Chain& chain, std::size_t room, std::uint32_t session,
                             std::shared_ptr<detail::Deferred> deferred, Command::Finish finish,
                             void* owner) {
    if (free_.empty()) free_.push_back(*commands_.emplace_back(std::make_unique<Stepped>(*this)));
    Command& command = *free_.pop_front();
    under_way_.push_back(command);
    answers_.owe(command, chain, room, session);
    command.owner = owner;
    command.finish = finish;
    command.deferred = std::move(deferred);
    command.deferred->command = &command;
    return command;
  }

  // -- How a command ends

  /// Answers with what was written, of so many bytes, and forgets the command.
  void give(Command& command, Written written) noexcept {
    forget(command);
    answers_.give(command, written);
  }
  /// Answers with an errno, and forgets the command.
  void refuse(Command& command, int error) noexcept {
    give(command, answers_.status(command.writer(), error));
  }
  /// Without an answer.
  void drop(Command& command) noexcept {
    forget(command);
    answers_.drop(command);
  }
  /// Forgets all of them, without answers: the queues are reset.
  void clear() noexcept {
    while (Command* const first = under_way_.front()) drop(*first);
  }

  // -- Commands that take several turns

  /// `step(owner, command)` is called in each. Other commands of the session, whose order this is, wait until
  /// it has finished or was handed over, or until abandon().
  void begin_steps(Command& command, SessionOrder& order, Command::Step step) noexcept {
    command.step = step;
    command.order = &order;
    ++order.waiting;
    order.under_way = true;
    turns_.do_later(static_cast<Stepped&>(command).chore);
  }
  /// The session ends: so do these, with EIO, because after CLOSE nobody waits for them any more.
  void abandon(const SessionOrder& order) noexcept {
    for (auto next = under_way_.begin(); next != under_way_.end();) {
      Command& command = *next++;
      if (command.order == &order) refuse(command, EIO);
    }
    held_.abandon(order);
  }

 private:
  struct StepChore final : Chore {
    StepChore(DeferredCommands& of, Command& stepped) noexcept
        : Chore([](Chore& chore) noexcept {
            auto& self = static_cast<StepChore&>(chore);
            self.commands.go_on(self.command);
          }),
          commands(of),
          command(stepped) {}
    DeferredCommands& commands;
    Command& command;
  };
  struct Stepped final : Command {
    explicit Stepped(DeferredCommands& of) noexcept : Command(&on_late), chore(of, *this) {}
    static void on_late(TimedAnswer& answer) noexcept {
      auto& self = static_cast<Stepped&>(answer);
      self.chore.commands.expire(self);
    }
    StepChore chore;
  };

  void go_on(Command& command) noexcept {
    const Result<> result = command.step(command.owner, command);
    if (!result && result.error().value == memory::again)
      return turns_.do_later(static_cast<Stepped&>(command).chore);
    end_steps(command);
    if (result || result.error().value != Command::handed_over)
      command.finish(command.owner, command, result);
  }
  // Those after it need not wait any more.
  void end_steps(Command& command) noexcept {
    command.step = nullptr;
    SessionOrder& order = *std::exchange(command.order, nullptr);
    --order.waiting;
    order.under_way = false;
    held_.wake();
  }

  void expire(Command& command) noexcept {
    if (command.finish_if_late) return command.finish(command.owner, command, fail(ETIMEDOUT));
    const Written written = answers_.status(command.writer(), ETIMEDOUT);
    if (command.order != nullptr) end_steps(command);
    give(command, written);
  }

  void forget(Command& command) noexcept {
    command.deferred->command = nullptr;
    // Long lists are freed in turns, as many commands may end in one.
    constexpr std::size_t large = std::size_t{64} << 10;
    const std::size_t bytes = command.deferred->list_bytes.count();
    if (bytes >= large) [[unlikely]]
      arenas_.discard(std::move(command.deferred), bytes);
    command.deferred.reset();
    command.finish_if_late = false;
    command.step = nullptr;
    command.order = nullptr;
    command.unread.reset();
    static_cast<Stepped&>(command).chore.cancel();
    under_way_.remove(command);
    free_.push_front(command);
  }

  Host& host_;
  Answers<Host, Backend>& answers_;
  HeldCommands<Host, Backend>& held_;
  Turns<Host>& turns_;
  memory::Arenas& arenas_;
  std::vector<std::unique_ptr<Stepped>> commands_;
  IntrusiveList<Command> free_;
  IntrusiveList<Command> under_way_;  // in order of arrival
};

}  // namespace vumedia::media
