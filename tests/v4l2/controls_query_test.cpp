// Controls compared with v4l2-ctrls' rules: which exist, and how they are described.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "v4l2/controls_fixture.hpp"

namespace vumedia::v4l2::test {
namespace {

TEST_F(ControlsTest, ListsControlsAndTheirClassesInOrder) {
  std::vector<std::uint32_t> plain, compound, all;
  const auto list = [&](std::vector<std::uint32_t>& ids, std::uint32_t flags) {
    v4l2_query_ext_ctrl query;
    std::memset(&query, 0xff, sizeof query);
    query.id = flags;
    while (controls.query_ext_ctrl(query)) {
      ids.push_back(query.id);
      query.id |= flags;
    }
  };
  list(plain, V4L2_CTRL_FLAG_NEXT_CTRL);
  list(compound, V4L2_CTRL_FLAG_NEXT_COMPOUND);
  list(all, V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND);
  EXPECT_EQ(compound, (std::vector<std::uint32_t>{kArray, kDynamic, kArea}));
  EXPECT_EQ(plain.size() + compound.size(), all.size());
  EXPECT_EQ(all.size(), controls.size());
  EXPECT_TRUE(std::ranges::is_sorted(all));
  EXPECT_EQ(plain.front(), V4L2_CID_USER_CLASS);
  EXPECT_EQ(std::ranges::count(plain, V4L2_CID_IMAGE_PROC_CLASS), 1);
}

TEST_F(ControlsTest, DescribesAControl) {
  v4l2_query_ext_ctrl query;
  std::memset(&query, 0xff, sizeof query);
  query.id = kArray;
  ASSERT_TRUE(controls.query_ext_ctrl(query));
  EXPECT_STREQ(query.name, "Array");
  EXPECT_EQ(query.elem_size, 1U);
  EXPECT_EQ(query.elems, 6U);
  EXPECT_EQ(query.nr_of_dims, 2U);
  EXPECT_EQ(query.dims[1], 2U);
  EXPECT_EQ(query.dims[2], 0U);
  EXPECT_EQ(query.flags, static_cast<std::uint32_t>(V4L2_CTRL_FLAG_HAS_PAYLOAD));
  for (const std::uint32_t word : query.reserved) EXPECT_EQ(word, 0U);

  query.id = kDynamic;
  ASSERT_TRUE(controls.query_ext_ctrl(query));
  EXPECT_EQ(query.elems, 1U);
  EXPECT_EQ(query.dims[0], 5U);

  v4l2_queryctrl old;
  std::memset(&old, 0xff, sizeof old);
  old.id = V4L2_CID_CONTRAST;
  ASSERT_TRUE(controls.queryctrl(old));
  EXPECT_EQ(old.minimum, -10);
  EXPECT_EQ(old.step, 5);
  EXPECT_EQ(old.reserved[0], 0U);
  old.id = kInteger64;
  ASSERT_TRUE(controls.queryctrl(old));
  EXPECT_EQ(old.minimum, 0);
  EXPECT_EQ(old.step, 0);
  old.id = V4L2_CID_USER_CLASS;
  ASSERT_TRUE(controls.queryctrl(old));
  EXPECT_STREQ(reinterpret_cast<const char*>(old.name), "User Controls");
  EXPECT_EQ(old.flags, static_cast<std::uint32_t>(V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY));
  for (const std::uint32_t bad :
       {0U, 1U, static_cast<std::uint32_t>(V4L2_CID_HUE), UINT32_MAX, 0x7fffffffU}) {
    old.id = bad;
    EXPECT_EQ(control_error(controls.queryctrl(old)), EINVAL) << bad;
  }
}

TEST_F(ControlsTest, CountsPrivateControlsTheOldWay) {
  v4l2_queryctrl query{};
  query.id = V4L2_CID_PRIVATE_BASE;
  ASSERT_TRUE(controls.queryctrl(query));
  EXPECT_EQ(query.id, static_cast<std::uint32_t>(V4L2_CID_PRIVATE_BASE));
  EXPECT_STREQ(reinterpret_cast<const char*>(query.name), "Mask");  // the first that G_CTRL can read
  query.id = V4L2_CID_PRIVATE_BASE + 3;
  EXPECT_FALSE(controls.queryctrl(query));
  ExtControls request = make({{V4L2_CID_PRIVATE_BASE, 0}});
  EXPECT_EQ(get(request), EINVAL);
}

TEST_F(ControlsTest, Querymenu) {
  const std::pair<std::uint32_t, int> items[] = {
      {0, 0}, {1, EINVAL}, {2, 0}, {3, EINVAL}, {4, 0}, {5, EINVAL}, {UINT32_MAX, EINVAL}};
  for (const auto& [index, error] : items) {
    v4l2_querymenu query;
    std::memset(&query, 0xff, sizeof query);
    query.id = V4L2_CID_TEST_PATTERN;
    query.index = index;
    EXPECT_EQ(control_error(controls.querymenu(query)), error) << index;
    if (error == 0) {
      EXPECT_STREQ(reinterpret_cast<const char*>(query.name), kMenu[index]);
      EXPECT_EQ(static_cast<std::uint32_t>(query.reserved), 0U);
    }
  }
  v4l2_querymenu query{};
  query.id = kIntegerMenu;
  query.index = 1;
  ASSERT_TRUE(controls.querymenu(query));
  EXPECT_EQ(static_cast<std::int64_t>(query.value), 1LL << 40);
  query.id = V4L2_CID_BRIGHTNESS;
  EXPECT_EQ(control_error(controls.querymenu(query)), EINVAL);
}

// From every control, its neighbours and the ends, in each combination of flags, compared with a model.
TEST_F(ControlsTest, IteratesFromAnywhere) {
  std::vector<std::pair<std::uint32_t, bool>> all;  // and whether it is compound
  std::vector<std::uint32_t> starts = {0, 1, V4L2_CTRL_ID_MASK, V4L2_CID_PRIVATE_BASE};
  for (const ControlInfo& info : kControls) {
    all.emplace_back(info.id, info.dimensions[0] != 0 || info.type >= V4L2_CTRL_COMPOUND_TYPES);
    const std::pair made(static_cast<std::uint32_t>(V4L2_CTRL_ID2CLASS(info.id) | 1), false);
    if (std::ranges::find(all, made) == all.end()) all.push_back(made);
  }
  std::ranges::sort(all);
  for (const auto& [id, compound] : all) starts.insert(starts.end(), {id - 1, id, id + 1});
  constexpr std::uint32_t plain_ones = V4L2_CTRL_FLAG_NEXT_CTRL;
  constexpr std::uint32_t compound_ones = V4L2_CTRL_FLAG_NEXT_COMPOUND;
  for (const std::uint32_t flags : {plain_ones, compound_ones, plain_ones | compound_ones}) {
    for (const std::uint32_t start : starts) {
      const auto next = std::ranges::find_if(all, [&](const auto& one) {
        return one.first > start &&
               (flags & (one.second ? V4L2_CTRL_FLAG_NEXT_COMPOUND : V4L2_CTRL_FLAG_NEXT_CTRL)) != 0;
      });
      v4l2_query_ext_ctrl query{};
      query.id = start | flags;
      v4l2_queryctrl old{};
      old.id = start | flags;
      ASSERT_EQ(control_error(controls.query_ext_ctrl(query)), next == all.end() ? EINVAL : 0) << start;
      ASSERT_EQ(control_error(controls.queryctrl(old)), next == all.end() ? EINVAL : 0) << start;
      if (next == all.end()) continue;
      EXPECT_EQ(query.id, next->first) << start << ' ' << flags;
      EXPECT_EQ(old.id, next->first) << start << ' ' << flags;
    }
  }
}

TEST(ControlsAlone, NoControlsAreNoneToFind) {
  Controls none{{}};
  v4l2_query_ext_ctrl query{};
  query.id = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
  EXPECT_EQ(control_error(none.query_ext_ctrl(query)), EINVAL);
  v4l2_querymenu menu{};
  EXPECT_EQ(control_error(none.querymenu(menu)), EINVAL);
}

// Classes are added for plain types, including arrays of them, but not for compound types only.
TEST(ControlsAlone, ClassesComeWithPlainControls) {
  constexpr ControlInfo array[] = {
      {.id = V4L2_CID_JPEG_COMPRESSION_QUALITY, .name = "x", .maximum = 1, .dimensions = {2}}};
  constexpr ControlInfo compound[] = {{.id = V4L2_CID_JPEG_COMPRESSION_QUALITY,
                                       .type = V4L2_CTRL_TYPE_U8,
                                       .name = "x",
                                       .maximum = 1,
                                       .dimensions = {2}}};
  EXPECT_TRUE(Controls(array).has(V4L2_CID_JPEG_CLASS));
  EXPECT_FALSE(Controls(compound).has(V4L2_CID_JPEG_CLASS));
}

}  // namespace
}  // namespace vumedia::v4l2::test
