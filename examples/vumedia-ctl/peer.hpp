// The process at the other end of the socket, as /proc and the kernel's counters show it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace ctl {

// What a process has used since it started. -1 if the kernel does not tell us.
struct Usage {
  std::int64_t cpu_ns = -1;
  std::int64_t context_switches = -1;
  std::int64_t system_calls = -1;
};

class Peer {
 public:
  // The process that listens at `path`, or that listened when `socket` was connected (SO_PEERCRED).
  [[nodiscard]] static vumedia::Outcome<Peer> of_socket(int socket);

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] std::string name() const;

  // Threads by name, including the kernel's io_uring workers (iou-wrk-...).
  [[nodiscard]] std::vector<std::string> threads() const;

  // Starts counting the system calls of the current threads. Fails if tracepoints are not available: there is
  // no tracefs, or perf_event_paranoid forbids it.
  [[nodiscard]] vumedia::Outcome<> count_system_calls();

  [[nodiscard]] Usage usage() const;

 private:
  explicit Peer(pid_t pid) : pid_(pid) {}
  [[nodiscard]] std::vector<pid_t> tasks() const;

  pid_t pid_;
  std::vector<vumedia::OwnedFd> counters_;  // one perf event for each thread
};

}  // namespace ctl
