// An open file of a memory-to-memory device: what is the same for all engines.
#pragma once

#include <cstdint>
#include <memory>

#include <linux/videodev2.h>

#include <vumedia/backends/m2m/queues.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::backends::m2m {

/// It belongs to the loop's thread, and outlives what the engine has made for it.
struct File {
  /// See Queues.
  File(media::Context handle, const QueueTypes& types, const BufferLimits& limits, std::uint64_t max_bytes,
       const std::shared_ptr<memory::Budget>& mappings)
      : context(handle), queues(handle, types, limits, max_bytes, mappings) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// To the guest, if it has subscribed to that. `origin`: see Subscriptions::deliver.
  void send(const v4l2_event& event, const v4l2::Subscriptions* origin = nullptr) {
    subscriptions.deliver(event, origin, [this](const v4l2_event& one) { context.send_event(one); });
  }
  /// A drain is complete.
  void send_end() { send(v4l2::make_event(V4L2_EVENT_EOS)); }
  /// CAPTURE's format has changed.
  void send_source_change() { send(v4l2::source_change_event()); }

  media::Context context;             ///< what the device does for it
  v4l2::Subscriptions subscriptions;  ///< its events
  Queues queues;                      ///< its buffers
};

}  // namespace vumedia::backends::m2m
