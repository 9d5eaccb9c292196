// What is counted of one device: written by its thread, read by the one that reports.
#pragma once

#include <vumedia/media/statistics.hpp>

namespace vumedia::device {

struct Counters {
  media::Statistics media;
  media::Counter frontends;         // that were served, the present one among them
  media::Counter frontends_left;    // of those
  media::Counter frontends_failed;  // of those: the connection ended by a fault of the protocol, or of memory
};

}  // namespace vumedia::device
