// What a compliance rule is given: one open file of the device, the known facts about it, and the means to
// send it requests and to report what was wrong with the answers.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/client/compliance/any_guest.hpp>
#include <vumedia/client/compliance/facts.hpp>
#include <vumedia/client/compliance/finding.hpp>
#include <vumedia/core/checked.hpp>

namespace vumedia::client::compliance {

/// A coded stream for decoders, with one access unit in each element.
struct CodedStream {
  std::uint32_t fourcc = 0;                   ///< its format
  std::uint32_t width = 0;                    ///< as in the container; 0 if it does not state them
  std::uint32_t height = 0;                   ///< likewise
  std::vector<std::vector<std::byte>> units;  ///< in decoding order
};

/// What a rule may know about the options of a run.
struct Settings {
  /// How long a frame or an event may take. Only a failure waits that long.
  std::chrono::milliseconds patience{5000};
  const CodedStream* stream = nullptr;  ///< null: there is none
};

/// Whether reserved words are all zero, as drivers leave them.
template <class T>
[[nodiscard]] bool all_zero(const T& reserved) noexcept {
  const auto bytes = std::as_bytes(std::span<const T, 1>(&reserved, 1));
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}
/// Fills memory that a device has to clear or ignore.
template <class T>
void scribble(T& field) noexcept {
  std::memset(&field, 0xff, sizeof field);
}

/// Lives as long as one rule; when it ends, everything that it opened and mapped is closed and unmapped.
class Subject {
 public:
  /// What the arguments refer to outlives it. `queue` is null for rules on the whole device.
  Subject(AnyGuest& guest, const Facts& facts, const Settings& settings, const Queue* queue,
          std::uint32_t memory) noexcept
      : guest_(guest), facts_(facts), settings_(settings), queue_(queue), memory_(memory) {}
  ~Subject();
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  /// What the rule was run with.
  ///@{
  [[nodiscard]] AnyGuest& guest() noexcept { return guest_; }
  [[nodiscard]] const Facts& facts() const noexcept { return facts_; }
  [[nodiscard]] const Settings& settings() const noexcept { return settings_; }
  ///@}

  /// The queue and memory that a rule of Scope::queue, buffers or stream is run for.
  [[nodiscard]] const Queue& queue() const noexcept { return *queue_; }
  /// Of the queue and memory that the rule is run for.
  ///@{
  [[nodiscard]] std::uint32_t type() const noexcept { return queue_->type; }
  [[nodiscard]] std::uint32_t memory() const noexcept { return memory_; }
  ///@}

  // ---- Sessions. The first is already open.
  /// The first session.
  [[nodiscard]] std::uint32_t session() const noexcept { return sessions_.front(); }
  /// Opens another file of the device; its session is closed with the subject, if not before.
  Finding open(std::uint32_t& session);
  /// Closes one that open() has opened.
  Finding close(std::uint32_t session);

  // ---- Ioctls on the first session, or on another. 0 or the errno.
  /// Runs the ioctl on the first session.
  template <class Tag>
  [[nodiscard]] int call(typename Tag::Payload& payload) {
    return call_as<Tag>(session(), payload);
  }
  /// Runs the ioctl on another session.
  template <class Tag>
  [[nodiscard]] int call_as(std::uint32_t session, typename Tag::Payload& payload) {
    const auto done = guest_.ioctl<Tag>(session, payload);
    return done ? 0 : done.error().value;
  }
  /// Fails unless the answer is `wanted`. `circumstances` continue after the name of the ioctl: "of an index
  /// after the last".
  template <class Tag>
  Finding expect(typename Tag::Payload& payload, int wanted = 0, const char* circumstances = "") {
    return expect_as<Tag>(session(), payload, wanted, circumstances);
  }
  /// The same on another session.
  template <class Tag>
  Finding expect_as(std::uint32_t session, typename Tag::Payload& payload, int wanted = 0,
                    const char* circumstances = "") {
    return judge(Tag::name, call_as<Tag>(session, payload), wanted, circumstances);
  }
  /// The same for an optional ioctl: not applicable if it answers ENOTTY.
  template <class Tag>
  Finding want(typename Tag::Payload& payload, const char* circumstances = "") {
    const int got = call<Tag>(payload);
    if (got == ENOTTY) return not_applicable("the device has no %s", Tag::name);
    return judge(Tag::name, got, 0, circumstances);
  }

  // ---- Memory
  /// MMAP of the buffer at mem_offset `offset`; unmapped with the subject, if not before.
  [[nodiscard]] Result<MappedBuffer> map(std::uint32_t session, std::uint32_t offset);
  /// MUNMAP of what map() has mapped.
  [[nodiscard]] Result<> unmap(memory::ShmOffset driver_addr);
  /// A piece of the guest's own memory at a page boundary that nobody else uses in this rule; empty if there
  /// is not enough.
  [[nodiscard]] std::span<std::byte> take_user_memory(std::size_t size) noexcept;

  // ---- Events

  /// The next event that satisfies `accepts(const Event&)`, or nothing within `patience`; others wait until
  /// they are asked for.
  template <class Accepts>
  [[nodiscard]] std::optional<Event> wait_for(Accepts&& accepts, std::chrono::milliseconds patience);
  /// The same, within the patience of the run.
  template <class Accepts>
  [[nodiscard]] std::optional<Event> wait_for(Accepts&& accepts) {
    return wait_for(std::forward<Accepts>(accepts), settings_.patience);
  }
  /// The DQBUF events that have come for a queue of the first session; does not remove them.
  [[nodiscard]] std::size_t buffers_waiting(std::uint32_t type);
  /// Forgets all events that have come.
  void drop_events();
  /// The next buffer of the first session's queue `type`.
  Finding next_buffer(std::uint32_t type, v4l2::Buffer& buffer);
  /// The next V4L2 event of `type` of a session.
  Finding next_event(std::uint32_t session, std::uint32_t type, v4l2_event& event);

  /// The finding for the answer `got` to the ioctl `name` where `wanted` was due; passed if they are equal.
  static Finding judge(const char* name, int got, int wanted, const char* circumstances) {
    if (got == wanted) return passed();
    return failed("%s%s%s: %s, not %s", name, *circumstances == '\0' ? "" : " ", circumstances,
                  errno_name(got).c_str(), errno_name(wanted).c_str());
  }

 private:
  // Collects what has come, without waiting.
  void collect();
  static constexpr std::size_t max_kept = 1024;

  AnyGuest& guest_;
  const Facts& facts_;
  const Settings& settings_;
  const Queue* queue_;
  std::uint32_t memory_;
  std::vector<std::uint32_t> sessions_;
  std::vector<memory::ShmOffset> mapped_;
  std::size_t user_taken_ = 0;
  std::deque<Event> kept_;
};

inline Subject::~Subject() {
  for (const auto address : mapped_) static_cast<void>(guest_.munmap(address));
  for (const std::uint32_t session : sessions_) static_cast<void>(guest_.close(session));
  // Nobody wants the remaining events of the sessions.
  drop_events();
}

inline Finding Subject::open(std::uint32_t& session) {
  const auto opened = guest_.open();
  if (!opened) return failed("OPEN: %s", errno_name(opened.error().value).c_str());
  sessions_.push_back(*opened);
  session = *opened;
  return passed();
}

inline Finding Subject::close(std::uint32_t session) {
  // The first keeps its place, so that session() names it; it is closed again at the end, which devices
  // ignore.
  if (session != sessions_.front()) std::erase(sessions_, session);
  std::erase_if(kept_, [session](const Event& event) {
    return std::visit([session](const auto& each) { return each.session == session; }, event);
  });
  if (auto done = guest_.close(session); !done)
    return failed("CLOSE: %s", errno_name(done.error().value).c_str());
  return passed();
}

inline Result<MappedBuffer> Subject::map(std::uint32_t session, std::uint32_t offset) {
  auto mapped = guest_.mmap(session, offset, true);
  if (mapped) mapped_.push_back(mapped->driver_addr);
  return mapped;
}

inline Result<> Subject::unmap(memory::ShmOffset driver_addr) {
  const auto found = std::ranges::find(mapped_, driver_addr);
  if (found != mapped_.end()) mapped_.erase(found);
  return guest_.munmap(driver_addr);
}

inline std::span<std::byte> Subject::take_user_memory(std::size_t size) noexcept {
  const auto memory = guest_.user_memory();
  const auto pages = align_up(std::uint64_t{size}, page_size);
  if (!pages || *pages > memory.size() - user_taken_) return {};
  const auto piece = memory.subspan(user_taken_, size);
  user_taken_ += *pages;
  return piece;
}

template <class Accepts>
std::optional<Event> Subject::wait_for(Accepts&& accepts, std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  std::size_t seen = 0;
  while (true) {
    for (; seen < kept_.size(); ++seen) {
      if (!accepts(std::as_const(kept_[seen]))) continue;
      Event event = std::move(kept_[seen]);
      kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(seen));
      return event;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    auto next = guest_.wait_event(std::max(left, std::chrono::milliseconds(0)));
    if (!next || !*next) return std::nullopt;
    // Stops reading from a device that sends unwanted events forever.
    if (kept_.size() == max_kept) return std::nullopt;
    kept_.push_back(std::move(**next));
  }
}

inline void Subject::collect() {
  static_cast<void>(wait_for([](const Event&) { return false; }, std::chrono::milliseconds(0)));
}

inline std::size_t Subject::buffers_waiting(std::uint32_t type) {
  collect();
  return static_cast<std::size_t>(std::ranges::count_if(kept_, [&](const Event& event) {
    const auto* const dqbuf = std::get_if<DqbufEvent>(&event);
    return dqbuf != nullptr && dqbuf->session == session() && dqbuf->buffer.head.type == type;
  }));
}

inline void Subject::drop_events() {
  kept_.clear();
  for (std::size_t i = 0; i < max_kept; ++i) {
    const auto event = guest_.wait_event(std::chrono::milliseconds(0));
    if (!event || !*event) return;
  }
}

inline Finding Subject::next_buffer(std::uint32_t type, v4l2::Buffer& buffer) {
  const auto event = wait_for([&](const Event& each) {
    if (const auto* const error = std::get_if<ErrorEvent>(&each)) return error->session == session();
    const auto* const dqbuf = std::get_if<DqbufEvent>(&each);
    return dqbuf != nullptr && dqbuf->session == session() && dqbuf->buffer.head.type == type;
  });
  if (!event) {
    return failed("no buffer of %s came within %lld ms", type_name(type),
                  static_cast<long long>(settings_.patience.count()));
  }
  if (const auto* const error = std::get_if<ErrorEvent>(&*event))
    return failed("an error event ended the session: %s", errno_name(error->error).c_str());
  buffer = std::get<DqbufEvent>(*event).buffer;
  return passed();
}

inline Finding Subject::next_event(std::uint32_t session, std::uint32_t type, v4l2_event& event) {
  const auto found = wait_for([&](const Event& each) {
    const auto* const v4l2 = std::get_if<V4l2Event>(&each);
    return v4l2 != nullptr && v4l2->session == session && v4l2->event.type == type;
  });
  if (!found) {
    return failed("no event of type %u came within %lld ms", type,
                  static_cast<long long>(settings_.patience.count()));
  }
  event = std::get<V4l2Event>(*found).event;
  return passed();
}

}  // namespace vumedia::client::compliance
