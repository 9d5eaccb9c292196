// Member functions of BasicTestPattern. Included by <vumedia/backends/test_pattern.hpp> only.
#pragma once

#include <vumedia/backends/test_pattern.hpp>

namespace vumedia::backends {

template <class E>
BasicTestPattern<E>::BasicTestPattern(const TestPatternOptions& options, E encoder)
    : formats_(
          options.multiplanar,
          [] {
            if constexpr (test_pattern::encodes<E>)
              return std::uint32_t{E::pixelformat};
            else
              return 0U;
          }(),
          options.pixelformat),
      controls_(std::span(test_pattern::all_controls)
                    .first(test_pattern::all_controls.size() - (test_pattern::encodes<E> ? 0 : 1)),
                false),
      // Only one session has buffers at a time.
      queue_({.type = formats_.type(),
              .max_length = test_pattern::most_plane_bytes(),
              .userptr = true,
              .mappings = std::make_shared<memory::Budget>(v4l2::max_session_mappings)}),
      encoder_(std::move(encoder)) {
  static_assert(!test_pattern::encodes<E> || test_pattern::Encoder<E>,
                "backends::BasicTestPattern<E>: E is not a test_pattern::Encoder");
  controls_.on_apply(
      [this](std::uint32_t id, const v4l2::ControlValue& value) { return apply_control(id, value.number); });
  controls_.on_event(
      [this](const v4l2_event& event, const v4l2::Subscriptions* origin) { notify(event, origin); });
}

// ---- Parameters and controls

template <class E>
Result<> BasicTestPattern<E>::ioctl(Session& session, v4l2::tag::S_PARM, v4l2_streamparm& parameters) {
  if (auto allowed = session.priority_.may_change(); !allowed) return allowed;
  const std::uint32_t rate = formats_.rate();
  auto set = formats_.s_parm(parameters);
  if (set && formats_.rate() != rate && queue_.streaming()) {
    // A new grid, from now on. The timer may have been set by the old one.
    owner_->context_.cancel(timer_);
    pacer_.start(io::Clock::now(), formats_.rate());
    schedule();
  }
  return set;
}

template <class E>
Result<> BasicTestPattern<E>::apply_control(std::uint32_t id, std::int64_t value) {
  // Controls has clamped it to the range in the table, which easily fits 32 bits.
  const auto number = static_cast<std::int32_t>(value);
  switch (id) {
    case V4L2_CID_BRIGHTNESS:
      brightness_ = number;
      break;
    case V4L2_CID_TEST_PATTERN:
      pattern_ = number;
      break;
    default:
      quality_ = number;
      return {};
  }
  // Once for each frame, however many changes a command contains.
  repaint_ = true;
  return {};
}

template <class E>
void BasicTestPattern<E>::notify(const v4l2_event& event, const v4l2::Subscriptions* origin) {
  for (Session* const session : sessions_) {
    session->subscriptions_.deliver(event, origin,
                                    [&](const v4l2_event& sent) { session->context_.send_event(sent); });
  }
}

// ---- Buffers

template <class E>
Result<media::Mappable> BasicTestPattern<E>::mmap(Session&, std::uint32_t mem_offset) {
  return queue_.mappable(mem_offset);
}

template <class E>
template <class Request, class Change>
Result<> BasicTestPattern<E>::allocate(Session& session, Request& request, Change&& change) {
  if (auto allowed = session.priority_.may_change(); !allowed) return allowed;
  if (!may_queue(session)) return queue_.refuse_other(request);
  std::array<std::uint32_t, 3> sizes{};
  const v4l2::Layout& layout = mode().layout;
  for (std::size_t p = 0; p < layout.plane_count; ++p) sizes[p] = layout.planes[p].sizeimage;
  const auto done =
      change(std::span(std::as_const(sizes)).first(layout.plane_count), session.context_.arenas());
  owner_ = queue_.is_busy() ? &session : nullptr;
  return done;
}

// ---- Streaming

template <class E>
Result<> BasicTestPattern<E>::ioctl(Session& session, v4l2::tag::STREAMON, std::uint32_t& type) {
  if (auto allowed = session.priority_.may_change(); !allowed) return allowed;
  if (!may_queue(session)) return queue_.refuse_other(type);
  const bool streamed = queue_.streaming();
  if constexpr (test_pattern::encodes<E>) {
    if (mode().format->compressed) {
      if (auto started = encoder_.start(); !started) return started;
    }
  }
  if (auto started = queue_.stream_on(type); !started) return started;
  if (!streamed) {
    repaint_ = true;
    sequence_ = 0;
    pacer_.start(io::Clock::now(), formats_.rate());
    schedule();
  }
  return {};
}

template <class E>
Result<> BasicTestPattern<E>::ioctl(Session& session, v4l2::tag::STREAMOFF, std::uint32_t& type) {
  if (auto allowed = session.priority_.may_change(); !allowed) return allowed;
  if (!may_queue(session)) return queue_.refuse_other(type);
  if (auto stopped = queue_.stream_off(type); !stopped) return stopped;
  if (owner_ != nullptr) stop();
  return {};
}

template <class E>
void BasicTestPattern<E>::schedule() noexcept {
  if (!queue_.streaming() || queue_.queued_count() == 0 || timer_.pending() || encoding_ ||
      storing_.pending())
    return;
  // Frames that were due while there was no buffer are not made.
  const auto now = io::Clock::now();
  if (pacer_.due() <= now) pacer_.advance(now);
  owner_->context_.timer(timer_, pacer_.due());
}

template <class E>
void BasicTestPattern<E>::on_due(std::int32_t) noexcept {
  // STREAMOFF and close cancel the timer, so there is an owner and it streams.
  const auto index = queue_.take_next();
  if (!index) return;  // the next QBUF schedules
  const auto timestamp_ns = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(pacer_.due().time_since_epoch()).count());
  if (mode().format->compressed) {
    start_encoding(*index, timestamp_ns);
    return;
  }
  if (std::exchange(repaint_, false)) {
    painter_.configure({mode().format, mode().size->width, mode().size->height, mode().layout}, pattern(),
                       brightness_);
  }
  const bool good = paint(*queue_.slot(*index));
  finish(*index, sequence_++, timestamp_ns, std::nullopt, good);
}

template <class E>
void BasicTestPattern<E>::start_encoding([[maybe_unused]] std::uint32_t index,
                                         [[maybe_unused]] std::uint64_t timestamp_ns) {
  if constexpr (test_pattern::encodes<E>) {
    encoding_ = {++last_ticket_, index, sequence_++, timestamp_ns};
    const test_pattern::Job job{.ticket = last_ticket_,
                                .size = *mode().size,
                                .pattern = pattern(),
                                .brightness = brightness_,
                                .quality = quality_,
                                .number = encoding_->sequence};
    encoder_.submit(job, Report{owner_->poster_});
  }
}

template <class E>
void BasicTestPattern<E>::on_encoded([[maybe_unused]] std::uint64_t ticket,
                                     [[maybe_unused]] bool good) noexcept {
  if constexpr (test_pattern::encodes<E>) {
    // A picture that was requested before a STREAMOFF is not wanted any more.
    if (!encoding_ || encoding_->ticket != ticket) return;
    const Encoding done = *std::exchange(encoding_, std::nullopt);
    // It has streamed without a stop since: the buffer still exists, and is active.
    const auto* const slot = queue_.slot(done.index);
    const auto picture = encoder_.picture();
    good = good && slot != nullptr && store(*slot, picture);
    finish(done.index, done.sequence, done.timestamp_ns,
           good ? static_cast<std::uint32_t>(picture.size()) : 0, good);
  }
}

template <class E>
void BasicTestPattern<E>::finish(std::uint32_t index, std::uint32_t sequence, std::uint64_t timestamp_ns,
                                 std::optional<std::uint32_t> compressed, bool good) noexcept {
  v4l2::BufferQueue::Completion done;
  done.error = !good;
  for (std::uint32_t p = 0; good && p < mode().layout.plane_count; ++p)
    done.bytesused[p] = compressed.value_or(mode().layout.planes[p].sizeimage);
  done.timestamp_ns = timestamp_ns;
  done.sequence = sequence;
  pacer_.advance(io::Clock::now());
  filled_ = {index, done};
  if (!queue_.store(index, done, nullptr)) return owner_->context_.do_later(storing_);
  store_filled();
}

template <class E>
void BasicTestPattern<E>::store_filled() noexcept {
  const media::Context& context = owner_->context_;
  if (!queue_.store(filled_.index, filled_.done, &context.work())) return context.do_later(storing_);
  if (const auto buffer = queue_.complete(filled_.index, filled_.done)) context.send_dqbuf(*buffer);
  schedule();
}

template <class E>
bool BasicTestPattern<E>::paint(const v4l2::BufferQueue::Slot& slot) noexcept {
  const v4l2::Layout& layout = mode().layout;
  if (slot.plane_count != layout.plane_count) return false;
  test_pattern::Planes planes{};
  for (std::uint32_t p = 0; p < layout.plane_count; ++p) {
    const std::span<std::byte> bytes = slot.planes[p].bytes();
    if (bytes.size() < layout.planes[p].sizeimage) return false;
    planes[p] = bytes.data();
  }
  painter_.paint(sequence_, planes);
  return true;
}

template <class E>
bool BasicTestPattern<E>::store(const v4l2::BufferQueue::Slot& slot,
                                std::span<const std::byte> bytes) noexcept {
  const std::span<std::byte> room = slot.planes[0].bytes();
  if (bytes.size() > room.size()) return false;
  std::memcpy(room.data(), bytes.data(), bytes.size());
  return true;
}

}  // namespace vumedia::backends
