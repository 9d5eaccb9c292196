// What libavutil's reference counts order: all that a thread did before it made a buffer (av_buffer_create)
// comes before the call that frees it, on whatever thread that is. libavutil is not built with the thread
// sanitizer, which therefore does not see its atomics, and is told here.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define VUMEDIA_TELLS_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VUMEDIA_TELLS_THREAD_SANITIZER
#endif
#endif

#ifdef VUMEDIA_TELLS_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

namespace vumedia::backends::ffmpeg {

/// Before av_buffer_create: `opaque`, which may be null, is complete.
inline void before_references([[maybe_unused]] void* opaque) noexcept {
#ifdef VUMEDIA_TELLS_THREAD_SANITIZER
  if (opaque != nullptr) __tsan_release(opaque);
#endif
}
/// First of all in the function that frees the buffer.
inline void after_references([[maybe_unused]] void* opaque) noexcept {
#ifdef VUMEDIA_TELLS_THREAD_SANITIZER
  __tsan_acquire(opaque);
#endif
}

}  // namespace vumedia::backends::ffmpeg

#undef VUMEDIA_TELLS_THREAD_SANITIZER
