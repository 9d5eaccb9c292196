// What most files here include, to be read once for all of them. It takes time in each compilation.
#pragma once

#include <vumedia/media/device.hpp>
#include <vumedia/media/statistics.hpp>
#include <vumedia/virtio/concepts.hpp>
