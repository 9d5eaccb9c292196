// The list of all rules, in the order in which they run.
#pragma once

#include <vumedia/client/compliance/device.hpp>
#include <vumedia/client/compliance/enumeration.hpp>
#include <vumedia/client/compliance/formats.hpp>
#include <vumedia/client/compliance/parameters.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance {

inline constexpr Group all_rules[] = {
    {"Configuration", rules::config_rules},
    {"Open files and commands", rules::file_rules},
    {"Enumeration of formats", rules::enumeration_rules},
    {"Formats", rules::format_rules},
    {"Streaming parameters", rules::parameter_rules},
    {"Selections", rules::selection_rules},
    {"Inputs and outputs", rules::input_rules},
    {"Priority", rules::priority_rules},
};

}  // namespace vumedia::client::compliance
