// The compliance command, which has an exit status of its own, because its findings are not errors of the
// command.
#pragma once

#include <string>

namespace ctl {

struct ComplianceOptions {
  std::string filter = "*";    // shell pattern for the ids of rules
  std::string memory = "all";  // mmap, userptr, all
  std::string stream;          // a file for decoders; empty: none
  bool verbose = false;
};

// Prints ids, demands and sections of the rules, for --list.
[[nodiscard]] std::string list_rules(const std::string& filter);

// Runs the rules on the device behind a socket and prints the report. Returns 0 if it keeps them, 1 if it
// breaks one, and 2, with a line on standard error, if it could not be examined or if nothing that it does
// could be tried.
[[nodiscard]] int examine(const std::string& socket_path, const ComplianceOptions& options);

}  // namespace ctl
