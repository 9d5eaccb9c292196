#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/media/sessions.hpp>

namespace vumedia::media {
namespace {

struct Session {};

TEST(Sessions, FindsWhatIsOpenAndNothingElse) {
  Sessions<Session> sessions(4);
  const auto record = sessions.reserve();
  ASSERT_TRUE(record);
  const std::uint32_t id = (*record)->id;
  EXPECT_EQ(sessions.find(id), *record);
  EXPECT_EQ(sessions.count(), 1u);
  EXPECT_EQ(sessions.find(0), nullptr);
  EXPECT_EQ(sessions.find(id + 1), nullptr);
  EXPECT_EQ(sessions.find(~0u), nullptr);
  sessions.release(**record);
  EXPECT_EQ(sessions.find(id), nullptr);
  EXPECT_EQ(sessions.count(), 0u);
}

TEST(Sessions, AKeyFindsItsSessionAndNoLaterOne) {
  for (const std::uint32_t limit : {1u, 3u, 4u}) {
    Sessions<Session> sessions(limit);
    auto* const record = *sessions.reserve();
    const auto key = sessions.key(*record);
    EXPECT_EQ(sessions.find(key), record);
    sessions.release(*record);
    EXPECT_EQ(sessions.find(key), nullptr);
    for (std::uint32_t i = 0; i < limit; ++i) {
      auto* const next = *sessions.reserve();
      EXPECT_EQ(sessions.find(key), nullptr) << "in the same place";
      EXPECT_EQ(sessions.find(sessions.key(*next)), next);
    }
  }
}

// What a free place has is no id that a guest could know.
TEST(Sessions, NoIdFindsAFreePlace) {
  for (const std::uint32_t limit : {1u, 2u, 3u, 8u}) {
    Sessions<Session> sessions(limit);
    for (int round = 0; round < 2; ++round) {
      for (std::uint32_t id = 0; id < 64; ++id) EXPECT_EQ(sessions.find(id), nullptr) << limit;
      sessions.release(**sessions.reserve());
    }
  }
}

TEST(Sessions, RefusesWhatExceedsTheLimit) {
  for (const std::uint32_t limit : {1u, 3u, 4u, 5u}) {
    Sessions<Session> sessions(limit);
    std::set<std::uint32_t> ids;
    Sessions<Session>::Record* last = nullptr;
    for (std::uint32_t i = 0; i < limit; ++i) {
      const auto record = sessions.reserve();
      ASSERT_TRUE(record);
      last = *record;
      EXPECT_TRUE(ids.insert(last->id).second);
    }
    EXPECT_EQ(sessions.reserve().error().value, ENFILE);
    sessions.release(*last);
    const auto again = sessions.reserve();
    ASSERT_TRUE(again);
    EXPECT_TRUE(ids.insert((*again)->id).second) << "an id came back at once";
  }
}

TEST(Sessions, NeverGivesOutAnIdThatIsKnownNorZero) {
  Sessions<Session> sessions(65536);
  const auto kept = sessions.reserve();
  ASSERT_TRUE(kept);
  const std::uint32_t known = (*kept)->id;
  std::vector<Sessions<Session>::Record*> records;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 65535; ++i) {
      const auto record = sessions.reserve();
      ASSERT_TRUE(record);
      ASSERT_NE((*record)->id, 0u);
      ASSERT_NE((*record)->id, known);
      records.push_back(*record);
    }
    EXPECT_FALSE(sessions.reserve());
    for (auto* const record : records) sessions.release(*record);
    records.clear();
  }
  EXPECT_EQ(sessions.find(known), *kept);
}

TEST(Sessions, WrapsTheCountOfASlot) {
  Sessions<Session> sessions(65536);
  std::uint32_t before = 0;
  // The slots are used in turn: 65,536 uses of each would take long, so all except one are taken.
  std::vector<Sessions<Session>::Record*> taken;
  for (int i = 0; i < 65535; ++i) taken.push_back(*sessions.reserve());
  for (int i = 0; i < 70000; ++i) {
    const auto record = sessions.reserve();
    ASSERT_TRUE(record);
    ASSERT_NE((*record)->id, 0u);
    ASSERT_NE((*record)->id, before);
    before = (*record)->id;
    sessions.release(**record);
    ASSERT_EQ(sessions.find(before), nullptr);
  }
}

}  // namespace
}  // namespace vumedia::media
