// Counts what a device does, for its operator.
//
// If a backend has a member `statistics()`, media::Device calls the members of what it returns as things
// happen. For a backend without one the calls are not compiled. Counted<Backend> gives any backend such a
// member, so the program chooses what is counted, not the backend:
//
// clang-format off
//   media::Statistics statistics;  // outlives the devices; several in a row add up
//   media::Device<media::Counted<Camera>, Host> device(host, options, statistics, <arguments of Camera>...);
// clang-format on
//
// Only the device's loop thread writes, and any thread may read at any time: a count costs a load, an
// addition and a store, without a lock or a locked instruction. Each number is correct by itself; numbers
// that are read one after another may be a few commands apart.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/media/event_queue.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::media {

/// One number with one writer.
class Counter {
 public:
  /// Counts `n` more. One thread only.
  void add(std::uint64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  /// From any thread.
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// The processor's own clock: reading it takes one instruction, where clock_gettime() takes about a hundred.
/// On the supported systems it runs at a constant rate on all processors.
class TickClock {
 public:
  /// In ticks, from some point in the past.
  [[nodiscard]] static std::uint64_t now() noexcept {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    std::uint64_t ticks = 0;
    asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return static_cast<std::uint64_t>(Steady::now().time_since_epoch().count());
#endif
  }

  /// Nanoseconds per tick, measured against CLOCK_MONOTONIC since this object was made: the longer ago, the
  /// more accurate.
  [[nodiscard]] double tick() const noexcept {
    const std::uint64_t ticks = now() - ticks_;
    const auto elapsed = std::chrono::nanoseconds(Steady::now() - time_);
    return ticks > 0 ? static_cast<double>(elapsed.count()) / static_cast<double>(ticks) : 0;
  }

 private:
  using Steady = std::chrono::steady_clock;
  std::uint64_t ticks_ = now();
  Steady::time_point time_ = Steady::now();
};

/// A histogram of values, with four buckets between a power of two and the next, so that a value is known to
/// within a quarter.
class Histogram {
 public:
  static constexpr std::size_t bucket_count = 252;  ///< enough for all 64 bits

  /// Counts `value` in its bucket. One thread only.
  void add(std::uint64_t value) noexcept { buckets_[bucket_of(value)].add(); }
  /// Values in `bucket` < bucket_count. From any thread.
  [[nodiscard]] std::uint64_t count(std::size_t bucket) const noexcept { return buckets_[bucket].get(); }

  /// The bucket that `value` is counted in.
  [[nodiscard]] static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
    if (value < 4) return static_cast<std::size_t>(value);
    const auto width = static_cast<unsigned>(std::bit_width(value));  // 3 to 64: the index is at most 251
    return static_cast<std::size_t>((width - 2) * 4 + (value >> (width - 3) & 3));
  }
  /// The largest value that falls into `bucket` < bucket_count.
  [[nodiscard]] static constexpr std::uint64_t highest(std::size_t bucket) noexcept {
    if (bucket < 4) return bucket;
    const std::size_t shift = bucket / 4 - 1;  // of the value's three leading bits: 0 to 61
    return ((std::uint64_t{4} + bucket % 4) << shift | ((std::uint64_t{1} << shift) - 1));
  }

 private:
  std::array<Counter, bucket_count> buckets_;
};

/// All counters of one device: 4 KiB, initially zero.
class Statistics {
 public:
  /// Commands other than ioctls are counted by their number (wire::cmd_open...). 0 counts what is not a
  /// command, cmd_ioctl counts ioctls beyond the table.
  static constexpr std::size_t command_kinds = wire::cmd_munmap + 1;

  /// The highest errno in use is 133 (EHWPOISON); higher ones count as the last.
  static constexpr std::size_t error_kinds = 134;

  /// Buffers that were returned to the guest (DQBUF events).
  struct Buffers {
    Counter frames;  ///< with data, and not marked as bad
    Counter bytes;   ///< in them (bytesused of all planes)
    Counter bad;     ///< marked V4L2_BUF_FLAG_ERROR
    Counter empty;   ///< without data, such as LAST
  };

  Statistics() = default;
  Statistics(const Statistics&) = delete;
  Statistics& operator=(const Statistics&) = delete;

  // -- Any thread

  /// Since the start.
  ///@{
  Counter sessions_opened, sessions_closed;
  ///@}
  Counter sessions_failed;                        ///< ended by an error event
  std::array<Counter, v4l2::ioctl_limit> ioctls;  ///< by number, including unsupported ones
  std::array<Counter, command_kinds> commands;    ///< see command_kinds
  std::array<Counter, error_kinds> errors;        ///< commands that were answered with this errno
  std::array<Counter, 3> events;                  ///< that reached the guest, by wire::event_*
  Counter events_waited;                          ///< that found no guest buffer at first
  /// Of CAPTURE queues, and of OUTPUT queues.
  ///@{
  Buffers captured, output;
  ///@}
  /// Ticks from popping a command to pushing its answer, if enabled.
  Histogram latency;
  TickClock clock;  ///< that latency is measured by

  /// Sessions that are open now; from any thread.
  [[nodiscard]] std::uint64_t sessions_open() const noexcept {
    const std::uint64_t closed = sessions_closed.get();
    return sessions_opened.get() - closed;
  }
  /// Commands of all kinds, since the start.
  [[nodiscard]] std::uint64_t command_count() const noexcept { return sum(ioctls) + sum(commands); }
  /// Commands that were answered with an errno, since the start.
  [[nodiscard]] std::uint64_t error_count() const noexcept { return sum(errors); }

  /// Latency costs each command two readings of the processor's clock; it must be enabled before the device
  /// is made.
  void measure_latency(bool measured) noexcept { measures_latency_ = measured; }
  /// Whether begin() and on_answer() measure; as set before the device was made.
  [[nodiscard]] bool measures_latency() const noexcept { return measures_latency_; }

  // -- The device, on its loop's thread

  /// A command begins; returns the time for on_answer(), or 0.
  [[nodiscard]] std::uint64_t begin() const noexcept {
    return measures_latency_ ? std::max(TickClock::now(), std::uint64_t{1}) : 0;
  }
  /// What has happened; called by the device.
  ///@{
  void on_answer(std::uint64_t begun) noexcept {
    if (begun == 0) return;
    const std::uint64_t now = TickClock::now();
    // Another processor's clock may be a little behind.
    latency.add(now > begun ? now - begun : 0);
  }
  void on_ioctl(std::uint32_t number) noexcept {
    if (number < ioctls.size()) [[likely]]
      ioctls[number].add();
    else
      on_command(wire::cmd_ioctl);
  }
  void on_command(std::uint32_t command) noexcept { commands[command < commands.size() ? command : 0].add(); }
  void on_error(int error) noexcept {
    const auto last = static_cast<int>(error_kinds) - 1;
    errors[static_cast<std::size_t>(std::clamp(error, 0, last))].add();
  }
  void on_open() noexcept { sessions_opened.add(); }
  void on_close() noexcept { sessions_closed.add(); }
  void on_session_failed() noexcept { sessions_failed.add(); }
  void on_event_waits() noexcept { events_waited.add(); }
  void on_event(const Event& event) noexcept {
    if (event.kind() >= events.size()) return;
    events[event.kind()].add();
    if (const wire::virtio_media_event_dqbuf* const returned = event.as_dqbuf()) on_buffer(*returned);
  }
  ///@}

 private:
  template <std::size_t Size>
  [[nodiscard]] static std::uint64_t sum(const std::array<Counter, Size>& counters) noexcept {
    std::uint64_t total = 0;
    for (const Counter& counter : counters) total += counter.get();
    return total;
  }

  void on_buffer(const wire::virtio_media_event_dqbuf& event) noexcept {
    const v4l2_buffer& buffer = event.buffer;
    Buffers& buffers = v4l2::is_output(buffer.type) ? output : captured;
    if ((buffer.flags & V4L2_BUF_FLAG_ERROR) != 0) return buffers.bad.add();
    std::uint64_t bytes = buffer.bytesused;
    if (v4l2::is_multiplanar(buffer.type)) {
      bytes = 0;
      for (std::uint32_t p = 0; p < std::min<std::uint32_t>(buffer.length, VIDEO_MAX_PLANES); ++p)
        bytes += event.planes[p].bytesused;
    }
    if (bytes == 0) return buffers.empty.add();
    buffers.frames.add();
    buffers.bytes.add(bytes);
  }

  bool measures_latency_ = false;
};

/// A backend whose device keeps statistics.
template <class Backend>
class Counted : public Backend {
 public:
  /// `statistics` outlives the device; `arguments` go to the backend's constructor.
  template <class... Arguments>
  explicit Counted(Statistics& statistics, Arguments&&... arguments)
      : Backend(std::forward<Arguments>(arguments)...), statistics_(&statistics) {}

  /// What it counts in.
  [[nodiscard]] Statistics& statistics() noexcept { return *statistics_; }

 private:
  Statistics* statistics_;
};

}  // namespace vumedia::media
