// The Unix socket that peers connect to: made at a path, or inherited from the parent process.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::io {

/// Owns a Unix stream socket, close-on-exec. One that it made at a path removes its file when it is
/// destroyed, if the file is still its own. Errors are one line for the operator.
class Listener {
 public:
  /// Listens at `path`. An existing file is replaced only if it is a socket on which nobody listens. If no
  /// `mode` is given the umask determines who may connect.
  ///
  /// Programs that call this for the same path at the same time take turns, so that exactly one of them gets
  /// it. It waits up to 2 s for its turn, and up to 1 s for a program that was killed to let go of the
  /// socket.
  [[nodiscard]] static Outcome<Listener> at(const std::string& path, std::optional<mode_t> mode = {});

  /// Takes over descriptor `number`, which the parent process left open: a socket that listens or is
  /// connected.
  [[nodiscard]] static Outcome<Listener> inherited(int number);

  /// Leaves `other` without a socket and without a file.
  Listener(Listener&& other) noexcept
      : socket_(std::move(other.socket_)),
        path_(std::exchange(other.path_, {})),
        device_(other.device_),
        inode_(other.inode_) {}
  Listener& operator=(Listener&&) = delete;
  ~Listener() { remove_file(); }

  /// The socket; whoever serves it may move it away.
  [[nodiscard]] OwnedFd& socket() noexcept { return socket_; }
  /// The socket.
  [[nodiscard]] const OwnedFd& socket() const noexcept { return socket_; }
  /// Removes the file now.
  void remove_file() noexcept {
    struct stat file{};
    if (!path_.empty() && ::lstat(path_.c_str(), &file) == 0 && file.st_dev == device_ &&
        file.st_ino == inode_)
      ::unlink(path_.c_str());
    path_.clear();
  }

 private:
  explicit Listener(OwnedFd socket) noexcept : socket_(std::move(socket)) {}

  OwnedFd socket_;
  std::string path_;  // empty: no file of its own
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

namespace detail {

[[nodiscard]] inline Outcome<OwnedFd> make_unix_socket() {
  OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return failure("cannot make a Unix socket: %s", std::strerror(errno));
  return fd;
}

[[nodiscard]] inline Outcome<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return failure("the socket path has %zu bytes, more than the %zu that a Unix socket's may have",
                   path.size(), sizeof address.sun_path - 1);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

[[nodiscard]] inline const sockaddr* generic(const sockaddr_un& address) noexcept {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Keeps out other programs that are about to check the same path: between finding a stale socket and
// replacing it, another program could put a live one there; and between bind and listen our socket looks
// stale. The lock is on the folder, so it leaves no file behind. Anyone may hold it, so the wait for it is
// short.
[[nodiscard]] inline Outcome<OwnedFd> lock_folder(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  OwnedFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd)
    return failure("cannot open the folder %s of the socket: %s", folder.c_str(), std::strerror(errno));
  using namespace std::chrono_literals;
  const auto deadline = std::chrono::steady_clock::now() + 2s;
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) break;  // a file system without locks: continue without one
    if (std::chrono::steady_clock::now() > deadline) {
      return failure("another program holds the lock on the folder %s of the socket", folder.c_str());
    }
    std::this_thread::sleep_for(10ms);
  }
  return fd;
}

// Whether the program that called listen() for the other end of `connected` has ended. It may have left the
// socket to another.
[[nodiscard]] inline bool listener_has_ended(int connected) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(connected, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0) return false;
  const OwnedFd process(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  if (!process) return errno == ESRCH;
  pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1, 0) == 1;
}

// Fails unless the socket refuses connections. The kernel destroys the ring of a killed program, and with it
// the socket, some time after the program has ended; so in that case this retries for a while.
[[nodiscard]] inline Outcome<> is_dead(const std::string& path, const sockaddr_un& address) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (;;) {
    auto probe = make_unix_socket();
    if (!probe) return std::unexpected(probe.error());
    if (::connect(probe->get(), generic(address), sizeof address) == 0) {
      if (!listener_has_ended(probe->get()) || std::chrono::steady_clock::now() > deadline) {
        return failure("%s is in use: another program listens on it", path.c_str());
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      continue;
    }
    if (errno == ECONNREFUSED) return {};
    // EAGAIN: someone listens, and more are waiting than the queue holds.
    if (errno == EAGAIN) return failure("%s is in use: another program listens on it", path.c_str());
    return failure("cannot find out whether %s is in use: %s", path.c_str(), std::strerror(errno));
  }
}

// Makes room at the path: only a socket that refuses connections may be there.
[[nodiscard]] inline Outcome<> remove_dead_socket(const std::string& path, const sockaddr_un& address) {
  struct stat found{};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return {};
    return failure("cannot look at %s: %s", path.c_str(), std::strerror(errno));
  }
  if (!S_ISSOCK(found.st_mode)) return failure("%s exists and is not a socket", path.c_str());

  if (auto dead = is_dead(path, address); !dead) return dead;
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return failure("cannot remove the stale socket %s: %s", path.c_str(), std::strerror(errno));
  }
  return {};
}

// Gives the socket's file, which bind() made with at most the permissions of `mode`, all of them, without
// following what somebody else may have put in its place.
[[nodiscard]] inline Outcome<> widen(const std::string& path, const struct stat& made, mode_t mode) {
  const OwnedFd file(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat found{};
  if (!file || ::fstat(file.get(), &found) != 0)
    return failure("cannot look at %s: %s", path.c_str(), std::strerror(errno));
  if (found.st_dev != made.st_dev || found.st_ino != made.st_ino)
    return failure("%s was replaced while it was made", path.c_str());
  if (::chmod(format_text("/proc/self/fd/%d", file.get()).c_str(), mode) != 0)
    return failure("cannot set the permissions of %s: %s", path.c_str(), std::strerror(errno));
  return {};
}

}  // namespace detail

inline Outcome<Listener> Listener::at(const std::string& path, std::optional<mode_t> mode) {
  const auto address = detail::unix_address(path);
  if (!address) return std::unexpected(address.error());
  const auto lock = detail::lock_folder(path);
  if (!lock) return std::unexpected(lock.error());
  if (auto room = detail::remove_dead_socket(path, *address); !room) return std::unexpected(room.error());

  auto socket = detail::make_unix_socket();
  if (!socket) return std::unexpected(socket.error());
  // The file gets the permissions of the socket less the umask: there is no moment in which it has more than
  // it should.
  if (mode && ::fchmod(socket->get(), *mode) != 0)
    return failure("cannot set the permissions of a socket: %s", std::strerror(errno));
  if (::bind(socket->get(), detail::generic(*address), sizeof *address) != 0)
    return failure("cannot make the socket %s: %s", path.c_str(), std::strerror(errno));

  struct stat file{};
  if (::lstat(path.c_str(), &file) != 0)
    return failure("cannot look at %s: %s", path.c_str(), std::strerror(errno));
  Listener made(std::move(*socket));
  made.path_ = path;
  made.device_ = file.st_dev;
  made.inode_ = file.st_ino;
  if (mode && (file.st_mode & 07777) != *mode) {
    if (auto widened = detail::widen(path, file, *mode); !widened) return std::unexpected(widened.error());
  }
  if (::listen(made.socket_.get(), 8) != 0)
    return failure("cannot listen on %s: %s", path.c_str(), std::strerror(errno));
  return made;
}

inline Outcome<Listener> Listener::inherited(int number) {
  const auto option = [number](int name) -> Result<int> {
    int value = 0;
    socklen_t size = sizeof value;
    if (::getsockopt(number, SOL_SOCKET, name, &value, &size) != 0) return fail(errno);
    return value;
  };
  const auto domain = option(SO_DOMAIN);
  if (!domain) {
    return failure("file descriptor %d is not %s", number,
                   domain.error().value == EBADF ? "open" : "a socket");
  }
  const auto type = option(SO_TYPE);
  if (*domain != AF_UNIX || !type || *type != SOCK_STREAM) {
    return failure("file descriptor %d is not a Unix stream socket", number);
  }
  const auto listens = option(SO_ACCEPTCONN);
  const bool listening = listens && *listens != 0;
  sockaddr_un peer{};
  socklen_t size = sizeof peer;
  if (!listening && ::getpeername(number, reinterpret_cast<sockaddr*>(&peer), &size) != 0) {
    return failure("the socket of file descriptor %d is neither listening nor connected", number);
  }

  OwnedFd socket(number);
  // The reactor wants a connection to be blocking: the kernel then waits in its place. Server sets up a
  // listening socket.
  const int flags = ::fcntl(number, F_GETFL);
  if (flags < 0 || ::fcntl(number, F_SETFL, flags & ~O_NONBLOCK) != 0 ||
      ::fcntl(number, F_SETFD, FD_CLOEXEC) != 0) {
    return failure("cannot set up file descriptor %d: %s", number, std::strerror(errno));
  }
  return Listener(std::move(socket));
}

}  // namespace vumedia::io
