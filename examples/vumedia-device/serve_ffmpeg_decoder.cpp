#include "serve_ffmpeg_decoder.hpp"

#include "backends.hpp"

namespace vumedia::device {

const BackendEntry ffmpeg_decoder_entry = {
    .name = "ffmpeg-decoder",
    .alias = nullptr,
    .description = "a video decoder: H.264, HEVC, VP8, VP9, AV1, MPEG-2, JPEG",
    .serve_on_io_uring = serve_ffmpeg_decoder,
    .serve_on_epoll = serve_ffmpeg_decoder,
};

}  // namespace vumedia::device
