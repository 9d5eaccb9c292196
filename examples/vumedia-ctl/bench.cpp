// The bench command: measures what commands and frames cost, here and in the process at the other end.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <optional>
#include <vector>

#include "capture.hpp"
#include "commands.hpp"
#include "peer.hpp"
#include "progress.hpp"
#ifdef VUMEDIA_FFMPEG
#include "bitstream.hpp"
#include "damage.hpp"
#include "decoder.hpp"
#endif

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::Outcome;
namespace tag = vumedia::v4l2::tag;
using Clock = std::chrono::steady_clock;

// The other process's use of this machine between two points in time.
class Meter {
 public:
  explicit Meter(const std::optional<Peer>& peer) : peer_(peer) { start(); }
  void start() {
    started_ = Clock::now();
    if (peer_) before_ = peer_->usage();
  }
  void stop() {
    seconds_ = std::chrono::duration<double>(Clock::now() - started_).count();
    if (peer_) after_ = peer_->usage();
  }
  [[nodiscard]] double seconds() const { return seconds_; }

  // Prints one line for each figure, per `what`.
  void print(std::uint64_t count, const char* what) const {
    if (!peer_ || count == 0) return;
    const auto each = [&](std::int64_t before, std::int64_t after, double unit) {
      return static_cast<double>(after - before) / unit / static_cast<double>(count);
    };
    if (before_.cpu_ns >= 0 && after_.cpu_ns >= 0) {
      std::printf("  CPU time of the device process: %.2f us per %s\n",
                  each(before_.cpu_ns, after_.cpu_ns, 1000), what);
    }
    if (before_.system_calls >= 0 && after_.system_calls >= 0) {
      std::printf("  its system calls: %.2f per %s\n", each(before_.system_calls, after_.system_calls, 1),
                  what);
    }
    if (before_.context_switches >= 0 && after_.context_switches >= 0) {
      std::printf("  its context switches: %.2f per %s\n",
                  each(before_.context_switches, after_.context_switches, 1), what);
    }
  }

 private:
  const std::optional<Peer>& peer_;
  Clock::time_point started_;
  Usage before_;
  Usage after_;
  double seconds_ = 0;
};

void print_threads(const std::optional<Peer>& peer) {
  if (!peer) return;
  std::map<std::string, unsigned> names;
  std::size_t total = 0;
  for (const auto& name : peer->threads()) ++names[name], ++total;
  std::printf("  its threads: %zu (", total);
  const char* separator = "";
  for (const auto& [name, count] : names) {
    std::printf("%s%s", separator, name.c_str());
    if (count > 1) std::printf(" x%u", count);
    separator = ", ";
  }
  std::printf(")\n");
}

// One round trip of a V4L2 command.
Outcome<> bench_commands(Device& device, std::uint64_t count, const std::optional<Peer>& peer) {
  v4l2_format format{};
  const std::uint32_t type = device.capture_type() != 0 ? device.capture_type() : device.output_type();
  const auto round_trip = [&]() -> Outcome<> {
    format = {};
    format.type = type != 0 ? type : std::uint32_t{V4L2_BUF_TYPE_VIDEO_CAPTURE};
    // A device that refuses the ioctl has still answered it; one that is gone has not.
    static_cast<void>(device.try_call<tag::G_FMT>(format));
    return device.alive();
  };
  for (std::uint64_t index = 0; index < std::min<std::uint64_t>(count, 200); ++index) {
    if (auto done = round_trip(); !done) return done;
  }
  std::vector<std::int64_t> times(count);
  Meter meter(peer);
  for (auto& time : times) {
    const auto before = Clock::now();
    if (auto done = round_trip(); !done) return done;
    time = std::chrono::nanoseconds(Clock::now() - before).count();
  }
  meter.stop();
  std::ranges::sort(times);
  const auto percentile = [&](double share) {
    const auto index = static_cast<std::size_t>(share * static_cast<double>(times.size() - 1));
    return static_cast<double>(times[index]) / 1000;
  };
  std::printf("VIDIOC_G_FMT, %llu round trips: %.0f per second\n", static_cast<unsigned long long>(count),
              static_cast<double>(count) / meter.seconds());
  std::printf("  latency in us: %.1f minimum, %.1f median, %.1f 90 %%, %.1f 99 %%, %.1f maximum\n",
              percentile(0), percentile(0.5), percentile(0.9), percentile(0.99), percentile(1));
  meter.print(count, "command");
  return {};
}

Outcome<> bench_capture(Device& device, std::uint64_t count, const std::optional<Peer>& peer) {
  Layout seen;
  std::uint64_t frames = 0;
  Progress progress("captured", count);
  Meter meter(peer);
  auto done = stream_frames(device, count, [&](const Layout& layout, const Queue::Filled&) -> Outcome<> {
    seen = layout;
    progress.update(++frames);
    return {};
  });
  meter.stop();
  progress.clear();
  if (!done) return done;
  std::printf("capture of %ux%u %s, %llu frames: %.2f per second\n", seen.width, seen.height,
              fourcc_text(seen.fourcc).c_str(), static_cast<unsigned long long>(frames),
              static_cast<double>(frames) / meter.seconds());
  meter.print(frames, "frame");
  return {};
}

#ifdef VUMEDIA_FFMPEG
Outcome<Status> bench_decode(Device& device, const std::string& file, const std::optional<Peer>& peer) {
  const auto input = Input::open(file, false);
  if (!input) return std::unexpected(input.error());
  auto bitstream = Bitstream::open(*input);
  if (!bitstream) return std::unexpected(bitstream.error());
  Decoder decoder(device, *bitstream, 0);
  std::uint64_t frames = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  Progress progress("decoded");
  Meter meter(peer);
  auto done = decoder.run([&](const Picture& picture, const FrameNote&) -> Outcome<> {
    width = picture.width;
    height = picture.height;
    progress.update(++frames);
    return {};
  });
  meter.stop();
  progress.clear();
  if (!done) return std::unexpected(done.error());
  if (frames == 0) return nothing_decoded(decoder, *bitstream);
  std::printf("decode of %s, %ux%u from %s, %llu frames: %.1f per second\n", file.c_str(), width, height,
              bitstream->codec_name(), static_cast<unsigned long long>(frames),
              static_cast<double>(frames) / meter.seconds());
  meter.print(frames, "frame");
  return tell_damage(decoder, *bitstream);
}
#else
Outcome<Status> bench_decode(Device&, const std::string&, const std::optional<Peer>&) {
  return failure("cannot decode: this vumedia-ctl was built without FFmpeg");
}
#endif

}  // namespace

Outcome<Status> bench(Device& device, const BenchOptions& options) {
  if (options.frames_wanted && !device.is_camera()) {
    return failure("--frames has no meaning for %s, which is not a camera; leave it out%s",
                   device.card().c_str(), device.is_decoder() ? ", or name a FILE to decode" : "");
  }
  std::optional<Peer> peer;
  if (auto found = Peer::of_socket(device.socket())) {
    peer.emplace(std::move(*found));
    std::printf("device process: %s (%d)\n", peer->name().c_str(), static_cast<int>(peer->pid()));
    if (const auto counting = peer->count_system_calls(); !counting) {
      std::printf("  system calls cannot be counted here (%s)\n", counting.error().message.c_str());
    }
  } else {
    std::printf("%s: only what is visible from here is measured\n", found.error().message.c_str());
  }
  if (options.commands != 0) {
    if (auto done = bench_commands(device, options.commands, peer); !done)
      return std::unexpected(done.error());
  }
  Outcome<Status> status = Status::ok;
  if (!options.file.empty()) {
    status = bench_decode(device, options.file, peer);
    if (!status) return status;
  } else if (device.is_camera() && options.frames != 0) {
    if (auto done = bench_capture(device, options.frames, peer); !done) return std::unexpected(done.error());
  }
  print_threads(peer);
  return status;
}

}  // namespace ctl
