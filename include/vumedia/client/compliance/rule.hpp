// One rule of V4L2 or virtio-media that a device must keep.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <fnmatch.h>

#include <vumedia/client/compliance/finding.hpp>
#include <vumedia/client/compliance/subject.hpp>

namespace vumedia::client::compliance {

/// What a rule applies to, which determines how often it runs and what Subject::queue() and memory() are.
enum class Scope : std::uint8_t {
  device,   ///< once; neither queue nor memory
  queue,    ///< for each queue of the device: a buffer type
  video,    ///< for each video queue: VIDEO_CAPTURE, VIDEO_OUTPUT and their multi-planar types
  buffers,  ///< for each queue that has buffers, with each memory type that it has
  stream,   ///< the same for queues that stream by themselves: those of a memory-to-memory device do not
  capture,  ///< the same, CAPTURE queues only
  m2m,  ///< once, for a memory-to-memory device that is not a stateful decoder; with each memory type both
        /// queues have
  decoder,  ///< once, for a stateful decoder; with each memory type that both queues have
};

/// A rule, and the function that examines it.
struct Rule {
  const char* id;       ///< "group/what-is-demanded"; never changes, because scripts name rules
  const char* demand;   ///< in a sentence
  const char* section;  ///< document and heading: "V4L2 API, ioctl VIDIOC_REQBUFS"
  Scope scope;          ///< what it applies to
  Finding (*check)(Subject& subject);  ///< examines one open file
};

/// Whether `pattern` matches it: a shell pattern, including the extended forms, such as "qbuf/*" or
/// "!(enum-*)".
[[nodiscard]] inline bool is_named(const Rule& rule, const std::string& pattern) noexcept {
  return ::fnmatch(pattern.c_str(), rule.id, FNM_EXTMATCH) == 0;
}

/// Rules under one heading.
struct Group {
  const char* title;            ///< the heading
  std::span<const Rule> rules;  ///< in the order in which they run
};

}  // namespace vumedia::client::compliance
