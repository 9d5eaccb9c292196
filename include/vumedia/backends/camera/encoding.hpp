// Compressed frames of a camera: the requirements on an encoder, and its thread.
//
// Encoding takes milliseconds, too long for the loop: it requests a picture here and continues. The thread
// paints and encodes in memory of its own and never touches the guest's; the loop copies the result into the
// buffer if it still has to be filled then. So STREAMOFF, CLOSE and reset need not wait for the thread, and
// nothing is written to a buffer that has been taken back.
#pragma once

#include <cerrno>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <utility>

#include <vumedia/backends/camera/modes.hpp>
#include <vumedia/backends/camera/source.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::backends::camera {

/// V4L2_CID_JPEG_COMPRESSION_QUALITY: larger is better and takes more bytes.
inline constexpr std::int32_t quality_minimum = 1;
inline constexpr std::int32_t quality_maximum = 100;  ///< see quality_minimum
inline constexpr std::int32_t quality_default = 85;   ///< see quality_minimum

/// Compresses pictures, one after another and each by itself. Everything after construction happens on one
/// thread, not the loop's.
///
///   E::pixelformat           V4L2_PIX_FMT_* of what it makes, one that v4l2::find_pixel_format knows
///   prepare(width, height)   a place for a picture; valid until the next call
///   encode(quality)          the picture that was painted there, compressed; valid until the next call.
///                            `quality` is from quality_minimum to quality_maximum
///
/// A failure of either spoils the one frame.
template <class E>
concept Encoder = std::movable<E> && requires(E encoder, std::uint32_t side, std::int32_t quality) {
  { E::pixelformat } -> std::convertible_to<std::uint32_t>;
  { encoder.prepare(side, side) } -> std::same_as<Result<Easel>>;
  { encoder.encode(quality) } -> std::same_as<Result<std::span<const std::byte>>>;
};

/// A camera with raw formats only.
struct NoEncoder {};

/// Whether a camera has an encoder.
template <class E>
inline constexpr bool encodes = !std::same_as<E, NoEncoder>;

/// A picture to be made.
template <class Scene>
struct Job {
  std::uint64_t ticket = 0;  ///< the asker's name for it
  std::uint32_t width = 0;   ///< pixels of a line
  std::uint32_t height = 0;  ///< lines
  Scene scene;               ///< what it shows
  std::int32_t quality = 0;  ///< from quality_minimum to quality_maximum
  std::uint32_t number = 0;  ///< of the frame, since STREAMON
};

/// `Scene` and `Artist`: those of a PaintingSource; the artist paints here. `Report`: called on the thread as
/// report(ticket, result) when a job is done; movable.
template <Encoder E, class Scene, class Artist, std::movable Report>
class EncodingThread {
 public:
  using Job = camera::Job<Scene>;  ///< of the scene

  /// The encoder is used on the thread only, from start() on.
  explicit EncodingThread(E encoder) : encoder_(std::move(encoder)) {}
  EncodingThread(const EncodingThread&) = delete;
  EncodingThread& operator=(const EncodingThread&) = delete;
  /// Waits for the picture that is being made, some milliseconds.
  ~EncodingThread() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

  /// To be called before the first submit(); a second call is not an error. EAGAIN if the system cannot start
  /// a thread.
  [[nodiscard]] Result<> start() {
    if (thread_.joinable()) return {};
    // The library throws nothing, but a thread's constructor has no other way to fail.
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error&) {
      return fail(EAGAIN);
    }
    return {};
  }

  /// An earlier job that has not been started is dropped.
  void submit(const Job& job, Report report) {
    std::optional<Work> forgotten;  // its report is destroyed without the lock
    {
      const std::lock_guard lock(mutex_);
      forgotten = std::exchange(next_, Work{job, std::move(report)});
    }
    wake_.notify_one();
  }

  /// The picture of the last job, once it has been reported as successful; valid until the next submit().
  [[nodiscard]] std::span<const std::byte> picture() const noexcept { return picture_; }

 private:
  struct Work {
    Job job;
    Report report;
  };

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return ending_ || next_; });
      if (ending_) return;
      {
        Work work = std::move(*next_);
        next_.reset();
        lock.unlock();
        work.report(work.job.ticket, make(work.job));
      }
      lock.lock();
    }
  }

  [[nodiscard]] Result<> make(const Job& job) {
    const auto easel = encoder_.prepare(job.width, job.height);
    if (!easel) return std::unexpected(easel.error());
    artist_.paint(job.scene, *easel, job.number);
    const auto encoded = encoder_.encode(job.quality);
    if (!encoded) return std::unexpected(encoded.error());
    // The loop reads this after the report of the job that it waits for. No other job runs then: earlier ones
    // are done, and the next one is submitted when this one has been copied or is not wanted.
    picture_ = *encoded;
    return {};
  }

  E encoder_;
  Artist artist_;
  std::span<const std::byte> picture_;

  std::mutex mutex_;  // guards the three below
  std::condition_variable wake_;
  std::optional<Work> next_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace vumedia::backends::camera
