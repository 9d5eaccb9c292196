// What takes several calls where a turn of the loop has no more time: requests of many controls, lists of
// guest ranges, and the question whether a buffer has the memory that it had. The result is that of one call.
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/guest_ranges.hpp>
#include <vumedia/v4l2/user_planes.hpp>

#include "support/guest_ram.hpp"
#include "v4l2/controls_fixture.hpp"

namespace vumedia::v4l2::test {
namespace {

using memory::Work;

// Calls until it is done, each time with a turn that has `allowance`; how often.
template <class Call>
int in_turns(Work& work, std::int64_t allowance, Call&& call) {
  for (int count = 1;; ++count) {
    work.begin(allowance);
    const Result<> done = call();
    if (done || done.error().value != memory::again) return count;
    EXPECT_LT(count, 100000);
  }
}

// ---- Controls

TEST_F(ControlsTest, ManyAreSetInTurns) {
  subscribe(session, V4L2_CID_BRIGHTNESS);
  subscribe(other, V4L2_CID_BRIGHTNESS);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ids;
  for (int i = 0; i < 20; ++i) {
    ids.emplace_back(V4L2_CID_BRIGHTNESS, 0);
    ids.emplace_back(kArray, 6);
  }
  ExtControls request = make(ids);
  for (std::uint32_t i = 0; i < request.controls.size(); i += 2) {
    request.controls[i].value = static_cast<std::int32_t>(i);
    std::memset(page(i + 1), static_cast<int>(100 + i), 6);
  }
  Work work;
  Result<> done;
  // A turn that has next to nothing does one control all the same.
  const int calls = in_turns(work, 1, [&] {
    ExtControls between = make({{V4L2_CID_HFLIP, 0}, {kBitmask, 0}, {kButton, 0}});
    EXPECT_EQ(attempt(between), 0) << "others may ask in between";
    return done = controls.s_ext_ctrls(request, *memory, &session, &work);
  });
  EXPECT_EQ(calls, 40);
  EXPECT_TRUE(done);
  ASSERT_EQ(events.size(), 20U) << "the other session hears of each";
  for (std::size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].second.u.ctrl.value, static_cast<std::int32_t>(2 * i));
    EXPECT_EQ(events[i].second.sequence, i);
  }
  EXPECT_EQ(controls.value(V4L2_CID_BRIGHTNESS), 38);
  EXPECT_EQ(page(1)[0], std::byte{100}) << "clamped, and shown to the guest";
  EXPECT_EQ(controls.payload(kArray)[5], std::byte{100});
  // And got.
  EXPECT_EQ(in_turns(work, 1, [&] { return done = controls.g_ext_ctrls(request, *memory, &work); }), 40);
  EXPECT_TRUE(done);
  EXPECT_EQ(request.controls[0].value, 38);
}

TEST_F(ControlsTest, OneThatFailsInALaterTurnIsNamed) {
  ExtControls request =
      make({{V4L2_CID_BRIGHTNESS, 0}, {V4L2_CID_CONTRAST, 0}, {V4L2_CID_HFLIP, 0}, {kBitmask, 0}});
  for (auto& control : request.controls) control.value = 1;
  request.controls[1].value = 5;
  refused = V4L2_CID_HFLIP;
  Work work;
  Result<> done;
  EXPECT_EQ(in_turns(work, 1, [&] { return done = controls.s_ext_ctrls(request, *memory, &session, &work); }),
            3);
  EXPECT_EQ(done, fail(EIO));
  EXPECT_EQ(request.head.error_idx, 2U);
  EXPECT_EQ(controls.value(V4L2_CID_CONTRAST), 5);
  EXPECT_EQ(controls.value(kBitmask), 0);
}

// Values that are large, or in many pieces, count.
TEST_F(ControlsTest, PayloadsAreCounted) {
  ExtControls request = make({{kArray, 6}, {kArray, 6}});
  Work work;
  work.begin();
  ASSERT_TRUE(controls.try_ext_ctrls(request, *memory, &work));
  EXPECT_EQ(Work::a_turn - work.left(), 2 * (Work::control + 6 * Work::copied_byte + 1 * Work::listed_range));
}

// ---- Lists

TEST(GuestRanges, ListsAreReadInTurns) {
  struct Listed {
    std::uint64_t start;
    std::uint32_t length;
    std::uint32_t reserved;
  };
  std::vector<Listed> sent;
  for (std::uint32_t i = 0; i < 10000; ++i) sent.push_back({i * 0x1000ULL, i % 7 + 1, 0});
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  for (std::size_t i = 0; i < sent.size(); ++i) (i < 3000 ? first : second) += sent[i].length;
  virtio::Reader reader(std::as_bytes(std::span(sent)));
  GuestRangeLists lists;
  Work work;
  std::size_t before = 0;
  std::size_t most = 0;
  for (const std::uint64_t length : {first, second}) {
    Result<> done;
    in_turns(work, 500 * Work::read_range, [&] {
      done = lists.read_list(reader, length, &work);
      most = std::max(most, lists.range_count() - before);
      before = lists.range_count();
      return done;
    });
    ASSERT_TRUE(done);
  }
  EXPECT_LE(most, 500U + 256U);
  ASSERT_EQ(lists.size(), 2U);
  EXPECT_EQ(lists[0].size(), 3000U);
  ASSERT_EQ(lists[1].size(), 7000U);
  EXPECT_EQ(lists[1][6999], (GuestRange{{9999 * 0x1000ULL}, 9999 % 7 + 1}));
  EXPECT_EQ(reader.remaining(), 0U);
  // One that was not read to its end is not gone on with.
  lists.clear();
  virtio::Reader again(std::as_bytes(std::span(sent)));
  work.begin(1);
  EXPECT_EQ(lists.read_list(again, first, &work), fail(memory::again));
  lists.clear();
  virtio::Reader anew(std::as_bytes(std::span(sent)));
  ASSERT_TRUE(lists.read_list(anew, 1 + 2));
  EXPECT_EQ(lists[0].size(), 2U);
}

// ---- Memory that a buffer has already

class SameMemory : public testing::Test {
 protected:
  static constexpr std::uint64_t first_page = 0x1000'0000;
  static constexpr std::uint64_t page_count = 2000;

  SameMemory() {
    for (std::uint64_t i = 0; i < page_count; i += 2)
      ranges.push_back({{first_page + i * page_size}, static_cast<std::uint32_t>(page_size)});
  }
  std::uint64_t length() const { return ranges.size() * page_size; }
  int calls(UserPlane& plane, std::int64_t allowance, bool& same) {
    UserPlane::Comparison comparison;
    return in_turns(work, allowance, [&]() -> Result<> {
      const auto compared = plane.maps({table, arenas, &work}, ranges, length(), comparison);
      if (!compared) return std::unexpected(compared.error());
      same = *compared;
      return {};
    });
  }

  vumedia::test::RamFile ram{first_page, page_count* page_size};
  std::shared_ptr<const memory::GuestMemory> table = vumedia::test::make_table({&ram});
  memory::Arenas arenas;
  std::shared_ptr<memory::Budget> budget = std::make_shared<memory::Budget>(10000);
  std::vector<GuestRange> ranges;
  Work work;
};

TEST_F(SameMemory, IsFoundInTurns) {
  auto plane = UserPlane::map({table, arenas}, ranges, length(), budget);
  ASSERT_TRUE(plane);
  const auto* const data = plane->bytes().data();
  bool same = false;
  EXPECT_EQ(calls(*plane, 100 * Work::compared_range, same), 10);
  EXPECT_TRUE(same);
  // After a new table it is looked up, which costs more.
  table = vumedia::test::make_table({&ram});
  same = false;
  EXPECT_GE(calls(*plane, 100 * Work::listed_range, same), 20);
  EXPECT_TRUE(same);
  EXPECT_EQ(plane->bytes().data(), data);
  EXPECT_EQ(calls(*plane, Work::a_turn, same), 1) << "and remembered";
  EXPECT_TRUE(same);
}

TEST_F(SameMemory, IsNoticedToBeOtherWhereverItDiffers) {
  auto plane = UserPlane::map({table, arenas}, ranges, length(), budget);
  ASSERT_TRUE(plane);
  bool same = true;
  ranges.back().start.value += page_size;
  EXPECT_GE(calls(*plane, 100 * Work::compared_range, same), 9);
  EXPECT_FALSE(same);
  ranges.back().start.value -= page_size;
  // Other memory for the last page only; and a table that changes while it is compared with.
  const vumedia::test::RamFile high(first_page + (page_count - 2) * page_size, 2 * page_size);
  memory::RegionSpec spec = ram.spec();
  spec.size = (page_count - 2) * page_size;
  std::vector<memory::RegionSpec> specs;
  specs.push_back(std::move(spec));
  specs.push_back(high.spec());
  const auto other = *memory::GuestMemory::create(std::move(specs));
  UserPlane::Comparison comparison;
  const auto compare = [&](const auto& with) {
    work.begin(100 * Work::listed_range);
    return plane->maps({with, arenas, &work}, ranges, length(), comparison);
  };
  const auto same_again = vumedia::test::make_table({&ram});
  for (int i = 0; i < 21; ++i) {
    const auto result = compare(same_again);
    ASSERT_FALSE(result) << i << ": not done yet";
  }
  Result<bool> result = fail(memory::again);
  for (int i = 0; i < 100 && !result; ++i) result = compare(other);
  ASSERT_TRUE(result);
  EXPECT_FALSE(*result);
}

}  // namespace
}  // namespace vumedia::v4l2::test
