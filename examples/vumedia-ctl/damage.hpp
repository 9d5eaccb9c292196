// What is said of a decode that did not go well in all parts.
#pragma once

#include <vumedia/core/result.hpp>

#include "bitstream.hpp"
#include "commands.hpp"
#include "decoder.hpp"

namespace ctl {

// Why no frame came, after a run().
[[nodiscard]] std::unexpected<vumedia::Error> nothing_decoded(const Decoder& decoder,
                                                              const Bitstream& bitstream);

// Says in one line on standard error what the device marked as damaged and what it refused, which of them,
// and what of the file could not be read.
[[nodiscard]] Status tell_damage(const Decoder& decoder, const Bitstream& bitstream);

}  // namespace ctl
