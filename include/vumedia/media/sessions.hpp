// The open files of a device, found by id in constant time.
//
// An id is a slot's index in its low bits and a count of the slot's uses above them, so an id that the guest
// has closed names nothing, and does not come back before its slot has been used 2^(32 - bits) times. Slots
// are reused in the order in which they became free. While the guest knows an id its slot is in use, so ids
// are never reused early.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

#include <vumedia/core/result.hpp>
#include <vumedia/media/event_queue.hpp>

namespace vumedia::media {

template <class Session>
class Sessions {
 public:
  struct Record {
    std::uint32_t id = 0;  // never 0 while the record is in use
    int error = 0;         // not 0 after an error event: commands are refused until CLOSE
    // Commands that no other may overtake: an unfinished one that takes several turns of the loop, and those
    // that wait for it.
    int waiting = 0;
    bool under_way = false;
    std::unique_ptr<Session> session;
    EventQueue::Store events;

   private:
    friend class Sessions;
    // NOLINTBEGIN(readability-identifier-naming): its friend's, to whom they are public.
    std::uint32_t uses = 0;
    std::uint32_t next_free = none;
    bool in_use = false;
    // NOLINTEND(readability-identifier-naming)
  };

  // Makes room for `limit` sessions, clamped to [1, 65536].
  explicit Sessions(std::uint32_t limit) : records_(std::clamp(limit, 1u, 65536u)) {
    size_ = static_cast<std::uint32_t>(records_.size());
    bits_ = static_cast<std::uint32_t>(std::bit_width(size_ - 1));
    mask_ = (1u << bits_) - 1;
    for (std::uint32_t slot = 0; slot < size_; ++slot) append_free(slot);
  }

  // The record that the guest calls `id`, or null.
  [[nodiscard]] Record* find(std::uint32_t id) noexcept {
    const std::uint32_t slot = id & mask_;
    if (slot >= size_) return nullptr;
    Record& record = records_[slot];
    return record.in_use && record.id == id ? &record : nullptr;
  }

  // Takes a record with a new id and no session; it stays in use until release(). ENFILE if none is free.
  [[nodiscard]] Result<Record*> reserve() noexcept {
    if (first_free_ == none) return fail(ENFILE);
    const std::uint32_t slot = first_free_;
    Record& record = records_[slot];
    first_free_ = record.next_free;
    if (first_free_ == none) last_free_ = none;
    record.uses = (record.uses + 1) & (~0u >> bits_);
    if (record.uses == 0) record.uses = 1;  // so that no id is 0
    record.id = record.uses << bits_ | slot;
    record.error = record.waiting = 0;
    record.under_way = false;
    record.in_use = true;
    ++count_;
    return &record;
  }

  // Destroys the session and forgets the id. None of its events may be waiting any more.
  void release(Record& record) noexcept {
    record.in_use = false;
    record.session.reset();
    record.events.release();
    --count_;
    append_free(record.id & mask_);
  }

  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }

  // Calls `f(Record&)` for each record in use; it may release it.
  template <class F>
  void for_each(F&& f) noexcept {
    for (Record& record : records_) {
      if (record.in_use) f(record);
    }
  }

 private:
  static constexpr std::uint32_t none = ~0u;

  void append_free(std::uint32_t slot) noexcept {
    records_[slot].next_free = none;
    (last_free_ != none ? records_[last_free_].next_free : first_free_) = slot;
    last_free_ = slot;
  }

  std::vector<Record> records_;  // never grows: records stay where they are
  std::uint32_t size_ = 0;       // number of records; a vector would have to divide for it
  std::uint32_t bits_ = 0;
  std::uint32_t mask_ = 0;
  std::uint32_t first_free_ = none;
  std::uint32_t last_free_ = none;
  std::uint32_t count_ = 0;
};

}  // namespace vumedia::media
