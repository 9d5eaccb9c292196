// The counters of one device: written by its thread, read by the thread that reports.
#pragma once

#include <vumedia/media/statistics.hpp>

namespace vumedia::device {

struct Counters {
  media::Statistics media;
  media::Counter frontends;         // that were served, including the current one
  media::Counter frontends_left;    // of those
  media::Counter frontends_failed;  // of those: the connection was ended by a protocol or memory error
};

}  // namespace vumedia::device
