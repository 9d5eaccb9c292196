#include "outputs.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include <sys/stat.h>
#include <unistd.h>

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::Outcome;

// In small letters, without the dot; empty if the name has none.
std::string extension(const std::string& path) {
  const std::size_t name = path.find_last_of('/') + 1;
  const std::size_t dot = path.find_last_of('.');
  // .png alone is a hidden file, not an image.
  if (dot == std::string::npos || dot <= name) return {};
  std::string text = path.substr(dot + 1);
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// Formats that people know by these names, and that are not written here.
constexpr std::array<std::string_view, 49> promises = {
    "jpg",  "jpeg", "jpe", "jfif", "gif",  "bmp",  "tif", "tiff", "webp", "avif", "heic", "heif", "ppm",
    "pgm",  "pnm",  "pam", "exr",  "apng", "mp4",  "m4v", "mov",  "mkv",  "webm", "avi",  "ts",   "m2ts",
    "mts",  "flv",  "f4v", "mpg",  "mpeg", "m2v",  "m1v", "ogv",  "ogg",  "3gp",  "wmv",  "asf",  "nut",
    "h264", "264",  "avc", "h265", "265",  "hevc", "vp8", "vp9",  "ivf",  "obu"};

std::optional<FileIdentity> identity_of_output(const std::string& output) {
  return output == "-" ? FileIdentity::of(STDOUT_FILENO) : FileIdentity::of(output);
}

bool keeps_nothing(const struct stat& status) {
  return S_ISCHR(status.st_mode);
}
}  // namespace

std::optional<FileIdentity> FileIdentity::of(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0 || keeps_nothing(status)) return std::nullopt;
  FileIdentity identity;
  identity.device_ = status.st_dev;
  identity.inode_ = status.st_ino;
  return identity;
}

std::optional<FileIdentity> FileIdentity::of(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0 || keeps_nothing(status)) return std::nullopt;
  FileIdentity identity;
  identity.device_ = status.st_dev;
  identity.inode_ = status.st_ino;
  return identity;
}

std::optional<FileIdentity> identity_of_input(const std::string& path) {
  return path == "-" ? FileIdentity::of(STDIN_FILENO) : FileIdentity::of(path);
}

Outcome<> keep_input(const std::string& input, const std::string& output) {
  const auto read = identity_of_input(input);
  if (!read) return {};
  if (!output.empty() && read == identity_of_output(output))
    return failure("the output %s is the input %s, which would be lost", output.c_str(), input.c_str());
  return keep_input(input);
}

Outcome<> keep_input(const std::string& input) {
  const auto read = identity_of_input(input);
  if (read && read == FileIdentity::of(STDOUT_FILENO))
    return failure("standard output is the input %s, which would be damaged", input.c_str());
  return {};
}

bool is_standard_output(const std::string& output) {
  if (output == "-" || output == "/dev/stdout") return true;
  const auto written = FileIdentity::of(output);
  return written && written == FileIdentity::of(STDOUT_FILENO);
}

std::FILE* report_beside(const std::string& output) {
  return is_standard_output(output) ? stderr : stdout;
}

OutputKind output_kind(const std::string& output) {
  if (output.empty()) return OutputKind::none;
  const std::string kind = extension(output);
  if (kind == "y4m") return OutputKind::y4m;
  if (kind == "png") return OutputKind::png;
  if (kind == "mjpeg" || kind == "mjpg") return OutputKind::mjpeg;
  return OutputKind::bytes;
}

std::optional<ImageNames> ImageNames::of(const std::string& path) {
  // One %d or %03d; a percent sign that begins neither stands for itself.
  const auto end_of_number = [&path](std::size_t percent) {
    std::size_t end = percent + 1;
    while (end < path.size() && end < percent + 3 && std::isdigit(static_cast<unsigned char>(path[end])) != 0)
      ++end;
    return end < path.size() && path[end] == 'd' ? end + 1 : 0;
  };
  for (std::size_t at = path.find('%'); at != std::string::npos; at = path.find('%', at + 1)) {
    const std::size_t end = end_of_number(at);
    if (end == 0) continue;
    ImageNames names;
    names.before_ = path.substr(0, at);
    names.after_ = path.substr(end);
    for (std::size_t digit = at + 1; digit + 1 < end; ++digit)
      names.digits_ = 10 * names.digits_ + path[digit] - '0';
    return names;
  }
  return std::nullopt;
}

std::string ImageNames::name(std::uint64_t number) const {
  return before_ + vumedia::format_text("%0*llu", digits_, static_cast<unsigned long long>(number)) + after_;
}

std::string output_complaint(const std::string& output, bool motion_jpeg) {
  const OutputKind kind = output_kind(output);
  const std::string written = std::string("there are FILE.y4m, FILE.png") +
                              (motion_jpeg ? ", FILE.mjpeg" : "") + " and, without headers, FILE.yuv";
  const std::string promised = extension(output);
  if (std::ranges::find(promises, promised) != promises.end() || (kind == OutputKind::mjpeg && !motion_jpeg))
    return "no ." + promised + " is written here: " + written;
  if (kind != OutputKind::png && ImageNames::of(output)) return "only images are numbered: FILE-%03d.png";
  return {};
}

}  // namespace ctl
