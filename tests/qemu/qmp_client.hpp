// What is done to a machine from outside: pause, continue, the reset button (QEMU Machine Protocol).
#pragma once

#include <string>
#include <utility>

#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>

#include "qemu/line_channel.hpp"

namespace vumedia::qemu_test {

class QmpClient {
 public:
  explicit QmpClient(OwnedFd socket) noexcept : channel_(std::move(socket)) {}

  // Runs a command without arguments. Returns when QEMU has answered it and, if an event is named, has sent
  // that event.
  [[nodiscard]] Outcome<> execute(const std::string& command, const std::string& event = {}) {
    if (!std::exchange(greeted_, true)) {
      if (auto done = run("qmp_capabilities", {}); !done) return done;
    }
    return run(command, event);
  }

 private:
  // Each message is one line of JSON. Their contents beyond their kind do not matter here.
  [[nodiscard]] Outcome<> run(const std::string& command, const std::string& event) {
    if (auto sent = channel_.send("{\"execute\": \"" + command + "\"}\n"); !sent) return sent;
    const io::TimePoint until = io::Clock::now() + qemu_patience;
    bool answered = false, told = event.empty();
    while (!answered || !told) {
      auto line = channel_.next(until);
      if (!line) return std::unexpected(std::move(line.error()));
      if (!*line) return channel_.broken("QMP: no end of " + command + " comes", ETIMEDOUT);
      const auto says = [&line](const std::string& part) { return (*line)->find(part) != std::string::npos; };
      if (says("\"error\"")) return channel_.broken("QMP: " + **line, EPROTO);
      // An event may come before the answer to the command that caused it.
      if (says("\"event\"")) {
        told = told || says('"' + event + '"');
      } else {
        answered = answered || says("\"return\"");
      }
    }
    return {};
  }

  LineChannel channel_;
  bool greeted_ = false;
};

}  // namespace vumedia::qemu_test
