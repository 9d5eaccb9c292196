// What the files here include, to be read once for all of them.
#pragma once

#include <vumedia/client/guest.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/media/statistics.hpp>
#include <vumedia/virtio/concepts.hpp>
