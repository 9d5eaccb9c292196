// Controls by name: "brightness" or "Brightness", as list-ctrls and v4l2-ctl write them, or by number.
#pragma once

#include <optional>
#include <span>
#include <string>

#include <vumedia/core/result.hpp>

#include "device.hpp"

namespace ctl {

struct Assignment {
  std::string name;
  std::string value;
};
// NAME=VALUE; nothing if it is something else.
[[nodiscard]] std::optional<Assignment> parse_assignment(const std::string& text);

// Sets controls, each NAME=VALUE, after all have been checked. The value of a menu is the number or the name
// of an entry. Errors name the control and its possible values.
[[nodiscard]] vumedia::Outcome<> apply_controls(Device& device, std::span<const std::string> assignments);

// The same, and then prints the values that the device has set.
[[nodiscard]] vumedia::Outcome<> set_controls(Device& device, std::span<const std::string> assignments);

// Prints "Name: value", one line for each. A control that cannot be read is an error, or is left out.
[[nodiscard]] vumedia::Outcome<> print_controls(Device& device, std::span<const std::string> names,
                                                bool readable_only = false);

}  // namespace ctl
