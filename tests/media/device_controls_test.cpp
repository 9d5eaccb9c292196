// Controls of every kind through a whole device: extended controls with their pointers as ranges of guest
// memory, failures that carry the payload, events on the eventq.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/control_zoo.hpp"
#include "support/media_guest.hpp"

namespace vumedia::media::test {
namespace {

namespace tag = v4l2::tag;
namespace zoo = vumedia::test::zoo;
using namespace vumedia::test;

// An element of a request: a number, or bytes somewhere in guest memory.
struct Wanted {
  std::uint32_t id = 0;
  std::int64_t number = 0;
  std::uint32_t size = 0;               // of the payload; 0 for numbers
  std::vector<v4l2::GuestRange> where;  // it lies
};

struct ExtReply {
  int status = -1;
  std::uint32_t length = 0;
  v4l2_ext_controls head{};
  std::vector<v4l2_ext_control> controls;
};

class DeviceControls : public testing::Test {
 protected:
  // Two separate pieces.
  std::vector<v4l2::GuestRange> scatter(std::uint32_t size, std::span<const std::byte> bytes = {}) {
    const std::uint32_t half = (size + 1) / 2;
    std::vector<v4l2::GuestRange> where = {{guest.host.allocate(half), half}};
    static_cast<void>(guest.host.allocate(64));
    if (size > half) where.push_back({guest.host.allocate(size - half), size - half});
    std::size_t done = 0;
    for (const v4l2::GuestRange& range : where) {
      std::byte* const to = guest.host.bytes(range.start);
      std::memset(to, 0xee, range.length);
      if (done < bytes.size())
        std::memcpy(to, bytes.data() + done, std::min<std::size_t>(range.length, bytes.size() - done));
      done += range.length;
    }
    return where;
  }
  Wanted payload(std::uint32_t id, std::uint32_t size, std::span<const std::byte> bytes = {}) {
    return {id, 0, size, scatter(size, bytes)};
  }
  template <class T>
  Wanted values(std::uint32_t id, const std::vector<T>& elements) {
    const auto bytes = std::as_bytes(std::span(elements));
    return payload(id, static_cast<std::uint32_t>(bytes.size()), bytes);
  }
  std::vector<std::byte> bytes_at(const Wanted& wanted) {
    std::vector<std::byte> bytes;
    for (const v4l2::GuestRange& range : wanted.where) {
      const std::byte* const from = guest.host.bytes(range.start);
      bytes.insert(bytes.end(), from, from + range.length);
    }
    return bytes;
  }
  template <class T>
  std::vector<T> values_at(const Wanted& wanted, std::size_t count) {
    const std::vector<std::byte> bytes = bytes_at(wanted);
    std::vector<T> elements(count);
    EXPECT_LE(count * sizeof(T), bytes.size());
    std::memcpy(elements.data(), bytes.data(), count * sizeof(T));
    return elements;
  }

  // The command as a driver writes it: the structs, then the ranges of each pointer.
  template <class Tag>
  ExtReply call(std::uint32_t session, const std::vector<Wanted>& list, std::uint32_t which = 0,
                std::optional<std::size_t> room = std::nullopt) {
    v4l2_ext_controls head{};
    head.which = which;
    head.count = static_cast<std::uint32_t>(list.size());
    head.error_idx = 0x55;
    head.controls = reinterpret_cast<v4l2_ext_control*>(placeholder);
    Bytes bytes = Guest::ioctl_command(session, Tag::number);
    const auto append = [&bytes](const Bytes& more) { bytes.insert(bytes.end(), more.begin(), more.end()); };
    append(bytes_of(head));
    for (std::size_t i = 0; i < list.size(); ++i) {
      v4l2_ext_control control{};
      control.id = list[i].id;
      control.size = list[i].size;
      if (list[i].size == 0) {
        control.value64 = list[i].number;
      } else {
        control.ptr = reinterpret_cast<void*>(placeholder + i);
      }
      append(bytes_of(control));
    }
    for (const Wanted& wanted : list) {
      for (const v4l2::GuestRange& range : wanted.where)
        append(bytes_of(range.start.value, range.length, std::uint32_t{0xdeadbeef}));
    }
    const std::size_t whole = 8 + sizeof head + list.size() * sizeof(v4l2_ext_control);
    const Reply reply = guest.command(bytes, room.value_or(whole));
    ExtReply result;
    result.status = reply.status();
    result.length = reply.length;
    if (reply.length < whole) return result;
    EXPECT_EQ(reply.length, whole);
    result.head = reply.as<v4l2_ext_controls>(8);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(result.head.controls), placeholder);
    for (std::size_t i = 0; i < list.size(); ++i) {
      result.controls.push_back(reply.as<v4l2_ext_control>(8 + sizeof head + i * sizeof(v4l2_ext_control)));
      // The guest's pointers come back unchanged.
      if (list[i].size == 0) continue;
      void* const pointer = result.controls[i].ptr;
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pointer), placeholder + i);
    }
    return result;
  }

  std::optional<v4l2_event> event(std::uint32_t session) {
    const auto reply = guest.take_event();
    if (!reply) return std::nullopt;
    const auto sent = reply->as<wire::virtio_media_event_event>();
    EXPECT_EQ(sent.hdr.event, wire::event_event);
    EXPECT_EQ(sent.hdr.session_id, session);
    return sent.event;
  }
  int subscribe(std::uint32_t session, std::uint32_t id, std::uint32_t flags = 0) {
    v4l2_event_subscription request{};
    request.type = V4L2_EVENT_CTRL;
    request.id = id;
    request.flags = flags;
    return guest.ioctl<tag::SUBSCRIBE_EVENT>(session, request);
  }

  using Guest = MediaGuest<ControlZoo>;
  static constexpr std::uintptr_t placeholder = 0x7ffd'1234'5000;
  Guest guest;
  const std::uint32_t first = guest.open();
  const std::uint32_t second = guest.open();
};

TEST_F(DeviceControls, AreListedWithTheirClass) {
  std::vector<std::uint32_t> ids;
  constexpr std::uint32_t next = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
  v4l2_query_ext_ctrl query{};
  query.id = next;
  while (guest.ioctl<tag::QUERY_EXT_CTRL>(first, query) == 0) {
    ids.push_back(query.id);
    query.id |= next;
  }
  ASSERT_EQ(ids.size(), zoo::controls.size() + 1);
  EXPECT_EQ(ids.front(), unsigned{V4L2_CID_USER_CLASS});
  for (std::size_t i = 0; i < zoo::controls.size(); ++i) EXPECT_EQ(ids[i + 1], zoo::controls[i].id);
  v4l2_queryctrl old{};
  old.id = zoo::integer;
  EXPECT_EQ(guest.ioctl<tag::QUERYCTRL>(first, old), 0);
  EXPECT_EQ(old.minimum, -10);
  v4l2_querymenu menu{};
  menu.id = zoo::integer_menu;
  menu.index = 2;
  EXPECT_EQ(guest.ioctl<tag::QUERYMENU>(first, menu), 0);
  EXPECT_EQ(static_cast<std::int64_t>(menu.value), std::int64_t{1} << 40);
  menu.id = zoo::bytes;
  EXPECT_EQ(guest.ioctl<tag::QUERYMENU>(first, menu), EINVAL);
}

TEST_F(DeviceControls, OfEachKindAreSetAndReadBack) {
  const std::vector<Wanted> all = {{zoo::integer, 33, 0, {}},
                                   {zoo::boolean, 7, 0, {}},
                                   {zoo::menu, 2, 0, {}},
                                   {zoo::gaps, 3, 0, {}},
                                   {zoo::integer_menu, 1, 0, {}},
                                   {zoo::bitmask, -1, 0, {}},
                                   {zoo::integer64, -(std::int64_t{1} << 39), 0, {}},
                                   {zoo::inactive, 4, 0, {}},
                                   values(zoo::string, std::vector<char>{'a', 'b', 'c', 0}),
                                   values(zoo::bytes, std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6, 7, 255}),
                                   values(zoo::words, std::vector<std::uint16_t>{7, 8, 9}),
                                   values(zoo::array, std::vector<std::int32_t>{-500, -1, 0, 1, 500}),
                                   values(zoo::compound, std::vector<v4l2_area>{{640, 480}}),
                                   values(zoo::dynamic, std::vector<std::uint32_t>{5, 5000, 7})};
  const std::vector<std::int64_t> numbers = {
      35, 1, 2, 3, 1, static_cast<std::int32_t>(0x800000f5), -(std::int64_t{1} << 39), 4};
  const auto check = [&](const ExtReply& reply, const std::vector<Wanted>& list) {
    ASSERT_EQ(reply.status, 0) << "at " << reply.head.error_idx;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const v4l2_ext_control& control = reply.controls[i];
      EXPECT_EQ(list[i].id == zoo::integer64 ? std::int64_t{control.value64} : std::int64_t{control.value},
                numbers[i])
          << i;
    }
    EXPECT_EQ(values_at<char>(list[8], 4), (std::vector<char>{'a', 'b', 'c', 0}));
    EXPECT_EQ(values_at<std::uint8_t>(list[9], 8), (std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6, 7, 200}));
    EXPECT_EQ(values_at<std::uint16_t>(list[10], 3), (std::vector<std::uint16_t>{7, 8, 9}));
    EXPECT_EQ(values_at<std::int32_t>(list[11], 5), (std::vector<std::int32_t>{-100, -1, 0, 1, 100}));
    EXPECT_EQ(values_at<v4l2_area>(list[12], 1)[0].width, 640u);
    EXPECT_EQ(values_at<std::uint32_t>(list[13], 3), (std::vector<std::uint32_t>{5, 1000, 7}));
  };
  // TRY: only rounded in the answer.
  {
    SCOPED_TRACE("try");
    check(call<tag::TRY_EXT_CTRLS>(first, all), all);
    EXPECT_EQ(guest.backend().controls().value(zoo::integer), 20);
    EXPECT_EQ(guest.backend().controls().payload(zoo::bytes)[0], std::byte{9});
  }
  {
    SCOPED_TRACE("set");
    check(call<tag::S_EXT_CTRLS>(first, all), all);
  }
  // By another file, and with extra room where a size may be larger than the value.
  std::vector<Wanted> read = all;
  for (std::size_t i = 8; i < read.size(); ++i) read[i] = payload(read[i].id, read[i].size);
  read[8] = payload(zoo::string, 9);
  read[13] = payload(zoo::dynamic, 32);
  {
    SCOPED_TRACE("get");
    const ExtReply reply = call<tag::G_EXT_CTRLS>(second, read);
    check(reply, read);
    EXPECT_EQ(reply.controls[13].size, 12u);
    EXPECT_EQ(bytes_at(read[13])[12], std::byte{0xee}) << "not more than there is";
    EXPECT_EQ(bytes_at(read[8])[4], std::byte{0xee});
  }
  // And their defaults.
  const ExtReply usual = call<tag::G_EXT_CTRLS>(second, read, V4L2_CTRL_WHICH_DEF_VAL);
  ASSERT_EQ(usual.status, 0);
  EXPECT_EQ(usual.controls[0].value, 20);
  EXPECT_EQ(values_at<std::uint8_t>(read[9], 2), (std::vector<std::uint8_t>{9, 9}));
  const ExtReply most = call<tag::G_EXT_CTRLS>(second, {{zoo::integer, 0, 0, {}}}, v4l2::ctrl_which_max_val);
  ASSERT_EQ(most.status, 0);
  EXPECT_EQ(most.controls[0].value, 90);
}

// The driver takes the errno, error_idx and the sizes from the answer of a failure.
TEST_F(DeviceControls, FailuresCarryThePayload) {
  struct Case {
    const char* what;
    std::vector<Wanted> list;
    int get, get_index, set, set_index, try_index;
  };
  const Wanted fine{zoo::integer, 30, 0, {}};
  const std::vector<Case> cases = {
      {"unknown", {fine, {zoo::first + 0x80, 0, 0, {}}}, EINVAL, 2, EINVAL, 2, 1},
      {"read-only", {fine, {zoo::read_only, 1, 0, {}}}, 0, 1, EACCES, 2, 1},
      {"volatile", {fine, {zoo::ticking, 1, 0, {}}}, 0, 1, EACCES, 2, 1},
      {"write-only", {fine, {zoo::write_only, 1, 0, {}}}, EACCES, 2, 0, 1, 1},
      {"button", {fine, {zoo::button, 1, 0, {}}}, EACCES, 2, 0, 1, 1},
      {"grabbed", {fine, {zoo::grabbed, 1, 0, {}}}, 0, 1, EBUSY, 2, 1},
      {"menu", {fine, {zoo::menu, 3, 0, {}}}, 0, 1, ERANGE, 2, 1},
      {"gap", {fine, {zoo::gaps, 1, 0, {}}}, 0, 1, EINVAL, 2, 1},
      {"small array", {fine, payload(zoo::bytes, 7)}, ENOSPC, 2, EFAULT, 2, 1},
      {"small string", {fine, payload(zoo::string, 2)}, ENOSPC, 1, ERANGE, 1, 1},
      {"large dynamic array", {fine, payload(zoo::dynamic, 36)}, 0, 1, ENOSPC, 2, 1},
      {"nowhere",
       {fine, {zoo::words, 0, 6, {{memory::GuestAddress{0xffff'0000'0000}, 6}}}},
       EFAULT,
       1,
       EFAULT,
       1,
       1}};
  for (const Case& test : cases) {
    SCOPED_TRACE(test.what);
    const ExtReply got = call<tag::G_EXT_CTRLS>(first, test.list);
    EXPECT_EQ(got.status, test.get);
    EXPECT_EQ(got.head.error_idx, static_cast<std::uint32_t>(test.get_index));
    const ExtReply tried = call<tag::TRY_EXT_CTRLS>(first, test.list);
    EXPECT_EQ(tried.status, test.set == EBUSY ? 0 : test.set);
    EXPECT_EQ(tried.head.error_idx, static_cast<std::uint32_t>(test.try_index));
    const ExtReply set = call<tag::S_EXT_CTRLS>(first, test.list);
    EXPECT_EQ(set.status, test.set);
    EXPECT_EQ(set.head.error_idx, static_cast<std::uint32_t>(test.set_index));
    EXPECT_EQ(set.head.count, 2u);
  }
  EXPECT_EQ(call<tag::G_EXT_CTRLS>(first, {payload(zoo::bytes, 1)}).controls[0].size, 8u);
  EXPECT_EQ(call<tag::G_EXT_CTRLS>(first, {{zoo::string, 0, 0, {}}}).controls[0].size, 9u);
  EXPECT_EQ(call<tag::S_EXT_CTRLS>(first, {payload(zoo::dynamic, 400)}).controls[0].size, 32u);
}

TEST_F(DeviceControls, MalformedRequestsAreAStatusAlone) {
  // Ranges that cover less or more than the payload; an answer that has no room.
  Wanted part = payload(zoo::bytes, 8);
  part.where.pop_back();
  EXPECT_EQ(call<tag::G_EXT_CTRLS>(first, {part}).status, EINVAL);
  part = payload(zoo::bytes, 8);
  part.where[1].length = 5;
  EXPECT_EQ(call<tag::G_EXT_CTRLS>(first, {part}).status, EINVAL);
  part.where[1] = {memory::GuestAddress{UINT64_MAX - 1}, 4};
  EXPECT_EQ(call<tag::G_EXT_CTRLS>(first, {part}).status, EINVAL);
  const ExtReply cramped = call<tag::S_EXT_CTRLS>(first, {{zoo::integer, 50, 0, {}}}, 0, 8 + 32 + 19);
  EXPECT_EQ(cramped.status, EINVAL);
  EXPECT_EQ(cramped.length, 8u);
  EXPECT_EQ(guest.backend().controls().value(zoo::integer), 20) << "what cannot be answered is not done";
  EXPECT_EQ(call<tag::G_EXT_CTRLS>(77, {{zoo::integer, 0, 0, {}}}).status, EINVAL);
}

TEST_F(DeviceControls, EmptyRequestsAskForClasses) {
  EXPECT_EQ(call<tag::G_EXT_CTRLS>(first, {}).status, 0);
  EXPECT_EQ(call<tag::TRY_EXT_CTRLS>(first, {}, V4L2_CTRL_CLASS_USER).status, 0);
  const ExtReply reply = call<tag::S_EXT_CTRLS>(first, {}, V4L2_CTRL_CLASS_JPEG);
  EXPECT_EQ(reply.status, EINVAL);
  EXPECT_EQ(reply.head.error_idx, 0u);
}

TEST_F(DeviceControls, OldIoctlsSetNumbers) {
  v4l2_control control{zoo::integer, 1000};
  EXPECT_EQ(guest.ioctl<tag::S_CTRL>(first, control), 0);
  EXPECT_EQ(control.value, 90);
  control.value = 0;
  EXPECT_EQ(guest.ioctl<tag::G_CTRL>(second, control), 0);
  EXPECT_EQ(control.value, 90);
  for (const std::uint32_t id : {zoo::string, zoo::integer64, zoo::bytes, zoo::compound, zoo::dynamic}) {
    control = {id, 1};
    EXPECT_EQ(guest.ioctl<tag::G_CTRL>(first, control), EINVAL) << id;
    EXPECT_EQ(guest.ioctl<tag::S_CTRL>(first, control), EINVAL) << id;
  }
  control = {zoo::grabbed, 1};
  EXPECT_EQ(guest.ioctl<tag::S_CTRL>(first, control), EBUSY);
  control = {zoo::write_only, 1};
  EXPECT_EQ(guest.ioctl<tag::G_CTRL>(first, control), EACCES);
}

TEST_F(DeviceControls, TellTheOtherFiles) {
  guest.lend_event_buffers(8);
  EXPECT_EQ(subscribe(first, zoo::first + 0x80), EINVAL);
  ASSERT_EQ(subscribe(first, zoo::integer, V4L2_EVENT_SUB_FL_SEND_INITIAL), 0);
  const auto initial = event(first);
  ASSERT_TRUE(initial);
  EXPECT_EQ(initial->u.ctrl.value, 20);
  EXPECT_EQ(initial->u.ctrl.changes, unsigned{V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_FLAGS});
  ASSERT_EQ(subscribe(first, zoo::integer, V4L2_EVENT_SUB_FL_SEND_INITIAL), 0);
  EXPECT_FALSE(guest.take_event()) << "it was subscribed";
  ASSERT_EQ(subscribe(first, V4L2_CID_USER_CLASS, V4L2_EVENT_SUB_FL_SEND_INITIAL), 0);
  EXPECT_FALSE(guest.take_event()) << "a class has no value";

  EXPECT_EQ(call<tag::S_EXT_CTRLS>(first, {{zoo::integer, 25, 0, {}}}).status, 0);
  EXPECT_FALSE(guest.take_event()) << "who sets it knows";
  EXPECT_EQ(call<tag::S_EXT_CTRLS>(second, {{zoo::integer, 35, 0, {}}}).status, 0);
  const auto changed = event(first);
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->u.ctrl.value, 35);
  EXPECT_EQ(changed->sequence, 1u);
  ASSERT_EQ(subscribe(second, zoo::integer, V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK), 0);
  v4l2_control control{zoo::integer, 45};
  EXPECT_EQ(guest.ioctl<tag::S_CTRL>(second, control), 0);
  EXPECT_TRUE(event(first));
  EXPECT_TRUE(event(second));
}

// Without event buffers, a control has one event, which contains all changes; unsubscribing drops it.
TEST_F(DeviceControls, MergeWhatIsNotRead) {
  ASSERT_EQ(subscribe(first, zoo::integer), 0);
  ASSERT_EQ(subscribe(first, zoo::boolean), 0);
  v4l2::Controls& controls = guest.backend().controls();
  controls.set_value(zoo::integer, 25);
  controls.set_value(zoo::boolean, 1);
  ASSERT_TRUE(controls.modify_range(zoo::integer, 0, 100, 1, 50));
  controls.set_flag(zoo::integer, V4L2_CTRL_FLAG_INACTIVE, true);
  EXPECT_EQ(guest.device->waiting_events(), 2u);
  guest.lend_event_buffers(2);
  const auto boolean = event(first);
  const auto integer = event(first);
  ASSERT_TRUE(boolean && integer);
  EXPECT_EQ(boolean->id, zoo::boolean);
  EXPECT_LT(boolean->sequence, integer->sequence);
  EXPECT_EQ(integer->u.ctrl.changes,
            unsigned{V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_RANGE | V4L2_EVENT_CTRL_CH_FLAGS});
  EXPECT_EQ(integer->u.ctrl.maximum, 100);

  controls.set_value(zoo::boolean, 0);
  EXPECT_EQ(guest.device->waiting_events(), 1u);
  v4l2_event_subscription all{};
  EXPECT_EQ(guest.ioctl<tag::UNSUBSCRIBE_EVENT>(first, all), 0);
  EXPECT_EQ(guest.device->waiting_events(), 0u);
  controls.set_value(zoo::boolean, 1);
  EXPECT_EQ(guest.device->waiting_events(), 0u);
}

}  // namespace
}  // namespace vumedia::media::test
