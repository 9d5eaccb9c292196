// What a backend and its program need, in one header. Each folder has the narrow ones, which compile faster.
//
// The backends that come with the library, the guest's half (client/guest.hpp) and the parts of a VMM
// (virtio/basic_host.hpp, vhost_user/frontend.hpp) are not among them.
#pragma once

#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/core/version.hpp>
#include <vumedia/io/listener.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/media/serve.hpp>
#include <vumedia/media/statistics.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/describe.hpp>
#include <vumedia/v4l2/formats.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/ioctls.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/v4l2/priority.hpp>
#include <vumedia/v4l2/subscriptions.hpp>
#include <vumedia/v4l2/user_planes.hpp>
