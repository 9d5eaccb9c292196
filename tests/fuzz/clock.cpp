#include "fuzz/clock.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <ctime>

#include <sys/syscall.h>
#include <unistd.h>

namespace {

// Ten seconds, so that nothing lies before the beginning.
std::atomic<std::int64_t> nanoseconds{std::int64_t{10} * 1'000'000'000};

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* to) noexcept {
  if (clock != CLOCK_MONOTONIC) return static_cast<int>(::syscall(SYS_clock_gettime, clock, to));
  const std::int64_t now = nanoseconds.load(std::memory_order_relaxed);
  *to = {.tv_sec = now / 1'000'000'000, .tv_nsec = now % 1'000'000'000};
  return 0;
}

namespace vumedia::fuzz {

void set_clock(io::TimePoint now) noexcept {
  const std::int64_t wanted = std::chrono::nanoseconds(now.time_since_epoch()).count();
  nanoseconds.store(std::max(wanted, nanoseconds.load(std::memory_order_relaxed)), std::memory_order_relaxed);
}

}  // namespace vumedia::fuzz
