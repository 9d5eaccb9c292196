// The media file that a command reads: a file, standard input, a pipe, or anything else that libavformat
// opens.
#pragma once

#include <string>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace ctl {

class Input {
 public:
  // "-" is standard input. An input that must be read more than once but can be read only once, such as a
  // pipe, is first copied to a temporary file.
  [[nodiscard]] static vumedia::Outcome<Input> open(const std::string& path, bool more_than_once);

  // As it was given.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  // The name for libavformat, valid while this object lives.
  [[nodiscard]] const std::string& url() const noexcept { return url_; }

 private:
  Input() = default;
  [[nodiscard]] vumedia::Outcome<> copy_from(int fd);

  std::string name_;
  std::string url_;
  vumedia::OwnedFd copy_;
};

}  // namespace ctl
