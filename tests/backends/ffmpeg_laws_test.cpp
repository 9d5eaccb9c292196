#include <vumedia/backends/ffmpeg_decoder.hpp>

#include "backends/backend_laws.hpp"

namespace vumedia::backends::test {

INSTANTIATE_TYPED_TEST_SUITE_P(FfmpegDecoder, BackendLaws, FfmpegDecoder);

}  // namespace vumedia::backends::test
