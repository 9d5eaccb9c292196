// What orders a decoder's threads.
#pragma once

#include <condition_variable>
#include <mutex>

namespace vumedia::backends::ffmpeg {

/// The mutex of what the loop and the worker share, and the signal that there may be something to do for the
/// worker. Lent buffers keep it alive, because libavcodec may release them on any thread.
struct Monitor {
  std::mutex mutex;                 ///< guards all that is shared
  std::condition_variable changed;  ///< there may be something to do for the worker
};

}  // namespace vumedia::backends::ffmpeg
