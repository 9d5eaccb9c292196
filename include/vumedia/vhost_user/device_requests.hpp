// The requests that concern the device as a whole: its configuration space, status, reset and shared memory
// regions.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>

#include <vumedia/core/checked.hpp>
#include <vumedia/vhost_user/handlers.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/verdict.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// `Served` is a ServedDevice, which outlives this: something with a device(), and reset().
template <class Served>
class DeviceRequests {
 public:
  /// `served` is borrowed.
  explicit DeviceRequests(Served& served) noexcept : served_(served) {}

  /// Answers with a part of the configuration space, or with no bytes if it does not lie within that.
  Verdict handle(const Received<request::GetConfig>& message) {
    if (Verdict checked = check(message); checked.is_error()) return checked;
    std::byte body[sizeof(ConfigHeader) + max_config_size];
    const std::span<const std::byte> config = served_.device().config();
    ConfigHeader head = message.body;
    // This request fails with a size of 0.
    if (!range_fits(head.offset, head.size, config.size())) head.size = 0;
    std::memcpy(body, &head, sizeof head);
    if (head.size > 0) std::memcpy(body + sizeof head, config.data() + head.offset, head.size);
    return answered(std::span<const std::byte>(body).first(sizeof head + head.size));
  }

  /// No device served here has anything that can be written. The guest tries this, not the frontend, so it is
  /// no reason to end the connection.
  Verdict handle(const Received<request::SetConfig>& message) {
    if (Verdict checked = check(message); checked.is_error()) return checked;
    return {Verdict::Kind::tolerated, {"the configuration space is read-only", EPERM}};
  }

  /// Resets the device.
  Verdict handle(const Received<request::ResetDevice>&) {
    served_.reset();
    status_ = 0;
    return {};
  }

  /// Takes the status; 0 resets the device.
  Verdict handle(const Received<request::SetStatus>& message) {
    const std::uint64_t status = message.body.value;
    if (status > UINT8_MAX) return refused(EINVAL, "0x%llx is not a device status", printable(status));
    status_ = static_cast<std::uint8_t>(status);
    if (status_ == 0) served_.reset();
    return {};
  }

  /// Answers with the status that the driver set last.
  Verdict handle(const Received<request::GetStatus>&) { return answered(U64{status_}); }

  /// Answers with the sizes of the device's regions.
  Verdict handle(const Received<request::GetShmemConfig>&) {
    ShmemConfig config{};
    const std::span<const std::uint64_t> regions = served_.device().shm_regions();
    for (std::size_t i = 0; i < std::min(regions.size(), std::size(config.size)); ++i) {
      config.size[i] = regions[i];
      if (regions[i] != 0) ++config.count;
    }
    return answered(config);
  }

 private:
  template <class Spec>
  [[nodiscard]] static Verdict check(const Received<Spec>& message) {
    const std::uint32_t size = message.body.size;
    if (size <= max_config_size && message.tail.size() == size) return {};
    return malformed("%u bytes of configuration in a body of %zu", size,
                     sizeof message.body + message.tail.size());
  }

  Served& served_;
  std::uint8_t status_ = 0;
};

}  // namespace vumedia::vhost_user
