// How long tests wait for what has to come.
#pragma once

#include <chrono>

#include <sys/time.h>

namespace vumedia::test {

// It ends a test that would hang, and decides nothing: under a sanitizer, on a machine with thirty others at
// work, a thread may take many seconds for milliseconds of work.
inline constexpr std::chrono::seconds patience{120};

// The same for poll(2), and for a socket's waits (SO_RCVTIMEO).
inline constexpr int poll_patience = static_cast<int>(std::chrono::milliseconds(patience).count());
inline constexpr timeval socket_patience{.tv_sec = patience.count(), .tv_usec = 0};

}  // namespace vumedia::test
