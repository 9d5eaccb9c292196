// The requests that set up, start and stop rings.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/vhost_user/handlers.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/ring.hpp>
#include <vumedia/vhost_user/verdict.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// `Served` is a ServedDevice, which outlives this.
template <class Served>
class RingRequests {
 public:
  /// `served` is borrowed.
  explicit RingRequests(Served& served) noexcept : served_(served) {}

  /// Sets the size, a power of two up to 32768; refused while the ring is served.
  Verdict handle(const Received<request::SetVringNum>& message) {
    const auto [index, size] = message.body;
    if (Verdict allowed = set_up(index); allowed.is_error()) return allowed;
    if (!served_.rings()[index].set_size(size))
      return refused(EINVAL, "%u is not a valid size for queue %u: it must be a power of two up to 32768",
                     size, index);
    return {};
  }

  /// Sets where the parts of the ring are; refused while it is served, or if they are not in guest memory.
  Verdict handle(const Received<request::SetVringAddr>& message) {
    const VringAddress& body = message.body;
    if (Verdict allowed = set_up(body.index); allowed.is_error()) return allowed;
    if (body.flags != 0)
      return refused(EINVAL, "flags 0x%x ask for a log, which was not negotiated", body.flags);
    const RingAddresses addresses{memory::FrontendAddress{body.descriptor},
                                  memory::FrontendAddress{body.available},
                                  memory::FrontendAddress{body.used}};
    // Some frontends send the memory table after this; then the addresses are checked when the ring starts.
    const auto& table = *served_.host().memory();
    if (table.region_count() > 0 &&
        (!table.guest_address(addresses.descriptors) || !table.guest_address(addresses.available) ||
         !table.guest_address(addresses.used)))
      return refused(EFAULT, "the rings of queue %u are not in guest memory", body.index);
    served_.rings()[body.index].set_addresses(addresses);
    return {};
  }

  /// Sets the base, up to 65535; refused while the ring is served.
  Verdict handle(const Received<request::SetVringBase>& message) {
    const auto [index, base] = message.body;
    if (Verdict allowed = set_up(index); allowed.is_error()) return allowed;
    if (base > UINT16_MAX) return refused(EINVAL, "%u is not a valid base of a split ring", base);
    served_.rings()[index].set_base(static_cast<std::uint16_t>(base));
    return {};
  }

  /// Stops the ring once its commands are completed, and answers with its base, perhaps later.
  Verdict handle(const Received<request::GetVringBase>& message) {
    const std::uint32_t index = message.body.index;
    if (!exists(index)) return no_queue(index);
    const auto state = served_.stop(static_cast<std::uint16_t>(index));
    return state ? answered(*state) : Verdict{Verdict::Kind::later};
  }

  /// Starts the ring; on a started one it changes the descriptor.
  Verdict handle(const Received<request::SetVringKick>& message) {
    return with_descriptor(message, [this](std::uint16_t index, OwnedFd fd) {
      return verdict_of(served_.set_kick(index, std::move(fd)));
    });
  }
  /// Takes an event fd, or none. Other descriptors are refused.
  ///@{
  Verdict handle(const Received<request::SetVringCall>& message) {
    return with_descriptor(message, [this](std::uint16_t index, OwnedFd fd) {
      return event_fd_verdict(index, served_.rings()[index].set_call(std::move(fd)));
    });
  }
  Verdict handle(const Received<request::SetVringErr>& message) {
    return with_descriptor(message, [this](std::uint16_t index, OwnedFd fd) {
      return event_fd_verdict(index, served_.rings()[index].set_err(std::move(fd)));
    });
  }
  ///@}

  /// Serves the ring, or stops serving it without losing anything.
  Verdict handle(const Received<request::SetVringEnable>& message) {
    const auto [index, enabled] = message.body;
    if (!exists(index)) return no_queue(index);
    if (enabled > 1) return refused(EINVAL, "%u is neither 0 nor 1", enabled);
    served_.rings()[index].set_enabled(enabled == 1);
    served_.update(static_cast<std::uint16_t>(index));
    return {};
  }

 private:
  [[nodiscard]] static bool exists(std::uint32_t index) noexcept { return index < Served::queue_count(); }
  [[nodiscard]] static Verdict no_queue(std::uint32_t index) {
    return refused(EINVAL, "there is no queue %u", index);
  }

  // Whether the settings of that ring may change.
  [[nodiscard]] Verdict set_up(std::uint32_t index) {
    if (!exists(index)) return no_queue(index);
    if (!served_.may_set_up(static_cast<std::uint16_t>(index)))
      return refused(EBUSY, "queue %u is started", index);
    return {};
  }

  // Calls `function` with the index in the body, and with the descriptor, or none if the body says so.
  template <class Spec, class Function>
  [[nodiscard]] Verdict with_descriptor(const Received<Spec>& message, Function function) {
    const std::uint64_t value = message.body.value;
    if ((value & ~(vring_index_mask | vring_no_fd)) != 0)
      return malformed("0x%llx has unknown bits", printable(value));
    const bool none = (value & vring_no_fd) != 0;
    if (none && !message.fds.empty())
      return malformed("a file descriptor came although the message says that there is none");
    if (!none && message.fds.empty()) return malformed("its file descriptor is missing");
    const auto index = static_cast<std::uint16_t>(value & vring_index_mask);
    // Refused, not fatal: the message itself is well-formed.
    if (!exists(index)) return no_queue(index);
    return function(index, none ? OwnedFd() : message.fds.take(0));
  }
  [[nodiscard]] static Verdict event_fd_verdict(std::uint16_t index, Result<> taken) {
    if (taken) return {};
    return refused(taken.error().value, "the descriptor for queue %u is not an event fd", index);
  }

  Served& served_;
};

}  // namespace vumedia::vhost_user
