// Where the memory of one frontend is mapped in this process.
//
// Regions of several tables, and additional views of their pages, live as long as somebody uses them, on any
// thread. If an access to one of them fails because the frontend has truncated its file, this tells which
// frontend it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

namespace vumedia::memory {

/// Disjoint ranges of addresses. Any thread may use it.
class MappedRanges {
 public:
  /// A listed range. It is removed before the range is unmapped, because the addresses may be reused
  /// afterwards.
  class Entry {
   public:
    Entry() = default;
    /// Lists `range`, which overlaps no other in the list.
    Entry(std::shared_ptr<MappedRanges> list, std::span<const std::byte> range) : list_(std::move(list)) {
      begin_ = reinterpret_cast<std::uintptr_t>(range.data());
      const std::lock_guard lock(list_->mutex_);
      list_->ranges_.emplace(begin_, range.size());
    }
    /// Leaves `other` with nothing.
    Entry(Entry&& other) noexcept : list_(std::move(other.list_)), begin_(other.begin_) {}
    /// Removes what it listed before, and leaves `other` with nothing.
    Entry& operator=(Entry&& other) noexcept {
      if (this != &other) {
        reset();
        list_ = std::move(other.list_);
        begin_ = other.begin_;
      }
      return *this;
    }
    ~Entry() { reset(); }
    /// Removes the range from the list, if it is in it.
    void reset() noexcept {
      const auto list = std::move(list_);
      if (list == nullptr) return;
      const std::lock_guard lock(list->mutex_);
      list->ranges_.erase(begin_);
    }

   private:
    std::shared_ptr<MappedRanges> list_;
    std::uintptr_t begin_ = 0;
  };

  /// Whether a listed range holds `address`.
  [[nodiscard]] bool holds(std::uintptr_t address) const noexcept {
    const std::lock_guard lock(mutex_);
    auto range = ranges_.upper_bound(address);
    if (range == ranges_.begin()) return false;
    --range;
    return address - range->first < range->second;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::uintptr_t, std::size_t> ranges_;  // from begin to size
};

}  // namespace vumedia::memory
