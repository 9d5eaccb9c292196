#include "input.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ctl {
namespace {

using vumedia::format_text;
using vumedia::Outcome;
using vumedia::OwnedFd;
using vumedia::system_failure;

// A file without a name, which disappears with its descriptor.
Outcome<OwnedFd> make_temporary_file() {
  std::error_code error;
  std::string folder = std::filesystem::temp_directory_path(error).string();
  if (error) folder = "/tmp";
  OwnedFd file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file.get() >= 0) return file;
  // Not every file system has such files.
  std::string name = folder + "/vumedia-ctl-XXXXXX";
  file.reset(::mkostemp(name.data(), O_CLOEXEC));
  if (file.get() < 0) return system_failure(errno, "cannot create a temporary file in %s", folder.c_str());
  ::unlink(name.c_str());
  return file;
}

std::string url_of(int fd) {
  return format_text("file:/proc/self/fd/%d", fd);
}

bool is_seekable(const struct stat& status) {
  return S_ISREG(status.st_mode) || S_ISBLK(status.st_mode);
}

}  // namespace

Outcome<Input> Input::open(const std::string& path, bool more_than_once) {
  Input input;
  input.name_ = path;
  struct stat status{};
  if (path == "-") {
    input.name_ = "standard input";
    const bool known = ::fstat(STDIN_FILENO, &status) == 0;
    if (known && is_seekable(status)) {
      input.url_ = url_of(STDIN_FILENO);
    } else if (!more_than_once) {
      input.url_ = "pipe:0";
    } else if (auto copied = input.copy_from(STDIN_FILENO); !copied) {
      return std::unexpected(copied.error());
    }
    return input;
  }
  if (::stat(path.c_str(), &status) != 0) {
    // A URL, or libavformat says that there is no such file.
    input.url_ = path;
    return input;
  }
  // The name is that of a file, whatever comes before a colon in it.
  input.url_ = "file:" + path;
  if (is_seekable(status) || S_ISDIR(status.st_mode) || !more_than_once) return input;
  const OwnedFd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (source.get() < 0) return system_failure(errno, "cannot open %s", path.c_str());
  if (auto copied = input.copy_from(source.get()); !copied) return std::unexpected(copied.error());
  return input;
}

Outcome<> Input::copy_from(int fd) {
  auto file = make_temporary_file();
  if (!file) return std::unexpected(file.error());
  std::vector<std::byte> bytes(std::size_t{1} << 20);
  for (;;) {
    const ssize_t got = ::read(fd, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_failure(errno, "cannot read %s", name_.c_str());
    if (got == 0) break;
    for (ssize_t written = 0; written < got;) {
      const ssize_t more =
          ::write(file->get(), bytes.data() + written, static_cast<std::size_t>(got - written));
      if (more < 0 && errno == EINTR) continue;
      if (more < 0) return system_failure(errno, "cannot keep a copy of %s to read it twice", name_.c_str());
      written += more;
    }
  }
  copy_ = std::move(*file);
  url_ = url_of(copy_.get());
  return {};
}

}  // namespace ctl
