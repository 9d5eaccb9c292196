// A Unix socket that sends everyone who connects a text, and hangs up.
#pragma once

#include <functional>
#include <string>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/listener.hpp>

namespace vumedia::device {

// It waits for nobody: what does not fit into a connection's buffer (some 200 KiB) is not sent.
class StatusSocket {
 public:
  // At a path, with permissions from the umask, or taken over from the process that opened it.
  [[nodiscard]] static Outcome<StatusSocket> make(const std::string& path);
  [[nodiscard]] static Outcome<StatusSocket> adopt(int number);

  // Readable while someone waits for an answer.
  [[nodiscard]] int fd() const noexcept { return listener_.socket().get(); }
  // Answers waiting clients with what `text` returns, a few at a time: fd() stays readable if there are more.
  // False if they cannot be answered now, for instance because no descriptors are left: fd() then also stays
  // readable, so it is better not to poll it for a while.
  [[nodiscard]] bool serve(const std::function<std::string()>& text) const;
  // Removes the socket's file, if it is ours.
  void remove_file() noexcept { listener_.remove_file(); }

 private:
  [[nodiscard]] static Outcome<StatusSocket> listen_on(Outcome<io::Listener> listener);
  explicit StatusSocket(io::Listener listener) : listener_(std::move(listener)) {}

  io::Listener listener_;
};

}  // namespace vumedia::device
