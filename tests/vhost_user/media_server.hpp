// A media device at a listening socket, on a thread of its own, as a daemon runs it.
#pragma once

#include <future>
#include <memory>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include <vumedia/media/device.hpp>

#include "support/device_options.hpp"
#include "vhost_user/backend_thread.hpp"

namespace vumedia::vhost_user::test {

template <class Backend>
class MediaServer {
 public:
  using MediaSession = Session<media::Device<Backend, SessionHost<Reactor>>, Reactor>;
  using MediaListener = Server<Reactor, MediaSession>;

  template <class... Arguments>
  explicit MediaServer(bool mem_slots, const Arguments&... arguments) {
    serve(listen_on(address_, length_), mem_slots, arguments...);
  }
  // On a socket that has a name, for programs; connect() is not for it.
  template <class... Arguments>
  explicit MediaServer(OwnedFd socket, const Arguments&... arguments) {
    serve(std::move(socket), false, arguments...);
  }
  ~MediaServer() {
    inbox_->post([this] { reactor_->stop(); });
    thread_.join();
  }

  [[nodiscard]] OwnedFd connect() const {
    OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address_), length_), 0);
    return fd;
  }

  LogLines lines;

 private:
  template <class... Arguments>
  void serve(OwnedFd socket, bool mem_slots, const Arguments&... arguments) {
    std::promise<void> ready;
    auto is_ready = ready.get_future();
    thread_ = std::thread([&, fd = std::move(socket)]() mutable {
      auto reactor = Reactor::create();
      ASSERT_TRUE(reactor) << reactor.error().message;
      reactor_ = reactor->get();
      inbox_ = reactor_->inbox();
      auto server = MediaListener::create(
          *reactor_, std::move(fd), lines.log(LogLevel::warning),
          [this, mem_slots, arguments...](OwnedFd connection, typename MediaSession::ClosedHandler closed)
              -> Outcome<std::unique_ptr<MediaSession>> {
            return std::make_unique<MediaSession>(*reactor_, std::move(connection),
                                                  SessionOptions{lines.log(LogLevel::warning), mem_slots},
                                                  std::move(closed), vumedia::test::patient(), arguments...);
          });
      ASSERT_TRUE(server) << server.error().message;
      ready.set_value();
      EXPECT_TRUE(reactor_->run());
    });
    is_ready.wait();
  }

  sockaddr_un address_{};
  socklen_t length_ = 0;
  Reactor* reactor_ = nullptr;
  std::shared_ptr<io::Inbox> inbox_;
  std::thread thread_;
};

}  // namespace vumedia::vhost_user::test
