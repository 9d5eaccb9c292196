#include "peer.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <linux/perf_event.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::format_text;
using vumedia::Outcome;
using vumedia::system_failure;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The number of the tracepoint that every system call of a process passes, or -1.
std::int64_t system_call_tracepoint() {
  for (const char* const root : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    const std::string text = first_line(std::string(root) + "/events/raw_syscalls/sys_enter/id");
    std::int64_t id = -1;
    if (std::from_chars(text.data(), text.data() + text.size(), id).ec == std::errc{}) return id;
  }
  return -1;
}

}  // namespace

Outcome<Peer> Peer::of_socket(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return system_failure(errno, "cannot tell the process at the other end of the socket");
  }
  // 0: it is in a process namespace that we cannot see.
  if (credentials.pid <= 0)
    return failure("the process at the other end of the socket is in another namespace");
  return Peer(credentials.pid);
}

std::string Peer::name() const {
  return first_line(format_text("/proc/%d/comm", pid_));
}

std::vector<pid_t> Peer::tasks() const {
  std::vector<pid_t> tasks;
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(format_text("/proc/%d/task", pid_), error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string text = entry->path().filename().string();
    pid_t task = 0;
    std::from_chars(text.data(), text.data() + text.size(), task);
    tasks.push_back(task);
  }
  return tasks;
}

std::vector<std::string> Peer::threads() const {
  std::vector<std::string> names;
  for (const pid_t task : tasks())
    names.push_back(first_line(format_text("/proc/%d/task/%d/comm", pid_, task)));
  std::ranges::sort(names);
  return names;
}

Outcome<> Peer::count_system_calls() {
  counters_.clear();
  const std::int64_t tracepoint = system_call_tracepoint();
  if (tracepoint < 0) return failure("no tracefs with raw_syscalls");
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.config = static_cast<std::uint64_t>(tracepoint);
  for (const pid_t task : tasks()) {
    vumedia::OwnedFd counter(
        static_cast<int>(::syscall(SYS_perf_event_open, &attributes, task, -1, -1, PERF_FLAG_FD_CLOEXEC)));
    if (!counter) {
      const int error = errno;
      counters_.clear();
      return system_failure(error, "perf_event_open");
    }
    counters_.push_back(std::move(counter));
  }
  return {};
}

Usage Peer::usage() const {
  Usage usage;
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(pid_, &clock) == 0 && ::clock_gettime(clock, &time) == 0) {
    usage.cpu_ns = time.tv_sec * 1'000'000'000 + time.tv_nsec;
  }
  for (const pid_t task : tasks()) {
    std::ifstream status(format_text("/proc/%d/task/%d/status", pid_, task));
    for (std::string line; std::getline(status, line);) {
      if (line.find("voluntary_ctxt_switches:") == std::string::npos) continue;  // matches nonvoluntary_, too
      std::int64_t count = 0;
      const std::size_t digits = line.find_first_of("0123456789");
      if (digits == std::string::npos) continue;
      std::from_chars(line.data() + digits, line.data() + line.size(), count);
      usage.context_switches = std::max<std::int64_t>(usage.context_switches, 0) + count;
    }
  }
  for (const auto& counter : counters_) {
    std::uint64_t count = 0;
    if (::read(counter.get(), &count, sizeof count) != sizeof count) continue;
    usage.system_calls = std::max<std::int64_t>(usage.system_calls, 0) + static_cast<std::int64_t>(count);
  }
  return usage;
}

}  // namespace ctl
