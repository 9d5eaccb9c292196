// A Unix socket that gives everyone who connects the same kind of text, and hangs up.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

#include "listening_socket.hpp"

namespace vumedia::device {

// Waits for nobody: what does not fit into a connection's buffer (some 200 KiB) is not sent.
class StatusSocket {
 public:
  // At a path, with permissions by the umask, or taken over from whoever opened it.
  [[nodiscard]] static Outcome<StatusSocket> make(const std::string& path);
  [[nodiscard]] static Outcome<StatusSocket> adopt(int number);

  // Readable while someone waits for an answer.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Answers those who wait with what `text` returns. A few at a time: fd() stays readable if there are more.
  // False if who waits cannot be answered now, for instance because no descriptors are left: fd() then stays
  // readable, too, so that it is better not looked at for a while.
  [[nodiscard]] bool serve(const std::function<std::string()>& text) const;
  // Removes the socket's file, if it is ours.
  void remove_file() noexcept {
    if (file_) file_->remove_file();
  }

 private:
  [[nodiscard]] static Outcome<StatusSocket> listen_on(OwnedFd fd, std::optional<ListeningSocket> file);
  StatusSocket(OwnedFd fd, std::optional<ListeningSocket> file)
      : fd_(std::move(fd)), file_(std::move(file)) {}

  OwnedFd fd_;
  std::optional<ListeningSocket> file_;
};

}  // namespace vumedia::device
