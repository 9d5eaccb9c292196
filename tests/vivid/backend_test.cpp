// The backend in this process, on a real node: the laws of every backend, and a host that hangs.
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/v4l2_proxy.hpp>

#include "backends/backend_laws.hpp"
#include "support/media_guest.hpp"
#include "vivid.hpp"

namespace vumedia::backends::test {

// Loads vivid if it is not loaded; other tests load it again, and unload it.
inline void load_driver() {
  static std::vector<vivid::Driver*> loaded;  // never unloaded from here
  if (!std::filesystem::exists("/sys/module/vivid")) loaded.push_back(new vivid::Driver);
}

inline V4l2ProxyOptions options_of(const std::string& name,
                                   std::shared_ptr<v4l2_proxy::Shared> shared = nullptr) {
  load_driver();
  auto node = v4l2_proxy::examine_node(vivid::node(name));
  EXPECT_TRUE(node);
  return {.node = std::make_shared<const v4l2_proxy::NodeInfo>(std::move(*node)),
          .shared = std::move(shared)};
}

// Buffers belong to the driver, not to the device.
template <>
inline constexpr bool uses_arenas<V4l2Proxy> = false;

template <>
std::unique_ptr<MediaGuest<V4l2Proxy>> make_guest<V4l2Proxy>() {
  // The laws use up guest memory, command by command.
  return std::make_unique<MediaGuest<V4l2Proxy>>(
      vumedia::test::EmbeddedOptions{.memory_size = std::uint64_t{8} << 20}, media::DeviceOptions{},
      options_of("vivid-000-vid-cap"));
}

INSTANTIATE_TYPED_TEST_SUITE_P(V4l2Proxy, BackendLaws, V4l2Proxy);

namespace {

namespace tag = v4l2::tag;
namespace wire = media::wire;

class Buffers : public testing::Test {
 protected:
  void serve(V4l2ProxyOptions options) {
    guest = std::make_unique<MediaGuest<V4l2Proxy>>(vumedia::test::EmbeddedOptions{}, media::DeviceOptions{},
                                                    std::move(options));
    id = guest->open();
  }
  template <class Tag>
  int call(typename Tag::Wire& payload) {
    guest->add(MediaGuest<V4l2Proxy>::ioctl_command<Tag>(id, payload),
               MediaGuest<V4l2Proxy>::ioctl_room<Tag>);
    guest->device->process(wire::commandq);
    const auto reply = guest->wait_reply();
    if (!reply) return -1;
    if (reply->status() == 0 && v4l2::carries_output<Tag>)
      payload = reply->template as<typename Tag::Wire>(8);
    return reply->status();
  }
  int request(std::uint32_t count, std::uint32_t* got = nullptr) {
    v4l2_requestbuffers buffers{};
    buffers.count = count;
    buffers.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    buffers.memory = V4L2_MEMORY_MMAP;
    const int status = call<tag::REQBUFS>(buffers);
    if (got != nullptr) *got = buffers.count;
    return status;
  }
  v4l2_buffer buffer(std::uint32_t index) {
    v4l2_buffer of{};
    of.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    of.memory = V4L2_MEMORY_MMAP;
    of.index = index;
    return of;
  }
  std::uint32_t image_size() {
    v4l2_format format{};
    format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    EXPECT_EQ(call<tag::G_FMT>(format), 0);
    return format.fmt.pix.sizeimage;
  }

  std::unique_ptr<MediaGuest<V4l2Proxy>> guest;
  std::uint32_t id = 0;
};

// As with a driver whose node cannot be mapped: a frame is captured into a dmabuf that the guest has mapped.
TEST_F(Buffers, MayBeMappedAsDmabufs) {
  auto options = options_of("vivid-000-vid-cap");
  options.export_buffers = true;
  serve(std::move(options));
  guest->lend_event_buffers(8);
  ASSERT_EQ(request(2), 0);
  v4l2_buffer first = buffer(0);
  ASSERT_EQ(call<tag::QUERYBUF>(first), 0);
  const auto mapped = guest->mmap(id, first.m.offset);
  ASSERT_EQ(mapped.hdr.status, 0u);
  EXPECT_EQ(mapped.len, first.length);
  EXPECT_EQ(guest->mmap(id, first.m.offset).driver_addr, mapped.driver_addr);
  std::byte* const picture = guest->host.frontend.at(mapped.driver_addr, mapped.len);
  ASSERT_NE(picture, nullptr);
  std::memset(picture, 0xa5, mapped.len);
  v4l2_buffer queued = buffer(0);
  ASSERT_EQ(call<tag::QBUF>(queued), 0);
  std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  ASSERT_EQ(call<tag::STREAMON>(type), 0);
  const auto event = guest->wait_event();
  ASSERT_TRUE(event);
  EXPECT_NE(picture[0], std::byte{0xa5});
  EXPECT_NE(picture[first.length - 2], std::byte{0xa5});
  ASSERT_EQ(call<tag::STREAMOFF>(type), 0);
  EXPECT_EQ(request(0), 0);
  EXPECT_NE(guest->mmap(id, first.m.offset).hdr.status, 0u) << "the buffer is gone";
  EXPECT_EQ(guest->munmap(mapped.driver_addr), 0);
}

TEST_F(Buffers, AreAsManyAsMayBeAfforded) {
  serve(options_of("vivid-000-vid-cap"));
  const std::uint32_t size = image_size();
  auto options = options_of("vivid-000-vid-cap");
  options.max_buffer_bytes = std::size_t{size} * 5;
  guest.reset();
  serve(std::move(options));
  std::uint32_t got = 0;
  ASSERT_EQ(request(20, &got), 0);
  EXPECT_EQ(got, 5u);
  v4l2_create_buffers more{};
  more.count = 1;
  more.memory = V4L2_MEMORY_MMAP;
  more.format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  ASSERT_EQ(call<tag::G_FMT>(more.format), 0);
  EXPECT_EQ(call<tag::CREATE_BUFS>(more), ENOMEM);
  // The earlier ones are replaced, and so do not interfere.
  ASSERT_EQ(request(3, &got), 0);
  EXPECT_EQ(got, 3u);
  EXPECT_EQ(call<tag::CREATE_BUFS>(more), 0);
  EXPECT_EQ(more.index, 3u);
  EXPECT_EQ(request(0), 0);
  ASSERT_EQ(request(5, &got), 0);
  EXPECT_EQ(got, 5u);
}

// A command that does not return until it is released, in place of a driver that hangs.
class HungHost : public testing::Test {
 protected:
  HungHost()
      : shared(std::make_shared<v4l2_proxy::Shared>()),
        guest(std::make_unique<MediaGuest<V4l2Proxy>>(
            vumedia::test::EmbeddedOptions{},
            media::DeviceOptions{.command_timeout = std::chrono::milliseconds(1000)},
            options_of("vivid-000-vid-cap", shared))) {}
  ~HungHost() override {
    guest.reset();
    let_go.set_value();
    EXPECT_TRUE(vivid::eventually([this] { return shared->threads() == 0; }));
  }

  int get_format(std::uint32_t id) {
    v4l2_format format{};
    format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    guest->add(MediaGuest<V4l2Proxy>::ioctl_command<tag::G_FMT>(id, format), 8 + sizeof format);
    guest->device->process(wire::commandq);
    const auto reply = guest->wait_reply();
    return reply ? reply->status() : -1;
  }
  // The thread of this file waits until the end of the test.
  void hang(std::uint32_t id) {
    std::promise<void> hangs;
    auto hanging = hangs.get_future();
    const auto command = [of = released, hung = std::make_shared<std::promise<void>>(std::move(hangs))](
                             v4l2_proxy::File&) -> Result<> {
      hung->set_value();
      of.wait();
      return fail(EINTR);
    };
    session(id)->file().submit(unanswered(), command);
    hanging.wait();
  }
  v4l2_proxy::Session* session(std::uint32_t id) { return guest->device->find_session(id); }
  // For a command that no guest has sent.
  media::Completion unanswered() {
    auto command = std::make_shared<media::detail::Deferred>();
    command->inbox = guest->reactor->inbox();
    return media::Completion(std::move(command));
  }

  std::promise<void> let_go;
  std::shared_future<void> released = let_go.get_future().share();
  std::shared_ptr<v4l2_proxy::Shared> shared;
  std::unique_ptr<MediaGuest<V4l2Proxy>> guest;
};

TEST_F(HungHost, CostsOneFileItsAnswersInTimeAndNoOtherAnything) {
  const auto hung = guest->open();
  const auto other = guest->open();
  ASSERT_EQ(get_format(hung), 0);
  hang(hung);
  EXPECT_EQ(get_format(hung), ETIMEDOUT);
  EXPECT_EQ(get_format(other), 0);
  EXPECT_EQ(get_format(hung), ETIMEDOUT);
}

TEST_F(HungHost, HoldsUpNeitherCloseNorTheEnd) {
  const auto hung = guest->open();
  hang(hung);
  guest->close(hung);
  EXPECT_EQ(guest->device->session_count(), 0u);
  const auto closed = std::chrono::steady_clock::now();
  guest.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - closed, v4l2_proxy::Closings::patience)
      << "the end of the device waited for the host";
  EXPECT_EQ(shared->threads(), 1u) << "the thread that hangs is still there";
}

TEST_F(HungHost, CommandsThatWaitAreBounded) {
  const auto hung = guest->open();
  hang(hung);
  for (std::uint32_t i = 0; i < v4l2_proxy::File::max_waiting; ++i)
    session(hung)->file().submit(unanswered(), [](v4l2_proxy::File&) { return Result<>{}; });
  EXPECT_EQ(get_format(hung), EBUSY);
}

}  // namespace
}  // namespace vumedia::backends::test
