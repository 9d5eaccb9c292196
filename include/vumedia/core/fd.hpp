// A file descriptor with one owner.
#pragma once

#include <cstdint>
#include <utility>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vumedia/core/result.hpp>

namespace vumedia {

/// Owns one file descriptor, or none (-1). Closing keeps errno, so that an error path can still report it.
class OwnedFd {
 public:
  OwnedFd() = default;
  /// Takes over `fd`; -1 for none.
  explicit OwnedFd(int fd) noexcept : fd_(fd) {}
  /// Leaves `other` with none.
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.release()) {}
  /// Closes what it owned before, and leaves `other` with none.
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~OwnedFd() { reset(); }

  /// The descriptor, still owned by this; -1 if there is none.
  [[nodiscard]] int get() const noexcept { return fd_; }
  /// Whether there is a descriptor.
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Gives the descriptor to the caller, who has to close it; -1 if there is none.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

  /// Closes what it owned before, and takes over `fd`.
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) {
      const int saved = errno;
      ::close(fd_);
      errno = saved;
    }
    fd_ = fd;
  }

  /// A second descriptor of the same open file, close-on-exec.
  [[nodiscard]] Result<OwnedFd> duplicate() const noexcept {
    OwnedFd copy(::fcntl(fd_, F_DUPFD_CLOEXEC, 0));
    if (!copy) return fail(errno);
    return copy;
  }

 private:
  int fd_ = -1;
};

/// An eventfd, close-on-exec and non-blocking unless `flags` says otherwise.
[[nodiscard]] inline Result<OwnedFd> make_event_fd(int flags = EFD_CLOEXEC | EFD_NONBLOCK) noexcept {
  OwnedFd fd(::eventfd(0, flags));
  if (!fd) return fail(errno);
  return fd;
}

/// The size in bytes of the file behind `fd`.
[[nodiscard]] inline Result<std::uint64_t> file_size(int fd) noexcept {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail(errno);
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace vumedia
