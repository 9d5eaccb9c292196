// Makes libavcodec give up in the middle of a packet.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/error.h>
}

namespace vumedia::backends::ffmpeg {

/// Whether libavcodec should give up what it is doing. Any thread may use it.
class StopFlag {
 public:
  /// What libavcodec should do from now on.
  ///@{
  void stop() noexcept { stopped_.store(true, std::memory_order_release); }
  void go() noexcept { stopped_.store(false, std::memory_order_release); }
  ///@}
  /// Whether it should give up.
  [[nodiscard]] bool stopped() const noexcept { return stopped_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> stopped_{false};
};

/// libavcodec has no function that ends a running call. But its requests to the caller in the middle of a
/// packet can be refused: memory for the next picture (the caller's get_buffer2 must check stopped()), and
/// the decoding of a picture's slices (execute, execute2). The rest of the packet is then parsed, but not
/// decoded.
///
/// It is AVCodecContext::opaque of a decoder and outlives it. Any thread may call stopped().
class Interruption {
 public:
  /// `owner`: the object that the decoder's other callbacks need. `flag` outlives this object.
  Interruption(void* owner, const StopFlag& flag) noexcept : owner_(owner), flag_(flag) {}
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  /// That of a decoder whose context it was attached to.
  [[nodiscard]] static Interruption& of(const AVCodecContext& context) noexcept {
    return *static_cast<Interruption*>(context.opaque);
  }
  /// As it was constructed with.
  [[nodiscard]] void* owner() const noexcept { return owner_; }

  /// Whether libavcodec should give up.
  [[nodiscard]] bool stopped() const noexcept { return flag_.stopped(); }

  /// Who decodes slices: libavcodec's threads, if there are any, or the thread that sends packets.
  enum class Jobs : std::uint8_t { on_threads, here };

  /// To be called before avcodec_open2(), because each thread that decodes frames then gets a copy of the
  /// context; and again after it, because with threads for slices libavcodec installs functions of its own.
  void attach(AVCodecContext& context, Jobs jobs = Jobs::on_threads) noexcept {
    context.opaque = this;
    // Threads for frames read them from the moment they exist.
    if (context.execute == &Interruption::execute && context.execute2 == &Interruption::execute2) return;
    inner_execute_ = jobs == Jobs::here ? &avcodec_default_execute : context.execute;
    inner_execute2_ = jobs == Jobs::here ? &avcodec_default_execute2 : context.execute2;
    context.execute = &Interruption::execute;
    context.execute2 = &Interruption::execute2;
  }

 private:
  using Job = int(AVCodecContext*, void*);
  using NumberedJob = int(AVCodecContext*, void*, int, int);

  static int refuse(int* results, int count) noexcept {
    if (results != nullptr) std::fill_n(results, count, AVERROR_EXIT);
    return AVERROR_EXIT;
  }
  static int execute(AVCodecContext* context, Job* job, void* arguments, int* results, int count, int size) {
    const Interruption& self = of(*context);
    if (self.stopped()) return refuse(results, count);
    return self.inner_execute_(context, job, arguments, results, count, size);
  }
  static int execute2(AVCodecContext* context, NumberedJob* job, void* argument, int* results, int count) {
    const Interruption& self = of(*context);
    if (self.stopped()) return refuse(results, count);
    return self.inner_execute2_(context, job, argument, results, count);
  }

  void* const owner_;
  const StopFlag& flag_;
  decltype(AVCodecContext::execute) inner_execute_ = nullptr;
  decltype(AVCodecContext::execute2) inner_execute2_ = nullptr;
};

}  // namespace vumedia::backends::ffmpeg
