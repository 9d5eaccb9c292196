// Laws of every backend, run through a whole device on real rings. To instantiate them for one:
// clang-format off
//   INSTANTIATE_TYPED_TEST_SUITE_P(Camera, BackendLaws, backends::Camera);
// clang-format on
// A backend that is not default-constructible specialises make_guest.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <boost/hana/for_each.hpp>
#include <gtest/gtest.h>

#include <vumedia/media/device.hpp>
#include <vumedia/v4l2/control_info.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

#include "support/effort.hpp"
#include "support/footprint.hpp"
#include "support/media_guest.hpp"

namespace vumedia::backends::test {

using vumedia::test::Bytes;
using vumedia::test::bytes_of;
using vumedia::test::MediaGuest;

template <class B>
std::unique_ptr<MediaGuest<B>> make_guest() {
  // Each command of a test takes new pieces of guest memory; unused memory costs nothing.
  return std::make_unique<MediaGuest<B>>(
      vumedia::test::EmbeddedOptions{.memory_size = std::uint64_t{64} << 20}, media::DeviceOptions{});
}

// Whether buffers are carved from the device's arenas, which then show whether any are left.
template <class B>
inline constexpr bool uses_arenas = true;

template <class B>
class BackendLaws : public testing::Test {
 protected:
  using Guest = MediaGuest<B>;

  // Sends an ioctl with `payload` as both its input and the room for its output; waits for the answer.
  int call(std::uint32_t session, std::uint32_t number, const Bytes& payload, Bytes* answer = nullptr) {
    Bytes command = Guest::ioctl_command(session, number);
    command.insert(command.end(), payload.begin(), payload.end());
    guest->add(command, 8 + payload.size());
    guest->device->process(vumedia::test::wire::commandq);
    const auto reply = guest->wait_reply();
    if (!reply) {
      ADD_FAILURE() << "ioctl " << number << " was never answered";
      return -1;
    }
    if (answer != nullptr) answer->assign(reply->bytes.begin() + 8, reply->bytes.end());
    return reply->status();
  }

  struct Queue {
    std::uint32_t type = 0;
    std::uint32_t count = 0;
    std::vector<std::uint32_t> offsets;  // of all planes
  };

  static bool multiplanar(std::uint32_t type) {
    return type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE || type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
  }
  static Bytes buffer_bytes(std::uint32_t type, std::uint32_t index) {
    v4l2_buffer buffer{};
    buffer.type = type;
    buffer.index = index;
    buffer.memory = V4L2_MEMORY_MMAP;
    if (!multiplanar(type)) {
      buffer.bytesused = 1;
      return bytes_of(buffer);
    }
    // More planes than a buffer has are not an error.
    std::array<v4l2_plane, VIDEO_MAX_PLANES> planes{};
    for (v4l2_plane& plane : planes) plane.bytesused = 1;
    buffer.length = VIDEO_MAX_PLANES;
    return bytes_of(buffer, planes);
  }

  int request(std::uint32_t session, std::uint32_t type, std::uint32_t count, std::uint32_t* got = nullptr) {
    v4l2_requestbuffers buffers{};
    buffers.count = count;
    buffers.type = type;
    buffers.memory = V4L2_MEMORY_MMAP;
    Bytes answer;
    const int status = call(session, v4l2::tag::REQBUFS::number, bytes_of(buffers), &answer);
    if (status == 0 && got != nullptr) {
      std::memcpy(&buffers, answer.data(), sizeof buffers);
      *got = buffers.count;
    }
    return status;
  }

  // Allocates buffers on every queue for which the backend gives any in its initial state, queues them if it
  // takes them, and starts streaming.
  std::vector<Queue> start_all(std::uint32_t session) {
    std::vector<Queue> queues;
    for (const std::uint32_t type : {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_OUTPUT,
                                     V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE}) {
      Queue queue{type, 0, {}};
      if (request(session, type, 3, &queue.count) != 0) continue;
      for (std::uint32_t index = 0; index < queue.count; ++index) {
        Bytes answer;
        EXPECT_EQ(call(session, v4l2::tag::QUERYBUF::number, buffer_bytes(type, index), &answer), 0);
        v4l2_buffer buffer;
        std::memcpy(&buffer, answer.data(), sizeof buffer);
        if (!multiplanar(type)) {
          queue.offsets.push_back(buffer.m.offset);
        } else {
          EXPECT_GT(buffer.length, 0u);
          EXPECT_LE(buffer.length, std::uint32_t{VIDEO_MAX_PLANES});
          for (std::size_t p = 0; p < std::min<std::size_t>(buffer.length, VIDEO_MAX_PLANES); ++p) {
            v4l2_plane plane;
            std::memcpy(&plane, answer.data() + sizeof buffer + p * sizeof plane, sizeof plane);
            queue.offsets.push_back(plane.m.mem_offset);
          }
        }
        EXPECT_EQ(call(session, v4l2::tag::QBUF::number, buffer_bytes(type, index)), 0);
      }
      EXPECT_EQ(call(session, v4l2::tag::STREAMON::number, bytes_of(type)), 0);
      queues.push_back(queue);
    }
    return queues;
  }

  std::unique_ptr<Guest> guest = make_guest<B>();
};

TYPED_TEST_SUITE_P(BackendLaws);

TYPED_TEST_P(BackendLaws, ConfigurationIsSound) {
  const auto config = std::as_const(*this->guest->device).config();
  ASSERT_EQ(config.size(), 40u);
  EXPECT_NE(config[8], std::byte{0}) << "the card has a name";
}

TYPED_TEST_P(BackendLaws, OpensAndClosesManyTimes) {
  std::set<std::uint32_t> open;
  for (int i = 0; i < 8; ++i)
    EXPECT_TRUE(open.insert(this->guest->open()).second) << "ids of open files differ";
  for (const auto id : open) this->guest->close(id);
  for (int i = 0; i < 1000; ++i) this->guest->close(this->guest->open());
  EXPECT_EQ(this->guest->device->session_count(), 0u);
}

TYPED_TEST_P(BackendLaws, UnknownIoctlsAreNotTypewriters) {
  const auto id = this->guest->open();
  const Bytes payload(256, std::byte{0});
  std::set<std::uint32_t> known;
  boost::hana::for_each(v4l2::ioctl_tags, [&](auto type) { known.insert(decltype(type)::type::number); });
  for (std::uint32_t number = 0; number < 300; ++number) {
    if (known.contains(number)) continue;
    EXPECT_EQ(this->call(id, number, payload), ENOTTY) << number;
  }
  // VIDIOC_QUERYCAP, DQBUF and DQEVENT exist, but never reach a device.
  for (const std::uint32_t number : {0u, 17u, 89u, 0xffffffffu})
    EXPECT_EQ(this->call(id, number, payload), ENOTTY);
}

// Whatever the bytes: an answer, and a device that keeps working.
TYPED_TEST_P(BackendLaws, EveryIoctlSurvivesEveryPayload) {
  const auto id = this->guest->open();
  boost::hana::for_each(v4l2::ioctl_tags, [&](auto type) {
    using Tag = typename decltype(type)::type;
    for (const unsigned fill : {0x00u, 0x01u, 0x7fu, 0x80u, 0xffu}) {
      const Bytes payload(sizeof(typename Tag::Wire) + 64, std::byte{static_cast<unsigned char>(fill)});
      EXPECT_GE(this->call(id, Tag::number, payload), 0) << Tag::name << " filled with " << fill;
    }
    EXPECT_GE(this->call(id, Tag::number, {}), 0) << Tag::name << " with nothing";
  });
  this->guest->close(id);
  this->guest->close(this->guest->open());
}

TYPED_TEST_P(BackendLaws, MapsNothingThatItNeverNamed) {
  const auto id = this->guest->open();
  for (const std::uint32_t offset :
       {0u, 1u, 4096u, 4097u, 0x40000000u, 0x7ffff000u, 0xfffff000u, 0xffffffffu}) {
    EXPECT_NE(this->guest->mmap(id, offset).hdr.status, 0u) << offset;
  }
  for (const auto& queue : this->start_all(id)) {
    for (const auto offset : queue.offsets) {
      EXPECT_EQ(offset % 4096, 0u);
      EXPECT_NE(this->guest->mmap(id, offset + 1).hdr.status, 0u) << "unaligned";
      EXPECT_EQ(this->guest->mmap(id, offset).hdr.status, 0u);
    }
  }
}

TYPED_TEST_P(BackendLaws, OffsetsAreUniqueInASession) {
  const auto id = this->guest->open();
  std::set<std::uint32_t> offsets;
  for (const auto& queue : this->start_all(id)) {
    for (const auto offset : queue.offsets) EXPECT_TRUE(offsets.insert(offset).second) << offset;
  }
}

TYPED_TEST_P(BackendLaws, RequestingNoBuffersFreesThem) {
  const auto id = this->guest->open();
  const auto queues = this->start_all(id);
  if (!queues.empty() && uses_arenas<TypeParam>) {
    EXPECT_GT(this->guest->device->arenas().used_bytes(), 0u);
  }
  for (const auto& queue : queues) {
    EXPECT_EQ(this->call(id, v4l2::tag::STREAMOFF::number, bytes_of(queue.type)), 0);
    EXPECT_EQ(this->request(id, queue.type, 0), 0);
  }
  EXPECT_TRUE(this->guest->run_until([&] { return this->guest->device->arenas().used_bytes() == 0; }));
}

TYPED_TEST_P(BackendLaws, ClosingWhileStreamingLeavesNothing) {
  this->guest->lend_event_buffers(8);
  for (int round = 0; round < 3; ++round) {
    const auto id = this->guest->open();
    std::vector<std::uint64_t> mapped;
    for (const auto& queue : this->start_all(id)) {
      const auto response = this->guest->mmap(id, queue.offsets.front());
      EXPECT_EQ(response.hdr.status, 0u);
      mapped.push_back(response.driver_addr);
    }
    this->guest->close(id);
    EXPECT_EQ(this->guest->device->session_count(), 0u);
    // Mappings outlive their session.
    for (const auto address : mapped) EXPECT_EQ(this->guest->munmap(address), 0);
    EXPECT_TRUE(this->guest->run_until([&] { return this->guest->device->arenas().used_bytes() == 0; }));
  }
}

// Linux before 6.14 passes the flag for limits to a guest's programs, but refuses the limits itself.
TYPED_TEST_P(BackendLaws, OffersNoLimitsOfControls) {
  if (!uses_arenas<TypeParam>) return;  // describes controls as the host's driver does
  constexpr std::uint32_t next = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
  const auto id = this->guest->open();
  v4l2_query_ext_ctrl query{};
  query.id = next;
  for (Bytes answer; this->call(id, v4l2::tag::QUERY_EXT_CTRL::number, bytes_of(query), &answer) == 0;) {
    std::memcpy(&query, answer.data(), sizeof query);
    EXPECT_EQ(query.flags & v4l2::ctrl_flag_has_which_min_max, 0u) << query.id;
    query.id |= next;
  }
}

// Neither here nor at the frontend. The first rounds create what is kept for reuse.
TYPED_TEST_P(BackendLaws, ManyStreamsLeaveNothing) {
  using vumedia::test::Footprint;
  // Fewer for a host's device, because its driver is slow.
  const int count = uses_arenas<TypeParam> ? vumedia::test::rounds(1000) : 24;
  this->guest->lend_event_buffers(16);
  auto& device = *this->guest->device;
  const auto stream_once = [&](int round) {
    const auto id = this->guest->open();
    const auto queues = this->start_all(id);
    std::vector<std::uint64_t> mapped;
    for (const auto& queue : queues) {
      for (const auto offset : queue.offsets) {
        const auto response = this->guest->mmap(id, offset);
        EXPECT_EQ(response.hdr.status, 0u);
        mapped.push_back(response.driver_addr);
      }
    }
    const auto unmap_all = [&] {
      for (const auto address : mapped) EXPECT_EQ(this->guest->munmap(address), 0);
    };
    // A guest may end in any order, or not at all before it closes.
    if (round % 3 == 0) unmap_all();
    if (round % 3 == 1) {
      for (const auto& queue : queues)
        EXPECT_EQ(this->call(id, v4l2::tag::STREAMOFF::number, bytes_of(queue.type)), 0);
    }
    this->guest->close(id);
    if (round % 3 != 0) unmap_all();
    while (this->guest->take_event()) this->guest->lend_event_buffers(1);
    this->guest->host.frontend.requests = {};  // the test's own list
  };
  const int kept = 12;
  for (int round = 0; round < kept; ++round) stream_once(round);
  const auto idle = [&] { return device.session_count() == 0 && device.arenas().used_bytes() == 0; };
  ASSERT_TRUE(this->guest->run_until(idle));
  const auto before = Footprint::now();
  const auto arenas = device.arenas().arena_count();
  const auto windows = this->guest->host.frontend.ranges.size();

  for (int round = 0; round < count; ++round) stream_once(round);
  // Threads may take a moment to end.
  EXPECT_TRUE(this->guest->run_until([&] {
    const auto now = Footprint::now();
    return idle() && now.fds <= before.fds && now.threads <= before.threads;
  }));
  const auto after = Footprint::now();
  EXPECT_EQ(device.session_count(), 0u);
  EXPECT_EQ(device.arenas().used_bytes(), 0u);
  // A worker may hold the last picture of a closed file while the next one makes its buffers, which then take
  // another arena; but not one in each round.
  const std::size_t few = 4;
  EXPECT_LE(device.arenas().arena_count(), arenas + few);
  EXPECT_LE(this->guest->host.frontend.ranges.size(), windows + few);
  EXPECT_LE(after.fds, before.fds);
  EXPECT_LE(after.threads, before.threads);
  // The allocator's own mappings do not appear in every round: one that leaks in each of several rounds is
  // visible.
  const std::size_t some = std::max<std::size_t>(static_cast<std::size_t>(count) / 8, 64);
  EXPECT_LT(after.mappings, before.mappings + some);
  EXPECT_LT(after.heap_bytes, before.heap_bytes + some * 256);
}

TYPED_TEST_P(BackendLaws, ResetWhileStreamingLeavesNothing) {
  this->guest->lend_event_buffers(8);
  const auto id = this->guest->open();
  this->start_all(id);
  this->guest->device->reset();
  EXPECT_EQ(this->guest->device->session_count(), 0u);
  EXPECT_TRUE(this->guest->run_until([&] { return this->guest->device->arenas().used_bytes() == 0; }));
  const auto again = this->guest->open();
  this->start_all(again);
  this->guest->close(again);
}

TYPED_TEST_P(BackendLaws, StreamingWithoutBuffersFails) {
  const auto id = this->guest->open();
  for (std::uint32_t type = 0; type < 16; ++type) {
    EXPECT_NE(this->call(id, v4l2::tag::STREAMON::number, bytes_of(type)), 0) << type;
    EXPECT_NE(this->call(id, v4l2::tag::QBUF::number, this->buffer_bytes(type, 0)), 0) << type;
  }
}

REGISTER_TYPED_TEST_SUITE_P(BackendLaws, ConfigurationIsSound, OpensAndClosesManyTimes,
                            UnknownIoctlsAreNotTypewriters, EveryIoctlSurvivesEveryPayload,
                            MapsNothingThatItNeverNamed, OffsetsAreUniqueInASession,
                            RequestingNoBuffersFreesThem, ClosingWhileStreamingLeavesNothing,
                            ManyStreamsLeaveNothing, OffersNoLimitsOfControls,
                            ResetWhileStreamingLeavesNothing, StreamingWithoutBuffersFails);

}  // namespace vumedia::backends::test
