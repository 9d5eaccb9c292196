// The command line of vumedia-ctl.
#pragma once

#include <functional>
#include <string>
#include <variant>

#include <vumedia/core/result.hpp>

#include "commands.hpp"
#include "device.hpp"

namespace ctl {

struct CommandLine {
  std::string socket_path;
  // One of the two. The second opens files of its own, prints its reasons and returns the exit status.
  std::function<vumedia::Outcome<Status>(Device&)> command;
  std::function<int(const std::string& socket_path)> examination;
};

// Either what to do, or the exit status: after --help, --version (0) or a mistake (2, reported in one line).
[[nodiscard]] std::variant<CommandLine, int> parse_command_line(int argc, char** argv);

}  // namespace ctl
