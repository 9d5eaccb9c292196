// QEMU without a guest: a q35 machine with one vhost-user device in slot 4. No processor runs; a qtest socket
// replaces it. The memory is a file that is mapped here, too.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/core/result.hpp>

#include "qemu/qmp_client.hpp"
#include "qemu/qtest_client.hpp"
#include "support/child_process.hpp"

namespace vumedia::qemu_test {

struct MachineOptions {
  std::string program;      // see get-qemu
  std::string socket_path;  // of the vhost-user device
  // The id of the virtio device that the driver finds. QEMU 11.1 aborts with 48, which is media's, because
  // its table of names ends before that.
  std::uint16_t virtio_id = 39;
};

class Machine {
 public:
  static constexpr std::size_t memory_size = std::size_t{64} << 20;
  static constexpr unsigned slot = 4;

  // QEMU is only started: its first answer shows whether it runs.
  [[nodiscard]] static Outcome<std::unique_ptr<Machine>> start(const MachineOptions& options);

  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  [[nodiscard]] QtestClient& qtest() noexcept { return *qtest_; }
  [[nodiscard]] QmpClient& qmp() noexcept { return *qmp_; }
  // All of the machine's memory, from physical address 0 on.
  [[nodiscard]] std::span<std::byte> memory() const noexcept { return memory_.bytes(); }

  // Ends QEMU as a crash would. Returns when it is gone.
  void kill() {
    process_->signal(SIGKILL);
    process_->wait();
  }
  // What QEMU has written to its standard error. Ends QEMU.
  [[nodiscard]] std::string last_words() {
    kill();
    return process_->error_output();
  }
  [[nodiscard]] test::ChildProcess& process() noexcept { return *process_; }

 private:
  Machine() = default;

  OwnedFd memory_fd_;
  Mapping memory_;
  std::unique_ptr<test::ChildProcess> process_;
  std::unique_ptr<QtestClient> qtest_;
  std::unique_ptr<QmpClient> qmp_;
};

inline Outcome<std::unique_ptr<Machine>> Machine::start(const MachineOptions& options) {
  std::unique_ptr<Machine> machine(new Machine);
  auto memory = make_sealed_memfd("machine", memory_size);
  if (!memory) return system_failure(memory.error().value, "cannot create the machine's memory");
  machine->memory_fd_ = std::move(*memory);
  auto mapping = Mapping::map(machine->memory_fd_.get(), 0, memory_size);
  if (!mapping) return system_failure(mapping.error().value, "cannot map the machine's memory");
  machine->memory_ = std::move(*mapping);

  int ends[2], qmp[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return system_failure(errno, "cannot create a socket pair");
  machine->qtest_ = std::make_unique<QtestClient>(OwnedFd(ends[0]));
  const OwnedFd theirs(ends[1]);
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp) != 0)
    return system_failure(errno, "cannot create a socket pair");
  machine->qmp_ = std::make_unique<QmpClient>(OwnedFd(qmp[0]));
  const OwnedFd their_qmp(qmp[1]);
  // Only one descriptor is passed to the child by number; this one is left open in the child, at another
  // number.
  const OwnedFd inherited(::fcntl(their_qmp.get(), F_DUPFD, 10));

  // QEMU opens our own memory file, so that none is left anywhere.
  const std::string path =
      format_text("/proc/%d/fd/%d", static_cast<int>(::getpid()), machine->memory_fd_.get());
  const std::string megabytes = std::to_string(memory_size >> 20) + "M";
  std::vector<std::string> words{options.program};
  const auto add = [&words](const char* option, std::string value) {
    words.emplace_back(option);
    words.push_back(std::move(value));
  };
  words.insert(words.end(), {"-nodefaults", "-no-user-config"});
  add("-display", "none");
  add("-accel", "qtest");
  add("-m", megabytes);
  add("-object", "memory-backend-file,id=ram,share=on,size=" + megabytes + ",mem-path=" + path);
  add("-machine", "q35,memory-backend=ram");
  add("-chardev", "socket,id=qtest,fd=3");
  add("-object", "qtest,id=qtest0,chardev=qtest,log=none");
  add("-chardev", format_text("socket,id=qmp,fd=%d", inherited.get()));
  add("-mon", "chardev=qmp,mode=control");
  add("-chardev", "socket,id=device,path=" + options.socket_path);
  add("-device",
      format_text("vhost-user-test-device-pci,chardev=device,addr=%u.0,virtio-id=%u,num_vqs=2,config_size=40",
                  slot, options.virtio_id));
  machine->process_ = std::make_unique<test::ChildProcess>(std::move(words), theirs.get());
  if (!machine->process_->started()) return failure("cannot start %s", options.program.c_str());
  return machine;
}

}  // namespace vumedia::qemu_test
