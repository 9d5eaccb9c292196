// The list of all rules, in the order in which they run.
#pragma once

#include <vumedia/client/compliance/device.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance {

inline constexpr Group all_rules[] = {
    {"Configuration", rules::config_rules},
    {"Open files and commands", rules::file_rules},
};

}  // namespace vumedia::client::compliance
