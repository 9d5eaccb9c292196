#include "outputs.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <linux/videodev2.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::Outcome;

// In lower case, without the dot; empty if the name has none.
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
constexpr std::array<std::string_view, 56> promises = {
    "jp2",  "jxl",  "ico",  "tga",  "svg",  "qoi",  "pdf",  "jpg", "jpeg", "jpe", "jfif", "gif",
    "bmp",  "tif",  "tiff", "webp", "avif", "heic", "heif", "ppm", "pgm",  "pnm", "pam",  "exr",
    "apng", "mp4",  "m4v",  "mov",  "mkv",  "webm", "avi",  "ts",  "m2ts", "mts", "flv",  "f4v",
    "mpg",  "mpeg", "m2v",  "m1v",  "ogv",  "ogg",  "3gp",  "wmv", "asf",  "nut", "h264", "264",
    "avc",  "h265", "265",  "hevc", "vp8",  "vp9",  "ivf",  "obu"};

struct PixelName {
  std::string_view extension;
  std::uint32_t fourcc = 0;
};
constexpr std::array pixel_names = {
    PixelName{"nv12", V4L2_PIX_FMT_NV12},   PixelName{"nv21", V4L2_PIX_FMT_NV21},
    PixelName{"nv16", V4L2_PIX_FMT_NV16},   PixelName{"nv24", V4L2_PIX_FMT_NV24},
    PixelName{"i420", V4L2_PIX_FMT_YUV420}, PixelName{"yu12", V4L2_PIX_FMT_YUV420},
    PixelName{"yv12", V4L2_PIX_FMT_YVU420}, PixelName{"p010", V4L2_PIX_FMT_P010},
    PixelName{"yuyv", V4L2_PIX_FMT_YUYV},   PixelName{"yuy2", V4L2_PIX_FMT_YUYV},
    PixelName{"uyvy", V4L2_PIX_FMT_UYVY},   PixelName{"rgb", V4L2_PIX_FMT_RGB24},
    PixelName{"rgb24", V4L2_PIX_FMT_RGB24}, PixelName{"bgr", V4L2_PIX_FMT_BGR24},
    PixelName{"bgr24", V4L2_PIX_FMT_BGR24}, PixelName{"grey", V4L2_PIX_FMT_GREY},
    PixelName{"gray", V4L2_PIX_FMT_GREY}};

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
  if (path == "-") return FileIdentity::of(STDIN_FILENO);
  if (auto plain = FileIdentity::of(path)) return plain;
  // As libavformat takes names.
  if (path.starts_with("file:")) return FileIdentity::of(path.substr(5));
  if (path.starts_with("pipe:")) {
    int fd = STDIN_FILENO;
    std::from_chars(path.data() + 5, path.data() + path.size(), fd);
    return FileIdentity::of(fd);
  }
  return std::nullopt;
}

Outcome<> keep_open_files(const std::string& output) {
  const auto written = output.empty() ? std::nullopt : identity_of_output(output);
  const auto printed = FileIdentity::of(STDOUT_FILENO);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const std::string name = entry.path().filename();
    int fd = -1;
    std::from_chars(name.data(), name.data() + name.size(), fd);
    if (fd <= STDERR_FILENO || (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) continue;
    const auto read = FileIdentity::of(fd);
    if (read && read == written)
      return failure("the output %s is the input, which would be lost", output.c_str());
    if (read && read == printed) return failure("standard output is the input, which would be damaged");
  }
  return {};
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
  // One %d or %03d; any other percent sign stands for itself.
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

std::uint32_t promised_format(const std::string& output) {
  const auto found = std::ranges::find(pixel_names, extension(output), &PixelName::extension);
  return found != pixel_names.end() ? found->fourcc : 0;
}

bool keeps_promise(std::uint32_t promised, std::uint32_t fourcc) {
  return fourcc == promised || (promised == V4L2_PIX_FMT_NV12 && fourcc == V4L2_PIX_FMT_NV12M) ||
         (promised == V4L2_PIX_FMT_NV16 && fourcc == V4L2_PIX_FMT_NV16M) ||
         (promised == V4L2_PIX_FMT_YUV420 && fourcc == V4L2_PIX_FMT_YUV420M);
}

bool promises_yuv(const std::string& output) {
  return extension(output) == "yuv";
}

std::string output_complaint(const std::string& output, bool motion_jpeg) {
  const OutputKind kind = output_kind(output);
  const std::string written = std::string("there are FILE.y4m, FILE.png") +
                              (motion_jpeg ? ", FILE.mjpeg" : "") + " and, without headers, FILE.yuv";
  const std::string promised = extension(output);
  if (std::ranges::find(promises, promised) != promises.end() || (kind == OutputKind::mjpeg && !motion_jpeg))
    return "no ." + promised + " is written here: " + written;
  // What is decoded is written in planes, whatever the device gives.
  if (const std::uint32_t fourcc = promised_format(output);
      !motion_jpeg && fourcc != 0 && fourcc != V4L2_PIX_FMT_YUV420)
    return "no ." + promised + " is written here, but planes one after the other: FILE.yuv";
  if (kind != OutputKind::png && ImageNames::of(output)) return "only images are numbered: FILE-%03d.png";
  return {};
}

}  // namespace ctl
