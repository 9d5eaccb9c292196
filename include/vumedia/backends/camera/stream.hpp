// The frames of a streaming camera: when each is due, how it gets into a buffer, and when the guest gets it.
//
// One frame is in progress at a time. A raw one is made on the loop's thread when it is due. A compressed one
// is made on the encoder's thread, and the next one only once it is back. Either may have to be copied to
// guest pages that could not be mapped, in several turns.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>

#include <vumedia/backends/camera/encoding.hpp>
#include <vumedia/backends/camera/lending.hpp>
#include <vumedia/backends/camera/negotiation.hpp>
#include <vumedia/backends/camera/pacer.hpp>
#include <vumedia/backends/camera/source.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>

namespace vumedia::backends::camera {

/// `Session` has a member `context`, and `stream()`, which is this. What the constructor is given outlives
/// it.
template <class S, class E, class Session>
class Stream {
 public:
  /// The encoder is taken over.
  Stream(v4l2::BufferQueue& queue, const Negotiation& formats, S& source, E encoder)
      : queue_(queue), formats_(formats), source_(source), encoder_(std::move(encoder)) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Before STREAMON. EAGAIN: there is no thread for the encoder; or what the source says.
  [[nodiscard]] Result<> prepare() {
    if constexpr (encodes<E>) {
      if (mode().format->compressed) {
        if (auto started = encoder_.start(); !started) return started;
      }
    }
    if constexpr (StartsFrames<S>) return source_.start(mode());
    return {};
  }
  /// The queue streams, for this session until stop().
  void start(Session& session) {
    session_ = &session;
    if constexpr (encodes<E>) poster_ = session.context.template poster<Session>();
    sequence_ = 0;
    pacer_.start(io::Clock::now(), formats_.interval());
    schedule();
  }
  /// No frame is in progress any more. It need not stream.
  void stop() noexcept {
    if (session_ == nullptr) return;
    session_->context.cancel(timer_);
    encoding_.reset();
    storing_.cancel();
    session_ = nullptr;
  }
  /// Another interval, from now on.
  void change_interval() {
    if (session_ == nullptr) return;
    // The timer may have been set by the old one.
    session_->context.cancel(timer_);
    pacer_.start(io::Clock::now(), formats_.interval());
    schedule();
  }
  /// Sets the timer for the next frame if there is a buffer for it.
  void schedule() noexcept;

  /// From quality_minimum to quality_maximum, for pictures that are not begun yet.
  void set_quality(std::int32_t quality) noexcept { quality_ = quality; }

 private:
  // A compressed frame in progress.
  struct Encoding {
    std::uint64_t ticket = 0;
    std::uint32_t index = 0;
    std::uint32_t sequence = 0;
    std::uint64_t timestamp_ns = 0;
  };
  // A frame that has been made.
  struct Filled {
    std::uint32_t index = 0;
    v4l2::BufferQueue::Completion done;
  };
  struct StoreChore final : media::Chore {
    explicit StoreChore(Stream& of) noexcept
        : Chore([](media::Chore& chore) noexcept { static_cast<StoreChore&>(chore).stream.store_filled(); }),
          stream(of) {}
    Stream& stream;
  };
  struct Report {
    media::Poster<Session> poster;
    void operator()(std::uint64_t ticket, Result<> result) const {
      poster.post([ticket, good = result.has_value()](Session& session, media::Context) {
        session.stream().on_encoded(ticket, good);
      });
    }
  };
  template <class F>
  struct Encoder {
    using Poster = media::Poster<Session>;
    using Thread = EncodingThread<F, typename S::Scene, typename S::Artist, Report>;
  };
  struct NoThread {
    using Poster = std::monostate;
    using Thread = E;
  };
  using Means = std::conditional_t<encodes<E>, Encoder<E>, NoThread>;

  void on_due(std::int32_t result) noexcept;
  // Fills a buffer. False if it is too small, or if the source failed.
  [[nodiscard]] bool make(const v4l2::BufferQueue::Slot& slot) noexcept;
  void start_encoding(std::uint32_t index, std::uint64_t timestamp_ns);
  void on_encoded(std::uint64_t ticket, bool good) noexcept;
  [[nodiscard]] bool take(const v4l2::BufferQueue::Slot& slot, std::span<const std::byte> picture) noexcept;
  // Gives the buffer to the guest, with the bytes filled in each plane, or flagged as bad if there are none.
  void finish(std::uint32_t index, std::uint32_t sequence, std::uint64_t timestamp_ns,
              std::optional<std::uint32_t> compressed, bool good) noexcept;
  // First copies the bytes to the guest, if they must be copied, and then returns the buffer.
  void store_filled() noexcept;

  [[nodiscard]] const Mode& mode() const noexcept { return formats_.mode(); }

  v4l2::BufferQueue& queue_;
  const Negotiation& formats_;
  S& source_;
  Session* session_ = nullptr;
  Pacer pacer_;
  std::uint32_t sequence_ = 0;
  std::int32_t quality_ = quality_default;
  io::MemberOperation<&Stream::on_due> timer_{*this};

  Filled filled_;
  StoreChore storing_{*this};

  std::uint64_t last_ticket_ = 0;
  std::optional<Encoding> encoding_;
  // Frames of an encoder come back through this.
  [[no_unique_address]] typename Means::Poster poster_;
  // Declared after everything that it reports to.
  typename Means::Thread encoder_;
};

template <class S, class E, class Session>
void Stream<S, E, Session>::schedule() noexcept {
  if (!queue_.streaming() || queue_.queued_count() == 0 || timer_.pending() || encoding_ ||
      storing_.pending())
    return;
  // Frames that were due while there was no buffer are not made.
  const auto now = io::Clock::now();
  if (pacer_.due() <= now) pacer_.advance(now);
  session_->context.timer(timer_, pacer_.due());
}

template <class S, class E, class Session>
void Stream<S, E, Session>::on_due(std::int32_t) noexcept {
  // stop() cancels the timer, so it streams.
  const auto index = queue_.take_next();
  if (!index) return;  // the next QBUF schedules
  const auto timestamp_ns = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(pacer_.due().time_since_epoch()).count());
  if (mode().format->compressed) {
    start_encoding(*index, timestamp_ns);
    return;
  }
  const bool good = make(*queue_.slot(*index));
  finish(*index, sequence_++, timestamp_ns, std::nullopt, good);
}

template <class S, class E, class Session>
bool Stream<S, E, Session>::make(const v4l2::BufferQueue::Slot& slot) noexcept {
  const v4l2::Layout& layout = mode().layout;
  if (slot.plane_count != layout.plane_count) return false;
  Planes planes{};
  for (std::uint32_t p = 0; p < layout.plane_count; ++p) {
    const std::span<std::byte> bytes = slot.planes[p].bytes();
    if (bytes.size() < layout.planes[p].sizeimage) return false;
    planes[p] = bytes.data();
  }
  if constexpr (FillsFrames<S>) {
    return source_.fill(Frame{mode(), sequence_, planes}).has_value();
  } else {
    const auto picture = source_.lend(mode(), sequence_);
    return picture && copy_lent(mode(), *picture, planes);
  }
}

// ---- Compressed frames

template <class S, class E, class Session>
void Stream<S, E, Session>::start_encoding([[maybe_unused]] std::uint32_t index,
                                           [[maybe_unused]] std::uint64_t timestamp_ns) {
  if constexpr (encodes<E>) {
    encoding_ = {++last_ticket_, index, sequence_++, timestamp_ns};
    encoder_.submit({.ticket = last_ticket_,
                     .width = mode().size->width,
                     .height = mode().size->height,
                     .scene = source_.scene(),
                     .quality = quality_,
                     .number = encoding_->sequence},
                    Report{poster_});
  }
}

template <class S, class E, class Session>
void Stream<S, E, Session>::on_encoded([[maybe_unused]] std::uint64_t ticket,
                                       [[maybe_unused]] bool good) noexcept {
  if constexpr (encodes<E>) {
    // A picture that was requested before a STREAMOFF is not wanted any more.
    if (!encoding_ || encoding_->ticket != ticket) return;
    const Encoding done = *std::exchange(encoding_, std::nullopt);
    // It has streamed without a stop since: the buffer still exists, and is active.
    const auto* const slot = queue_.slot(done.index);
    const auto picture = encoder_.picture();
    good = good && slot != nullptr && take(*slot, picture);
    finish(done.index, done.sequence, done.timestamp_ns,
           good ? static_cast<std::uint32_t>(picture.size()) : 0, good);
  }
}

template <class S, class E, class Session>
bool Stream<S, E, Session>::take(const v4l2::BufferQueue::Slot& slot,
                                 std::span<const std::byte> picture) noexcept {
  const std::span<std::byte> room = slot.planes[0].bytes();
  if (picture.size() > room.size()) return false;
  std::memcpy(room.data(), picture.data(), picture.size());
  return true;
}

// ---- Back to the guest

template <class S, class E, class Session>
void Stream<S, E, Session>::finish(std::uint32_t index, std::uint32_t sequence, std::uint64_t timestamp_ns,
                                   std::optional<std::uint32_t> compressed, bool good) noexcept {
  v4l2::BufferQueue::Completion done;
  done.error = !good;
  for (std::uint32_t p = 0; good && p < mode().layout.plane_count; ++p)
    done.bytesused[p] = compressed.value_or(mode().layout.planes[p].sizeimage);
  done.timestamp_ns = timestamp_ns;
  done.sequence = sequence;
  pacer_.advance(io::Clock::now());
  filled_ = {index, done};
  if (!queue_.store(index, done, nullptr)) return session_->context.do_later(storing_);
  store_filled();
}

template <class S, class E, class Session>
void Stream<S, E, Session>::store_filled() noexcept {
  const media::Context& context = session_->context;
  if (!queue_.store(filled_.index, filled_.done, &context.work())) return context.do_later(storing_);
  if (const auto buffer = queue_.complete(filled_.index, filled_.done)) context.send_dqbuf(*buffer);
  schedule();
}

}  // namespace vumedia::backends::camera
