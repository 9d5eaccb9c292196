// The decode command: writes frames from a device to files, computes checksums, and compares the frames with
// libavcodec's own.
#include <chrono>
#include <cstdio>
#include <optional>

#include "bitstream.hpp"
#include "commands.hpp"
#include "comparison.hpp"
#include "damage.hpp"
#include "decoder.hpp"
#include "outputs.hpp"
#include "progress.hpp"
#include "writers.hpp"

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::format_text;
using vumedia::Outcome;

// Everything that is done with a frame.
class Frames {
 public:
  // `refused`: for the comparison.
  [[nodiscard]] Outcome<> prepare(const DecodeOptions& options, const Input& input, Fraction rate,
                                  Comparison::Refused refused) {
    const OutputKind kind = output_kind(options.output);
    rate_ = rate;
    input_ = options.input;
    output_ = options.output;
    seek_ = options.seek;
    if (kind == OutputKind::png) {
      images_ = ImageNames::of(output_);
      if (!images_) sheet_.emplace();
    } else if (kind != OutputKind::none) {
      auto file = OutputFile::create(options.output);
      if (!file) return std::unexpected(file.error());
      if (kind == OutputKind::y4m) {
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
      auto reference = ReferenceDecoder::open(input);
      if (!reference) return std::unexpected(reference.error());
      comparison.emplace(std::move(*reference), std::move(refused));
    }
    return {};
  }

  [[nodiscard]] Outcome<> add(const Picture& picture, const FrameNote& note) {
    width = picture.width;
    height = picture.height;
    if (comparison) {
      if (auto done = comparison->add(picture, note); !done) return done;
    }
    if (checksum_) checksum_->add(picture);
    if (sheet_) sheet_->add(picture, note.seconds.value_or(by_count()));
    if (images_) {
      const std::string name = images_->name(count);
      if (auto kept = keep_input(input_, name); !kept) return kept;
      if (auto kept = keep_open_files(name); !kept) return kept;
      if (auto done = write_png(name, picture); !done) return done;
    }
    if (video_) {
      if (auto done = video_->add(picture); !done) return done;
    }
    if (raw_) {
      const bool is_i420 =
          picture.model == Model::yuv && picture.bits == 8 && picture.shift_x == 1 && picture.shift_y == 1;
      if (promised_format(output_) != 0 && !is_i420) {
        return failure(
            "frame %llu is not 8-bit 4:2:0, which %s promises; a name such as FILE.yuv promises less",
            static_cast<unsigned long long>(count), output_.c_str());
      }
      bytes_.clear();
      append_planar(picture, bytes_);
      if (auto done = raw_->write(bytes_); !done) return done;
    }
    ++count;
    if (comparison && seek_ && count == seek_->after) return comparison->seek(seek_->to);
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
    if (comparison) {
      if (auto done = comparison->finish(); !done) return done;
    }
    if (checksum_) md5 = checksum_->text();
    return {};
  }

  std::uint64_t count = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::string md5;
  std::optional<Comparison> comparison;

 private:
  // The time of a frame in a stream without time stamps.
  [[nodiscard]] double by_count() const {
    const bool rated = rate_.numerator != 0 && rate_.denominator != 0;
    return static_cast<double>(count) * (rated ? rate_.denominator : 1) / (rated ? rate_.numerator : 25);
  }

  Fraction rate_;
  std::string input_;
  std::string output_;
  std::optional<ImageNames> images_;
  std::optional<Seek> seek_;
  std::optional<Y4mWriter> video_;
  std::optional<OutputFile> raw_;
  std::optional<ContactSheet> sheet_;
  std::optional<Checksum> checksum_;
  std::vector<std::byte> bytes_;
};

void note(std::FILE* report, std::uint64_t count, const char* what) {
  if (count != 0) std::fprintf(report, "%s: %llu\n", what, static_cast<unsigned long long>(count));
}
void note(std::FILE* report, const Positions& positions, const char* what) {
  if (positions.count() == 0) return;
  std::fprintf(report, "%s: %llu (%s)\n", what, static_cast<unsigned long long>(positions.count()),
               positions.text().c_str());
}

}  // namespace

Outcome<Status> decode(Device& device, const DecodeOptions& options) {
  const std::uint32_t fourcc = parse_fourcc(options.format);
  const auto input = Input::open(options.input, options.compare || options.seek.has_value());
  if (!input) return std::unexpected(input.error());
  auto bitstream = Bitstream::open(*input);
  if (!bitstream) return std::unexpected(bitstream.error());
  if (auto kept = keep_open_files(options.output); !kept) return std::unexpected(kept.error());
  Decoder decoder(device, *bitstream, fourcc);
  Frames frames;
  const auto refused = [&decoder](std::uint64_t packet) { return decoder.refused(packet); };
  if (auto done = frames.prepare(options, *input, bitstream->rate(), refused); !done)
    return std::unexpected(done.error());
  if (options.seek) decoder.seek(*options.seek);
  Progress progress("decoded");
  const auto started = std::chrono::steady_clock::now();
  auto done = decoder.run([&](const Picture& picture, const FrameNote& frame) {
    auto added = frames.add(picture, frame);
    progress.update(frames.count);
    return added;
  });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  progress.clear();
  if (!done) return std::unexpected(done.error());
  if (frames.count == 0) return nothing_decoded(decoder, *bitstream);
  done = frames.finish();
  if (!done) return std::unexpected(done.error());

  std::FILE* const report = report_beside(options.output);
  std::fprintf(report, "%s: %llu frames of %ux%u %s from %s in %.2f s, %.1f frames per second\n",
               input->name().c_str(), static_cast<unsigned long long>(frames.count), frames.width,
               frames.height, fourcc_text(decoder.frame_format()).c_str(), bitstream->codec_name(), seconds,
               seconds > 0 ? static_cast<double>(frames.count) / seconds : 0);
  note(report, decoder.resolution_changes(), "resolution changes");
  note(report, decoder.stale_frames(), "frames dropped at the seek");
  note(report, decoder.hidden_frames(), "frames decoded but not to be shown");
  note(report, decoder.damaged_frames(), "frames marked as damaged");
  note(report, decoder.refused_packets(), "packets refused");
  note(report, bitstream->unreadable_packets(), "unreadable packets skipped");
  if (!bitstream->cut_short().empty())
    std::fprintf(report, "the file ends early: %s\n", bitstream->cut_short().c_str());
  if (decoder.resolution_changes() == 0 && bitstream->width() != 0 &&
      (bitstream->width() != frames.width || bitstream->height() != frames.height)) {
    std::fprintf(report, "the container says %ux%u, but its cropping is not applied here\n",
                 bitstream->width(), bitstream->height());
  }
  if (options.md5) std::fprintf(report, "md5: %s\n", frames.md5.c_str());
  if (frames.comparison) {
    const Comparison& comparison = *frames.comparison;
    note(report, comparison.refused_frames(), "frames of refused packets, not compared");
    note(report, comparison.damaged_that_differ(), "damaged frames that differ");
    note(report, comparison.later_that_differ(), "frames after damage that differ");
    if (!comparison.first_difference().empty())
      return failure("not bit-exact: %s", comparison.first_difference().c_str());
    const bool all_alike = comparison.damaged_that_differ() == 0 && comparison.later_that_differ() == 0;
    std::fprintf(report, all_alike ? "bit-exact\n" : "bit-exact except for damage\n");
  }
  return tell_damage(decoder, *bitstream);
}

}  // namespace ctl
