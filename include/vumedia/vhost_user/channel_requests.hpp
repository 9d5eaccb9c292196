// The request that brings the back-end's channel to the frontend.
#pragma once

#include <vumedia/vhost_user/handlers.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/verdict.hpp>

namespace vumedia::vhost_user {

/// `Host` is a SessionHost, which outlives this: something with open_channel().
template <class Host>
class ChannelRequests {
 public:
  /// `host` is borrowed.
  explicit ChannelRequests(Host& host) noexcept : host_(host) {}

  /// Opens the back-end's channel with the socket that came.
  Verdict handle(const Received<request::SetBackendReqFd>& message) {
    host_.open_channel(message.fds.take(0));
    return {};
  }

 private:
  Host& host_;
};

}  // namespace vumedia::vhost_user
