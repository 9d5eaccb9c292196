#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/client/embedded_transport.hpp>
#include <vumedia/client/guest.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/virtio/basic_host.hpp>

#include "support/patience.hpp"

namespace vumedia::client::embedded_transport_test {
namespace {

namespace tag = v4l2::tag;

constexpr memory::GuestAddress base{0x4000'0000};
constexpr std::uint64_t size = 4 << 20;

class EmbeddedTransportTest : public testing::Test {
 protected:
  struct Interrupt {
    void operator()(std::uint16_t) const noexcept {}
  };
  using Host = virtio::BasicHost<io::UringReactor, Interrupt>;
  using Device = media::Device<backends::TestPattern, Host>;
  struct Turn {
    io::UringReactor* reactor;
    void operator()(io::TimePoint until) const {
      struct Alarm final : io::Operation {
        Alarm() : Operation([](io::Operation&, std::int32_t) noexcept {}) {}
      } alarm;
      reactor->timer(alarm, until);
      reactor->run_once(true);
      reactor->cancel(alarm);
    }
  };
  using Guest = BasicGuest<EmbeddedTransport<Device, Host, Turn>>;

  EmbeddedTransportTest() : reactor_(std::move(*io::UringReactor::create())) {
    auto file = make_sealed_memfd("guest", size);
    view_ = std::move(*Mapping::map(file->get(), 0, size));
    std::vector<memory::RegionSpec> regions;
    regions.push_back({base, {0}, size, 0, std::move(*file)});
    host_ = std::make_unique<Host>(*reactor_, *memory::GuestMemory::create(std::move(regions)), Interrupt());
    device_ = std::make_unique<Device>(*host_, media::DeviceOptions());
    turn_.reactor = reactor_.get();
  }
  [[nodiscard]] Outcome<std::unique_ptr<Guest>> attach(std::uint64_t ram = size) {
    return Guest::attach({*device_, *host_, {view_.bytes().first(ram), base}, turn_},
                         {.command_timeout = vumedia::test::patience});
  }

  std::unique_ptr<io::UringReactor> reactor_;
  Mapping view_;
  std::unique_ptr<Host> host_;
  std::unique_ptr<Device> device_;
  Turn turn_{};
};

TEST_F(EmbeddedTransportTest, CapturesIntoSharedMemory) {
  ASSERT_TRUE(host_->reserve_shm(device_->shm_regions()[0]));
  const auto attached = attach();
  ASSERT_TRUE(attached) << attached.error().message;
  Guest& guest = **attached;
  const auto session = guest.open();
  ASSERT_TRUE(session);
  v4l2_requestbuffers request{};
  request.count = 1;
  request.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  request.memory = V4L2_MEMORY_MMAP;
  ASSERT_TRUE(guest.ioctl<tag::REQBUFS>(*session, request));
  v4l2::BufferPayload buffer{};
  buffer.buffer.head.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  buffer.buffer.head.memory = V4L2_MEMORY_MMAP;
  ASSERT_TRUE(guest.ioctl<tag::QUERYBUF>(*session, buffer));
  const auto mapped = guest.mmap(*session, buffer.buffer.head.m.offset);
  ASSERT_TRUE(mapped);
  ASSERT_FALSE(mapped->memory.empty());
  EXPECT_EQ(mapped->memory[0], std::byte{0});
  std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  ASSERT_TRUE(guest.ioctl<tag::QBUF>(*session, buffer));
  ASSERT_TRUE(guest.ioctl<tag::STREAMON>(*session, type));
  const auto event = guest.wait_event(vumedia::test::patience);
  ASSERT_TRUE(event && *event);
  ASSERT_TRUE(std::holds_alternative<DqbufEvent>(**event));
  EXPECT_NE(std::ranges::count_if(mapped->memory, [](std::byte pixel) { return pixel != std::byte{0}; }), 0);

  // What a driver that is loaded again finds.
  ASSERT_TRUE(guest.reset());
  EXPECT_EQ(device_->session_count(), 0u);
  EXPECT_EQ(host_->shm().mapping_count(), 0u);
  EXPECT_TRUE(guest.open());
}

TEST_F(EmbeddedTransportTest, WithoutSharedMemoryNothingIsMapped) {
  const auto attached = attach();
  ASSERT_TRUE(attached) << attached.error().message;
  EXPECT_EQ((*attached)->shm_size(), 0u);
  EXPECT_TRUE((*attached)->open());
}

TEST_F(EmbeddedTransportTest, SaysHowMuchMemoryTheGuestNeeds) {
  const auto attached = attach(page_size);
  ASSERT_FALSE(attached);
  EXPECT_NE(attached.error().message.find("bytes of memory, and has 4096"), std::string::npos)
      << attached.error().message;
}

}  // namespace
}  // namespace vumedia::client::embedded_transport_test
