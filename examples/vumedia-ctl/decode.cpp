// The decode command: frames from a device to files, checksums, and a comparison with libavcodec's own.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>

#include "bitstream.hpp"
#include "commands.hpp"
#include "decoder.hpp"
#include "progress.hpp"
#include "writers.hpp"

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::format_text;
using vumedia::Outcome;

// Where two pictures differ first, in words; nothing if they do not.
std::optional<std::string> difference(const Picture& device, const Picture& reference) {
  if (device.width != reference.width || device.height != reference.height) {
    return format_text("the device's is %ux%u, libavcodec's %ux%u", device.width, device.height,
                       reference.width, reference.height);
  }
  if (device.plane_count() != reference.plane_count() || device.shift_x != reference.shift_x ||
      device.shift_y != reference.shift_y) {
    return std::string("their chroma is sampled differently");
  }
  if (device.bits != reference.bits) {
    return format_text("the device's has %u bits a sample, libavcodec's %u", device.bits, reference.bits);
  }
  for (std::uint32_t plane = 0; plane < device.plane_count(); ++plane) {
    const std::size_t width = device.plane_width(plane);
    for (std::size_t y = 0; y < device.plane_height(plane); ++y) {
      const Plane& a = device.planes[plane];
      const Plane& b = reference.planes[plane];
      if (a.step == 1 && b.step == 1 && std::memcmp(a.at(0, y), b.at(0, y), width) == 0) continue;
      for (std::size_t x = 0; x < width; ++x) {
        const std::uint32_t ours = device.sample(plane, x, y);
        const std::uint32_t theirs = reference.sample(plane, x, y);
        if (ours == theirs) continue;
        constexpr const char* names[] = {"Y", "Cb", "Cr"};
        return format_text("%s at %zu,%zu is %u, libavcodec's %u", names[plane], x, y, ours, theirs);
      }
    }
  }
  return std::nullopt;
}

// Everything that happens to a frame.
class Frames {
 public:
  [[nodiscard]] Outcome<> prepare(const DecodeOptions& options, Fraction rate) {
    const std::string_view output = options.output;
    output_ = options.output;
    seek_ = options.seek;
    if (output.ends_with(".png")) {
      sheet_.emplace();
    } else if (!output.empty()) {
      auto file = OutputFile::create(options.output);
      if (!file) return std::unexpected(file.error());
      if (output.ends_with(".y4m")) {
        video_.emplace(std::move(*file), rate);
      } else {
        raw_.emplace(std::move(*file));
      }
    }
    if (options.md5) {
      auto checksum = Checksum::create();
      if (!checksum) return std::unexpected(checksum.error());
      checksum_.emplace(std::move(*checksum));
    }
    if (options.compare) {
      auto reference = ReferenceDecoder::open(options.input);
      if (!reference) return std::unexpected(reference.error());
      reference_.emplace(std::move(*reference));
    }
    return {};
  }

  [[nodiscard]] Outcome<> add(const Picture& picture) {
    width = picture.width;
    height = picture.height;
    if (reference_) {
      if (auto done = compare(picture); !done) return done;
    }
    if (checksum_) checksum_->add(picture);
    if (sheet_) sheet_->add(picture);
    if (video_) {
      if (auto done = video_->add(picture); !done) return done;
    }
    if (raw_) {
      bytes_.clear();
      append_planar(picture, bytes_);
      if (auto done = raw_->write(bytes_); !done) return done;
    }
    ++count;
    if (reference_ && seek_ && count == seek_->after) return reference_->seek(seek_->to);
    return {};
  }

  [[nodiscard]] Outcome<> finish() {
    if (video_) {
      if (auto done = video_->finish(); !done) return done;
    }
    if (raw_) {
      if (auto done = raw_->close(); !done) return done;
    }
    if (sheet_) {
      if (auto done = sheet_->write(output_); !done) return done;
    }
    if (reference_ && first_difference.empty()) {
      auto more = reference_->next();
      if (!more) return std::unexpected(more.error());
      if (*more)
        first_difference = format_text("the device ends after %llu frames, libavcodec goes on",
                                       static_cast<unsigned long long>(count));
    }
    if (checksum_) md5 = checksum_->text();
    return {};
  }

  std::uint64_t count = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::string md5;
  std::string first_difference;

 private:
  [[nodiscard]] Outcome<> compare(const Picture& picture) {
    if (!first_difference.empty()) return {};
    auto reference = reference_->next();
    if (!reference) return std::unexpected(reference.error());
    if (!*reference) {
      first_difference = format_text("libavcodec ends after %llu frames, the device goes on",
                                     static_cast<unsigned long long>(count));
    } else if (const auto found = difference(picture, **reference)) {
      first_difference =
          format_text("frame %llu: %s", static_cast<unsigned long long>(count), found->c_str());
    }
    return {};
  }

  std::string output_;
  std::optional<Seek> seek_;
  std::optional<Y4mWriter> video_;
  std::optional<OutputFile> raw_;
  std::optional<ContactSheet> sheet_;
  std::optional<Checksum> checksum_;
  std::optional<ReferenceDecoder> reference_;
  std::vector<std::byte> bytes_;
};

}  // namespace

Outcome<> decode(Device& device, const DecodeOptions& options) {
  const std::uint32_t fourcc = parse_fourcc(options.format);
  if (!options.format.empty() && !is_known(fourcc)) {
    return failure("frames of format %s cannot be read here", options.format.c_str());
  }
  auto bitstream = Bitstream::open(options.input);
  if (!bitstream) return std::unexpected(bitstream.error());
  Frames frames;
  if (auto done = frames.prepare(options, bitstream->rate()); !done) return done;
  Decoder decoder(device, *bitstream, fourcc);
  if (options.seek) decoder.seek(*options.seek);
  Progress progress("decoded");
  const auto started = std::chrono::steady_clock::now();
  auto done = decoder.run([&](const Picture& picture) {
    auto added = frames.add(picture);
    progress.update(frames.count);
    return added;
  });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  progress.clear();
  if (done) done = frames.finish();
  if (!done) return done;

  std::FILE* const report = options.output == "-" ? stderr : stdout;
  std::fprintf(report, "%s: %llu frames of %ux%u %s from %s in %.2f s, %.1f frames a second\n",
               options.input.c_str(), static_cast<unsigned long long>(frames.count), frames.width,
               frames.height, fourcc_text(decoder.frame_format()).c_str(), bitstream->codec_name(), seconds,
               seconds > 0 ? static_cast<double>(frames.count) / seconds : 0);
  const auto note = [&](std::uint64_t count, const char* what) {
    if (count != 0) std::fprintf(report, "%s: %llu\n", what, static_cast<unsigned long long>(count));
  };
  note(decoder.resolution_changes(), "resolution changes");
  note(decoder.stale_frames(), "frames dropped at the seek");
  note(decoder.damaged_frames(), "frames marked as damaged");
  note(decoder.damaged_packets(), "packets marked as damaged");
  if (options.md5) std::fprintf(report, "md5: %s\n", frames.md5.c_str());
  if (options.compare) {
    if (!frames.first_difference.empty())
      return failure("not bit-exact: %s", frames.first_difference.c_str());
    std::fprintf(report, "bit-exact\n");
  }
  return {};
}

}  // namespace ctl
