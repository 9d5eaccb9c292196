// An io::Reactor that consists only of declarations.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include <vumedia/io/reactor.hpp>
#include <vumedia/vhost_user/session_host.hpp>

struct SmallReactor {
  struct Notifier {
    void signal();
  };
  void poll(vumedia::io::Operation& operation, int fd, unsigned events);
  void timer(vumedia::io::Operation& operation, vumedia::io::TimePoint deadline);
  void cancel(vumedia::io::Operation& operation);
  std::shared_ptr<vumedia::io::Inbox> inbox();
  void read(vumedia::io::Operation& operation, int fd, std::span<std::byte> in);
  void write(vumedia::io::Operation& operation, int fd, std::span<const std::byte> out);
  void receive(vumedia::io::ReceiveOperation& operation, int fd, std::span<std::byte> in);
  void send(vumedia::io::Operation& operation, int fd, msghdr& message);
  vumedia::Result<Notifier> make_notifier(vumedia::OwnedFd fd);
  vumedia::Result<> check_event_fd(int fd);
  vumedia::Result<> run();
  void stop();
};
