// The program of support/decoding.hpp for a guest in QEMU, whose shared memory is reached through a BAR.
#pragma once

#include "qemu/fixture.hpp"
#include "support/decoding.hpp"

namespace vumedia::qemu_test {

using test::Decoding;

}  // namespace vumedia::qemu_test
