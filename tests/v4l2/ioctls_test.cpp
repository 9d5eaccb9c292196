// What backends inherit: each ioctl reaches the object that answers it, priorities and owners are checked
// first, and the hooks are called where they say.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/v4l2/ioctls.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::v4l2::test {
namespace ioctls {
namespace {

inline constexpr std::uint32_t kCapture = V4L2_BUF_TYPE_VIDEO_CAPTURE;
inline constexpr std::uint32_t kOutput = V4L2_BUF_TYPE_VIDEO_OUTPUT;

int code(const Result<>& result) {
  return result ? 0 : result.error().value;
}

// What a session keeps of its device, as far as the mix-ins know.
struct Services {
  vumedia::test::RamFile ram{0x100000, 4 * page_size};
  std::shared_ptr<const memory::GuestMemory> table = vumedia::test::make_table({&ram});
  memory::Arenas arenas;
  memory::Work work;
};
struct Context {
  [[nodiscard]] const std::shared_ptr<const memory::GuestMemory>& memory() const { return services->table; }
  [[nodiscard]] memory::Arenas& arenas() const { return services->arenas; }
  [[nodiscard]] memory::Work& work() const { return services->work; }
  void send_event(const v4l2_event& event) const { events->push_back(event); }

  Services* services = nullptr;
  std::shared_ptr<std::vector<v4l2_event>> events = std::make_shared<std::vector<v4l2_event>>();
};

inline constexpr ControlInfo kTable[] = {
    {.id = V4L2_CID_BRIGHTNESS, .name = "Brightness", .maximum = 255, .default_value = 128},
    {.id = V4L2_CID_TEST_PATTERN, .type = V4L2_CTRL_TYPE_INTEGER, .name = "Pattern", .maximum = 3},
};

// A camera's shape: controls and a queue of the device, which its files share.
class Shared : public Ioctls<Shared, ControlIoctls, QueueIoctls, EventIoctls, PriorityIoctls> {
 public:
  using Ioctls::ioctl;

  struct Session {
    Session(Shared& device, Services& services) : context{&services}, priority(device.priorities) {}
    Context context;
    Subscriptions subscriptions;
    Priority priority;
  };

  Shared() : controls(kTable) {
    controls.on_event([this](const v4l2_event& event, const Subscriptions* origin) {
      send_to_subscribers(sessions, event, origin);
    });
  }

  Controls& controls_of(Session&) noexcept { return controls; }
  BufferQueue& queues_of(Session&) noexcept { return queue; }
  QueueOwner<Session>& queue_owner() noexcept { return owner; }
  static std::array<std::uint32_t, 1> plane_sizes(Session&, const BufferQueue&) noexcept { return {5000}; }
  static constexpr std::array<std::uint32_t, 1> event_types{V4L2_EVENT_SOURCE_CHANGE};

  // One of its own, which replaces what it inherits.
  Result<> ioctl(Session&, tag::QUERYMENU, v4l2_querymenu&) { return fail(ENXIO); }

  Controls controls;
  BufferQueue queue{{.userptr = true}};
  Priorities priorities;
  QueueOwner<Session> owner;
  std::vector<Session*> sessions;
};

// A codec's shape: two queues in each file, without priorities or controls, and every hook.
class Separate : public Ioctls<Separate, QueueIoctls, EventIoctls> {
 public:
  using Ioctls::ioctl;

  struct Session {
    explicit Session(Services& services) : context{&services} {}
    Context context;
    Subscriptions subscriptions;
    BufferQueue output{{.type = kOutput, .max_buffers = 8}};
    BufferQueue capture{
        {.type = kCapture, .max_buffers = 8, .mem_offset_base = BufferQueue::mem_offset_span}};
    memory::Arenas arenas;
  };

  static std::array<BufferQueue*, 2> queues_of(Session& session) noexcept {
    return {&session.output, &session.capture};
  }
  static std::array<std::uint32_t, 1> plane_sizes(Session&, const BufferQueue& queue) noexcept {
    return {queue.type() == kOutput ? 1000U : 9000U};
  }

  static memory::Arenas& arenas_of(Session& session) noexcept { return session.arenas; }
  template <class Request>
  Result<> may_allocate(Session&, BufferQueue& queue, Request& request) {
    note("may_allocate", queue);
    if (refuses == "may_allocate") return fail(ENOMEM);
    request.count = std::min(request.count, most);
    return {};
  }
  Result<> may_queue(Session&, BufferQueue& queue, const BufferPayload&) {
    note("may_queue", queue);
    return refuses == "may_queue" ? fail(EINVAL) : Result<>();
  }
  void queued(Session&, BufferQueue& queue) { note("queued", queue); }
  Result<> may_start(Session&, BufferQueue& queue) {
    note("may_start", queue);
    return refuses == "may_start" ? fail(EPIPE) : Result<>();
  }
  void started(Session&, BufferQueue& queue) { note("started", queue); }
  void cancelled(Session&, BufferQueue& queue) { note("cancelled", queue); }
  void removed(Session&, BufferQueue& queue, std::uint32_t first, std::uint32_t count) {
    note("removed " + std::to_string(first) + "+" + std::to_string(count), queue);
  }

  void note(const std::string& what, const BufferQueue& queue) {
    calls.push_back(what + (queue.type() == kOutput ? " output" : " capture"));
  }
  std::vector<std::string> calls;
  std::string refuses;
  std::uint32_t most = 8;
};

// ---- The concepts

struct Bare {};
struct ConstSubscriptions {
  const Subscriptions subscriptions;
};
struct PointerToContext {
  Context* context;
};
static_assert(HasContext<Shared::Session> && !HasContext<Bare> && !HasContext<PointerToContext>);
static_assert(HasSubscriptions<Shared::Session> && !HasSubscriptions<Bare> &&
              !HasSubscriptions<ConstSubscriptions>);
static_assert(HasPriority<Shared::Session> && !HasPriority<Separate::Session> && !HasPriority<Bare>);

struct CopiesControls {
  Controls controls_of(Bare&);
};
static_assert(HasControls<Shared, Shared::Session> && !HasControls<Separate, Separate::Session> &&
              !HasControls<CopiesControls, Bare>);

struct PointerToQueue {
  BufferQueue* queues_of(Bare&);
  std::uint32_t plane_sizes(Bare&, const BufferQueue&);
};
static_assert(HasOneQueue<Shared, Shared::Session> && HasQueues<Shared, Shared::Session>);
static_assert(!HasOneQueue<Separate, Separate::Session> && HasQueues<Separate, Separate::Session>);
static_assert(!HasQueues<PointerToQueue, Bare> && !HasQueues<Bare, Bare>);
static_assert(HasPlaneSizes<Shared, Shared::Session> && !HasPlaneSizes<PointerToQueue, Bare>);

// ---- A device that is shared

struct SharedDevice : testing::Test {
  SharedDevice() { device.sessions = {&one, &two}; }
  ~SharedDevice() override { device.sessions.clear(); }

  template <class Tag>
  int call(Shared::Session& session, Tag tag, typename Tag::Payload& payload) {
    return code(device.ioctl(session, tag, payload));
  }
  int reqbufs(Shared::Session& session, std::uint32_t count, std::uint32_t type = kCapture) {
    v4l2_requestbuffers request{};
    request.count = count;
    request.type = type;
    request.memory = V4L2_MEMORY_MMAP;
    return call(session, tag::REQBUFS{}, request);
  }
  BufferPayload make(std::uint32_t index, std::uint32_t type = kCapture) const {
    BufferPayload payload{};
    payload.buffer.head.index = index;
    payload.buffer.head.type = type;
    payload.buffer.head.memory = V4L2_MEMORY_MMAP;
    return payload;
  }
  int stream(Shared::Session& session, bool on, std::uint32_t type = kCapture) {
    return on ? call(session, tag::STREAMON{}, type) : call(session, tag::STREAMOFF{}, type);
  }
  int subscribe(Shared::Session& session, std::uint32_t type, std::uint32_t id = 0, std::uint32_t flags = 0) {
    v4l2_event_subscription request{};
    request.type = type;
    request.id = id;
    request.flags = flags;
    return call(session, tag::SUBSCRIBE_EVENT{}, request);
  }
  int set(Shared::Session& session, std::int32_t value) {
    v4l2_control control{V4L2_CID_BRIGHTNESS, value};
    return call(session, tag::S_CTRL{}, control);
  }

  Services services;
  Shared device;
  Shared::Session one{device, services};
  Shared::Session two{device, services};
};

TEST_F(SharedDevice, AnswersEveryIoctlOfControls) {
  v4l2_queryctrl query{};
  query.id = V4L2_CID_BRIGHTNESS;
  EXPECT_EQ(call(one, tag::QUERYCTRL{}, query), 0);
  EXPECT_EQ(query.maximum, 255);
  v4l2_query_ext_ctrl wide{};
  wide.id = V4L2_CID_TEST_PATTERN;
  EXPECT_EQ(call(one, tag::QUERY_EXT_CTRL{}, wide), 0);
  EXPECT_EQ(wide.maximum, 3);
  v4l2_querymenu menu{};
  EXPECT_EQ(call(one, tag::QUERYMENU{}, menu), ENXIO) << "the device's own overload comes first";
  EXPECT_EQ(set(one, 7), 0);
  v4l2_control control{V4L2_CID_BRIGHTNESS, 0};
  EXPECT_EQ(call(two, tag::G_CTRL{}, control), 0);
  EXPECT_EQ(control.value, 7);

  ExtControls request{};
  request.controls.resize(1);
  request.head.count = 1;
  request.controls[0].id = V4L2_CID_BRIGHTNESS;
  request.ranges.add_list({});
  EXPECT_EQ(call(one, tag::G_EXT_CTRLS{}, request), 0);
  EXPECT_EQ(request.controls[0].value, 7);
  request.controls[0].value = 9999;
  EXPECT_EQ(call(one, tag::TRY_EXT_CTRLS{}, request), 0);
  EXPECT_EQ(request.controls[0].value, 255);
  EXPECT_EQ(device.controls.value(V4L2_CID_BRIGHTNESS), 7);
  request.controls[0].value = 8;
  EXPECT_EQ(call(one, tag::S_EXT_CTRLS{}, request), 0);
  EXPECT_EQ(device.controls.value(V4L2_CID_BRIGHTNESS), 8);
}

TEST_F(SharedDevice, ControlsAreReadAndSetWithinTheTurnsWork) {
  ExtControls request{};
  request.controls.resize(2);
  request.head.count = 2;
  request.controls[0].id = V4L2_CID_BRIGHTNESS;
  request.controls[1].id = V4L2_CID_TEST_PATTERN;
  request.ranges.add_list({});
  request.ranges.add_list({});
  services.work.begin(1);
  EXPECT_EQ(call(one, tag::S_EXT_CTRLS{}, request), memory::again);
  EXPECT_EQ(request.done, 1U);
  // What was begun goes on, although another file has the highest priority by now.
  std::uint32_t record = V4L2_PRIORITY_RECORD;
  ASSERT_EQ(call(two, tag::S_PRIORITY{}, record), 0);
  EXPECT_EQ(call(one, tag::S_EXT_CTRLS{}, request), 0);
  request.done = 0;
  EXPECT_EQ(call(one, tag::S_EXT_CTRLS{}, request), EBUSY);
}

TEST_F(SharedDevice, EventsComeToThoseThatSubscribed) {
  EXPECT_EQ(subscribe(one, V4L2_EVENT_CTRL, V4L2_CID_BRIGHTNESS), 0);
  EXPECT_EQ(subscribe(two, V4L2_EVENT_CTRL, V4L2_CID_BRIGHTNESS, V4L2_EVENT_SUB_FL_SEND_INITIAL), 0);
  EXPECT_EQ(one.context.events->size(), 0U);
  EXPECT_EQ(two.context.events->size(), 1U);
  EXPECT_EQ(set(one, 3), 0);
  EXPECT_EQ(one.context.events->size(), 0U) << "it knows what it set";
  ASSERT_EQ(two.context.events->size(), 2U);
  EXPECT_EQ(two.context.events->back().u.ctrl.value, 3);

  EXPECT_EQ(subscribe(one, V4L2_EVENT_CTRL, V4L2_CID_CONTRAST), EINVAL) << "there is no such control";
  EXPECT_EQ(subscribe(one, V4L2_EVENT_EOS), EINVAL) << "nor such an event";
  EXPECT_EQ(subscribe(one, V4L2_EVENT_SOURCE_CHANGE), 0);
  send_to_subscribers(device.sessions, source_change_event());
  EXPECT_EQ(one.context.events->size(), 1U);
  EXPECT_EQ(two.context.events->size(), 2U);

  v4l2_event_subscription request{};
  request.type = V4L2_EVENT_ALL;
  EXPECT_EQ(call(two, tag::UNSUBSCRIBE_EVENT{}, request), 0);
  EXPECT_EQ(set(one, 4), 0);
  EXPECT_EQ(two.context.events->size(), 2U);
}

// All that change something, and none of the others.
TEST_F(SharedDevice, PrioritiesAreAskedFirst) {
  ASSERT_EQ(reqbufs(one, 2), 0);
  std::uint32_t priority = V4L2_PRIORITY_RECORD;
  ASSERT_EQ(call(two, tag::S_PRIORITY{}, priority), 0);
  EXPECT_EQ(call(one, tag::G_PRIORITY{}, priority), 0);
  EXPECT_EQ(priority, unsigned{V4L2_PRIORITY_RECORD});
  EXPECT_EQ(call(one, tag::S_PRIORITY{}, priority), EBUSY);

  v4l2_create_buffers create{};
  RemoveBuffers remove{};
  ExtControls controls{};
  EXPECT_EQ(reqbufs(one, 2, 99), EBUSY) << "before the request is looked at";
  EXPECT_EQ(call(one, tag::CREATE_BUFS{}, create), EBUSY);
  EXPECT_EQ(call(one, tag::REMOVE_BUFS{}, remove), EBUSY);
  EXPECT_EQ(stream(one, true), EBUSY);
  EXPECT_EQ(stream(one, false), EBUSY);
  EXPECT_EQ(set(one, 1), EBUSY);
  EXPECT_EQ(call(one, tag::S_EXT_CTRLS{}, controls), EBUSY);

  auto payload = make(0);
  EXPECT_EQ(call(one, tag::QUERYBUF{}, payload), 0);
  EXPECT_EQ(call(one, tag::PREPARE_BUF{}, payload), 0);
  EXPECT_EQ(call(one, tag::QBUF{}, payload), 0);
  EXPECT_EQ(call(one, tag::TRY_EXT_CTRLS{}, controls), 0);
  EXPECT_EQ(call(one, tag::G_EXT_CTRLS{}, controls), 0);
  EXPECT_EQ(subscribe(one, V4L2_EVENT_SOURCE_CHANGE), 0);
}

TEST_F(SharedDevice, WhoAllocatedTheBuffersOwnsTheQueue) {
  EXPECT_EQ(device.owner.session(), nullptr);
  ASSERT_EQ(reqbufs(one, 2), 0);
  EXPECT_EQ(device.owner.session(), &one);
  auto payload = make(0);
  EXPECT_EQ(call(two, tag::QUERYBUF{}, payload), 0) << "open to all";
  EXPECT_EQ(call(two, tag::QBUF{}, payload), EBUSY);
  EXPECT_EQ(call(two, tag::PREPARE_BUF{}, payload), EBUSY);
  auto other = make(0, kOutput);
  EXPECT_EQ(call(two, tag::QBUF{}, other), EINVAL) << "invalid for any file";
  EXPECT_EQ(stream(two, true), EBUSY);
  EXPECT_EQ(stream(two, true, kOutput), EINVAL);
  EXPECT_EQ(stream(two, false), EBUSY);
  EXPECT_EQ(stream(two, false, kOutput), EINVAL);
  EXPECT_EQ(reqbufs(two, 0), EBUSY);
  EXPECT_EQ(reqbufs(two, 0, kOutput), EINVAL);
  RemoveBuffers remove{};
  remove.type = kCapture;
  EXPECT_EQ(call(two, tag::REMOVE_BUFS{}, remove), 0) << "of none";
  remove.count = 1;
  EXPECT_EQ(call(two, tag::REMOVE_BUFS{}, remove), EBUSY);

  EXPECT_EQ(call(one, tag::REMOVE_BUFS{}, remove), 0);
  EXPECT_EQ(device.owner.session(), &one) << "one is left";
  remove.index = 1;
  EXPECT_EQ(call(one, tag::REMOVE_BUFS{}, remove), 0);
  // vb2: a queue stays its owner's until REQBUFS(0) or the close.
  EXPECT_EQ(device.owner.session(), &one);
  EXPECT_EQ(reqbufs(one, 0), 0);
  EXPECT_EQ(device.owner.session(), nullptr);
  EXPECT_EQ(reqbufs(two, 1), 0);
  EXPECT_EQ(device.owner.session(), &two);
}

TEST_F(SharedDevice, StreamsAndMapsItsBuffers) {
  ASSERT_EQ(reqbufs(one, 2), 0);
  auto payload = make(1);
  ASSERT_EQ(call(one, tag::QUERYBUF{}, payload), 0);
  const auto mapped = device.mmap(one, payload.buffer.head.m.offset);
  ASSERT_TRUE(mapped);
  EXPECT_EQ(mapped->length, 5000U);
  EXPECT_FALSE(device.mmap(one, 12345));
  ASSERT_EQ(call(one, tag::QBUF{}, payload), 0);
  EXPECT_EQ(stream(one, true), 0);
  EXPECT_EQ(stream(one, true), 0);
  EXPECT_EQ(device.queue.take_next(), 1U);
  EXPECT_EQ(stream(one, false), 0);
  EXPECT_FALSE(device.queue.streaming());
}

// The guest's own pages, through the session's context.
TEST_F(SharedDevice, QueuesMemoryOfTheGuest) {
  v4l2_requestbuffers request{};
  request.count = 1;
  request.type = kCapture;
  request.memory = V4L2_MEMORY_USERPTR;
  ASSERT_EQ(call(one, tag::REQBUFS{}, request), 0);
  auto payload = make(0);
  payload.buffer.head.memory = V4L2_MEMORY_USERPTR;
  payload.buffer.head.length = 2 * page_size;
  payload.buffer.head.m.userptr = 0x1000;
  const GuestRange range[] = {{{services.ram.guest()}, static_cast<std::uint32_t>(2 * page_size)}};
  payload.ranges.add_list(range);
  EXPECT_EQ(call(one, tag::PREPARE_BUF{}, payload), 0);
  EXPECT_EQ(call(one, tag::QBUF{}, payload), 0);
  EXPECT_EQ(device.queue.slot(0)->planes[0].bytes().size(), 2 * page_size);
}

// ---- A device of separate files

struct SeparateDevice : testing::Test {
  template <class Tag>
  int call(Tag tag, typename Tag::Payload& payload) {
    return code(device.ioctl(session, tag, payload));
  }
  int reqbufs(std::uint32_t type, std::uint32_t count) {
    v4l2_requestbuffers request{};
    request.count = count;
    request.type = type;
    request.memory = V4L2_MEMORY_MMAP;
    const int error = call(tag::REQBUFS{}, request);
    made = request.count;
    return error;
  }
  int qbuf(std::uint32_t type, std::uint32_t index) {
    BufferPayload payload{};
    payload.buffer.head.index = index;
    payload.buffer.head.type = type;
    payload.buffer.head.memory = V4L2_MEMORY_MMAP;
    return call(tag::QBUF{}, payload);
  }
  int stream(bool on, std::uint32_t type) {
    return on ? call(tag::STREAMON{}, type) : call(tag::STREAMOFF{}, type);
  }
  // What the hooks were called with since the last time.
  std::vector<std::string> calls() { return std::exchange(device.calls, {}); }
  using Calls = std::vector<std::string>;

  Services services;
  Separate device;
  Separate::Session session{services};
  std::uint32_t made = 0;
};

TEST_F(SeparateDevice, EachTypeReachesItsQueue) {
  ASSERT_EQ(reqbufs(kOutput, 2), 0);
  ASSERT_EQ(reqbufs(kCapture, 3), 0);
  EXPECT_EQ(session.output.count(), 2U);
  EXPECT_EQ(session.capture.count(), 3U);
  EXPECT_EQ(session.output.slot(0)->planes[0].length, 1000U);
  EXPECT_EQ(session.capture.slot(0)->planes[0].length, 9000U);
  EXPECT_GT(session.arenas.used_bytes(), 0U) << "the session's own arenas";
  EXPECT_EQ(services.arenas.used_bytes(), 0U);
  for (const std::uint32_t base : {0U, BufferQueue::mem_offset_span}) {
    const auto mapped = device.mmap(session, base);
    ASSERT_TRUE(mapped);
    EXPECT_EQ(mapped->length, base == 0 ? 1000U : 9000U);
  }
  EXPECT_FALSE(device.mmap(session, 2 * BufferQueue::mem_offset_span));
  EXPECT_EQ(reqbufs(V4L2_BUF_TYPE_META_CAPTURE, 1), EINVAL);
  EXPECT_EQ(qbuf(V4L2_BUF_TYPE_META_CAPTURE, 0), EINVAL);
  EXPECT_EQ(stream(true, V4L2_BUF_TYPE_META_CAPTURE), EINVAL);
  EXPECT_EQ(stream(false, V4L2_BUF_TYPE_META_CAPTURE), EINVAL);
  BufferPayload payload{};
  EXPECT_EQ(call(tag::QUERYBUF{}, payload), EINVAL);
  EXPECT_EQ(call(tag::PREPARE_BUF{}, payload), EINVAL);
  RemoveBuffers remove{};
  EXPECT_EQ(call(tag::REMOVE_BUFS{}, remove), EINVAL);
  v4l2_create_buffers create{};
  EXPECT_EQ(call(tag::CREATE_BUFS{}, create), EINVAL);
}

TEST_F(SeparateDevice, HooksAreCalledAroundEachIoctl) {
  ASSERT_EQ(reqbufs(kCapture, 4), 0);
  EXPECT_EQ(calls(), (Calls{"may_allocate capture"}));
  ASSERT_EQ(qbuf(kCapture, 1), 0);
  EXPECT_EQ(calls(), (Calls{"may_queue capture", "queued capture"}));
  ASSERT_EQ(stream(true, kCapture), 0);
  EXPECT_EQ(calls(), (Calls{"may_start capture", "started capture"}));
  ASSERT_EQ(stream(true, kCapture), 0);
  EXPECT_EQ(calls(), Calls{}) << "it streams already";
  ASSERT_EQ(stream(false, kCapture), 0);
  EXPECT_EQ(calls(), (Calls{"cancelled capture"}));
  RemoveBuffers remove{};
  remove.type = kCapture;
  remove.index = 2;
  remove.count = 2;
  ASSERT_EQ(call(tag::REMOVE_BUFS{}, remove), 0);
  EXPECT_EQ(calls(), (Calls{"removed 2+2 capture"}));
  v4l2_create_buffers create{};
  create.count = 1;
  create.memory = V4L2_MEMORY_MMAP;
  create.format.type = kCapture;
  create.format.fmt.pix.sizeimage = 9000;
  ASSERT_EQ(call(tag::CREATE_BUFS{}, create), 0);
  EXPECT_EQ(calls(), (Calls{"may_allocate capture"}));
  ASSERT_EQ(reqbufs(kCapture, 1), 0);
  EXPECT_EQ(calls(), (Calls{"may_allocate capture", "cancelled capture", "removed 0+8 capture"}));
  ASSERT_EQ(reqbufs(kCapture, 0), 0);
  EXPECT_EQ(calls(), (Calls{"may_allocate capture", "cancelled capture", "removed 0+8 capture"}));
}

TEST_F(SeparateDevice, AHookRefuses) {
  device.most = 2;
  ASSERT_EQ(reqbufs(kOutput, 6), 0);
  EXPECT_EQ(made, 2U) << "or lowers the count";
  device.refuses = "may_queue";
  EXPECT_EQ(qbuf(kOutput, 0), EINVAL);
  EXPECT_EQ(session.output.queued_count(), 0U);
  device.refuses = "may_start";
  EXPECT_EQ(stream(true, kOutput), EPIPE);
  EXPECT_FALSE(session.output.streaming());
  device.refuses = "may_allocate";
  EXPECT_EQ(reqbufs(kOutput, 0), ENOMEM);
  EXPECT_EQ(session.output.count(), 2U);
}

TEST_F(SeparateDevice, WhatFailsIsNotReportedAsDone) {
  EXPECT_EQ(qbuf(kOutput, 5), EINVAL);
  EXPECT_EQ(calls(), (Calls{"may_queue output"}));
  EXPECT_EQ(stream(true, kOutput), EINVAL) << "no buffers";
  EXPECT_EQ(calls(), (Calls{"may_start output"}));
  ASSERT_EQ(reqbufs(kOutput, 1), 0);
  ASSERT_EQ(stream(true, kOutput), 0);
  calls();
  EXPECT_EQ(reqbufs(kOutput, 0), EBUSY) << "it streams";
  EXPECT_EQ(calls(), (Calls{"may_allocate output"}));
  RemoveBuffers remove{};
  remove.type = kOutput;
  remove.index = 4;
  remove.count = 1;
  EXPECT_EQ(call(tag::REMOVE_BUFS{}, remove), EINVAL);
  EXPECT_EQ(calls(), Calls{});
}

}  // namespace
}  // namespace ioctls
}  // namespace vumedia::v4l2::test
