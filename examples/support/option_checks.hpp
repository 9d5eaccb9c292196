// Checks of option values. CLI11 puts the option's name before the message.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>

namespace vumedia::programs {

// A check for CLI11 that adds nothing to the help text.
template <class Accepts>
CLI::Validator check(Accepts accepts, std::string complaint) {
  return CLI::Validator(
      [accepts, complaint = std::move(complaint)](std::string& text) {
        return accepts(text) ? std::string{} : "'" + text + "' is not " + complaint;
      },
      "");
}

template <std::uint64_t Lowest, std::uint64_t Highest>
bool in_range(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.size() > 1 && text.starts_with('0')) return false;
  return error == std::errc{} && end == text.data() + text.size() && number >= Lowest && number <= Highest;
}

// A whole number from Lowest to Highest. Without zeros before it, which make an octal number for CLI11.
template <std::uint64_t Lowest, std::uint64_t Highest>
CLI::Validator whole_number() {
  return check(in_range<Lowest, Highest>,
               "a number from " + std::to_string(Lowest) + " to " + std::to_string(Highest));
}

// A decimal number between two others, so neither "nan" nor "inf".
inline CLI::Validator decimal_number(double lowest, double highest, std::string complaint) {
  return check(
      [lowest, highest](std::string_view text) {
        double number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        return error == std::errc{} && end == text.data() + text.size() && std::isfinite(number) &&
               number >= lowest && number <= highest;
      },
      std::move(complaint));
}

}  // namespace vumedia::programs
