// v4l2::Controls compared with the kernel's own: the controls of vivid are declared once more, the same
// random requests go to both, and answers, payloads and events are compared.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>
#include <sys/ioctl.h>

#include <vumedia/media/event_queue.hpp>
#include <vumedia/v4l2/controls.hpp>

#include "files.hpp"
#include "support/guest_ram.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

constexpr std::uint32_t ruled_ids[] = {cid::button,    cid::boolean,      cid::integer,  cid::integer64,
                                       cid::menu,      cid::string,       cid::bitmask,  cid::integer_menu,
                                       cid::u32_array, cid::u16_matrix,   cid::u8_array, cid::area,
                                       cid::read_only, cid::dynamic_array};

Result<> validate_size(std::span<std::byte> bytes) {
  v4l2_area area;
  std::memcpy(&area, bytes.data(), sizeof area);
  if (area.width == 0 || area.height == 0) return fail(EINVAL);
  return {};
}

// The controls of a node, as a backend would declare them.
class Declared {
 public:
  explicit Declared(NodeFile& node) {
    for (const std::uint32_t id : ruled_ids) {
      v4l2_query_ext_ctrl query{};
      query.id = id;
      if (node.ioctl<tag::QUERY_EXT_CTRL>(query) != 0) continue;  // an older driver has fewer
      v4l2::ControlInfo info;
      info.id = id;
      info.type = query.type;
      info.name = keep(query.name);
      info.minimum = query.minimum;
      info.maximum = query.maximum;
      info.step = query.step;
      info.default_value = query.default_value;
      info.flags = query.flags & ~std::uint32_t{V4L2_CTRL_FLAG_HAS_PAYLOAD};
      std::copy_n(query.dims, std::size(query.dims), info.dimensions.begin());
      if (query.type == V4L2_CTRL_TYPE_AREA) {
        info.element_size = query.elem_size;
        info.default_element = default_area(node, id);
        info.validate = validate_size;
      }
      if (v4l2::is_menu_type(query.type)) add_items(node, info);
      table.push_back(info);
    }
  }

  std::vector<v4l2::ControlInfo> table;

 private:
  const char* keep(const char* text) { return texts_.emplace_back(text).c_str(); }
  void add_items(NodeFile& node, v4l2::ControlInfo& info) {
    std::vector<const char*>& names = menus_.emplace_back();
    std::vector<std::int64_t>& values = integers_.emplace_back();
    for (std::uint32_t index = 0; index <= static_cast<std::uint32_t>(info.maximum); ++index) {
      v4l2_querymenu item{};
      item.id = info.id;
      item.index = index;
      const bool there = node.ioctl<tag::QUERYMENU>(item) == 0;
      if (!there) info.skipped |= std::uint64_t{1} << index;
      const bool named = there && info.type == V4L2_CTRL_TYPE_MENU;
      names.push_back(named ? keep(reinterpret_cast<const char*>(item.name)) : nullptr);
      values.push_back(there ? static_cast<std::int64_t>(item.value) : 0);
    }
    if (info.type == V4L2_CTRL_TYPE_MENU) {
      info.menu = names;
    } else {
      info.integer_menu = values;
    }
  }
  const void* default_area(NodeFile& node, std::uint32_t id) {
    v4l2_area& area = areas_.emplace_back();
    v4l2::ExtControls request{};
    request.head.which = V4L2_CTRL_WHICH_DEF_VAL;
    request.head.count = 1;
    request.controls.resize(1);
    request.controls[0].id = id;
    request.controls[0].size = sizeof area;
    request.controls[0].ptr = &area;
    EXPECT_EQ(node.ioctl<tag::G_EXT_CTRLS>(request), 0);
    return &area;
  }

  std::deque<std::string> texts_;
  std::deque<std::vector<const char*>> menus_;
  std::deque<std::vector<std::int64_t>> integers_;
  std::deque<v4l2_area> areas_;
};

class ControlRules : public testing::Test {
 protected:
  // Two files each of the node and of our controls: the first sends the requests. Both get the events of all
  // controls.
  struct Ours {
    v4l2::Subscriptions subscriptions;
    media::EventQueue::Store store;
    media::EventQueue queue;
  };

  ControlRules() {
    EXPECT_TRUE(v4l2::valid_controls(declared.table));
    for (Ours& file : ours) EXPECT_TRUE(file.store.reserve(256));
    controls.on_event([this](const v4l2_event& event, const v4l2::Subscriptions* origin) {
      for (Ours& file : ours)
        file.subscriptions.deliver(event, origin, [&file](const v4l2_event& one) { keep(file, one); });
    });
  }
  ~ControlRules() override {
    for (Ours& file : ours) file.queue.purge(file.store);
  }
  static void keep(Ours& file, const v4l2_event& event) {
    EXPECT_TRUE(file.queue.push(file.store, media::Event::v4l2(1, event)));
  }

  void subscribe(std::size_t file, std::uint32_t id, std::uint32_t flags) {
    v4l2_event_subscription request{};
    request.type = V4L2_EVENT_CTRL;
    request.id = id;
    request.flags = flags;
    v4l2_event_subscription same = request;
    const int theirs = nodes[file].ioctl<tag::SUBSCRIBE_EVENT>(same);
    const auto done = v4l2::subscribe_event(ours[file].subscriptions, request, {}, &controls,
                                            [this, file](const v4l2_event& one) { keep(ours[file], one); });
    EXPECT_EQ(done ? 0 : done.error().value, theirs) << id;
  }

  // Everything that either file was told, in order.
  void expect_same_events(const std::string& what) {
    for (std::size_t file = 0; file < 2; ++file) {
      SCOPED_TRACE(what + ", file " + std::to_string(file));
      v4l2_event theirs{};
      while (::ioctl(nodes[file].fd(), VIDIOC_DQEVENT, &theirs) == 0) {
        const media::Event* const front = ours[file].queue.front();
        ASSERT_NE(front, nullptr) << "an event of " << theirs.id << " is missing";
        const v4l2_event mine = *front->as_v4l2();
        ours[file].queue.pop_front();
        ++told;
        ASSERT_EQ(mine.id, theirs.id);
        EXPECT_EQ(mine.sequence, theirs.sequence);
        EXPECT_EQ(mine.u.ctrl.changes, theirs.u.ctrl.changes) << mine.id;
        EXPECT_EQ(mine.u.ctrl.type, theirs.u.ctrl.type);
        EXPECT_EQ(known(mine.u.ctrl.flags), known(theirs.u.ctrl.flags)) << mine.id;
        // For a 32-bit number the kernel also sends the bytes after it.
        if (mine.u.ctrl.type == V4L2_CTRL_TYPE_INTEGER64) {
          EXPECT_EQ(mine.u.ctrl.value64, theirs.u.ctrl.value64) << mine.id;
        } else {
          EXPECT_EQ(mine.u.ctrl.value, theirs.u.ctrl.value) << mine.id;
        }
        EXPECT_EQ(mine.u.ctrl.minimum, theirs.u.ctrl.minimum);
        EXPECT_EQ(mine.u.ctrl.maximum, theirs.u.ctrl.maximum);
        EXPECT_EQ(mine.u.ctrl.step, theirs.u.ctrl.step);
        EXPECT_EQ(mine.u.ctrl.default_value, theirs.u.ctrl.default_value);
      }
      EXPECT_EQ(errno, ENOENT);
      EXPECT_EQ(ours[file].queue.size(), 0u) << "more than the kernel's";
      ours[file].queue.purge(ours[file].store);
    }
  }
  // Linux has this flag since 6.14.
  static std::uint32_t known(std::uint32_t flags) { return flags & ~v4l2::ctrl_flag_has_which_min_max; }

  // A request to both, each with memory of its own. There are as many pages of 4 KiB as controls.
  struct Asked {
    std::vector<v4l2_ext_control> controls;  // `ptr` has yet to be set if there is a size
    std::uint32_t which = 0;
    std::vector<std::byte> memory;
  };
  template <class Tag>
  void expect_same(const Asked& asked, const std::string& what) {
    v4l2::ExtControls request{}, same{};
    request.head.which = same.head.which = asked.which;
    request.head.count = same.head.count = static_cast<std::uint32_t>(asked.controls.size());
    request.controls = same.controls = asked.controls;
    std::vector<std::byte> theirs = asked.memory;
    std::memcpy(ram.data(), asked.memory.data(), asked.memory.size());
    for (std::size_t i = 0; i < asked.controls.size(); ++i) {
      const std::uint32_t size = asked.controls[i].size;
      if (size != 0) same.controls[i].ptr = theirs.data() + i * 4096;
      const v4l2::GuestRange range{{ram.guest() + i * 4096}, size};
      request.ranges.add_list(std::span(&range, size != 0 ? 1 : 0));
    }
    const int status = nodes[0].ioctl<Tag>(same);
    Result<> done;
    if constexpr (std::same_as<Tag, tag::G_EXT_CTRLS>) {
      done = controls.g_ext_ctrls(request, *memory);
    } else if constexpr (std::same_as<Tag, tag::S_EXT_CTRLS>) {
      done = controls.s_ext_ctrls(request, *memory, &ours[0].subscriptions);
    } else {
      done = controls.try_ext_ctrls(request, *memory);
    }
    SCOPED_TRACE(what);
    ASSERT_EQ(done ? 0 : done.error().value, status);
    ++(done ? granted : refused);
    EXPECT_EQ(request.head.error_idx, same.head.error_idx);
    for (std::size_t i = 0; i < asked.controls.size(); ++i) {
      const v4l2_ext_control& mine = request.controls[i];
      EXPECT_EQ(std::uint32_t{mine.size}, std::uint32_t{same.controls[i].size}) << i;
      if (asked.controls[i].size != 0) continue;
      EXPECT_EQ(std::int64_t{mine.value64}, std::int64_t{same.controls[i].value64}) << i;
    }
    EXPECT_EQ(std::memcmp(ram.data(), theirs.data(), theirs.size()), 0) << "payloads differ";
  }

  const Driver driver;
  const std::string path = node("vivid-000-vid-cap");
  NodeFile nodes[2] = {NodeFile(path), NodeFile(path)};
  Declared declared{nodes[0]};
  v4l2::Controls controls{declared.table};
  Ours ours[2];
  int granted = 0, refused = 0, told = 0;
  vumedia::test::RamFile ram{0x100000, 16 * 4096};
  const std::shared_ptr<const memory::GuestMemory> memory = vumedia::test::make_table({&ram});
};

TEST_F(ControlRules, AreDescribedAlike) {
  ASSERT_GE(declared.table.size(), 13u);
  for (const v4l2::ControlInfo& info : declared.table) {
    v4l2_query_ext_ctrl mine{}, theirs{};
    mine.id = theirs.id = info.id;
    ASSERT_TRUE(controls.query_ext_ctrl(mine));
    ASSERT_EQ(nodes[0].ioctl<tag::QUERY_EXT_CTRL>(theirs), 0);
    mine.flags = known(mine.flags);
    theirs.flags = known(theirs.flags);
    EXPECT_EQ(std::memcmp(&mine, &theirs, sizeof mine), 0) << info.name;
    v4l2_queryctrl old{}, their_old{};
    old.id = their_old.id = info.id;
    ASSERT_TRUE(controls.queryctrl(old));
    ASSERT_EQ(nodes[0].ioctl<tag::QUERYCTRL>(their_old), 0);
    old.flags = known(old.flags);
    their_old.flags = known(their_old.flags);
    EXPECT_EQ(std::memcmp(&old, &their_old, sizeof old), 0) << info.name;
    for (const std::uint32_t index : {0u, 1u, 2u, 3u, 4u, 5u, 8u, 9u, 63u, 64u}) {
      v4l2_querymenu item{};
      item.id = info.id;
      item.index = index;
      v4l2_querymenu their_item = item;
      const auto done = controls.querymenu(item);
      EXPECT_EQ(done ? 0 : done.error().value, nodes[0].ioctl<tag::QUERYMENU>(their_item))
          << info.name << index;
      if (!done) continue;
      if (info.type == V4L2_CTRL_TYPE_INTEGER_MENU) {
        EXPECT_EQ(std::int64_t{item.value}, std::int64_t{their_item.value});
      } else {
        EXPECT_STREQ(reinterpret_cast<const char*>(item.name),
                     reinterpret_cast<const char*>(their_item.name));
      }
    }
  }
}

TEST_F(ControlRules, AnswerRandomRequestsAlike) {
  for (std::size_t file = 0; file < 2; ++file) {
    for (const v4l2::ControlInfo& info : declared.table) {
      const std::uint32_t feedback = file == 0 && info.id % 2 == 0 ? V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK : 0;
      subscribe(file, info.id, V4L2_EVENT_SUB_FL_SEND_INITIAL | feedback);
    }
    subscribe(file, 0x00980999, 0);
  }
  expect_same_events("initial");

  std::mt19937 random(5);
  const auto any = [&random](auto... values) {
    const std::int64_t list[] = {static_cast<std::int64_t>(values)...};
    return list[random() % std::size(list)];
  };
  for (int round = 0; round < 2000 && !HasFailure(); ++round) {
    Asked asked;
    asked.which = static_cast<std::uint32_t>(
        any(0, 0, 0, 0, V4L2_CTRL_WHICH_DEF_VAL, V4L2_CTRL_CLASS_USER, V4L2_CTRL_CLASS_CODEC, 0x00e00000));
    asked.memory.resize(4 * 4096);
    std::string what = "round " + std::to_string(round);
    for (std::size_t i = 0, count = random() % 5; i < count; ++i) {
      const v4l2::ControlInfo& info = declared.table[random() % declared.table.size()];
      v4l2_ext_control control{};
      control.id = random() % 40 == 0
                       ? static_cast<std::uint32_t>(any(0, 1, 0x00980001, 0x08000000, 0x00980999))
                       : info.id;
      what += ", " + std::string(info.name);
      std::byte* const page = asked.memory.data() + i * 4096;
      const bool string = info.type == V4L2_CTRL_TYPE_STRING;
      if (control.id == info.id &&
          (info.dimensions[0] != 0 || string || info.type >= V4L2_CTRL_COMPOUND_TYPES)) {
        const auto whole = static_cast<std::int64_t>(v4l2::element_count(info) * v4l2::element_size(info));
        control.size = static_cast<std::uint32_t>(any(whole, whole, whole, 0, 1, whole - 1, whole + 7, 12));
        for (std::size_t byte = 0; byte < control.size; ++byte)
          page[byte] =
              static_cast<std::byte>(string ? any('a', 'b', 'c', 0) : any(0, 1, 15, 16, 32, 33, 255));
      } else {
        control.value64 = any(info.minimum, info.maximum, info.default_value,
                              static_cast<std::int64_t>(static_cast<std::uint64_t>(info.minimum) - 1),
                              static_cast<std::int64_t>(static_cast<std::uint64_t>(info.maximum) + 1), 0, 1,
                              -1, static_cast<std::int64_t>(random()) << (random() % 40));
      }
      asked.controls.push_back(control);
    }
    switch (random() % 3) {
      case 0:
        expect_same<tag::G_EXT_CTRLS>(asked, what + ": get");
        break;
      case 1:
        expect_same<tag::S_EXT_CTRLS>(asked, what + ": set");
        break;
      default:
        expect_same<tag::TRY_EXT_CTRLS>(asked, what + ": try");
    }
    if (random() % 4 == 0) {
      const v4l2::ControlInfo& info = declared.table[random() % declared.table.size()];
      v4l2_control control{info.id, static_cast<std::int32_t>(any(info.minimum, info.maximum, 0, 3, 77))};
      v4l2_control same = control;
      const bool sets = random() % 2 == 0;
      const int theirs = sets ? nodes[0].ioctl<tag::S_CTRL>(same) : nodes[0].ioctl<tag::G_CTRL>(same);
      const auto mine = sets ? controls.s_ctrl(control, &ours[0].subscriptions) : controls.g_ctrl(control);
      EXPECT_EQ(mine ? 0 : mine.error().value, theirs) << what << ", " << info.name;
      if (mine) {
        EXPECT_EQ(control.value, same.value) << what << ", " << info.name;
      }
    }
    // Sometimes several requests later, so that events merge.
    if (random() % 3 == 0) expect_same_events(what);
  }
  expect_same_events("the end");
  // There was something to compare.
  EXPECT_GT(granted, 200);
  EXPECT_GT(refused, 200);
  EXPECT_GT(told, 200);
}

}  // namespace
}  // namespace vumedia::vivid::test
