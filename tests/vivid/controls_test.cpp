// Controls of every type that vivid has, and their events.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include "proxy.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

// One control's value in an S, G or TRY.
v4l2_ext_control control(std::uint32_t id) {
  v4l2_ext_control made{};
  made.id = id;
  return made;
}
v4l2_ext_control control(std::uint32_t id, std::int64_t value) {
  v4l2_ext_control made{};
  made.id = id;
  made.value64 = value;
  return made;
}
// A payload with a pointer: a string, an array or a struct, which the call reads or writes.
template <class T>
v4l2_ext_control control(std::uint32_t id, std::vector<T>& payload) {
  v4l2_ext_control made{};
  made.id = id;
  made.size = static_cast<std::uint32_t>(payload.size() * sizeof(T));
  made.ptr = payload.data();
  return made;
}

struct Answered {
  int error = 0;
  std::uint32_t error_index = 0;
  std::vector<v4l2_ext_control> controls;
};

template <class Tag, class File>
Answered pass(File& file, std::vector<v4l2_ext_control> controls,
              std::uint32_t which = V4L2_CTRL_WHICH_CUR_VAL) {
  v4l2::ExtControls payload{};
  payload.head.which = which;
  payload.head.count = static_cast<std::uint32_t>(controls.size());
  payload.controls = std::move(controls);
  const int error = file.template ioctl<Tag>(payload);
  return {error, payload.head.error_idx, payload.controls};
}

class Controls : public testing::Test {
 protected:
  Controls()
      : path(node("vivid-000-vid-cap")),
        device(path),
        guest(device.connect()),
        proxied(*guest),
        direct(path) {}

  // Sets it through the proxy; reads it from the node and through the proxy.
  void expect_round_trip(std::uint32_t id, std::int64_t value) {
    SCOPED_TRACE("control " + std::to_string(id));
    EXPECT_EQ(pass<tag::S_EXT_CTRLS>(proxied, {control(id, value)}).error, 0);
    const auto wanted = pass<tag::G_EXT_CTRLS>(direct, {control(id)});
    const auto got = pass<tag::G_EXT_CTRLS>(proxied, {control(id)});
    ASSERT_EQ(wanted.error, 0);
    ASSERT_EQ(got.error, 0);
    if (id == cid::integer64) {
      EXPECT_EQ(wanted.controls[0].value64, value);
      EXPECT_EQ(got.controls[0].value64, value);
    } else {
      EXPECT_EQ(wanted.controls[0].value, static_cast<std::int32_t>(value));
      EXPECT_EQ(got.controls[0].value, static_cast<std::int32_t>(value));
    }
  }
  template <class T>
  void expect_payload_round_trip(std::uint32_t id, std::vector<T> value) {
    SCOPED_TRACE("control " + std::to_string(id));
    EXPECT_EQ(pass<tag::S_EXT_CTRLS>(proxied, {control(id, value)}).error, 0);
    std::vector<T> wanted(value.size()), got(value.size());
    EXPECT_EQ(pass<tag::G_EXT_CTRLS>(direct, {control(id, wanted)}).error, 0);
    EXPECT_EQ(pass<tag::G_EXT_CTRLS>(proxied, {control(id, got)}).error, 0);
    EXPECT_EQ(wanted, value);
    EXPECT_EQ(got, value);
  }

  Driver driver;
  std::string path;
  Served device;
  std::optional<ProxyGuest> guest;
  ProxyFile proxied;
  NodeFile direct;
};

TEST_F(Controls, PlainValuesOfEveryType) {
  for (const std::int64_t value : {0, 1}) expect_round_trip(cid::boolean, value);
  for (const std::int64_t value : {1, 3, 4}) expect_round_trip(cid::menu, value);
  for (const std::int64_t value : {2, 8}) expect_round_trip(cid::integer_menu, value);
  for (const std::int64_t value : {0x80402010l, 0x00400000l, 0l}) expect_round_trip(cid::bitmask, value);
  for (const std::int64_t value : {std::numeric_limits<std::int32_t>::min(), -1, 0, 77})
    expect_round_trip(cid::integer, value);
  for (const std::int64_t value :
       {std::numeric_limits<std::int64_t>::min(), std::int64_t{-1}, std::int64_t{1} << 40})
    expect_round_trip(cid::integer64, value);
  // A button has no value; it can only be pressed.
  EXPECT_EQ(pass<tag::S_EXT_CTRLS>(proxied, {control(cid::button)}).error, 0);
  EXPECT_EQ(pass<tag::G_EXT_CTRLS>(proxied, {control(cid::button)}).error, EACCES);
}

TEST_F(Controls, OldIoctlsWork) {
  v4l2_control set{cid::brightness, 201};
  EXPECT_EQ(proxied.ioctl<tag::S_CTRL>(set), 0);
  v4l2_control get{cid::brightness, 0};
  EXPECT_EQ(direct.ioctl<tag::G_CTRL>(get), 0);
  EXPECT_EQ(get.value, 201);
  get.value = 0;
  EXPECT_EQ(proxied.ioctl<tag::G_CTRL>(get), 0);
  EXPECT_EQ(get.value, 201);
  // The value that was too large comes back as the one that was set.
  set.value = 1000;
  v4l2_control set_direct = set;
  EXPECT_EQ(proxied.ioctl<tag::S_CTRL>(set), direct.ioctl<tag::S_CTRL>(set_direct));
}

TEST_F(Controls, Strings) {
  for (const std::string& text : {std::string("ab"), std::string("xyz"), std::string("long")}) {
    std::vector<char> value(text.begin(), text.end());
    value.resize(5);
    expect_payload_round_trip(cid::string, value);
  }
  // Too long for the control: the errno, and nothing is changed.
  std::vector<char> too_long{'t', 'o', 'o', 'l', 'o', 'n', 'g', 0};
  EXPECT_EQ(pass<tag::S_EXT_CTRLS>(proxied, {control(cid::string, too_long)}).error,
            pass<tag::S_EXT_CTRLS>(direct, {control(cid::string, too_long)}).error);
  // Too short a buffer: ENOSPC, and the size that is needed.
  std::vector<char> small(2);
  const auto got = pass<tag::G_EXT_CTRLS>(proxied, {control(cid::string, small)});
  EXPECT_EQ(got.error, ENOSPC);
  EXPECT_EQ(got.controls[0].size, 5u);
}

TEST_F(Controls, ArraysAndStructs) {
  expect_payload_round_trip(cid::u32_array, std::vector<std::uint32_t>{131072});
  std::vector<std::uint16_t> matrix(8 * 16);
  for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<std::uint16_t>(16 + 60 * i);
  expect_payload_round_trip(cid::u16_matrix, matrix);
  std::vector<std::uint8_t> array(2 * 3 * 4 * 5);
  for (std::size_t i = 0; i < array.size(); ++i) array[i] = static_cast<std::uint8_t>(16 + i % 17);
  expect_payload_round_trip(cid::u8_array, array);
  // struct v4l2_area, a compound control.
  expect_payload_round_trip(cid::area, std::vector<std::uint32_t>{640, 360});
  // An array whose length is part of its value.
  expect_payload_round_trip(cid::dynamic_array, std::vector<std::uint32_t>{10, 50, 90});
  expect_payload_round_trip(cid::dynamic_array, std::vector<std::uint32_t>(100, 42));
  v4l2_query_ext_ctrl query{};
  query.id = cid::dynamic_array;
  EXPECT_EQ(proxied.ioctl<tag::QUERY_EXT_CTRL>(query), 0);
  EXPECT_EQ(query.elems, 100u);
}

TEST_F(Controls, PayloadsThatDoNotFitAreRefusedAsByTheNode) {
  for (const std::size_t elements :
       {std::size_t{1}, std::size_t{127}, std::size_t{129}, std::size_t{20000}}) {
    std::vector<std::uint16_t> value(elements, 20);
    for (const auto way : {0, 1}) {
      const auto wanted = way == 0 ? pass<tag::S_EXT_CTRLS>(direct, {control(cid::u16_matrix, value)})
                                   : pass<tag::G_EXT_CTRLS>(direct, {control(cid::u16_matrix, value)});
      const auto got = way == 0 ? pass<tag::S_EXT_CTRLS>(proxied, {control(cid::u16_matrix, value)})
                                : pass<tag::G_EXT_CTRLS>(proxied, {control(cid::u16_matrix, value)});
      EXPECT_EQ(got.error, wanted.error) << elements << " elements, " << (way == 0 ? "S" : "G");
      EXPECT_EQ(got.error_index, wanted.error_index) << elements;
      if (way == 1) {
        EXPECT_EQ(got.controls[0].size, wanted.controls[0].size) << elements;
      }
    }
  }
}

TEST_F(Controls, SeveralAtOnceAndWhichOfThemFailed) {
  std::vector<char> text{'a', 'b', 'c', 0, 0};
  EXPECT_EQ(pass<tag::S_EXT_CTRLS>(proxied, {control(cid::boolean, 0), control(cid::string, text),
                                             control(cid::integer64, 12345678901)})
                .error,
            0);
  std::vector<char> got_text(5);
  const auto got = pass<tag::G_EXT_CTRLS>(
      proxied, {control(cid::integer64), control(cid::string, got_text), control(cid::boolean)});
  EXPECT_EQ(got.error, 0);
  EXPECT_EQ(got.controls[0].value64, 12345678901);
  EXPECT_EQ(got_text, text);
  EXPECT_EQ(got.controls[2].value, 0);

  // Each with one mistake, in each of the three calls: unknown, out of range, read-only.
  const std::vector<std::vector<v4l2_ext_control>> mistakes{
      {control(cid::boolean, 1), control(1, 0)},
      {control(cid::boolean, 1), control(cid::menu, 2), control(cid::integer, 1)},
      {control(cid::read_only, 1), control(cid::boolean, 1)},
      {control(cid::boolean, 1), control(cid::integer, 0), control(cid::button, 0),
       control(cid::read_only, 9)},
  };
  for (const auto& mistake : mistakes) {
    const auto compare = [&](const Answered& proxy, const Answered& kernel, const char* name) {
      EXPECT_EQ(proxy.error, kernel.error) << name;
      EXPECT_EQ(proxy.error_index, kernel.error_index) << name;
      EXPECT_NE(kernel.error + (std::string(name) == "G" ? 1 : 0), 0) << name << ": that is no mistake";
    };
    compare(pass<tag::S_EXT_CTRLS>(proxied, mistake), pass<tag::S_EXT_CTRLS>(direct, mistake), "S");
    compare(pass<tag::TRY_EXT_CTRLS>(proxied, mistake), pass<tag::TRY_EXT_CTRLS>(direct, mistake), "TRY");
    compare(pass<tag::G_EXT_CTRLS>(proxied, mistake), pass<tag::G_EXT_CTRLS>(direct, mistake), "G");
  }
}

TEST_F(Controls, TryChangesNothingAndDefaultsCanBeRead) {
  expect_round_trip(cid::integer, 5);
  const auto tried = pass<tag::TRY_EXT_CTRLS>(proxied, {control(cid::integer, 6)});
  EXPECT_EQ(tried.error, 0);
  EXPECT_EQ(pass<tag::G_EXT_CTRLS>(direct, {control(cid::integer)}).controls[0].value, 5);
  std::vector<std::uint32_t> area(2);
  EXPECT_EQ(pass<tag::G_EXT_CTRLS>(proxied, {control(cid::area, area)}, V4L2_CTRL_WHICH_DEF_VAL).error, 0);
  EXPECT_EQ(area, (std::vector<std::uint32_t>{1000, 2000}));
  // Those of a media request belong to a file that the guest does not have.
  EXPECT_EQ(pass<tag::G_EXT_CTRLS>(proxied, {control(cid::integer)}, V4L2_CTRL_WHICH_REQUEST_VAL).error,
            EINVAL);
  // A class of controls, as old programs request them.
  EXPECT_EQ(pass<tag::G_EXT_CTRLS>(proxied, {control(cid::integer)}, V4L2_CTRL_CLASS_USER).error, 0);
  EXPECT_EQ(pass<tag::G_EXT_CTRLS>(proxied, {control(cid::integer)}, V4L2_CTRL_CLASS_CAMERA).error, EINVAL);
}

// -- Events

int subscribe(ProxyFile& file, std::uint32_t type, std::uint32_t id, std::uint32_t flags = 0) {
  v4l2_event_subscription subscription{};
  subscription.type = type;
  subscription.id = id;
  subscription.flags = flags;
  return file.ioctl<tag::SUBSCRIBE_EVENT>(subscription);
}

TEST_F(Controls, TheFirstEventTellsOfNow) {
  expect_round_trip(cid::integer, 41);
  ASSERT_EQ(subscribe(proxied, V4L2_EVENT_CTRL, cid::integer, V4L2_EVENT_SUB_FL_SEND_INITIAL), 0);
  const auto event = proxied.event();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->type, std::uint32_t{V4L2_EVENT_CTRL});
  EXPECT_EQ(event->id, cid::integer);
  EXPECT_EQ(event->u.ctrl.value, 41);
  EXPECT_EQ(event->u.ctrl.type, std::uint32_t{V4L2_CTRL_TYPE_INTEGER});
}

TEST_F(Controls, AChangeIsToldToOthersAndOnRequestToOneself) {
  ProxyFile other(*guest);
  ASSERT_EQ(subscribe(proxied, V4L2_EVENT_CTRL, cid::integer), 0);
  ASSERT_EQ(subscribe(other, V4L2_EVENT_CTRL, cid::integer, V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK), 0);

  EXPECT_EQ(pass<tag::S_EXT_CTRLS>(other, {control(cid::integer, 7)}).error, 0);
  for (ProxyFile* const file : {&proxied, &other}) {
    const auto event = file->event();
    ASSERT_TRUE(event);
    EXPECT_EQ(event->u.ctrl.value, 7);
    EXPECT_EQ(event->u.ctrl.changes, std::uint32_t{V4L2_EVENT_CTRL_CH_VALUE});
  }
  // A file's own change is not reported without feedback: the next event is that of the later change by the
  // node.
  EXPECT_EQ(pass<tag::S_EXT_CTRLS>(proxied, {control(cid::integer, 8)}).error, 0);
  EXPECT_EQ(pass<tag::S_EXT_CTRLS>(direct, {control(cid::integer, 9)}).error, 0);
  const auto event = proxied.event();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->u.ctrl.value, 9);
}

TEST_F(Controls, NothingIsToldAfterUnsubscribing) {
  ASSERT_EQ(subscribe(proxied, V4L2_EVENT_CTRL, cid::integer), 0);
  ASSERT_EQ(subscribe(proxied, V4L2_EVENT_CTRL, cid::boolean), 0);
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_CTRL;
  subscription.id = cid::integer;
  ASSERT_EQ(proxied.ioctl<tag::UNSUBSCRIBE_EVENT>(subscription), 0);
  EXPECT_EQ(pass<tag::S_EXT_CTRLS>(direct, {control(cid::integer, 1)}).error, 0);
  EXPECT_EQ(pass<tag::S_EXT_CTRLS>(direct, {control(cid::boolean, 0)}).error, 0);
  const auto event = proxied.event();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->id, cid::boolean);
}

// Many changes at once become as many events as the kernel keeps, the last of them current.
TEST_F(Controls, ABurstOfChangesEndsWithTheLast) {
  ASSERT_EQ(subscribe(proxied, V4L2_EVENT_CTRL, cid::integer), 0);
  for (int i = 1; i <= 200; ++i)
    ASSERT_EQ(pass<tag::S_EXT_CTRLS>(direct, {control(cid::integer, i)}).error, 0);
  std::int32_t last = 0;
  while (last != 200) {
    const auto event = proxied.event();
    ASSERT_TRUE(event) << "the last that came was " << last;
    EXPECT_GT(event->u.ctrl.value, last);
    last = event->u.ctrl.value;
  }
}

TEST_F(Controls, ALostSignalIsTold) {
  tag::Index television = 1;
  ASSERT_EQ(proxied.ioctl<tag::S_INPUT>(television), 0);
  ASSERT_EQ(subscribe(proxied, V4L2_EVENT_SOURCE_CHANGE, television), 0);
  EXPECT_EQ(pass<tag::S_EXT_CTRLS>(proxied, {control(cid::standard_signal_mode, 1)}).error, 0);
  const auto event = proxied.event();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->type, std::uint32_t{V4L2_EVENT_SOURCE_CHANGE});
  EXPECT_EQ(event->id, television);
  EXPECT_EQ(event->u.src_change.changes, std::uint32_t{V4L2_EVENT_SRC_CH_RESOLUTION});
  // And it must be visible.
  v4l2_input input{};
  input.index = television;
  EXPECT_EQ(proxied.ioctl<tag::ENUMINPUT>(input), 0);
  EXPECT_NE(input.status & V4L2_IN_ST_NO_SIGNAL, 0u);
}

}  // namespace
}  // namespace vumedia::vivid::test
