// Runs a program and checks its output and how it ends.
#pragma once

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>

#include "support/patience.hpp"

namespace vumedia::test {

using namespace std::chrono_literals;

// A child process with its output in two pipes. It is killed if it still runs at the end.
class ChildProcess {
 public:
  // `inherited` is given to the child as descriptor 3, if there is one.
  explicit ChildProcess(std::vector<std::string> command, int inherited = -1)
      : ChildProcess(std::move(command), inherited >= 0 ? std::vector{inherited} : std::vector<int>{}, {}) {}
  // `inherited` are given to the child as descriptors from 3 on, and `variables`, as NAME=VALUE, added to its
  // environment.
  ChildProcess(std::vector<std::string> command, const std::vector<int>& inherited,
               std::vector<std::string> variables) {
    std::array<int, 2> out{-1, -1}, err{-1, -1};
    if (::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0) return;
    out_.reset(out[0]);
    err_.reset(err[0]);
    const OwnedFd out_write(out[1]), err_write(err[1]);

    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, out_write.get(), 1);
    ::posix_spawn_file_actions_adddup2(&actions, err_write.get(), 2);
    // Moved out of the way first: one could have the number that another one needs.
    std::vector<OwnedFd> moved;
    for (const int fd : inherited) {
      moved.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 200));
      ::posix_spawn_file_actions_adddup2(&actions, moved.back().get(), 2 + static_cast<int>(moved.size()));
    }
    std::vector<char*> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
    for (auto& variable : variables) environment.push_back(variable.data());
    environment.push_back(nullptr);
    std::vector<char*> arguments;
    for (auto& word : command) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    // Whoever runs the tests may have signals ignored: nohup, or a shell that puts them in the background.
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    sigset_t signals;
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes, &signals);
    for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGUSR1})
      ::sigaddset(&signals, number);
    ::posix_spawnattr_setsigdefault(&attributes, &signals);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (::posix_spawn(&pid_, arguments[0], &actions, &attributes, arguments.data(), environment.data()) != 0)
      pid_ = -1;
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    if (pid_ > 0) pid_fd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  [[nodiscard]] bool started() const noexcept { return pid_ > 0; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  void signal(int number) const {
    if (pid_ > 0) ::kill(pid_, number);
  }

  // The exit status (128 + the number of a signal that ended it), or nothing if it still runs when time is
  // up.
  std::optional<int> wait(std::chrono::milliseconds limit = patience) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    // The pipes are emptied in the meantime, because a child blocked on a full one would not end.
    while (pid_ > 0) {
      std::array<pollfd, 3> fds{
          {{pid_fd_.get(), POLLIN, 0}, {out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}}};
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left < 0ms || ::poll(fds.data(), fds.size(), static_cast<int>(left.count()) + 1) == 0)
        return std::nullopt;
      if (fds[1].revents != 0) read_some(out_, out_text_);
      if (fds[2].revents != 0) read_some(err_, err_text_);
      if (fds[0].revents != 0) {
        int status = 0;
        ::waitpid(std::exchange(pid_, -1), &status, 0);
        status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
    }
    while (read_some(out_, out_text_)) {
    }
    while (read_some(err_, err_text_)) {
    }
    return status_;
  }

  // Waits until standard error holds `text`; false if the child ended or time is up first.
  bool wait_for_error_text(const std::string& text, std::chrono::milliseconds limit = patience) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (err_text_.find(text) == std::string::npos) {
      pollfd fd{err_.get(), POLLIN, 0};
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left < 0ms || ::poll(&fd, 1, static_cast<int>(left.count()) + 1) == 0) return false;
      if (!read_some(err_, err_text_)) return false;
    }
    return true;
  }

  // Waits for more on standard error and reads it; false if the child ended or time is up first.
  bool read_more_errors(std::chrono::milliseconds limit = patience) {
    pollfd fd{err_.get(), POLLIN, 0};
    return ::poll(&fd, 1, static_cast<int>(limit.count())) == 1 && read_some(err_, err_text_);
  }

  // What it has written so far, as far as the calls above have read it.
  [[nodiscard]] const std::string& output() const noexcept { return out_text_; }
  [[nodiscard]] const std::string& error_output() const noexcept { return err_text_; }

 private:
  // False at the end of the pipe (which is then closed).
  static bool read_some(OwnedFd& fd, std::string& text) {
    if (!fd) return false;
    std::array<char, 4096> chunk;
    const ssize_t size = ::read(fd.get(), chunk.data(), chunk.size());
    if (size <= 0) {
      fd.reset();
      return false;
    }
    text.append(chunk.data(), static_cast<std::size_t>(size));
    return true;
  }

  pid_t pid_ = -1;
  std::optional<int> status_;
  OwnedFd pid_fd_, out_, err_;
  std::string out_text_, err_text_;
};

}  // namespace vumedia::test
