// Numbers that are printed as ranges, such as those of damaged frames: "4, 7 to 9 and 12 more".
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <vumedia/core/result.hpp>

namespace ctl {

class Positions {
 public:
  // In ascending order; a number that exists already, or is below the last, is not added.
  void add(std::uint64_t number) {
    if (!ranges_.empty() && number <= ranges_.back().last) return;
    ++count_;
    if (!ranges_.empty() && number == ranges_.back().last + 1) {
      ranges_.back().last = number;
    } else {
      ranges_.push_back({number, number});
    }
  }

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] bool contains(std::uint64_t number) const noexcept {
    const auto found = std::ranges::lower_bound(ranges_, number, {}, &Range::last);
    return found != ranges_.end() && found->first <= number;
  }

  // At most eight ranges, and the count of the remaining numbers.
  [[nodiscard]] std::string text() const {
    using vumedia::format_text;
    constexpr std::size_t most = 8;
    std::string text;
    std::uint64_t told = 0;
    for (const Range& range : ranges_) {
      if (&range == ranges_.data() + most) {
        return text + format_text(" and %llu more", static_cast<unsigned long long>(count_ - told));
      }
      if (!text.empty()) text += ", ";
      text += format_text("%llu", static_cast<unsigned long long>(range.first));
      if (range.last != range.first)
        text += format_text(" to %llu", static_cast<unsigned long long>(range.last));
      told += range.last - range.first + 1;
    }
    return text;
  }

 private:
  struct Range {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
  };
  std::vector<Range> ranges_;
  std::uint64_t count_ = 0;
};

}  // namespace ctl
