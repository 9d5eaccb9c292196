// A program's manual page, written from the same description of its options as its --help, because a tool
// that converts the text of --help has to guess where an option ends.
#pragma once

#include <cctype>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include <vumedia/core/version.hpp>

namespace vumedia::programs {

namespace man_page_detail {

// Text as roff source. A hyphen in a command line must stay a hyphen, so that a search finds it.
inline std::string escaped(std::string_view text) {
  std::string out;
  if (text.starts_with('.') || text.starts_with('\'')) out += "\\&";
  for (const char c : text) {
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '\n':
        out += ' ';
        break;
      default:
        out += c;
    }
  }
  return out;
}

inline std::string bold(std::string_view text) {
  return "\\fB" + escaped(text) + "\\fR";
}
inline std::string italic(std::string_view text) {
  return "\\fI" + escaped(text) + "\\fR";
}

inline std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// A description as a sentence.
inline std::string sentence(std::string_view text) {
  std::string out = escaped(text);
  if (!out.empty() && out.back() != '.') out += '.';
  return out;
}

// Only the placeholder: CLI11 appends the checks of the value to it.
inline std::string placeholder(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return type.substr(0, type.find(':'));
}

inline std::string names_of(const std::set<CLI::Option*>& options) {
  // Sorted by name, because the set is sorted by address, which differs in each run.
  std::set<std::string> names;
  for (const CLI::Option* const option : options) names.insert(bold(option->get_name()));
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

inline std::string option_entry(const CLI::Option& option) {
  std::string label;
  if (option.get_positional()) {
    label = italic(upper(option.get_single_name()));
  } else {
    for (const std::string& name : option.get_snames())
      label += (label.empty() ? "" : ", ") + bold("-" + name);
    for (const std::string& name : option.get_lnames())
      label += (label.empty() ? "" : ", ") + bold("--" + name);
    if (option.get_type_size_max() != 0 && !option.get_type_name().empty())
      label += ' ' + italic(placeholder(option));
  }
  std::string out = ".TP\n" + label + '\n' + sentence(option.get_description());
  if (!option.get_default_str().empty()) out += " Default: " + escaped(option.get_default_str()) + '.';
  if (option.get_required()) out += " Required.";
  if (!option.get_needs().empty()) out += " Needs " + names_of(option.get_needs()) + '.';
  if (!option.get_excludes().empty()) out += " Not together with " + names_of(option.get_excludes()) + '.';
  return out + '\n';
}

inline std::vector<const CLI::Option*> shown_options(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return !option->get_group().empty(); });
}

// The arguments of a program or one of its commands: "[OPTION]... FILE".
inline std::string arguments(const CLI::App& app) {
  std::string out = "[" + italic("OPTION") + "]...";
  for (const CLI::Option* const option : shown_options(app)) {
    if (!option->get_positional()) continue;
    const std::string name = italic(upper(option->get_single_name()));
    out += option->get_required() ? ' ' + name : " [" + name + ']';
  }
  return out;
}

inline std::string command_section(const CLI::App& command) {
  std::string out = ".SS " + bold(command.get_name()) + ' ' + arguments(command) + '\n';
  out += sentence(command.get_description()) + '\n';
  for (const CLI::Option* const option : shown_options(command)) {
    if (option != command.get_help_ptr()) out += option_entry(*option);
  }
  return out;
}

}  // namespace man_page_detail

// The page of section 1 in roff, up to the options and commands; the build appends the rest (exit status,
// examples). It has no date, because the program knows none that stays the same.
inline std::string man_page(const CLI::App& app) {
  using namespace man_page_detail;
  const std::string& name = app.get_name();
  std::string brief = app.get_description();
  if (brief.ends_with('.')) brief.pop_back();
  if (!brief.empty())
    brief.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(brief.front())));
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });

  std::string out = ".TH " + upper(name) + " 1 \"\" \"vumedia " + version_string + "\" \"User Commands\"\n";
  out += ".SH NAME\n" + escaped(name) + " \\- " + escaped(brief) + '\n';
  out += ".SH SYNOPSIS\n" + bold(name) + ' ' + arguments(app);
  if (!commands.empty()) out += ' ' + italic("COMMAND") + " [" + italic("ARGUMENT") + "]...";
  out += "\n.SH DESCRIPTION\n" + sentence(app.get_description()) + '\n';
  out += ".SH OPTIONS\n";
  for (const CLI::Option* const option : shown_options(app)) out += option_entry(*option);
  if (!commands.empty()) {
    out += ".SH COMMANDS\n";
    for (const CLI::App* const command : commands) out += command_section(*command);
  }
  out.pop_back();
  return out;
}

// --man-page prints the page and ends. It is for the build of the package, and not in --help. This may be
// called before the app is complete: the options are read when the flag is parsed.
inline void add_man_page_flag(CLI::App& app) {
  app.add_flag_callback("--man-page", [&app] { throw CLI::CallForVersion(man_page(app), 0); })->group("");
}

}  // namespace vumedia::programs
