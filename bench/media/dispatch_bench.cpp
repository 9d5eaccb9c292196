// What a media device costs by itself: dispatch of an ioctl, of an unknown one, and an event, without fds and
// system calls.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include <benchmark/benchmark.h>

#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>

#include "support/embedded_host.hpp"

namespace {

using namespace vumedia;
namespace wire = media::wire;

struct Camera {
  struct Session {
    media::Context context;
    v4l2_pix_format format{};
  };
  media::Config config() const { return {.device_caps = V4L2_CAP_VIDEO_CAPTURE, .card = "bench"}; }
  Result<std::unique_ptr<Session>> open(media::Context context) {
    auto session = std::make_unique<Session>();
    session->context = context;
    last = session.get();
    return session;
  }
  Result<> ioctl(Session& session, v4l2::tag::G_FMT, v4l2_format& format) {
    format.fmt.pix = session.format;
    return {};
  }
  Session* last = nullptr;
};

// A device with a session, and its driver.
struct Rig {
  using Host = test::EmbeddedHost<io::UringReactor>;

  Rig() {
    auto made = io::UringReactor::create();
    if (!made) std::abort();
    reactor = std::move(*made);
    host = std::make_unique<Host>(*reactor);
    device = std::make_unique<media::Device<Camera, Host>>(*host, media::DeviceOptions());
    command = host->allocate(1024);
    response = host->allocate(1024);
    event = host->allocate(wire::max_event_size);
    const wire::virtio_media_cmd_open open{{wire::cmd_open, 0}};
    std::memcpy(host->bytes(command), &open, sizeof open);
    send(sizeof open, sizeof(wire::virtio_media_resp_open));
    wire::virtio_media_resp_open opened;
    std::memcpy(&opened, host->bytes(response), sizeof opened);
    session = opened.session_id;
  }

  void send(std::uint32_t readable, std::uint32_t writable) {
    const virtio::Piece pieces[] = {{command, readable, false}, {response, writable, true}};
    if (!host->driver_queue(wire::commandq).add(pieces)) std::abort();
    benchmark::DoNotOptimize(host->driver_queue(wire::commandq).publish());
    device->process(wire::commandq);
    const auto used = host->driver_queue(wire::commandq).pop_used();
    if (!used || !*used) std::abort();
  }
  void prepare(std::uint32_t code) {
    struct {
      wire::virtio_media_cmd_ioctl head;
      v4l2_format format;
    } ioctl{{{wire::cmd_ioctl, 0}, session, code}, {}};
    std::memcpy(host->bytes(command), &ioctl, sizeof ioctl);
  }
  void lend() {
    const virtio::Piece piece{event, wire::max_event_size, true};
    if (!host->driver_queue(wire::eventq).add(std::span(&piece, 1))) std::abort();
    benchmark::DoNotOptimize(host->driver_queue(wire::eventq).publish());
  }
  void take() {
    const auto used = host->driver_queue(wire::eventq).pop_used();
    if (!used || !*used) std::abort();
  }

  std::unique_ptr<io::UringReactor> reactor;
  std::unique_ptr<Host> host;
  std::unique_ptr<media::Device<Camera, Host>> device;
  memory::GuestAddress command, response, event;
  std::uint32_t session = 0;
};

void BM_GetFormat(benchmark::State& state) {
  Rig rig;
  rig.prepare(v4l2::tag::G_FMT::number);
  for (auto _ : state) rig.send(16 + sizeof(v4l2_format), 8 + sizeof(v4l2_format));
}
BENCHMARK(BM_GetFormat);

void BM_UnsupportedIoctl(benchmark::State& state) {
  Rig rig;
  rig.prepare(v4l2::tag::S_FMT::number);
  for (auto _ : state) rig.send(16 + sizeof(v4l2_format), 8 + sizeof(v4l2_format));
}
BENCHMARK(BM_UnsupportedIoctl);

void BM_UnknownSession(benchmark::State& state) {
  Rig rig;
  rig.session = 0;
  rig.prepare(v4l2::tag::G_FMT::number);
  for (auto _ : state) rig.send(16 + sizeof(v4l2_format), 8 + sizeof(v4l2_format));
}
BENCHMARK(BM_UnknownSession);

void BM_DeliverFrame(benchmark::State& state) {
  Rig rig;
  const v4l2::Buffer buffer{};
  for (auto _ : state) {
    rig.lend();
    rig.device->send_dqbuf(rig.session, buffer);
    rig.take();
  }
}
BENCHMARK(BM_DeliverFrame);

// The event comes before the buffer and goes through the waiting list.
void BM_DeliverWaitingFrame(benchmark::State& state) {
  Rig rig;
  const v4l2::Buffer buffer{};
  for (auto _ : state) {
    rig.device->send_dqbuf(rig.session, buffer);
    rig.lend();
    rig.device->process(wire::eventq);
    rig.take();
  }
}
BENCHMARK(BM_DeliverWaitingFrame);

void BM_OpenAndClose(benchmark::State& state) {
  Rig rig;
  for (auto _ : state) {
    const wire::virtio_media_cmd_open open{{wire::cmd_open, 0}};
    std::memcpy(rig.host->bytes(rig.command), &open, sizeof open);
    rig.send(sizeof open, sizeof(wire::virtio_media_resp_open));
    wire::virtio_media_resp_open opened;
    std::memcpy(&opened, rig.host->bytes(rig.response), sizeof opened);
    const wire::virtio_media_cmd_close close{{wire::cmd_close, 0}, opened.session_id, 0};
    std::memcpy(rig.host->bytes(rig.command), &close, sizeof close);
    rig.send(sizeof close, 8);
  }
}
BENCHMARK(BM_OpenAndClose);

}  // namespace
