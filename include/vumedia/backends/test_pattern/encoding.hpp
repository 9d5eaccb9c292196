// What an encoder for the test pattern camera has to be: the same as for any camera, under the names that it
// has here.
#pragma once

#include <vumedia/backends/camera/encoding.hpp>

namespace vumedia::backends::test_pattern {

using camera::Easel;
using camera::NoEncoder;

/// What a camera of the test pattern takes to offer compressed frames.
template <class E>
concept Encoder = camera::Encoder<E>;

}  // namespace vumedia::backends::test_pattern
