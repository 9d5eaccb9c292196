// The program's commands. Each prints its results on standard output and reports in one line what went wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vumedia/core/result.hpp>

#include "device.hpp"

namespace ctl {

// The exit status. `failed` and `usage` come with the reason as an error.
enum class Status : int {
  ok = 0,
  failed = 1,   // the device cannot be reached, refuses, or gives what it must not
  usage = 2,    // a mistake on the command line
  damaged = 3,  // decoded, except for damage in the stream or in the device's output
};

[[nodiscard]] vumedia::Outcome<> print_info(Device& device);
[[nodiscard]] vumedia::Outcome<> list_formats(Device& device);
[[nodiscard]] vumedia::Outcome<> list_controls(Device& device);

struct CaptureOptions {
  std::string output;                 // a name that output_complaint() accepts; "-" is standard output
  std::string format;                 // fourcc; empty: the device's own
  std::string size;                   // WxH; empty: the device's own
  double rate = 0;                    // frames per second; 0: the device's own
  std::uint64_t count = 0;            // frames; 0: 1 for an image, otherwise 100
  std::vector<std::string> controls;  // NAME=VALUE, set first
};
[[nodiscard]] vumedia::Outcome<> capture(Device& device, const CaptureOptions& options);

// A jump during a decode.
struct Seek {
  std::uint64_t after = 10;  // frames
  double to = 0;  // seconds from the beginning; decoding continues at the key frame there or before
};

struct DecodeOptions {
  std::string input;
  std::string output;  // a name that output_complaint() accepts; empty: none
  std::string format;  // fourcc; empty: the first that the device offers and we can read
  bool md5 = false;
  bool compare = false;
  std::optional<Seek> seek;
};
// Reports by itself, in one line on standard error, what was damaged.
[[nodiscard]] vumedia::Outcome<Status> decode(Device& device, const DecodeOptions& options);

struct BenchOptions {
  std::uint64_t commands = 10000;
  std::uint64_t frames = 120;
  bool frames_wanted = false;  // the number was given
  std::string file;            // to decode; empty: none
};
[[nodiscard]] vumedia::Outcome<Status> bench(Device& device, const BenchOptions& options);

}  // namespace ctl
