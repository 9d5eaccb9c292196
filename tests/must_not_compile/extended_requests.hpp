// The requests of a frontend, and one more that each file here declares and enters.
#pragma once

#include <boost/hana/append.hpp>

#include <vumedia/vhost_user/handlers.hpp>
#include <vumedia/vhost_user/requests.hpp>

namespace vumedia::vhost_user {

struct Extended;

// A handler of every request but that one.
struct Everything {
  template <ListedRequest Spec>
    requires(!std::is_same_v<typename Spec::Direction, Extended>)
  Verdict handle(const Received<Spec>&) {
    return {};
  }
};

}  // namespace vumedia::vhost_user
