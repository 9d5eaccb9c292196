// Reports about a decode that was not entirely successful.
#pragma once

#include <vumedia/core/result.hpp>

#include "bitstream.hpp"
#include "commands.hpp"
#include "decoder.hpp"

namespace ctl {

// Why no frame came, after a run().
[[nodiscard]] std::unexpected<vumedia::Error> nothing_decoded(const Decoder& decoder,
                                                              const Bitstream& bitstream);

// Reports in one line on standard error which frames the device marked as damaged, which packets it refused,
// and what could not be read from the file.
[[nodiscard]] Status tell_damage(const Decoder& decoder, const Bitstream& bitstream);

}  // namespace ctl
