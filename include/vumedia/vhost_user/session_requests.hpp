// Session: the handlers of its requests, in the order of session.hpp, which includes this.
#pragma once

#include <algorithm>
#include <vector>

#include <vumedia/vhost_user/session.hpp>

namespace vumedia::vhost_user {

namespace detail {

inline unsigned long long print(std::uint64_t value) noexcept {
  return value;
}

[[nodiscard]] inline memory::RegionSpec region_spec(const MemoryRegion& region, OwnedFd fd) noexcept {
  return {memory::GuestAddress{region.guest_address}, memory::FrontendAddress{region.user_address},
          region.size, region.mmap_offset, std::move(fd)};
}

}  // namespace detail

#define VUMEDIA_HANDLER(REQUEST, HEAD)                                                          \
  template <class Device, io::Reactor R>                                                        \
  typename Session<Device, R>::Verdict Session<Device, R>::handle(request::REQUEST, const HEAD, \
                                                                  [[maybe_unused]] Incoming& incoming)

// Features and ownership.

VUMEDIA_HANDLER(GetFeatures, NoBody&) {
  return answer(incoming, U64{offered_features()});
}

VUMEDIA_HANDLER(SetFeatures, U64& features) {
  if (const std::uint64_t unknown = features.value & ~offered_features(); unknown != 0)
    return refused(EINVAL, "features 0x%llx were not offered", detail::print(unknown));
  // These determine the layout of started rings. Other bits may change (frontends repeat the message at each
  // start).
  constexpr std::uint64_t of_rings = feature::ring_event_idx | feature::ring_indirect_desc;
  const bool rings_change = ((features.value ^ features_) & of_rings) != 0;
  for (std::uint16_t i = 0; rings_change && i < queue_count(); ++i) {
    if (ring(i).was_running && !may_set_up(ring(i)))
      return refused(EBUSY, "ring features change while rings are started");
  }
  features_ = features.value;
  features_set_ = true;
  Verdict result;
  // The others have a kick descriptor and wait to be enabled.
  for (std::uint16_t i = 0; rings_change && i < queue_count(); ++i) {
    if (!ring(i).started) continue;
    ring(i).queue.stop();
    ring(i).started = false;
    if (Verdict verdict = start_ring(i); verdict.kind != Kind::done) result = std::move(verdict);
  }
  update_rings();
  return result;
}

VUMEDIA_HANDLER(SetOwner, NoBody&) {
  return {};
}

// Deprecated, and ignored as the specification recommends.
VUMEDIA_HANDLER(ResetOwner, NoBody&) {
  return {};
}

VUMEDIA_HANDLER(GetProtocolFeatures, NoBody&) {
  return answer(incoming, U64{offered_protocol_features()});
}

VUMEDIA_HANDLER(SetProtocolFeatures, U64& features) {
  if (const std::uint64_t unknown = features.value & ~offered_protocol_features(); unknown != 0)
    return refused(EINVAL, "protocol features 0x%llx were not offered", detail::print(unknown));
  if (features.value != protocol_features_ && any_ring(&RingType::started))
    return refused(EBUSY, "protocol features change while rings are started");
  protocol_features_ = features.value;
  protocol_features_set_ = true;
  // Without acknowledgements nobody would know when a mapping exists.
  constexpr std::uint64_t for_shm =
      protocol_feature::shmem | protocol_feature::backend_req | protocol_feature::reply_ack;
  host_.shm_negotiated_ = (protocol_features_ & for_shm) == for_shm;
  return {};
}

VUMEDIA_HANDLER(GetQueueNum, NoBody&) {
  return answer(incoming, U64{queue_count()});
}

// Memory.

VUMEDIA_HANDLER(SetMemTable, MemoryTableHeader& head) {
  if (head.count > max_table_regions)
    return malformed("%u regions, at most %u fit", head.count, max_table_regions);
  if (incoming.body.size() != sizeof head + head.count * sizeof(MemoryRegion))
    return malformed("%u regions in a body of %zu bytes", head.count, incoming.body.size());
  if (incoming.fds.size() != head.count)
    return malformed("%u regions came with %zu file descriptors", head.count, incoming.fds.size());
  std::vector<memory::RegionSpec> regions;
  for (std::uint32_t i = 0; i < head.count; ++i) {
    MemoryRegion region;
    std::memcpy(&region, incoming.body.data() + sizeof head + i * sizeof region, sizeof region);
    regions.push_back(detail::region_spec(region, incoming.fds.take(i)));
  }
  auto table = host_.memory_->successor(std::move(regions));
  if (!table) return refused(EINVAL, "%s", table.error().message.c_str());
  replace_memory(std::move(*table));
  return {};
}

VUMEDIA_HANDLER(GetMaxMemSlots, NoBody&) {
  return answer(incoming, U64{max_mem_slots});
}

VUMEDIA_HANDLER(AddMemReg, SingleRegion& body) {
  auto table = host_.memory_->with(detail::region_spec(body.region, incoming.fds.take(0)));
  if (!table) return refused(EINVAL, "%s", table.error().message.c_str());
  replace_memory(std::move(*table));
  return {};
}

VUMEDIA_HANDLER(RemMemReg, SingleRegion& body) {
  const MemoryRegion& region = body.region;
  auto table = host_.memory_->without(memory::GuestAddress{region.guest_address}, region.size,
                                      memory::FrontendAddress{region.user_address});
  if (!table) return refused(EINVAL, "%s", table.error().message.c_str());
  replace_memory(std::move(*table));
  return {};
}

// Rings.

VUMEDIA_HANDLER(SetVringNum, VringState& state) {
  if (state.index >= queue_count()) return refused(EINVAL, "there is no queue %u", state.index);
  if (!may_set_up(ring(state.index))) return refused(EBUSY, "queue %u is started", state.index);
  if (!ring(state.index).queue.set_size(state.num))
    return refused(EINVAL, "%u is not a valid size for queue %u: it must be a power of two up to 32768",
                   state.num, state.index);
  return {};
}

VUMEDIA_HANDLER(SetVringAddr, VringAddress& body) {
  if (body.index >= queue_count()) return refused(EINVAL, "there is no queue %u", body.index);
  RingType& ring = this->ring(body.index);
  if (!may_set_up(ring)) return refused(EBUSY, "queue %u is started", body.index);
  if (body.flags != 0)
    return refused(EINVAL, "flags 0x%x ask for a log, which was not negotiated", body.flags);
  const RingAddresses addresses{memory::FrontendAddress{body.descriptor},
                                memory::FrontendAddress{body.available}, memory::FrontendAddress{body.used}};
  // Some frontends send the memory table after this; then the addresses are checked when the ring starts.
  const auto& table = *host_.memory_;
  if (table.region_count() > 0 &&
      (!table.guest_address(addresses.descriptors) || !table.guest_address(addresses.available) ||
       !table.guest_address(addresses.used)))
    return refused(EFAULT, "the rings of queue %u are not in guest memory", body.index);
  ring.addresses = addresses;
  return {};
}

VUMEDIA_HANDLER(SetVringBase, VringState& state) {
  if (state.index >= queue_count()) return refused(EINVAL, "there is no queue %u", state.index);
  if (!may_set_up(ring(state.index))) return refused(EBUSY, "queue %u is started", state.index);
  if (state.num > UINT16_MAX) return refused(EINVAL, "%u is not a valid base of a split ring", state.num);
  ring(state.index).queue.set_base(static_cast<std::uint16_t>(state.num));
  return {};
}

// Stops the ring once its commands are completed. The reply may come later. The loop continues until then,
// but does not read the next message.
VUMEDIA_HANDLER(GetVringBase, VringState& state) {
  if (state.index >= queue_count()) return refused(EINVAL, "there is no queue %u", state.index);
  const auto index = static_cast<std::uint16_t>(state.index);
  drain_request_ = incoming.header;
  // When the first ring stops, the frontend begins to tear down its side.
  suspend_ring(ring(index));
  host_.shm_allowed_ = false;
  if (ring(index).started) {
    device_.stop(index);
    if (device_.in_flight(index) != 0) {
      draining_ = true;
      drained_ = index;
      drain_until_ = io::Clock::now() + drain_deadline;
      socket_.pause();
      host_.timer(drain_timer_, io::Clock::now() + drain_interval);
      return {Kind::answered};
    }
  }
  finish_stop(index);
  return {Kind::answered};
}

namespace detail {

// The queue index of SET_VRING_KICK, CALL or ERR, once body and descriptor agree.
[[nodiscard]] inline Outcome<std::uint16_t> vring_of_fd(const U64& body, std::size_t fds,
                                                        std::uint16_t queues) {
  if ((body.value & ~(vring_index_mask | vring_no_fd)) != 0)
    return failure("0x%llx has unknown bits", detail::print(body.value));
  const bool none = (body.value & vring_no_fd) != 0;
  if (none && fds != 0) return failure("a file descriptor came although the message says that there is none");
  if (!none && fds == 0) return failure("its file descriptor is missing");
  const auto index = static_cast<std::uint16_t>(body.value & vring_index_mask);
  // Refused, not fatal: the message itself is well-formed.
  if (index >= queues) return std::unexpected(Error{format_text("there is no queue %u", index), EINVAL});
  return index;
}

}  // namespace detail

#define VUMEDIA_VRING_OF_FD(INDEX)                                                              \
  const auto INDEX = detail::vring_of_fd(body, incoming.fds.size(), queue_count());             \
  if (!INDEX && INDEX.error().code == 0) return malformed("%s", INDEX.error().message.c_str()); \
  if (!INDEX) return refused(INDEX.error().code, "%s", INDEX.error().message.c_str())

// Starts the ring; on a started one it changes the descriptor.
VUMEDIA_HANDLER(SetVringKick, U64& body) {
  VUMEDIA_VRING_OF_FD(index);
  RingType& ring = this->ring(*index);
  if (auto taken = ring.set_kick(incoming.fds.take(0)); !taken)
    return refused(taken.error().value, "the descriptor for queue %u is not an event fd", *index);
  if (!ring.started) {
    if (Verdict verdict = start_ring(*index); verdict.kind != Kind::done) {
      ring.drop_kick();
      return verdict;
    }
  } else if (ring.running) {
    // A kick may just have been consumed from the old descriptor.
    ring.arm();
    device_.process(*index);
  }
  update_ring(*index);
  return {};
}

VUMEDIA_HANDLER(SetVringCall, U64& body) {
  VUMEDIA_VRING_OF_FD(index);
  RingType& ring = this->ring(*index);
  // The last interrupt may have gone to the former descriptor when the frontend no longer looked at it: QEMU,
  // which gives another when the driver masks or unmasks an interrupt, does not wait until we have read that.
  if (ring.call && ring.was_running) ring.missed_call = true;
  if (incoming.fds.empty()) {
    ring.call.reset();
    return {};
  }
  auto notifier = host_.reactor_.make_notifier(incoming.fds.take(0));
  if (!notifier)
    return refused(notifier.error().value, "the descriptor for queue %u is not an event fd", *index);
  ring.call = std::move(*notifier);
  // Some frontends send this after the kick: an interrupt that was due in between is due still. One too many
  // does no harm.
  if (std::exchange(ring.missed_call, false)) ring.call->signal();
  return {};
}

VUMEDIA_HANDLER(SetVringErr, U64& body) {
  VUMEDIA_VRING_OF_FD(index);
  RingType& ring = this->ring(*index);
  if (incoming.fds.empty()) {
    ring.err.reset();
    return {};
  }
  auto notifier = host_.reactor_.make_notifier(incoming.fds.take(0));
  if (!notifier)
    return refused(notifier.error().value, "the descriptor for queue %u is not an event fd", *index);
  ring.err = std::move(*notifier);
  if (ring.failed) ring.err->signal();
  return {};
}

#undef VUMEDIA_VRING_OF_FD

VUMEDIA_HANDLER(SetVringEnable, VringState& state) {
  if (state.index >= queue_count()) return refused(EINVAL, "there is no queue %u", state.index);
  if (state.num > 1) return refused(EINVAL, "%u is neither 0 nor 1", state.num);
  ring(state.index).enabled = state.num == 1;
  update_ring(static_cast<std::uint16_t>(state.index));
  return {};
}

VUMEDIA_HANDLER(SetBackendReqFd, NoBody&) {
  host_.channel_.open(incoming.fds.take(0));
  return {};
}

// The device.

VUMEDIA_HANDLER(GetConfig, ConfigHeader& head) {
  if (head.size > max_config_size || incoming.body.size() != sizeof head + head.size)
    return malformed("%u bytes of configuration in a body of %zu", head.size, incoming.body.size());
  std::byte body[sizeof head + max_config_size];
  const std::span<const std::byte> config = device_.config();
  ConfigHeader result = head;
  // This request fails with a size of 0.
  if (!range_fits(head.offset, head.size, config.size())) result.size = 0;
  std::memcpy(body, &result, sizeof result);
  if (result.size > 0) std::memcpy(body + sizeof result, config.data() + head.offset, result.size);
  reply(incoming.header, std::span<const std::byte>(body).first(sizeof result + result.size));
  return {Kind::answered};
}

// No device served here has anything that can be written. The guest tries this, not the frontend, so it is no
// reason to end the connection.
VUMEDIA_HANDLER(SetConfig, ConfigHeader& head) {
  if (head.size > max_config_size || incoming.body.size() != sizeof head + head.size)
    return malformed("%u bytes of configuration in a body of %zu", head.size, incoming.body.size());
  return no(Kind::tolerated, EPERM, "the configuration space is read-only");
}

VUMEDIA_HANDLER(ResetDevice, NoBody&) {
  reset_device();
  status_ = 0;
  return {};
}

VUMEDIA_HANDLER(SetStatus, U64& status) {
  if (status.value > UINT8_MAX)
    return refused(EINVAL, "0x%llx is not a device status", detail::print(status.value));
  status_ = static_cast<std::uint8_t>(status.value);
  if (status_ == 0) reset_device();
  return {};
}

VUMEDIA_HANDLER(GetStatus, NoBody&) {
  return answer(incoming, U64{status_});
}

VUMEDIA_HANDLER(GetShmemConfig, NoBody&) {
  ShmemConfig config{};
  const std::span<const std::uint64_t> regions = device_.shm_regions();
  for (std::size_t i = 0; i < std::min(regions.size(), std::size(config.size)); ++i) {
    config.size[i] = regions[i];
    if (regions[i] != 0) ++config.count;
  }
  return answer(incoming, config);
}

#undef VUMEDIA_HANDLER

}  // namespace vumedia::vhost_user
