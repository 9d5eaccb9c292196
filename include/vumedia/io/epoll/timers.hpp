// The timers of an EpollReactor, the earliest first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include <vumedia/io/epoll/request.hpp>
#include <vumedia/io/reactor.hpp>

namespace vumedia::io::epoll {

/// A binary heap of requests that are in `table`, each of which knows its place.
class Timers {
 public:
  /// `table` outlives it.
  explicit Timers(RequestTable& table) : table_(table) { heap_.reserve(64); }

  /// False if there is no memory.
  [[nodiscard]] bool add(std::uint32_t index) noexcept {
    try {
      heap_.push_back(index);
    } catch (const std::bad_alloc&) {
      return false;
    }
    table_[index].place = static_cast<std::uint32_t>(heap_.size() - 1);
    rise(heap_.size() - 1);
    return true;
  }
  /// Removes a timer that is in the heap.
  void remove(std::uint32_t index) noexcept {
    const std::size_t place = table_[index].place;
    const std::uint32_t last = heap_.back();
    heap_.pop_back();
    if (last == index) return;
    put(place, last);
    rise(place);
    sink(table_[last].place);
  }

  /// Whether no timer is pending.
  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
  /// The earliest deadline of all.
  [[nodiscard]] std::optional<TimePoint> deadline() const noexcept {
    if (heap_.empty()) return std::nullopt;
    return table_[heap_.front()].deadline;
  }
  /// Removes a timer that is due at `now`, and returns it; Request::none if there is none.
  [[nodiscard]] std::uint32_t pop_due(TimePoint now) noexcept {
    if (heap_.empty() || table_[heap_.front()].deadline > now) return Request::none;
    const std::uint32_t index = heap_.front();
    remove(index);
    return index;
  }

 private:
  void put(std::size_t place, std::uint32_t index) noexcept {
    heap_[place] = index;
    table_[index].place = static_cast<std::uint32_t>(place);
  }
  [[nodiscard]] bool earlier(std::size_t a, std::size_t b) const noexcept {
    return table_[heap_[a]].deadline < table_[heap_[b]].deadline;
  }
  void exchange(std::size_t a, std::size_t b) noexcept {
    const std::uint32_t index = heap_[a];
    put(a, heap_[b]);
    put(b, index);
  }
  void rise(std::size_t place) noexcept {
    for (; place > 0 && earlier(place, (place - 1) / 2); place = (place - 1) / 2)
      exchange(place, (place - 1) / 2);
  }
  void sink(std::size_t place) noexcept {
    while (true) {
      std::size_t least = place;
      for (const std::size_t child : {2 * place + 1, 2 * place + 2}) {
        if (child < heap_.size() && earlier(child, least)) least = child;
      }
      if (least == place) return;
      exchange(place, least);
      place = least;
    }
  }

  RequestTable& table_;
  std::vector<std::uint32_t> heap_;
};

}  // namespace vumedia::io::epoll
