// The compliance command, which has an exit status of its own: what it finds is not an error of its.
#pragma once

#include <string>

namespace ctl {

struct ComplianceOptions {
  std::string filter = "*";    // of rules' ids, as a pattern of the shell
  std::string memory = "all";  // mmap, userptr, all
  std::string stream;          // a file for decoders; empty: none
  bool verbose = false;
};

// Ids, demands and sections of the rules, for --list.
[[nodiscard]] std::string list_rules(const std::string& filter);

// Runs the rules on the device behind a socket and prints the report. 0: it keeps them; 1: it breaks one; 2,
// with a line on standard error: it could not be examined, or nothing that it does could be tried.
[[nodiscard]] int examine(const std::string& socket_path, const ComplianceOptions& options);

}  // namespace ctl
