// Listens in on a frontend and its back-end: passes on the messages of both sockets, including descriptors,
// and records each as a line. The traces in tests/vhost_user/traces are made this way.
//
//   F>B SET_VRING_NUM flags=0x1 size=8 fds=0 0000000010000000
//
// F>B and B>F are the main socket, b>f and f>b the back-end's channel: its requests and their answers. The
// bytes of the body follow in hexadecimal; in bodies over 64 bytes the zeros at the end are left out.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/io/fd_passing.hpp>
#include <vumedia/vhost_user/blocking_channel.hpp>
#include <vumedia/vhost_user/requests.hpp>

namespace vumedia::qemu_test {

// Serves one frontend, from its connection to the end of either side.
class Recorder {
 public:
  // Listens at `path` from the constructor on; the back-end listens at `back_end`. error() reports if that
  // failed.
  Recorder(std::string path, std::string back_end) : path_(std::move(path)), back_end_(std::move(back_end)) {
    listener_ = OwnedFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = name(path_);
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.get(), 1) != 0) {
      note("! cannot listen");
      return;
    }
    auto stop = make_event_fd();
    if (!stop) return;
    stop_ = std::move(*stop);
    thread_ = std::thread([this] { run(); });
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder() {
    if (thread_.joinable()) {
      const std::uint64_t one = 1;
      [[maybe_unused]] const auto told = ::write(stop_.get(), &one, sizeof one);
      thread_.join();
    }
    ::unlink(path_.c_str());
  }

  // Waits for the end of the connection.
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  // A line of the caller's own, such as what the guest does next.
  void note(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  using Channel = vhost_user::BlockingChannel;
  enum Side : std::size_t { main_front, main_back, channel_front, channel_back, sides };
  static constexpr std::array<const char*, sides> arrows{"F>B", "B>F", "f>b", "b>f"};

  static sockaddr_un name(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
  }

  void run() {
    pollfd waiting[] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    while (::poll(waiting, 2, -1) < 0 && errno == EINTR) {
    }
    if (waiting[1].revents != 0) return;
    OwnedFd front(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    OwnedFd back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = name(back_end_);
    if (!front || ::connect(back.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      note("! cannot connect to the back-end");
      return;
    }
    channels_[main_front] = Channel(std::move(front));
    channels_[main_back] = Channel(std::move(back));
    while (pass_on()) {
    }
    for (Channel& channel : channels_) channel.close();
  }

  // False at the end.
  bool pass_on() {
    std::array<pollfd, sides + 1> fds{};
    for (std::size_t i = 0; i < sides; ++i) fds[i] = {channels_[i].fd(), POLLIN, 0};
    fds[sides] = {stop_.get(), POLLIN, 0};
    if (::poll(fds.data(), fds.size(), -1) < 0) return errno == EINTR;
    if (fds[sides].revents != 0) return false;
    for (std::size_t i = 0; i < sides; ++i) {
      if (fds[i].revents == 0) continue;
      auto message = channels_[i].receive_some();
      if (!message) {
        if (i < channel_front) return false;
        channels_[channel_front].close();
        channels_[channel_back].close();
        return true;
      }
      if (*message && !send_on(static_cast<Side>(i), **message)) return false;
    }
    return true;
  }

  bool send_on(Side from, Channel::Message& message) {
    write_down(from, message);
    if (from == main_front &&
        message.header.request == static_cast<std::uint32_t>(vhost_user::request::SetBackendReqFd::number)) {
      // The back-end gets our channel in place of the frontend's.
      int ends[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return false;
      channels_[channel_front] = Channel(message.fds.take(0));
      channels_[channel_back] = Channel(OwnedFd(ends[0]));
      message.fds.clear();
      message.fds = {};
      message.fds.add(OwnedFd(ends[1]));
    }
    std::vector<std::byte> bytes(sizeof message.header);
    std::memcpy(bytes.data(), &message.header, sizeof message.header);
    bytes.insert(bytes.end(), message.body.begin(), message.body.end());
    std::array<int, io::FdList::capacity> numbers{};
    for (std::size_t i = 0; i < message.fds.size(); ++i) numbers[i] = message.fds.get(i);
    // Sides 0 and 1 are partners, and 2 and 3.
    return io::send_message(channels_[from ^ 1].fd(), bytes, std::span(numbers).first(message.fds.size()))
        .has_value();
  }

  void write_down(Side from, const Channel::Message& message) {
    const auto& header = message.header;
    std::string text = format_text("%s %s flags=0x%x size=%u fds=%zu", arrows[from],
                                   from < channel_front ? vhost_user::request_name(header.request)
                                                        : channel_request_name(header.request),
                                   header.flags, header.size, message.fds.size());
    std::span<const std::byte> body = message.body;
    while (message.body.size() > 64 && !body.empty() && body.back() == std::byte{0})
      body = body.first(body.size() - 1);
    for (std::size_t i = 0; i < body.size(); ++i)
      text += format_text("%s%02x", i == 0 ? " " : "", std::to_integer<unsigned>(body[i]));
    note(std::move(text));
  }
  // Of the back-end's own requests.
  static const char* channel_request_name(std::uint32_t number) {
    using Table = vhost_user::RequestTable<vhost_user::FromBackend>;
    return Table::find(number) != nullptr ? Table::name(number) : "UNKNOWN";
  }

  std::string path_, back_end_;
  OwnedFd listener_, stop_;
  std::array<Channel, sides> channels_;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
  std::thread thread_;
};

}  // namespace vumedia::qemu_test
