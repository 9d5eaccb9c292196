#include "listening_socket.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

namespace vumedia::device {

namespace {

Outcome<OwnedFd> make_socket() {
  OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return failure("cannot make a Unix socket: %s", std::strerror(errno));
  return fd;
}

Outcome<sockaddr_un> make_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return failure("the socket path has %zu bytes, more than the %zu that a Unix socket's may have",
                   path.size(), sizeof address.sun_path - 1);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

const sockaddr* generic(const sockaddr_un& address) noexcept {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Keeps out other programs that are about to check the same path: between finding a stale socket and
// replacing it, another program could put a live one there; and between bind and listen our socket looks
// stale. The lock is on the folder, so it leaves no file behind. Anyone may hold it, so the wait for it is
// short.
Outcome<OwnedFd> lock_folder(const std::string& path) {
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
bool listener_has_ended(int connected) {
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
Outcome<> is_dead(const std::string& path, const sockaddr_un& address) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (;;) {
    auto probe = make_socket();
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
Outcome<> remove_dead_socket(const std::string& path, const sockaddr_un& address) {
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

}  // namespace

Outcome<ListeningSocket> ListeningSocket::make(const std::string& path, std::optional<mode_t> mode) {
  const auto address = make_address(path);
  if (!address) return std::unexpected(address.error());
  const auto lock = lock_folder(path);
  if (!lock) return std::unexpected(lock.error());
  if (auto room = remove_dead_socket(path, *address); !room) return std::unexpected(room.error());

  auto fd = make_socket();
  if (!fd) return std::unexpected(fd.error());
  // The umask creates the file with its final permissions, without a moment in which it has others. It
  // applies to the whole process, but the program has only one thread at this point.
  const mode_t before = mode ? ::umask(static_cast<mode_t>(0777 & ~*mode)) : 0;
  const int bound = ::bind(fd->get(), generic(*address), sizeof *address);
  const int error = errno;
  if (mode) ::umask(before);
  if (bound != 0) return failure("cannot make the socket %s: %s", path.c_str(), std::strerror(error));

  struct stat file{};
  if (::lstat(path.c_str(), &file) != 0) {
    return failure("cannot look at %s: %s", path.c_str(), std::strerror(errno));
  }
  ListeningSocket made(std::move(*fd), path, file);
  if (::listen(made.fd_.get(), 8) != 0) {
    return failure("cannot listen on %s: %s", path.c_str(), std::strerror(errno));
  }
  return made;
}

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : fd_(std::move(other.fd_)),
      path_(std::exchange(other.path_, {})),
      device_(other.device_),
      inode_(other.inode_) {}

ListeningSocket::~ListeningSocket() {
  remove_file();
}

void ListeningSocket::remove_file() noexcept {
  struct stat file{};
  if (!path_.empty() && ::lstat(path_.c_str(), &file) == 0 && file.st_dev == device_ &&
      file.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
  path_.clear();
}

Outcome<OwnedFd> adopt_socket(int number) {
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
  return socket;
}

}  // namespace vumedia::device
