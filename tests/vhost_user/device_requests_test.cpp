// The requests that concern the device as a whole, and the one that brings its channel, without a session.
#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include <gtest/gtest.h>

#include <vumedia/vhost_user/channel_requests.hpp>
#include <vumedia/vhost_user/device_requests.hpp>

#include "vhost_user/served_echo.hpp"

namespace vumedia::vhost_user::test::device_requests_test {
namespace {

// What these requests ask of a device, and no more.
struct SmallDevice {
  [[nodiscard]] std::span<const std::byte> config() const { return bytes; }
  [[nodiscard]] std::span<const std::uint64_t> shm_regions() const { return regions; }
  std::array<std::byte, 4> bytes{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  std::array<std::uint64_t, 3> regions{page_size, 0, 2 * page_size};
};
struct Small {
  SmallDevice& device() { return small; }
  void reset() { ++resets; }
  SmallDevice small;
  int resets = 0;
};

class DeviceRequestsTest : public ::testing::Test {
 protected:
  // The answer to GET_CONFIG: its size field, and the bytes.
  std::pair<std::uint32_t, std::vector<std::byte>> config(std::uint32_t offset, std::uint32_t size) {
    const std::vector<std::byte> tail(size);
    const Verdict verdict = call<request::GetConfig>(group, ConfigHeader{offset, size, 7}, tail);
    ConfigHeader head{};
    EXPECT_EQ(verdict.kind, Verdict::Kind::answered);
    EXPECT_GE(verdict.answer.size(), sizeof head);
    std::memcpy(&head, verdict.answer.data(), sizeof head);
    EXPECT_EQ(head.offset, offset);
    EXPECT_EQ(head.flags, 7U);
    return {head.size, {verdict.answer.begin() + sizeof head, verdict.answer.end()}};
  }

  Small served;
  DeviceRequests<Small> group{served};
};

TEST_F(DeviceRequestsTest, ReadTheConfigurationAtAnyOffset) {
  using Bytes = std::vector<std::byte>;
  EXPECT_EQ(config(0, 4), (std::pair{4U, Bytes{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}}}));
  EXPECT_EQ(config(3, 1), (std::pair{1U, Bytes{std::byte{4}}}));
  EXPECT_EQ(config(4, 0), (std::pair{0U, Bytes{}}));
  for (const auto& [offset, size] : {std::pair{3U, 2U}, {4U, 1U}, {~0U, 2U}, {0U, max_config_size}})
    EXPECT_EQ(config(offset, size), (std::pair{0U, Bytes{}})) << "a size of 0 refuses";
}

TEST_F(DeviceRequestsTest, DemandThatTheBodyHasItsLength) {
  const std::array<std::byte, 4> tail{};
  const auto said = [&](std::uint32_t size) {
    return text_of(call<request::GetConfig>(group, ConfigHeader{0, size, 0}, tail));
  };
  EXPECT_EQ(said(5), "malformed 71: 5 bytes of configuration in a body of 16");
  EXPECT_EQ(said(257), "malformed 71: 257 bytes of configuration in a body of 16");
  EXPECT_EQ(text_of(call<request::SetConfig>(group, ConfigHeader{0, 3, 0}, tail)),
            "malformed 71: 3 bytes of configuration in a body of 16");
}

TEST_F(DeviceRequestsTest, TolerateWritesWithoutEffect) {
  EXPECT_EQ(text_of(call<request::SetConfig>(group, ConfigHeader{0, 1, 0}, std::array{std::byte{9}})),
            "tolerated 1: the configuration space is read-only");
  EXPECT_EQ(served.small.bytes[0], std::byte{1});
}

TEST_F(DeviceRequestsTest, ResetTheDeviceAtStatusZero) {
  const auto status = [&] { return answer_of<U64>(call<request::GetStatus>(group)).value; };
  EXPECT_EQ(status(), 0U);
  EXPECT_EQ(text_of(call<request::SetStatus>(group, U64{15})), "done");
  EXPECT_EQ(status(), 15U);
  EXPECT_EQ(served.resets, 0);
  EXPECT_EQ(text_of(call<request::SetStatus>(group, U64{256})), "refused 22: 0x100 is not a device status");
  EXPECT_EQ(status(), 15U);
  EXPECT_EQ(text_of(call<request::ResetDevice>(group)), "done");
  EXPECT_EQ(served.resets, 1);
  EXPECT_EQ(status(), 0U);
  EXPECT_EQ(text_of(call<request::SetStatus>(group, U64{0})), "done");
  EXPECT_EQ(served.resets, 2);
}

TEST_F(DeviceRequestsTest, ListTheSharedMemoryRegions) {
  const auto config = answer_of<ShmemConfig>(call<request::GetShmemConfig>(group));
  EXPECT_EQ(config.count, 2U) << "those that exist";
  EXPECT_EQ(config.size[0], page_size);
  EXPECT_EQ(config.size[1], 0U);
  EXPECT_EQ(config.size[2], 2 * page_size);
  EXPECT_EQ(config.size[3], 0U);
}

struct ChannelHost {
  void open_channel(OwnedFd fd) { channel = std::move(fd); }
  OwnedFd channel;
};

TEST(ChannelRequests, RefuseWhatIsNoUnixStreamSocket) {
  ChannelHost host;
  ChannelRequests<ChannelHost> group(host);
  int datagrams[2], packets[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagrams), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets), 0);
  const OwnedFd peers[] = {OwnedFd(datagrams[1]), OwnedFd(packets[1])};
  const OwnedFd others[] = {
      OwnedFd(datagrams[0]),
      OwnedFd(packets[0]),
      OwnedFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      OwnedFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
      io::test::event_fd(),
      io::test::pipe_pair().first,
  };
  for (const OwnedFd& other : others) {
    ASSERT_TRUE(other);
    EXPECT_EQ(text_of(call<request::SetBackendReqFd>(group, {}, {}, with(other))),
              "refused 22: the descriptor for the back-end's channel is not a Unix stream socket");
  }
  EXPECT_FALSE(host.channel);
}

TEST(ChannelRequests, HandOverTheDescriptor) {
  ChannelHost host;
  ChannelRequests<ChannelHost> group(host);
  const auto [here, there] = io::test::socket_pair();
  EXPECT_EQ(text_of(call<request::SetBackendReqFd>(group, {}, {}, with(there))), "done");
  EXPECT_TRUE(host.channel);
}

}  // namespace
}  // namespace vumedia::vhost_user::test::device_requests_test
