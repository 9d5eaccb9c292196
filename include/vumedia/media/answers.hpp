// The answers to commands (VIRTIO 1.4, 5.22.6): given at once, later, or for want of another when it is late.
//
// An answer that is owed keeps its place in guest memory, and the memory table that this belongs to. A queue
// can hold more commands than there is memory for their state, so their number has a limit of its own.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <vumedia/core/intrusive_list.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/media/count.hpp>
#include <vumedia/media/interrupts.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/virtio/chain.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/queue.hpp>
#include <vumedia/virtio/reader_writer.hpp>

namespace vumedia::media {

/// The result of a command: the length of its answer, or that its chain must not be pushed now.
using Written = std::uint32_t;
inline constexpr Written not_now = ~Written{0};  ///< no answer is that long

/// Writes `response`; how long the answer is then, 0 if there was no room for it.
template <class Response>
[[nodiscard]] Written write_response(virtio::Writer writer, const Response& response) noexcept {
  static_cast<void>(writer.write(response));
  return static_cast<Written>(writer.written());
}

/// A command whose answer is owed: memory of whoever will give it. It is in a list of Answers meanwhile.
struct OwedAnswer : ListHook<OwedAnswer> {
  std::uint16_t head = 0;                             ///< names the chain
  std::uint32_t session = 0;                          ///< the session's id in the guest
  io::TimePoint deadline;                             ///< when the answer is late
  std::uint64_t begun = 0;                            ///< for the backend's statistics, if it has any
  std::shared_ptr<const memory::GuestMemory> memory;  ///< to which the chain belongs
};

/// One that is given at its deadline if it is not before.
struct TimedAnswer : OwedAnswer {
  /// Gives it. The device gives up at the deadline because the driver does so soon after.
  using Expire = void (*)(TimedAnswer& answer) noexcept;

  /// `when_late` gives the answer at the deadline.
  explicit TimedAnswer(Expire when_late) noexcept : expire(when_late) {}
  /// Of the answer, from its beginning.
  [[nodiscard]] virtio::Writer writer() const noexcept { return {segments, writable_size}; }

  const Expire expire;  ///< called at the deadline
  /// The part of the chain's writable segments that the answer needs. The queue forgets them at the next pop.
  std::vector<virtio::Segment> segments;
  std::size_t writable_size = 0;  ///< bytes of `segments`
};

/// Gives answers at once, and keeps account of those that are owed. For the host's loop.
template <virtio::Host Host, class Backend>
class Answers {
 public:
  /// Linux has one command under way at a time; other drivers may have one a session.
  static constexpr std::uint32_t max_owed = 128;

  /// `timeout`: how long until an answer is late.
  Answers(Host& host, Interrupts<Host>& interrupts, Count<Backend> count,
          std::chrono::milliseconds timeout) noexcept
      : host_(host), interrupts_(interrupts), count_(count), timeout_(timeout) {}
  /// What is owed is owed no more.
  ~Answers() { stop(); }
  Answers(const Answers&) = delete;
  Answers& operator=(const Answers&) = delete;

  // -- At once

  /// A command begins: one from the queue, or one that was owed an answer. end() follows the latter.
  [[gnu::always_inline]] void begin() noexcept {
    count_([this](auto& statistics) { begun_ = statistics.begin(); });
  }
  /// A command that is owed an answer is carried out now.
  void begin(const OwedAnswer& command) noexcept {
    memory_ = command.memory;
    begun_ = command.begun;
  }
  /// The command has been answered, or will be later.
  void end() noexcept { memory_.reset(); }

  /// Writes a response that is only a status, a positive errno or else EIO; 0 if there is no room for one.
  [[nodiscard]] Written status(virtio::Writer writer, int status) noexcept {
    const int error = status > 0 ? status : EIO;
    count_error(error);
    return write_response(writer, wire::virtio_media_resp_header{static_cast<std::uint32_t>(error), 0});
  }
  /// The same, for a chain: an error of the guest's.
  [[nodiscard, gnu::cold, gnu::noinline]] Written status(const virtio::Chain& chain, int error) noexcept {
    return status(chain.writer(), error);
  }
  /// Counts a failure whose response its caller writes.
  void count_error(int error) noexcept {
    count_([error](auto& statistics) { statistics.on_error(error); });
  }

  /// Gives the answer of the command that has begun: `written` bytes in the chain of this head.
  [[gnu::always_inline]] void push(virtio::Queue& queue, std::uint16_t head, Written written) noexcept {
    push(queue, head, written, begun_);
  }
  /// The same, on the command queue.
  void push(std::uint16_t head, Written written) noexcept {
    push(host_.queue(wire::commandq), head, written);
  }

  // -- Later

  /// A session may be owed no more answers than it leaves places for others: alone half of them, and however
  /// many are greedy, one that has none finds a place.
  [[nodiscard]] bool too_many(std::uint32_t session) const noexcept {
    return count_all_ + count_of(timed_, session) + count_of(held_, session) >= max_owed;
  }
  /// The answer of the command that has begun will be given later; there are not too_many() yet. Of its
  /// chain, what an answer of up to `room` bytes needs is kept.
  void owe(TimedAnswer& answer, const virtio::Chain& chain, std::size_t room, std::uint32_t session) {
    fill(answer, chain, session);
    answer.writable_size = std::min<std::size_t>(room, chain.writable_size());
    answer.segments.clear();
    std::size_t kept = 0;
    for (const virtio::Segment& segment : chain.writable()) {
      if (kept >= answer.writable_size) break;
      answer.segments.push_back(segment);
      kept += segment.size();
    }
    timed_.push_back(answer);
    arm();
  }
  /// The same for one that never is late, and whose owner keeps the chain.
  void owe(OwedAnswer& answer, const virtio::Chain& chain, std::uint32_t session) {
    fill(answer, chain, session);
    held_.push_back(answer);
  }

  /// Gives an answer that was owed, of `written` bytes, or only a status.
  void give(OwedAnswer& answer, Written written) noexcept {
    const std::uint16_t head = answer.head;
    const std::uint64_t begun = answer.begun;
    drop(answer);
    push(host_.queue(wire::commandq), head, written, begun);
    interrupts_.answer_pushed();
  }
  /// Will not be given.
  void drop(OwedAnswer& answer) noexcept {
    if (!answer.linked()) return;
    answer.unlink();
    answer.memory.reset();
    --count_all_;
  }

  /// How many are owed.
  [[nodiscard]] std::uint32_t count() const noexcept { return count_all_; }
  /// The queues are reset.
  void stop() noexcept { host_.cancel(deadline_); }

 private:
  struct Deadline final : io::Operation {
    explicit Deadline(Answers& of) noexcept
        : Operation([](io::Operation& operation, std::int32_t) noexcept {
            static_cast<Deadline&>(operation).answers.on_deadline();
          }),
          answers(of) {}
    Answers& answers;
  };

  template <class List>
  [[nodiscard]] static std::uint32_t count_of(const List& list, std::uint32_t session) noexcept {
    std::uint32_t count = 0;
    for (const OwedAnswer& answer : list) count += answer.session == session ? 1 : 0;
    return count;
  }

  void fill(OwedAnswer& answer, const virtio::Chain& chain, std::uint32_t session) {
    answer.head = chain.head();
    answer.session = session;
    answer.deadline = io::Clock::now() + timeout_;
    answer.begun = begun_;
    answer.memory = memory_ != nullptr ? memory_ : host_.memory();
    ++count_all_;
  }

  [[gnu::always_inline]] void push(virtio::Queue& queue, std::uint16_t head, Written written,
                                   std::uint64_t begun) noexcept {
    if (!queue.push(*host_.memory(), head, written)) [[unlikely]]
      push_failed(head);
    count_([begun](auto& statistics) { statistics.on_answer(begun); });
  }
  [[gnu::cold]] void push_failed(std::uint16_t head) const noexcept {
    host_.log().write(LogLevel::warning, "the answer to chain %u found no queue", unsigned{head});
  }

  void on_deadline() noexcept {
    const io::TimePoint now = io::Clock::now();
    while (TimedAnswer* const first = timed_.front()) {
      if (first->deadline > now) break;
      host_.log().write(LogLevel::warning, "session %u: a command was not answered in time", first->session);
      first->expire(*first);
    }
    arm();
  }
  // The timer is not cancelled when the answer that it was set for is given: it then finds nothing, or the
  // next one.
  void arm() noexcept {
    TimedAnswer* const first = timed_.front();
    if (first != nullptr && !deadline_.pending()) host_.timer(deadline_, first->deadline);
  }

  Host& host_;
  Interrupts<Host>& interrupts_;
  const Count<Backend> count_;
  const std::chrono::milliseconds timeout_;
  std::uint64_t begun_ = 0;                            // of the command that has begun
  std::shared_ptr<const memory::GuestMemory> memory_;  // of that, if it was owed an answer; else the host's
  IntrusiveList<TimedAnswer, OwedAnswer> timed_;       // in order of arrival, which is that of the deadlines
  IntrusiveList<OwedAnswer> held_;
  std::uint32_t count_all_ = 0;
  Deadline deadline_{*this};
};

}  // namespace vumedia::media
