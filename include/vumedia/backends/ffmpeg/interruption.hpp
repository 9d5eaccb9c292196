// How libavcodec is made to give up in the midst of a packet.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/error.h>
}

namespace vumedia::backends::ffmpeg {

// libavcodec has no function that ends a call under way. What it asks of its caller in the midst of a packet
// can be refused, though: memory for the next picture (its get_buffer2 is to ask stopped()), and that the
// slices of a picture be decoded (execute, execute2). What is left of a packet is then parsed, not decoded.
//
// It is AVCodecContext::opaque of a decoder and outlives it. stop(), go() and stopped(): any thread.
class Interruption {
 public:
  // `owner`: what the decoder's other callbacks want to find.
  explicit Interruption(void* owner) noexcept : owner_(owner) {}
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  [[nodiscard]] static Interruption& of(const AVCodecContext& context) noexcept {
    return *static_cast<Interruption*>(context.opaque);
  }
  [[nodiscard]] void* owner() const noexcept { return owner_; }

  void stop() noexcept { stopped_.store(true, std::memory_order_release); }
  void go() noexcept { stopped_.store(false, std::memory_order_release); }
  [[nodiscard]] bool stopped() const noexcept { return stopped_.load(std::memory_order_acquire); }

  // Who decodes slices: libavcodec's threads, if it has some, or the thread that sends packets.
  enum class Jobs : std::uint8_t { on_threads, here };

  // Before avcodec_open2(), for each thread that decodes frames gets a copy of the context then; and once
  // more after it, for with threads for slices libavcodec puts functions of its own in place.
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
  std::atomic<bool> stopped_{false};
  decltype(AVCodecContext::execute) inner_execute_ = nullptr;
  decltype(AVCodecContext::execute2) inner_execute2_ = nullptr;
};

}  // namespace vumedia::backends::ffmpeg
