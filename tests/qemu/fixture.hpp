// vumedia-device and QEMU for a test: finds, starts and ends them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>
#include <stdlib.h>

#include <vumedia/backends/test_pattern/frame_code.hpp>
#include <vumedia/backends/test_pattern/painter.hpp>
#include <vumedia/client/guest.hpp>

#include "qemu/machine.hpp"
#include "qemu/virtio_pci.hpp"
#include "support/child_process.hpp"
#include "support/patience.hpp"
#include "support/temporary_folder.hpp"

namespace vumedia::qemu_test {

using QemuGuest = client::BasicGuest<VirtioPciTransport>;
using namespace std::chrono_literals;

// The program that get-qemu names; empty, with the reason in `why`, if this machine has none.
struct Qemu {
  std::string program;
  std::string why;
};
inline const Qemu& qemu() {
  static const Qemu found = [] {
    test::ChildProcess script({VUMEDIA_SOURCE_DIR "/tests/qemu/get-qemu", "--offline"});
    const bool there = script.wait() == 0;
    std::string said = there ? script.output() : script.error_output();
    while (!said.empty() && said.back() == '\n') said.pop_back();
    return there ? Qemu{std::move(said), {}} : Qemu{{}, std::move(said)};
  }();
  return found;
}

// One vumedia-device with a socket in a folder of its own.
class DeviceTest : public testing::Test {
 protected:
  // Nothing here waits for time to pass; this is for what hangs.
  static constexpr std::chrono::seconds patience = vumedia::test::patience;

  void start_device(const std::string& backend, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{VUMEDIA_BIN_DIR "/vumedia-device", "--backend", backend, "--socket-path",
                                   socket()};
    words.insert(words.end(), more.begin(), more.end());
    device_ = std::make_unique<test::ChildProcess>(std::move(words));
    ASSERT_TRUE(device_->wait_for_error_text("serving")) << device_->error_output();
  }
  // It ends properly, whatever its frontends did.
  void stop_device() {
    device_->signal(SIGTERM);
    EXPECT_EQ(device_->wait(patience), 0) << device_->error_output();
  }
  // A frontend of our own, with a guest that needs no machine.
  std::unique_ptr<client::Guest> connect() {
    client::GuestOptions options;
    options.command_timeout = patience;
    auto guest = client::Guest::connect(socket(), options);
    EXPECT_TRUE(guest) << guest.error().message << "\n" << device_->error_output();
    return guest ? std::move(*guest) : nullptr;
  }
  [[nodiscard]] std::string socket() const { return folder_.path("socket"); }

  const test::TemporaryFolder folder_;
  std::unique_ptr<test::ChildProcess> device_;
};

// The same with machines that come and go; skipped if there is no QEMU.
class QemuTest : public DeviceTest {
 protected:
  void SetUp() override {
    if (qemu().program.empty()) GTEST_SKIP() << qemu().why;
  }
  // A machine that is switched on, with its device at a socket: ours, unless `path` says otherwise.
  [[nodiscard]] std::unique_ptr<Machine> switch_on(const std::string& path = {}) {
    auto machine = Machine::start({qemu().program, path.empty() ? socket() : path});
    EXPECT_TRUE(machine) << machine.error().message;
    return machine ? std::move(*machine) : nullptr;
  }
  // Its driver, at DRIVER_OK; null, with a failure recorded, if it does not get that far.
  std::unique_ptr<QemuGuest> drive(Machine& machine, Interrupt interrupt = Interrupt::intx,
                                   std::uint64_t features = VirtioPciTransport::all_features,
                                   std::size_t user_memory = 0) {
    client::GuestOptions options;
    options.command_timeout = patience;
    options.user_memory = user_memory;
    auto guest = QemuGuest::attach(VirtioPciTransport(machine, interrupt, features), options);
    EXPECT_TRUE(guest) << guest.error().message << "\n" << machine.last_words() << device_->error_output();
    return guest ? std::move(*guest) : nullptr;
  }
};

// The first bytes of a mapping as the guest's processor sees them, and the other way round: a piece of a BAR,
// or memory of this process. Returns false and records a failure if QEMU does not answer.
[[nodiscard]] inline bool get_shared(const BarRange& memory, std::span<std::byte> out) {
  const auto done = memory.read(0, out);
  EXPECT_TRUE(done) << done.error().message;
  return done.has_value();
}
[[nodiscard]] inline bool get_shared(std::span<const std::byte> memory, std::span<std::byte> out) {
  std::ranges::copy(memory.first(out.size()), out.begin());
  return true;
}
[[nodiscard]] inline bool put_shared(const BarRange& memory, std::span<const std::byte> bytes) {
  const auto done = memory.write(0, bytes);
  EXPECT_TRUE(done) << done.error().message;
  return done.has_value();
}
[[nodiscard]] inline bool put_shared(std::span<std::byte> memory, std::span<const std::byte> bytes) {
  std::ranges::copy(bytes, memory.begin());
  return true;
}

// A test pattern camera: a session of a guest with any transport to the device.
template <class Guest>
class Camera {
 public:
  static constexpr std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE;

  Camera(Guest& guest, std::uint32_t width, std::uint32_t height) : guest_(&guest) {
    const auto session = guest.open();
    EXPECT_TRUE(session) << "OPEN: " << said(session);
    if (!session) return;
    session_ = *session;
    v4l2_format format{};
    format.type = type;
    format.fmt.pix.width = width;
    format.fmt.pix.height = height;
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_RGB24;
    if (!did(guest.template ioctl<v4l2::tag::S_FMT>(session_, format), "S_FMT")) return;
    EXPECT_EQ(format.fmt.pix.width, width);
    EXPECT_EQ(format.fmt.pix.height, height);
    EXPECT_EQ(format.fmt.pix.pixelformat, std::uint32_t{V4L2_PIX_FMT_RGB24});
    format_ = format.fmt.pix;
  }

  // REQBUFS, and QUERYBUF, MMAP and QBUF of each.
  void allocate(std::uint32_t count) {
    v4l2_requestbuffers request{};
    request.type = type;
    request.memory = V4L2_MEMORY_MMAP;
    request.count = count;
    if (!did(guest_->template ioctl<v4l2::tag::REQBUFS>(session_, request), "REQBUFS")) return;
    EXPECT_EQ(request.count, count);
    for (std::uint32_t index = 0; index < request.count; ++index) {
      auto buffer = buffer_of(index);
      if (!did(guest_->template ioctl<v4l2::tag::QUERYBUF>(session_, buffer), "QUERYBUF")) return;
      const auto mapped = guest_->mmap(session_, buffer.buffer.head.m.offset);
      if (!did(mapped, "MMAP")) return;
      EXPECT_GE(mapped->memory.size(), format_.sizeimage);
      maps_.push_back(*mapped);
      if (!queue(index)) return;
    }
  }
  // Ends the buffers; their mappings stay.
  bool free_buffers() {
    v4l2_requestbuffers none{};
    none.type = type;
    none.memory = V4L2_MEMORY_MMAP;
    return did(guest_->template ioctl<v4l2::tag::REQBUFS>(session_, none), "REQBUFS");
  }
  bool queue(std::uint32_t index) {
    auto buffer = buffer_of(index);
    return did(guest_->template ioctl<v4l2::tag::QBUF>(session_, buffer), "QBUF");
  }
  bool stream(bool on) {
    v4l2::tag::BufferType which = type;
    return on ? did(guest_->template ioctl<v4l2::tag::STREAMON>(session_, which), "STREAMON")
              : did(guest_->template ioctl<v4l2::tag::STREAMOFF>(session_, which), "STREAMOFF");
  }
  // The next buffer of this session, whose picture must carry its own number; otherwise returns nothing and
  // records a failure.
  std::optional<v4l2_buffer> next_frame() {
    const auto event = guest_->wait_event(vumedia::test::patience);
    EXPECT_TRUE(event && *event) << "no frame came: " << guest_->error().message;
    if (!event || !*event) return std::nullopt;
    const auto* const dqbuf = std::get_if<client::DqbufEvent>(&**event);
    EXPECT_NE(dqbuf, nullptr) << "another event came";
    if (dqbuf == nullptr) return std::nullopt;
    EXPECT_EQ(dqbuf->session, session_);
    const v4l2_buffer& buffer = dqbuf->buffer.head;
    EXPECT_LT(buffer.index, maps_.size());
    EXPECT_EQ(buffer.bytesused, format_.sizeimage);
    EXPECT_EQ(buffer.flags & V4L2_BUF_FLAG_ERROR, 0u);
    if (buffer.index >= maps_.size()) return std::nullopt;
    EXPECT_EQ(number_in(buffer.index), buffer.sequence) << "not the pixels of this frame";
    last_sequence_ = buffer.sequence;
    return buffer;
  }
  // The frame number in the pixels of a buffer.
  std::optional<std::uint32_t> number_in(std::uint32_t index) {
    // The code is at the top of the picture.
    std::vector<std::byte> top(std::size_t{format_.bytesperline} * backends::test_pattern::code_lines);
    if (!get_shared(maps_.at(index).memory, top)) return std::nullopt;
    return backends::test_pattern::read_frame_number(format_, top);
  }
  // The picture that has this number.
  [[nodiscard]] std::vector<std::byte> frame(std::uint32_t number) const {
    backends::test_pattern::Painter painter;
    painter.configure(format_, backends::test_pattern::Pattern::bars,
                      backends::test_pattern::brightness_default);
    std::vector<std::byte> pixels(format_.sizeimage);
    painter.paint(number, pixels);
    return pixels;
  }
  // Whether each byte of the buffer is that picture's.
  [[nodiscard]] bool shows_frame(std::uint32_t index, std::uint32_t number) {
    std::vector<std::byte> seen(format_.sizeimage);
    return get_shared(maps_.at(index).memory, seen) && seen == frame(number);
  }
  // Streams `count` frames, checks each and queues it again. Their numbers continue from the last one's.
  void watch(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::optional<std::uint32_t> before = last_sequence_;
      const auto frame = next_frame();
      ASSERT_TRUE(frame);
      if (before) {
        EXPECT_EQ(frame->sequence, *before + 1);
      }
      ASSERT_TRUE(queue(frame->index));
    }
  }
  [[nodiscard]] std::uint32_t session() const noexcept { return session_; }
  [[nodiscard]] const v4l2_pix_format& format() const noexcept { return format_; }
  [[nodiscard]] std::vector<typename Guest::Mapped>& maps() noexcept { return maps_; }

 private:
  static v4l2::BufferPayload buffer_of(std::uint32_t index) {
    v4l2::BufferPayload payload{};
    payload.buffer.head.type = type;
    payload.buffer.head.memory = V4L2_MEMORY_MMAP;
    payload.buffer.head.index = index;
    return payload;
  }
  template <class T>
  bool did(const T& result, const char* what) {
    EXPECT_TRUE(result) << what << ": " << said(result) << " " << guest_->error().message;
    return result.has_value();
  }
  template <class T>
  static std::string said(const Result<T>& result) {
    return result ? "" : std::to_string(result.error().value);
  }
  template <class T>
  static std::string said(const Outcome<T>& result) {
    return result ? "" : result.error().message;
  }

  Guest* guest_;
  std::uint32_t session_ = 0;
  v4l2_pix_format format_{};
  std::optional<std::uint32_t> last_sequence_;
  std::vector<typename Guest::Mapped> maps_;
};

}  // namespace vumedia::qemu_test
