// vumedia-device as a test starts it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <vumedia/client/guest.hpp>

#include "files.hpp"
#include "support/child_process.hpp"
#include "support/temporary_folder.hpp"
#include "vivid.hpp"

namespace vumedia::vivid {

using vumedia::test::ChildProcess;

// A running vumedia-device with a socket of its own. It is stopped by SIGTERM at the end, unless it has ended
// by then.
class Served {
 public:
  Served(const std::string& backend, std::vector<std::string> more) {
    std::vector<std::string> words{program("vumedia-device"), "--backend", backend, "--socket-path",
                                   socket()};
    if (const char* const level = ::getenv("VUMEDIA_DEVICE_LOG"))
      words.insert(words.end(), {"--log-level", level});
    words.insert(words.end(), more.begin(), more.end());
    process_ = std::make_unique<ChildProcess>(std::move(words));
    EXPECT_TRUE(process_->wait_for_error_text("serving")) << process_->error_output();
  }
  // A node through the proxy.
  explicit Served(const std::string& path) : Served("v4l2-proxy", {"--v4l2-device", path}) {}
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;
  ~Served() {
    process_->signal(SIGTERM);
    EXPECT_EQ(process_->wait(patience).value_or(-1), expected_status_) << process_->error_output();
    if (::getenv("VUMEDIA_DEVICE_LOG") != nullptr) std::fputs(process_->error_output().c_str(), stdout);
  }

  [[nodiscard]] std::string socket() const { return folder_.path("socket"); }
  [[nodiscard]] ChildProcess& process() const noexcept { return *process_; }

  // A guest, with `user_memory` bytes for USERPTR buffers.
  [[nodiscard]] std::optional<ProxyGuest> connect(std::size_t user_memory = 0) const {
    client::GuestOptions options;
    options.user_memory = user_memory;
    auto guest = client::Guest::connect(socket(), options);
    EXPECT_TRUE(guest) << guest.error().message;
    if (!guest) return std::nullopt;
    return ProxyGuest(std::move(*guest));
  }

  // Kills it without notice.
  void kill() {
    process_->signal(SIGKILL);
    expected_status_ = 128 + SIGKILL;
  }

 private:
  const vumedia::test::TemporaryFolder folder_;
  std::unique_ptr<ChildProcess> process_;
  int expected_status_ = 0;
};

}  // namespace vumedia::vivid
