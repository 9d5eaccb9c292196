// Needs the component `ffmpeg`, or vumedia-ffmpeg.pc: uses the smallest of the decoder's headers that calls
// libavcodec.
#include <vumedia/backends/ffmpeg/codec.hpp>

int main() {
  return avcodec_version() != 0 ? 0 : 1;
}
