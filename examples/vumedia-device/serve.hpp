// Serves one kind of device until it is told to stop.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <sys/socket.h>

#include <vumedia/io/epoll_reactor.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/media/statistics.hpp>
#include <vumedia/vhost_user/server.hpp>
#include <vumedia/vhost_user/session.hpp>

#include "describe.hpp"
#include "environment.hpp"

namespace vumedia::device {

// A server on the loop of its device's thread.
template <class Backend, io::Reactor Reactor>
class Service {
 public:
  using Device = media::Device<media::Counted<Backend>, vhost_user::SessionHost<Reactor>>;
  using Session = vhost_user::Session<Device, Reactor>;
  using Server = vhost_user::Server<Reactor, Session>;

  Service(Environment& environment, Reactor& reactor) : environment_(environment), reactor_(reactor) {}
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // `options` go to every device; copies of `arguments` go to its backend. Returns the exit status of the
  // program.
  template <class... Arguments>
  int run(const media::DeviceOptions& options, const Arguments&... arguments) {
    const vhost_user::SessionOptions session_options{.log = environment_.log,
                                                     .mem_slots = environment_.options.mem_slots};
    auto make_session = [this, session_options, options, arguments...](
                            OwnedFd socket,
                            typename Session::ClosedHandler closed) -> Outcome<std::unique_ptr<Session>> {
      cut_off_ = false;
      auto counted = [this, presence = Presence(environment_.counters),
                      handler = std::move(closed)](const Error& error) mutable {
        if (cut_off_ || !error.message.empty()) presence.count_failure();
        handler(error);
      };
      return std::make_unique<Session>(reactor_, std::move(socket), session_options, std::move(counted),
                                       options, environment_.counters.media, arguments...);
    };
    auto server = Server::create(reactor_, std::move(environment_.socket), environment_.log,
                                 std::move(make_session), [this] { reactor_.stop(); });
    if (!server) return environment_.fail(server.error());
    server_ = std::move(*server);
    environment_.memory_cut_off = [this](std::span<const std::uintptr_t> addresses) {
      drop_if_cut_off(addresses);
    };
    environment_.serving();
    const Result<> ran = reactor_.run();
    server_.reset();
    if (ran) return 0;
    environment_.log.write(LogLevel::error, "%s",
                           system_failure(ran.error().value, "its loop has failed").error().message.c_str());
    return 1;
  }

 private:
  // Lives as long as its session, however that ends.
  class Presence {
   public:
    explicit Presence(Counters& counters) noexcept : counters_(&counters) { counters.frontends.add(); }
    Presence(Presence&& other) noexcept : counters_(std::exchange(other.counters_, nullptr)) {}
    Presence& operator=(Presence&&) = delete;
    ~Presence() {
      if (counters_ != nullptr) counters_->frontends_left.add();
    }
    void count_failure() noexcept { counters_->frontends_failed.add(); }

   private:
    Counters* counters_;
  };

  // A frontend that truncated its memory has lost its guest's memory. Its session ends as if it had left.
  void drop_if_cut_off(std::span<const std::uintptr_t> addresses) {
    Session* const session = server_->session();
    if (session == nullptr) return;
    const memory::GuestMemory& memory = *session->host().memory();
    if (std::ranges::none_of(addresses, [&](std::uintptr_t address) { return memory.holds(address); }))
      return;
    environment_.log.write(LogLevel::error,
                           "the frontend has truncated memory that it shares; its connection is closed");
    cut_off_ = true;
    ::shutdown(session->fd(), SHUT_RDWR);
  }

  Environment& environment_;
  Reactor& reactor_;
  std::unique_ptr<Server> server_;
  bool cut_off_ = false;  // the current frontend has lost its memory
};

// Which of the options that are not for every backend a backend uses.
struct Uses {
  bool planes = false;
  bool decoder = false;  // options for libavcodec
  bool node = false;     // a device of the host
};

// Reports options that were given but have no effect here.
inline void note_unused_options(const Environment& environment, Uses uses) {
  const Options& options = environment.options;
  const auto note = [&](bool unused, const char* name) {
    if (!unused) return;
    environment.log.write(LogLevel::warning, "%s has no meaning for %s and can be left out", name,
                          options.backend.c_str());
  };
  note(options.multiplanar && !uses.planes, "--planes");
  note(options.limits.threads != 0 && !uses.decoder, "--threads");
  note(options.limits.frame_threads && !uses.decoder, "--frame-threads");
  note(options.limits.frame_threads && uses.decoder && options.limits.threads < 2,
       "--frame-threads without --threads");
  note(options.limits.max_pixels != 0 && !uses.decoder, "--max-pixels");
  note(!options.codecs.empty() && !uses.decoder, "--codecs");
  note(options.v4l2_device != Options{}.v4l2_device && !uses.node, "--v4l2-device");
}

// The options that apply to any device.
[[nodiscard]] inline media::DeviceOptions device_options(const Options& options) {
  media::DeviceOptions device;
  if (options.shmem_size != 0) device.shm_size = options.shmem_size;
  if (options.limits.max_sessions != 0) device.max_sessions = options.limits.max_sessions;
  if (options.limits.max_buffer_bytes != 0) device.max_buffer_bytes = options.limits.max_buffer_bytes;
  device.describe = describe_payload;
  return device;
}

}  // namespace vumedia::device
