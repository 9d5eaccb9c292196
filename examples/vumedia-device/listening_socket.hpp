// The socket that frontends connect to: made at a path, or inherited.
#pragma once

#include <optional>
#include <string>

#include <sys/stat.h>
#include <sys/types.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::device {

// A listening Unix stream socket at a path, close-on-exec. It removes its file when it is destroyed, if the
// file is still its own.
class ListeningSocket {
 public:
  // Listens at `path`. An existing file is replaced only if it is a socket on which nobody listens. If no
  // `mode` is given the umask determines who may connect.
  //
  // Programs that call this for the same path at the same time take turns, so that exactly one of them gets
  // it.
  [[nodiscard]] static Outcome<ListeningSocket> make(const std::string& path, std::optional<mode_t> mode);

  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  ~ListeningSocket();

  [[nodiscard]] OwnedFd& fd() noexcept { return fd_; }
  // Removes the file now.
  void remove_file() noexcept;

 private:
  ListeningSocket(OwnedFd fd, std::string path, const struct stat& file)
      : fd_(std::move(fd)), path_(std::move(path)), device_(file.st_dev), inode_(file.st_ino) {}

  OwnedFd fd_;
  std::string path_;  // empty once the file is removed
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// Takes over descriptor `number`, which the parent process left open: a Unix stream socket that listens or is
// connected.
[[nodiscard]] Outcome<OwnedFd> adopt_socket(int number);

}  // namespace vumedia::device
