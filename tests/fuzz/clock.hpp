// A CLOCK_MONOTONIC that stands still until a target moves it. clock.cpp puts it in the place of the C
// library's for the whole program; other clocks are not touched.
#pragma once

#include <vumedia/io/reactor.hpp>

namespace vumedia::fuzz {

// Never back.
void set_clock(io::TimePoint now) noexcept;

}  // namespace vumedia::fuzz
