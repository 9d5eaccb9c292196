// Serving one kind of device until a signal says stop.
#pragma once

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include <sys/socket.h>

#include <vumedia/io/operation.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/vhost_user/server.hpp>
#include <vumedia/vhost_user/session.hpp>

#include "environment.hpp"
#include "version.hpp"

namespace vumedia::device {

// The loop's side of signals and faults, and the server between them.
template <class Backend>
class Service {
 public:
  using Reactor = io::UringReactor;
  using Device = media::Device<Backend, vhost_user::SessionHost<Reactor>>;
  using Session = vhost_user::Session<Device, Reactor>;
  using Server = vhost_user::Server<Reactor, Session>;

  explicit Service(Environment& environment) : environment_(environment) {}
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  ~Service() {
    environment_.reactor.cancel(signalled_);
    environment_.reactor.cancel(faulted_);
  }

  // `options` go to every device, `arguments` by copy to its backend.
  template <class... Arguments>
  int run(const media::DeviceOptions& options, const Arguments&... arguments) {
    const vhost_user::SessionOptions session_options{.log = environment_.log,
                                                     .mem_slots = environment_.options.mem_slots};
    auto make_session = [this, session_options, options, arguments...](
                            OwnedFd socket,
                            Session::ClosedHandler closed) -> Outcome<std::unique_ptr<Session>> {
      return std::make_unique<Session>(environment_.reactor, std::move(socket), session_options,
                                       std::move(closed), options, arguments...);
    };
    auto server = Server::create(environment_.reactor, std::move(environment_.socket), environment_.log,
                                 std::move(make_session), [this] { environment_.reactor.stop(); });
    if (!server) {
      std::fprintf(stderr, "%s: %s\n", program_name, server.error().message.c_str());
      return 1;
    }
    server_ = std::move(*server);
    watch_signals();
    watch_faults();
    environment_.log.write(
        LogLevel::info, "serving %s on %s", environment_.options.backend.c_str(),
        environment_.file ? environment_.options.socket_path.c_str() : "an inherited socket");
    environment_.reactor.run();
    server_.reset();
    return 0;
  }

 private:
  void watch_signals() noexcept {
    environment_.reactor.read(signalled_, environment_.stop.fd(), environment_.stop.event());
  }
  void watch_faults() noexcept {
    environment_.reactor.read(faulted_, environment_.guard.fd(), environment_.guard.count());
  }

  void on_signal(std::int32_t result) noexcept {
    if (result < 0) return watch_signals();
    environment_.log.write(LogLevel::info, "stopped by a signal: %s", environment_.stop.name());
    // At once, so that no one connects to a device that ends.
    if (environment_.file) environment_.file->remove_file();
    StopSignals::limit_shutdown();
    environment_.reactor.stop();
  }

  // A frontend that truncated its memory has lost its guest's. Its session ends as if it had left.
  void on_fault(std::int32_t) noexcept {
    if (auto* const session = server_->session(); session != nullptr) {
      environment_.log.write(LogLevel::error,
                             "the frontend has truncated memory that it shares; its connection is closed");
      ::shutdown(session->fd(), SHUT_RDWR);
    }
    watch_faults();
  }

  Environment& environment_;
  std::unique_ptr<Server> server_;
  io::MemberOperation<&Service::on_signal> signalled_{*this};
  io::MemberOperation<&Service::on_fault> faulted_{*this};
};

// What the command line says of any device.
[[nodiscard]] inline media::DeviceOptions device_options(const Options& options) {
  media::DeviceOptions device;
  if (options.shmem_size != 0) device.shm_size = options.shmem_size;
  if (options.limits.max_sessions != 0) device.max_sessions = options.limits.max_sessions;
  if (options.limits.max_buffer_bytes != 0) device.max_buffer_bytes = options.limits.max_buffer_bytes;
  return device;
}

}  // namespace vumedia::device
