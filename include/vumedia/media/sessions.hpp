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

#include <vumedia/core/intrusive_list.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/media/event_queue.hpp>
#include <vumedia/media/session_order.hpp>

namespace vumedia::media {

/// A table of open files, of fixed size. For the device's loop.
template <class Session>
class Sessions {
 public:
  /// One open file.
  struct Record {
    std::uint32_t id = 0;              ///< never 0 while the record is in use; see Sessions::mark_free()
    SessionOrder order;                ///< of its commands
    SessionEvents events;              ///< that wait for it
    std::unique_ptr<Session> session;  ///< the backend's; null until OPEN has been carried out
  };

  /// Makes room for `limit` sessions, clamped to [1, 65536].
  explicit Sessions(std::uint32_t limit) : slots_(std::clamp(limit, 1u, 65536u)) {
    size_ = static_cast<std::uint32_t>(slots_.size());
    bits_ = std::max(static_cast<std::uint32_t>(std::bit_width(size_ - 1)), 1u);
    mask_ = (1u << bits_) - 1;
    for (Slot& slot : slots_) mark_free(slot);
  }

  /// The record that the guest calls `id`, or null.
  [[nodiscard]] Record* find(std::uint32_t id) noexcept {
    const std::uint32_t index = id & mask_;
    if (index >= size_) return nullptr;
    Slot& slot = slots_[index];
    return slot.record.id == id ? &slot.record : nullptr;
  }

  /// The same, by a key, without a search.
  [[nodiscard]] Record* find(const detail::SessionKey& session) noexcept {
    auto* const record = static_cast<Record*>(session.place);
    return record->id == session.id ? record : nullptr;
  }
  /// `record` is in use.
  [[nodiscard]] static detail::SessionKey key(Record& record) noexcept { return {record.id, &record}; }

  /// Takes a record with a new id and no session; it stays in use until release(). ENFILE if none is free.
  [[nodiscard]] Result<Record*> reserve() noexcept {
    Slot* const slot = free_.pop_front();
    if (slot == nullptr) return fail(ENFILE);
    slot->uses = (slot->uses + 1) & (~0u >> bits_);
    if (slot->uses == 0) slot->uses = 1;  // so that no id is 0
    Record& record = slot->record;
    record.id = slot->uses << bits_ | index_of(*slot);
    record.order = {};
    record.events.error = 0;
    ++count_;
    return &record;
  }

  /// Destroys the session and forgets the id. None of its events may be waiting any more.
  void release(Record& record) noexcept {
    Slot& slot = slots_[record.id & mask_];
    record.session.reset();
    record.events.waiting.release();
    --count_;
    mark_free(slot);
  }

  /// Records that are in use.
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }

  /// Calls `f(Record&)` for each record in use; it may release it.
  template <class F>
  void for_each(F&& f) noexcept {
    for (Slot& slot : slots_) {
      if (slot.record.id > mask_) f(slot.record);
    }
  }

 private:
  struct Slot : ListHook<Slot> {
    Record record;
    std::uint32_t uses = 0;
  };

  [[nodiscard]] std::uint32_t index_of(const Slot& slot) const noexcept {
    return static_cast<std::uint32_t>(&slot - slots_.data());
  }
  // A free record has an id that no guest can find: it names another slot. As there are no uses in it, it was
  // never given out, either.
  void mark_free(Slot& slot) noexcept {
    slot.record.id = index_of(slot) ^ 1;
    free_.push_back(slot);
  }

  std::vector<Slot> slots_;  // never grows: records stay where they are
  std::uint32_t size_ = 0;   // number of slots; a vector would have to divide for it
  std::uint32_t bits_ = 0;
  std::uint32_t mask_ = 0;
  IntrusiveList<Slot> free_;  // in the order in which they became free
  std::uint32_t count_ = 0;
};

}  // namespace vumedia::media
