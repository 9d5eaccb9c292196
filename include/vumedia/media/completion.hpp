// The answer that a backend owes for a deferred command.
//
// The device continues to serve until the answer comes. A Completion and its command know each other by an
// object that they share, not by ring indices, so an answer that comes after a timeout, a reset or the end of
// the device finds no command and is discarded.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <vumedia/core/result.hpp>
#include <vumedia/io/inbox.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::media {

namespace detail {

// What other threads hold of a device, to learn whether it still exists. `device` is read and written on the
// loop's thread only, where every posted task runs.
struct Anchor {
  void* device = nullptr;
};

// One deferred command, shared by the device and the Completion. Until the answer is posted the payload
// belongs to the backend, afterwards to the device; the inbox's lock orders the two.
struct Deferred {
  std::shared_ptr<io::Inbox> inbox;
  // The device's command that waits for the answer, or null: read and written on the loop's thread only.
  void* command = nullptr;
  void (*answered)(Deferred& deferred) noexcept = nullptr;
  Result<> result;
  v4l2::PayloadStorage storage;
  memory::Share list_bytes;  // of the lists of guest ranges in it
};

}  // namespace detail

/// Move-only; complete it once, from any thread. If it is dropped without an answer, it answers EIO. The
/// device answers ETIMEDOUT after four seconds, because the driver gives up after five; a later answer is
/// discarded.
///
/// Until then the payload reference that came with it stays valid and belongs to the backend: any thread may
/// fill it before complete(), and none may touch it afterwards.
class Completion {
 public:
  /// For the device; tests of a backend make these too.
  explicit Completion(std::shared_ptr<detail::Deferred> command) noexcept : command_(std::move(command)) {}
  /// The other one owes nothing any more.
  Completion(Completion&&) noexcept = default;
  /// Answers EIO if this owed an answer; the other one owes nothing any more.
  Completion& operator=(Completion&& other) noexcept {
    if (this != &other) {
      complete(fail(EIO));
      command_ = std::move(other.command_);
    }
    return *this;
  }
  ~Completion() { complete(fail(EIO)); }

  /// Whether an answer is still owed through this object.
  [[nodiscard]] explicit operator bool() const noexcept { return command_ != nullptr; }

  /// Answers with the payload as it is now, or with an errno. A second call does nothing.
  void complete(Result<> result) noexcept {
    if (command_ == nullptr) return;
    const auto command = std::move(command_);
    command->result = result;
    // Posting fails if the loop is gone: then nobody waits for an answer.
    command->inbox->post([command] {
      if (command->command != nullptr) command->answered(*command);
    });
  }

 private:
  std::shared_ptr<detail::Deferred> command_;
};

}  // namespace vumedia::media
