// The requests that negotiate features, and what they have negotiated.
#pragma once

#include <cerrno>
#include <cstdint>

#include <vumedia/vhost_user/handlers.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/rings.hpp>
#include <vumedia/vhost_user/verdict.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// `Served` is a ServedDevice, which outlives this.
template <class Served>
class FeatureRequests {
 public:
  /// `mem_slots`: whether CONFIGURE_MEM_SLOTS is offered.
  FeatureRequests(Served& served, bool mem_slots) noexcept : served_(served), mem_slots_(mem_slots) {}

  /// As the driver has taken them; 0 before.
  [[nodiscard]] std::uint64_t features() const noexcept { return features_; }
  /// As the frontend has taken them; 0 before.
  [[nodiscard]] std::uint64_t protocol_features() const noexcept { return protocol_features_; }
  /// Whether all of these protocol features are negotiated.
  [[nodiscard]] bool has(std::uint64_t protocol_features) const noexcept {
    return (protocol_features & ~protocol_features_) == 0;
  }

  /// Answers with the features of the device, of its rings and of the transport.
  Verdict handle(const Received<request::GetFeatures>&) { return answered(U64{offered_features()}); }
  /// Takes the features; refused if one was not offered, or if rings that run would have to change.
  Verdict handle(const Received<request::SetFeatures>& message);
  /// Ignored: a connection has one owner.
  Verdict handle(const Received<request::SetOwner>&) { return {}; }
  /// Deprecated, and ignored as the specification recommends.
  Verdict handle(const Received<request::ResetOwner>&) { return {}; }
  /// Answers with what can be served here.
  Verdict handle(const Received<request::GetProtocolFeatures>&) {
    return answered(U64{offered_protocol_features()});
  }
  /// Takes the protocol features; refused if one was not offered, or if they change while rings are started.
  Verdict handle(const Received<request::SetProtocolFeatures>& message);
  /// Answers with the number of the device's queues.
  Verdict handle(const Received<request::GetQueueNum>&) { return answered(U64{Served::queue_count()}); }

 private:
  [[nodiscard]] std::uint64_t offered_features() noexcept {
    return feature::version_1 | feature::ring_indirect_desc | feature::ring_event_idx |
           feature::protocol_features | served_.device().features();
  }
  [[nodiscard]] std::uint64_t offered_protocol_features() const noexcept {
    return offerable_protocol_features & ~(mem_slots_ ? 0 : protocol_feature::configure_mem_slots);
  }
  // Rings of a frontend that has set neither kind of features yet start enabled.
  [[nodiscard]] RingFeatures ring_features() const noexcept {
    return {(features_ & feature::ring_event_idx) != 0, (features_ & feature::ring_indirect_desc) != 0,
            features_set_ ? (features_ & feature::protocol_features) == 0 : !protocol_features_set_};
  }

  Served& served_;
  const bool mem_slots_;
  std::uint64_t features_ = 0;
  bool features_set_ = false;
  std::uint64_t protocol_features_ = 0;
  bool protocol_features_set_ = false;
};

template <class Served>
Verdict FeatureRequests<Served>::handle(const Received<request::SetFeatures>& message) {
  const std::uint64_t wanted = message.body.value;
  if (const std::uint64_t unknown = wanted & ~offered_features(); unknown != 0)
    return refused(EINVAL, "features 0x%llx were not offered", printable(unknown));
  // These determine the layout of started rings. Other bits may change (frontends repeat the message at each
  // start).
  constexpr std::uint64_t of_rings = feature::ring_event_idx | feature::ring_indirect_desc;
  const bool rings_change = ((wanted ^ features_) & of_rings) != 0;
  if (rings_change && !served_.may_change_features())
    return refused(EBUSY, "ring features change while rings are started");
  features_ = wanted;
  features_set_ = true;
  return verdict_of(served_.change_features(ring_features(), rings_change));
}

template <class Served>
Verdict FeatureRequests<Served>::handle(const Received<request::SetProtocolFeatures>& message) {
  const std::uint64_t wanted = message.body.value;
  if (const std::uint64_t unknown = wanted & ~offered_protocol_features(); unknown != 0)
    return refused(EINVAL, "protocol features 0x%llx were not offered", printable(unknown));
  if (wanted != protocol_features_ && served_.rings().any_started())
    return refused(EBUSY, "protocol features change while rings are started");
  protocol_features_ = wanted;
  protocol_features_set_ = true;
  served_.rings().set_features(ring_features());
  // Without acknowledgements nobody would know when a mapping exists.
  served_.host().set_shm_negotiated(
      has(protocol_feature::shmem | protocol_feature::backend_req | protocol_feature::reply_ack));
  return {};
}

}  // namespace vumedia::vhost_user
