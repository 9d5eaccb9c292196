// The services of a device (context.hpp) by its public functions.
#pragma once

#include <cstdint>
#include <memory>

#include <linux/videodev2.h>

#include <vumedia/core/log.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/media/chores.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::media {

/// What a Context calls, for sessions of this device.
template <class Device>
inline constexpr detail::Services services_of = {
    .session_type = &detail::type_key<typename Device::Session>,
    .find_session = [](void* self, const detail::SessionKey& session) noexcept -> void* {
      return static_cast<Device*>(self)->find_session(session);
    },
    .send_dqbuf =
        [](void* self, const detail::SessionKey& session, const v4l2::Buffer& buffer) noexcept {
          static_cast<Device*>(self)->send_dqbuf(session, buffer);
        },
    .send_event =
        [](void* self, const detail::SessionKey& session, const v4l2_event& event) noexcept {
          static_cast<Device*>(self)->send_event(session, event);
        },
    .send_error = [](void* self, const detail::SessionKey& session,
                     int error) noexcept { static_cast<Device*>(self)->send_error(session, error); },
    .purge_dqbuf =
        [](void* self, const detail::SessionKey& session, std::uint32_t type) noexcept {
          static_cast<Device*>(self)->purge_dqbuf(session, type);
        },
    .arenas = [](void* self) noexcept -> memory::Arenas& { return static_cast<Device*>(self)->arenas(); },
    .memory = [](void* self) noexcept -> const std::shared_ptr<const memory::GuestMemory>& {
      return static_cast<Device*>(self)->host().memory();
    },
    .work = [](void* self) noexcept -> memory::Work& { return static_cast<Device*>(self)->work(); },
    .do_later = [](void* self, Chore& chore) noexcept { static_cast<Device*>(self)->do_later(chore); },
    .log = [](void* self) noexcept -> const Log& { return static_cast<Device*>(self)->host().log(); },
    .timer =
        [](void* self, io::Operation& operation, io::TimePoint deadline) noexcept {
          static_cast<Device*>(self)->host().timer(operation, deadline);
        },
    .poll = [](void* self, io::Operation& operation, int fd,
               unsigned events) noexcept { static_cast<Device*>(self)->host().poll(operation, fd, events); },
    .cancel = [](void* self,
                 io::Operation& operation) noexcept { static_cast<Device*>(self)->host().cancel(operation); },
    .inbox = [](void* self) noexcept { return static_cast<Device*>(self)->host().inbox(); },
    .anchor = [](void* self) noexcept -> const std::shared_ptr<detail::Anchor>& {
      return static_cast<Device*>(self)->anchor();
    },
};

}  // namespace vumedia::media
