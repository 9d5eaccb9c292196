// What the name of an output file asks for, and which files must not be written to.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include <sys/types.h>

#include <vumedia/core/result.hpp>

namespace ctl {

// A file identified by device and inode, not by name: links and /dev/stdin are the same file.
class FileIdentity {
 public:
  // Nothing if there is no such file, and for terminals, /dev/null and other character devices, which keep
  // nothing.
  [[nodiscard]] static std::optional<FileIdentity> of(const std::string& path);
  [[nodiscard]] static std::optional<FileIdentity> of(int fd);
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;

 private:
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// The file that a command reads; "-" is standard input. Nothing if it is not in the file system (a URL).
[[nodiscard]] std::optional<FileIdentity> identity_of_input(const std::string& path);

// Fails if `output` ("-" is standard output) or standard output itself, where results are printed, is the
// file `input`.
[[nodiscard]] vumedia::Outcome<> keep_input(const std::string& input, const std::string& output);
[[nodiscard]] vumedia::Outcome<> keep_input(const std::string& input);

// Whether data written to `output` goes to the same place as standard output.
[[nodiscard]] bool is_standard_output(const std::string& output);

// Fails if `output` or standard output is a file that is open here to be read: the input, where its name is
// a URL that leads to a file. Standard streams are not looked at.
[[nodiscard]] vumedia::Outcome<> keep_open_files(const std::string& output);
// Where a summary is printed: not among the data.
[[nodiscard]] std::FILE* report_beside(const std::string& output);

enum class OutputKind : std::uint8_t { none, bytes, y4m, png, mjpeg };
// Determined by the end of the name, in upper or lower case.
[[nodiscard]] OutputKind output_kind(const std::string& output);

// f-%03d.png as a name for each image.
class ImageNames {
 public:
  // Nothing if `path` contains no %d or %03d; if there are several, the first counts.
  [[nodiscard]] static std::optional<ImageNames> of(const std::string& path);
  [[nodiscard]] std::string name(std::uint64_t number) const;

 private:
  std::string before_;
  std::string after_;
  int digits_ = 0;
};

// The pixel format that the end of the name promises, as in FILE.nv12; 0 if it promises none.
[[nodiscard]] std::uint32_t promised_format(const std::string& output);
// Whether frames of this format keep the promise: NM12 written plane after plane is NV12.
[[nodiscard]] bool keeps_promise(std::uint32_t promised, std::uint32_t fourcc);
// Whether the name promises luma and chroma of any kind: FILE.yuv.
[[nodiscard]] bool promises_yuv(const std::string& output);

// Why nothing can be written under this name: it promises what is not written here, or has a number and is no
// image. Empty: it can.
[[nodiscard]] std::string output_complaint(const std::string& output, bool motion_jpeg);

}  // namespace ctl
