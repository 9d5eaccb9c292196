#include "writers.hpp"

#include <algorithm>
#include <cerrno>

#include <unistd.h>

#include "label.hpp"
#include "outputs.hpp"

namespace ctl {

using vumedia::failure;
using vumedia::format_text;
using vumedia::Outcome;
using vumedia::system_failure;

Outcome<OutputFile> OutputFile::create(const std::string& path) {
  if (is_standard_output(path)) {
    if (::isatty(STDOUT_FILENO) != 0) return failure("frames are not written to a terminal: name a file");
    return OutputFile("standard output", stdout);
  }
  std::FILE* const file = std::fopen(path.c_str(), "wbe");
  if (file == nullptr) return system_failure(errno, "cannot create %s", path.c_str());
  if (::isatty(::fileno(file)) != 0) {
    std::fclose(file);
    return failure("frames are not written to a terminal, which %s is: name a file", path.c_str());
  }
  return OutputFile(path, file);
}

std::unexpected<vumedia::Error> OutputFile::write_failure() const {
  return system_failure(errno, "cannot write %s", path_.c_str());
}

Outcome<> OutputFile::write(std::span<const std::byte> bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) return write_failure();
  return {};
}

Outcome<> OutputFile::close() {
  if (std::fflush(file_.get()) != 0) return write_failure();
  std::FILE* const file = file_.release();
  if (file != stdout && std::fclose(file) != 0) return write_failure();
  return {};
}

Outcome<> Y4mWriter::add(const Picture& picture) {
  if (width_ == 0) {
    width_ = picture.width;
    height_ = picture.height;
    std::string colours = "444";
    if (picture.model == Model::grey) {
      colours = "mono";
    } else if (picture.shift_x == 1) {
      colours = picture.shift_y == 1 ? "420" : "422";
    } else if (picture.shift_x == 2) {
      colours = "411";
    }
    bits_ = picture.bits;
    // The chroma siting must be named for 8 bits, and cannot be named for more.
    if (bits_ > 8) {
      colours += format_text("p%u", bits_);
    } else if (colours == "420") {
      colours += "mpeg2";
    }
    const bool rated = rate_.numerator != 0 && rate_.denominator != 0;
    const std::string header =
        format_text("YUV4MPEG2 W%u H%u F%u:%u Ip A0:0 C%s XCOLORRANGE=%s\n", width_, height_,
                    rated ? rate_.numerator : 25, rated ? rate_.denominator : 1, colours.c_str(),
                    picture.full_range && picture.model != Model::rgb ? "FULL" : "LIMITED");
    if (const auto written = file_.write(std::as_bytes(std::span(header))); !written) return written;
  }
  if (picture.width != width_ || picture.height != height_) {
    return failure("the picture changes from %ux%u to %ux%u, which a y4m file cannot hold", width_, height_,
                   picture.width, picture.height);
  }
  if (picture.bits != bits_) {
    return failure("the picture changes from %u to %u bits per sample, which a y4m file cannot hold", bits_,
                   picture.bits);
  }
  constexpr std::string_view mark = "FRAME\n";
  if (const auto written = file_.write(std::as_bytes(std::span(mark))); !written) return written;
  frame_.clear();
  append_planar(picture, frame_);
  return file_.write(frame_);
}

Outcome<> write_png(const std::string& path, const Picture& picture) {
  return write_png(path, picture.width, picture.height, to_rgb(picture, picture.width, picture.height));
}

void ContactSheet::add(const Picture& picture, double seconds) {
  if (seen_++ % distance_ != 0) return;
  if (cells_.size() == columns * rows) {
    // Those with an odd index are removed: cells 0, 2, 4, ... are at multiples of twice the distance. The
    // number of cells is even, so the current frame is at such a multiple, too.
    static_assert(columns * rows % 2 == 0);
    for (std::size_t index = 1; index < cells_.size() / 2; ++index) {
      cells_[index] = std::move(cells_[2 * index]);
    }
    cells_.resize(cells_.size() / 2);
    distance_ *= 2;
  }
  Cell cell;
  const std::uint64_t height = std::uint64_t{cell_width} * picture.height / picture.width;
  cell.height = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(height, 1, 2 * cell_width));
  cell.seconds = seconds;
  cell.rgb = to_rgb(picture, cell_width, cell.height);
  cells_.push_back(std::move(cell));
}

Outcome<> ContactSheet::write(const std::string& path) const {
  if (cells_.empty()) return failure("there is no frame for the contact sheet %s", path.c_str());
  constexpr std::uint32_t gap = 4;
  constexpr std::uint32_t label = label_height + 4;
  const std::size_t across = std::min(columns, cells_.size());
  const std::size_t shown = cells_.size() - cells_.size() % across;
  std::uint32_t cell_height = 1;
  for (const auto& cell : cells_) cell_height = std::max(cell_height, cell.height);
  const auto width = static_cast<std::uint32_t>(across * (cell_width + gap) + gap);
  const auto height = static_cast<std::uint32_t>(shown / across * (cell_height + label + gap) + gap);
  std::vector<std::uint8_t> rgb(std::size_t{width} * height * 3, std::uint8_t{24});
  for (std::size_t place = 0; place < shown; ++place) {
    // The first and the last, and others evenly spaced in between.
    const Cell& cell = cells_[shown == 1 ? 0 : place * (cells_.size() - 1) / (shown - 1)];
    const std::size_t left = place % across * (cell_width + gap) + gap;
    const std::size_t top = place / across * (cell_height + label + gap) + gap;
    for (std::size_t y = 0; y < cell.height; ++y) {
      const std::size_t line = std::size_t{cell_width} * 3;
      std::copy_n(&cell.rgb[y * line], line, &rgb[((top + y) * width + left) * 3]);
    }
    draw_label(rgb, width, left, top + cell_height + 3, time_text(cell.seconds));
  }
  return write_png(path, width, height, rgb);
}

}  // namespace ctl
