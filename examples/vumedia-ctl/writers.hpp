// The outputs for frames: y4m files, raw files, PNG images, contact sheets, checksums. Each reports in one
// line what failed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <vumedia/core/result.hpp>

#include "picture.hpp"

struct AVMD5;

namespace ctl {

struct Fraction {
  std::uint32_t numerator = 0;
  std::uint32_t denominator = 1;
};

// A file that is written from front to back; "-" is standard output. `close` reports whether everything was
// written.
class OutputFile {
 public:
  [[nodiscard]] static vumedia::Outcome<OutputFile> create(const std::string& path);
  [[nodiscard]] vumedia::Outcome<> write(std::span<const std::byte> bytes);
  [[nodiscard]] vumedia::Outcome<> close();

 private:
  struct Close {
    void operator()(std::FILE* file) const noexcept {
      if (file != stdout) std::fclose(file);
    }
  };
  OutputFile(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  [[nodiscard]] std::unexpected<vumedia::Error> write_failure() const;

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

// YUV4MPEG2. All frames must have the size and depth of the first; a different one is an error, because the
// format has no place for it.
class Y4mWriter {
 public:
  // `rate` in frames per second; a 0 in it means unknown.
  Y4mWriter(OutputFile file, Fraction rate) : file_(std::move(file)), rate_(rate) {}
  [[nodiscard]] vumedia::Outcome<> add(const Picture& picture);
  [[nodiscard]] vumedia::Outcome<> finish() { return file_.close(); }

 private:
  OutputFile file_;
  Fraction rate_;
  std::vector<std::byte> frame_;
  std::uint32_t width_ = 0;
  std::uint32_t height_ = 0;
  std::uint32_t bits_ = 0;
};

// The picture at its own size. Fails in a build without FFmpeg.
[[nodiscard]] vumedia::Outcome<> write_png(const std::string& path, const Picture& picture);
// Packed RGB, three bytes per pixel.
[[nodiscard]] vumedia::Outcome<> write_png(const std::string& path, std::uint32_t width, std::uint32_t height,
                                           std::span<const std::uint8_t> rgb);

// Thumbnails of frames spread evenly over a stream of unknown length, with their times under them: when the
// sheet is full, every second one is removed and the distance between the others doubles. If there is more
// than one row, all rows are full: some of the frames are left out for that.
class ContactSheet {
 public:
  static constexpr std::size_t columns = 6;
  static constexpr std::size_t rows = 5;
  static constexpr std::uint32_t cell_width = 240;

  // `seconds`: the time from the beginning at which it is shown.
  void add(const Picture& picture, double seconds);
  [[nodiscard]] vumedia::Outcome<> write(const std::string& path) const;
  // The sheet has one in `distance()` of the frames that were added.
  [[nodiscard]] std::size_t count() const noexcept { return cells_.size(); }
  [[nodiscard]] std::uint64_t distance() const noexcept { return distance_; }

 private:
  struct Cell {
    std::uint32_t height = 0;
    double seconds = 0;
    std::vector<std::uint8_t> rgb;
  };
  std::vector<Cell> cells_;
  std::uint64_t distance_ = 1;
  std::uint64_t seen_ = 0;
};

// MD5 of all frames as planar 4:2:0 (or whatever the subsampling is), Y, then Cb, then Cr, visible size.
class Checksum {
 public:
  [[nodiscard]] static vumedia::Outcome<Checksum> create();
  void add(const Picture& picture);
  // Returns the checksum in hexadecimal, and ends it.
  [[nodiscard]] std::string text();

 private:
  struct Free {
    void operator()(AVMD5* state) const noexcept;
  };
  std::unique_ptr<AVMD5, Free> state_;
  std::vector<std::byte> frame_;
};

}  // namespace ctl
