// Reads JSON (RFC 8259) in tests: checks that the output of programs is JSON, and looks up values by path.
#pragma once

#include <cctype>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace vumedia::test {

// The values by path, such as "devices.0.name": numbers and words as they are written, strings without
// quotes, objects and arrays as the number of their members. Nothing if the text is not one JSON value.
class Json {
 public:
  using Values = std::map<std::string, std::string>;

  static std::optional<Values> parse(std::string_view text) {
    Json json(text);
    if (!json.value("", 0)) return std::nullopt;
    json.skip_space();
    if (json.at_ != text.size()) return std::nullopt;
    return json.values_;
  }

 private:
  static constexpr int deepest = 32;

  explicit Json(std::string_view text) : text_(text) {}

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }
  bool take(char wanted) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  static std::string below(const std::string& path, const std::string& name) {
    return path.empty() ? name : path + "." + name;
  }

  bool value(const std::string& path, int depth) {
    skip_space();
    if (at_ >= text_.size() || depth > deepest) return false;
    if (text_[at_] == '{') return members(path, depth, true);
    if (text_[at_] == '[') return members(path, depth, false);
    if (text_[at_] == '"') {
      const auto read = string();
      return read && values_.emplace(path, *read).second;
    }
    const std::size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 ||
                                  std::string_view("+-.").find(text_[at_]) != std::string_view::npos))
      ++at_;
    const std::string word(text_.substr(begin, at_ - begin));
    return (word == "true" || word == "false" || word == "null" || is_number(word)) &&
           values_.emplace(path, word).second;
  }

  bool members(const std::string& path, int depth, bool named) {
    ++at_;
    const char end = named ? '}' : ']';
    std::size_t count = 0;
    if (!take(end)) {
      do {
        std::string name = std::to_string(count++);
        if (named) {
          skip_space();
          const auto read = at_ < text_.size() && text_[at_] == '"' ? string() : std::nullopt;
          if (!read || !take(':')) return false;
          name = *read;
        }
        if (!value(below(path, name), depth + 1)) return false;
      } while (take(','));
      if (!take(end)) return false;
    }
    return values_.emplace(path, std::to_string(count)).second;
  }

  std::optional<std::string> string() {
    std::string read;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return read;
      }
      if (static_cast<unsigned char>(c) < 0x20) return std::nullopt;
      if (c == '\\') {
        if (++at_ >= text_.size() ||
            std::string_view("\"\\/bfnrtu").find(text_[at_]) == std::string_view::npos)
          return std::nullopt;
        read += c;  // escapes stay as they are
      }
      read += text_[at_];
    }
    return std::nullopt;
  }

  static bool is_number(std::string_view word) {
    std::size_t at = word.starts_with('-') ? 1 : 0;
    const auto digits = [&] {
      const std::size_t begin = at;
      while (at < word.size() && std::isdigit(static_cast<unsigned char>(word[at])) != 0) ++at;
      return at - begin;
    };
    const std::size_t begin = at;
    const std::size_t whole = digits();
    if (whole == 0 || (whole > 1 && word[begin] == '0')) return false;
    if (at < word.size() && word[at] == '.') {
      ++at;
      if (digits() == 0) return false;
    }
    if (at < word.size() && (word[at] == 'e' || word[at] == 'E')) {
      ++at;
      if (at < word.size() && (word[at] == '+' || word[at] == '-')) ++at;
      if (digits() == 0) return false;
    }
    return at == word.size();
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Values values_;
};

}  // namespace vumedia::test
