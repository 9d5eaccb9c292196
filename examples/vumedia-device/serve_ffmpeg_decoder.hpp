// Serves the video decoder, on either reactor.
#pragma once

#include <memory>
#include <string>

#include <vumedia/backends/ffmpeg_decoder.hpp>

#include "environment.hpp"
#include "serve.hpp"

extern "C" {
#include <libavutil/log.h>
}

namespace vumedia::device {

template <io::Reactor Reactor>
int serve_ffmpeg_decoder(Environment& environment, Reactor& reactor) {
  note_unused_options(environment, {.planes = true, .decoder = true, .node = false});
  // Errors in a stream concern the guest. libavcodec would log them here, line by line, for as long as a
  // guest sends rubbish; the engine counts them.
  av_log_set_level(AV_LOG_QUIET);
  const DecoderLimits& limits = environment.options.limits;
  backends::FfmpegDecoderOptions decoder;
  if (environment.options.multiplanar) decoder.session.multiplanar = *environment.options.multiplanar;
  if (limits.threads != 0) decoder.session.engine.codec.threads = limits.threads;
  decoder.session.engine.codec.frame_threads = limits.frame_threads;
  if (limits.max_pixels != 0) decoder.session.engine.codec.max_pixels = limits.max_pixels;
  if (limits.max_buffer_bytes != 0) decoder.session.max_buffer_bytes = limits.max_buffer_bytes;
  if (limits.max_sessions != 0) decoder.max_sessions = limits.max_sessions;
  for (const std::string& name : environment.options.codecs) {
    const auto* const format = backends::ffmpeg::find_coded_format(name);
    if (format == nullptr || backends::ffmpeg::find_decoder(*format) == nullptr)
      return environment.fail(failure("libavcodec has no decoder for %s here", name.c_str()).error());
    decoder.codecs.push_back(format->fourcc);
  }
  // One set for all frontends: a session that ended in the middle of a picture finishes it there, and the
  // next frontend need not wait for it.
  decoder.workers = std::make_shared<backends::ffmpeg::Workers>(decoder.max_workers);
  return Service<backends::FfmpegDecoder, Reactor>(environment, reactor)
      .run(device_options(environment.options), decoder);
}

// In serve_ffmpeg_decoder_epoll.cpp.
extern template int serve_ffmpeg_decoder(Environment&, io::EpollReactor&);

}  // namespace vumedia::device
