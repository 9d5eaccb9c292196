// The sequences of requests and what follows from them; and a request that is added, as a new version of the
// protocol would add one: with one declaration, one entry, and a handler.
#include <cstring>
#include <string>
#include <vector>

#include <boost/hana/append.hpp>
#include <boost/hana/for_each.hpp>
#include <gtest/gtest.h>

#include <vumedia/vhost_user/handlers.hpp>
#include <vumedia/vhost_user/requests.hpp>

#include "vhost_user/served_echo.hpp"

namespace vumedia::vhost_user::test::requests_test {

// The frontend's requests and two more. In the library these declarations and entries are in requests.hpp.
struct Extended;

struct SetColour final : RequestSpec<Extended, 60, "SET_COLOUR", "what the device is painted in",
                                     WithTail<U64, 8>, ReplyKind::acknowledgement, request::maybe_fd> {};
struct GetSmell final : RequestSpec<Extended, 61, "GET_SMELL", "never offered", NoBody, ReplyKind::own,
                                    request::no_fds, std::uint64_t{1} << 60> {};

}  // namespace vumedia::vhost_user::test::requests_test

namespace vumedia::vhost_user {

template <>
inline constexpr auto sequence_of<test::requests_test::Extended> = boost::hana::append(
    boost::hana::append(sequence_of<FromFrontend>, boost::hana::type_c<test::requests_test::SetColour>),
    boost::hana::type_c<test::requests_test::GetSmell>);

}  // namespace vumedia::vhost_user

namespace vumedia::vhost_user::test::requests_test {
namespace {

struct Undeclared final : FrontendRequest<62, "UNDECLARED", "is entered nowhere", NoBody, ReplyKind::own> {};

static_assert(ListedRequest<request::SetVringKick> && ListedRequest<backend_request::ShmemMap>);
static_assert(ListedRequest<SetColour> && ListedRequest<GetSmell>);
static_assert(!ListedRequest<Undeclared>);

struct Colours {
  Verdict handle(const Received<SetColour>& message) {
    colour = message.body.value;
    tail = message.tail.size();
    fds = message.fds.size();
    return {};
  }
  std::uint64_t colour = 0;
  std::size_t tail = 0;
  std::size_t fds = 0;
};
static_assert(HandlesRequest<Colours, SetColour>);
static_assert(!HandlesRequest<Colours, GetSmell> && !HandlesRequest<Colours, request::SetOwner>);

// A handler of every other request, which notes its name.
struct Everything {
  template <ListedRequest Spec>
    requires(std::is_same_v<typename Spec::Direction, FromFrontend>)
  Verdict handle(const Received<Spec>&) {
    names.emplace_back(Spec::name);
    return {};
  }
  std::vector<std::string> names;
};

TEST(Requests, HaveARowEach) {
  const auto check = [](auto sequence, auto find) {
    boost::hana::for_each(sequence, [&](auto type) {
      using Spec = typename decltype(type)::type;
      SCOPED_TRACE(Spec::name);
      const RequestRow* const row = find(static_cast<std::uint32_t>(Spec::number));
      ASSERT_NE(row, nullptr);
      EXPECT_STREQ(row->name, Spec::name);
      EXPECT_STREQ(row->description, Spec::description);
      EXPECT_NE(std::string(Spec::description), "");
      EXPECT_EQ(row->least_size, Spec::least_size);
      EXPECT_LE(row->least_size, row->most_size);
      EXPECT_LE(row->most_size, max_body_size);
      EXPECT_LE(row->fds.most, max_message_fds);
    });
  };
  check(sequence_of<FromFrontend>, RequestTable<FromFrontend>::find);
  check(sequence_of<FromBackend>, RequestTable<FromBackend>::find);
  check(sequence_of<Extended>, RequestTable<Extended>::find);
}

TEST(Requests, AreFoundByTheirNumbersOnly) {
  EXPECT_EQ(find_request(0), nullptr);
  EXPECT_EQ(find_request(19), nullptr);
  EXPECT_EQ(find_request(static_cast<std::uint32_t>(request_limit)), nullptr);
  EXPECT_EQ(find_request(~0U), nullptr);
  EXPECT_STREQ(request_name(44), "GET_SHMEM_CONFIG");
  EXPECT_STREQ(request_name(60), "an unknown request");
  EXPECT_STREQ(RequestTable<FromBackend>::name(9), "SHMEM_MAP");
  EXPECT_STREQ(RequestTable<FromBackend>::name(10), "SHMEM_UNMAP");
  EXPECT_STREQ(RequestTable<FromBackend>::name(2), "CONFIG_CHANGE_MSG");
  EXPECT_EQ(RequestTable<FromBackend>::find(1), nullptr);
}

TEST(AddedRequest, IsInTheTable) {
  using Table = RequestTable<Extended>;
  EXPECT_EQ(Table::limit, 62U);
  EXPECT_STREQ(Table::name(60), "SET_COLOUR");
  ASSERT_NE(Table::find(60), nullptr);
  EXPECT_EQ(Table::find(60)->least_size, 8U);
  EXPECT_EQ(Table::find(60)->most_size, 16U);
  EXPECT_EQ(Table::find(1), find_request(1) == nullptr ? nullptr : Table::find(1));
  EXPECT_STREQ(Table::name(1), request_name(1));
}

TEST(AddedRequest, IsFramed) {
  const auto size = [](std::uint32_t body) -> std::string {
    const Header header{60, flag::version, body};
    const auto framed = BasicRequestFraming<Extended>::body_size(bytes_of(header));
    return framed ? std::to_string(*framed) : framed.error().message;
  };
  EXPECT_EQ(size(8), "8");
  EXPECT_EQ(size(16), "16");
  EXPECT_EQ(size(7), "request 60 (SET_COLOUR): body of 7 bytes is too short, at least 8 are needed");
  EXPECT_EQ(size(17), "request 60 (SET_COLOUR): body of 17 bytes is too long, at most 16 are allowed");
  EXPECT_TRUE(check_fds(*RequestTable<Extended>::find(60), 1));
  EXPECT_FALSE(check_fds(*RequestTable<Extended>::find(60), 2));
}

TEST(AddedRequest, ReachesItsHandler) {
  Colours colours;
  Everything everything;
  Handlers<Extended, Everything, Colours> handlers(everything, colours);
  io::FdList fds = with(io::test::event_fd());
  const std::uint64_t body[] = {7, 0};
  EXPECT_EQ(text_of(handlers.handle(60, std::as_bytes(std::span(body)).first(12), fds)), "done");
  EXPECT_EQ(colours.colour, 7U);
  EXPECT_EQ(colours.tail, 4U);
  EXPECT_EQ(colours.fds, 1U);
  EXPECT_EQ(text_of(handlers.handle(61, {}, fds)), "refused 95: not served")
      << "the feature that it needs is not offered, so it needs no handler";
  // The others are where they were.
  EXPECT_EQ(text_of(handlers.handle(3, {}, fds)), "done");
  EXPECT_EQ(text_of(handlers.handle(8, std::as_bytes(std::span(body)).first(8), fds)), "done");
  EXPECT_EQ(everything.names, (std::vector<std::string>{"SET_OWNER", "SET_VRING_NUM"}));
}

}  // namespace
}  // namespace vumedia::vhost_user::test::requests_test
