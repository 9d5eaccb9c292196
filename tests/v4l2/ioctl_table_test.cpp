// The ioctl table compared with the kernel header, and its names.
#include <map>
#include <set>
#include <string>
#include <type_traits>

#include <boost/hana/for_each.hpp>
#include <boost/hana/length.hpp>
#include <gtest/gtest.h>

#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::v4l2::test {
namespace {

TEST(IoctlTable, HoldsEveryCarriedIoctlOnce) {
  std::set<std::uint32_t> numbers;
  std::set<std::string> names;
  boost::hana::for_each(ioctl_tags, [&](auto type) {
    using Tag = typename decltype(type)::type;
    EXPECT_LT(Tag::number, ioctl_limit);
    EXPECT_TRUE(numbers.insert(Tag::number).second) << Tag::name;
    EXPECT_TRUE(names.insert(Tag::name).second) << Tag::name;
    EXPECT_STREQ(Tag::name, ioctl_name(Tag::number));
    EXPECT_TRUE(std::is_trivially_copyable_v<typename Tag::Wire>);
    EXPECT_NE(Tag::direction, Direction::none) << Tag::name;
  });
  // videodev2.h of Linux 6.18 has 83 ioctls; six are never handled.
  EXPECT_EQ(numbers.size(), 77U);
}

TEST(IoctlTable, LeavesOutWhatIsNeverHandledButKnowsItsName) {
  std::set<std::uint32_t> numbers;
  boost::hana::for_each(ioctl_tags, [&](auto type) { numbers.insert(decltype(type)::type::number); });
  std::map<std::uint32_t, std::string> never = {{0, "VIDIOC_QUERYCAP"},    {17, "VIDIOC_DQBUF"},
                                                {61, "VIDIOC_G_JPEGCOMP"}, {62, "VIDIOC_S_JPEGCOMP"},
                                                {70, "VIDIOC_LOG_STATUS"}, {89, "VIDIOC_DQEVENT"}};
  for (const auto& [number, name] : never) {
    EXPECT_FALSE(numbers.contains(number)) << name;
    EXPECT_STREQ(ioctl_name(number), name.c_str());
  }
  boost::hana::for_each(uncarried_tags, [&](auto type) {
    using Tag = typename decltype(type)::type;
    EXPECT_EQ(never[Tag::number], Tag::name);
    EXPECT_FALSE(ListedIoctl<Tag>);
    never.erase(Tag::number);
  });
  EXPECT_TRUE(never.empty());
}

struct QUERYCAP final : Ioctl<0, Direction::read, Allowed::always, v4l2_capability> {};

TEST(IoctlTable, ListsOnlyWhatIsEntered) {
  EXPECT_TRUE(ListedIoctl<tag::G_FMT> && ListedIoctl<tag::ENUM_FMT> && ListedIoctl<tag::REMOVE_BUFS>);
  EXPECT_FALSE(ListedIoctl<QUERYCAP> || ListedIoctl<uncarried::DQBUF> || ListedIoctl<const tag::G_FMT> ||
               ListedIoctl<tag::G_FMT&> || ListedIoctl<int> || ListedIoctl<struct NeverDefined>);
}

TEST(IoctlTable, NamesAnyNumber) {
  EXPECT_STREQ(ioctl_name(1), "unknown ioctl");
  EXPECT_STREQ(ioctl_name(ioctl_limit), "unknown ioctl");
  EXPECT_STREQ(ioctl_name(UINT32_MAX), "unknown ioctl");
  EXPECT_STREQ(ioctl_name(104), "VIDIOC_REMOVE_BUFS");
}

TEST(IoctlTable, KnowsTheWayOfPayloads) {
  EXPECT_TRUE(carries_input<tag::S_FMT> && carries_output<tag::S_FMT>);
  EXPECT_TRUE(!carries_input<tag::G_INPUT> && carries_output<tag::G_INPUT>);
  EXPECT_TRUE(carries_input<tag::STREAMON> && !carries_output<tag::STREAMON>);
  EXPECT_EQ(tag::G_FMT::code, VIDIOC_G_FMT);
  EXPECT_EQ(tag::REMOVE_BUFS::code, 0xC0405668UL);
  EXPECT_TRUE((std::is_same_v<tag::QBUF::Payload, BufferPayload>));
  EXPECT_TRUE((std::is_same_v<tag::QBUF::Wire, v4l2_buffer>));
  EXPECT_TRUE((std::is_same_v<tag::S_INPUT::Payload, std::uint32_t>));
  EXPECT_EQ(uncarried::LOG_STATUS::code, VIDIOC_LOG_STATUS);
  EXPECT_TRUE(answers_failure<tag::TRY_EXT_CTRLS>);
  EXPECT_FALSE(answers_failure<tag::G_FMT>);
}

}  // namespace
}  // namespace vumedia::v4l2::test
