// The frontend's end of the back-end's channel, on its own.
#include <cstring>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/core/mapping.hpp>
#include <vumedia/io/fd_passing.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/shmem_server.hpp>

#include "support/io.hpp"

namespace vumedia::vhost_user::test::shmem_server_test {
namespace {

class ShmemServerTest : public ::testing::Test {
 protected:
  ShmemServerTest() {
    auto [ours, theirs] = io::test::socket_pair();
    server.open(std::move(ours));
    back_end = std::move(theirs);
    server.set_handler([this](ShmemRequest request) -> Result<> {
      requests.push_back(std::move(request));
      if (refusal != 0) return fail(refusal);
      return {};
    });
  }

  // Sends a request and has it served. Returns the answer; nothing if there is none.
  template <ListedRequest Spec>
  std::optional<std::uint64_t> ask(const ShmemMap& map, bool with_fd,
                                   std::uint32_t flags = flag::version | flag::need_reply) {
    struct {
      Header header;
      std::byte body[sizeof(ShmemMap)];
    } message{{static_cast<std::uint32_t>(Spec::number), flags, sizeof map}, {}};
    std::memcpy(message.body, &map, sizeof map);
    const int fd = file.get();
    EXPECT_TRUE(io::send_message(back_end.get(), bytes_of(message), std::span(&fd, with_fd ? 1 : 0)));
    served = server.serve();
    struct {
      Header header;
      std::uint32_t value[2];
    } reply{};
    const ssize_t got = ::recv(back_end.get(), &reply, sizeof reply, MSG_DONTWAIT);
    if (got != ssize_t{sizeof reply}) return std::nullopt;
    EXPECT_EQ(reply.header.request, message.header.request);
    EXPECT_EQ(reply.header.flags, flag::version | flag::reply);
    std::uint64_t value;
    std::memcpy(&value, reply.value, sizeof value);
    return value;
  }

  ShmemServer server;
  OwnedFd back_end;
  OwnedFd file = std::move(*make_sealed_memfd("file", page_size));
  Outcome<> served;
  std::vector<ShmemRequest> requests;
  int refusal = 0;
};

using Map = backend_request::ShmemMap;
using Unmap = backend_request::ShmemUnmap;

constexpr ShmemMap good{0, {}, 0, 2 * page_size, page_size, shmem_map_writable};

TEST_F(ShmemServerTest, HasRequestsCarriedOut) {
  EXPECT_EQ(ask<Map>(good, true), 0U);
  EXPECT_EQ(ask<Unmap>(good, false), 0U);
  ASSERT_EQ(requests.size(), 2U);
  EXPECT_TRUE(requests[0].map && requests[0].fd);
  EXPECT_EQ(requests[0].range.shm_offset, 2 * page_size);
  EXPECT_FALSE(requests[1].map || requests[1].fd);
  EXPECT_TRUE(served);
}

TEST_F(ShmemServerTest, PassesARefusalOn) {
  refusal = EBUSY;
  EXPECT_EQ(ask<Map>(good, true), static_cast<std::uint64_t>(EBUSY));
  EXPECT_TRUE(served) << "the connection goes on";
}

TEST_F(ShmemServerTest, AnswersOnlyIfItIsAskedTo) {
  EXPECT_EQ(ask<Map>(good, true, flag::version), std::nullopt);
  EXPECT_EQ(requests.size(), 1U);
}

TEST_F(ShmemServerTest, RefusesWhatCannotBe) {
  const auto changed = [](auto change) {
    ShmemMap map = good;
    change(map);
    return map;
  };
  const ShmemMap bad[] = {
      changed([](ShmemMap& map) { map.shm_offset = 1; }),
      changed([](ShmemMap& map) { map.fd_offset = 512; }),
      changed([](ShmemMap& map) { map.length = 0; }),
      changed([](ShmemMap& map) { map.length = ~std::uint64_t{0}; }),
      changed([](ShmemMap& map) { map.shm_offset = ~std::uint64_t{0} - page_size + 1; }),
  };
  for (const ShmemMap& map : bad) EXPECT_EQ(ask<Map>(map, true), static_cast<std::uint64_t>(EINVAL));
  EXPECT_EQ(ask<Map>(good, false), static_cast<std::uint64_t>(EBADF)) << "a map has a file";
  EXPECT_TRUE(requests.empty());
  EXPECT_EQ(ask<Map>(changed([](ShmemMap& map) { map.length = 1; }), true), 0U);
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_EQ(requests[0].range.length, page_size) << "whole pages are mapped";
}

TEST_F(ShmemServerTest, KnowsTwoRequestsOnly) {
  EXPECT_EQ(ask<backend_request::VringErr>(good, false), static_cast<std::uint64_t>(ENOSYS));
  EXPECT_TRUE(served);
}

TEST_F(ShmemServerTest, EndsTheConnectionOnFlagsOfNoRequest) {
  EXPECT_EQ(ask<Map>(good, true, flag::version | flag::reply), std::nullopt);
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().message, "the back-end sent request 9 with flags 0x5");
}

TEST_F(ShmemServerTest, DoesWithoutAChannelThatTheBackEndCloses) {
  EXPECT_GE(server.fd(), 0);
  back_end.reset();
  EXPECT_TRUE(server.serve());
  EXPECT_EQ(server.fd(), -1);
  EXPECT_TRUE(server.serve());
}

}  // namespace
}  // namespace vumedia::vhost_user::test::shmem_server_test
