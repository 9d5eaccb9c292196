// Frontends differ in what they send, when, and how. Each sequence of a real VMM, and each habit by itself,
// has to lead to frames: here those of the test pattern, which carry their number.
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/backends/test_pattern/frame_code.hpp>
#include <vumedia/client/guest.hpp>

#include "support/patience.hpp"
#include "vhost_user/frontend_orders.hpp"
#include "vhost_user/media_server.hpp"
#include "vhost_user/scripted_vmm.hpp"

namespace vumedia::vhost_user::test {
namespace {

using namespace std::chrono_literals;
namespace tag = v4l2::tag;
using Guest = client::BasicGuest<ScriptedVmm>;
using Camera = MediaServer<backends::TestPattern>;

constexpr std::uint32_t capture = V4L2_BUF_TYPE_VIDEO_CAPTURE;

testing::AssertionResult ok(const Result<>& result) {
  if (result) return testing::AssertionSuccess();
  return testing::AssertionFailure() << std::strerror(result.error().value);
}

std::unique_ptr<Guest> attach(const Camera& camera, const Habits& habits) {
  client::GuestOptions options;
  options.command_timeout = vumedia::test::patience;
  options.user_memory = 1 << 20;
  auto guest = Guest::attach(ScriptedVmm(camera.connect(), habits), options);
  EXPECT_TRUE(guest) << guest.error().message;
  return guest ? std::move(*guest) : nullptr;
}

// A program that captures: into mapped buffers if the VMM can show them, otherwise into its own.
class Stream {
 public:
  static constexpr std::uint32_t count = 3;

  explicit Stream(Guest& guest) : guest_(guest) {
    auto session = guest_.open();
    EXPECT_TRUE(session) << std::strerror(session.error().value) << " " << guest_.error().message;
    session_ = session.value_or(0);
    format_.type = capture;
    EXPECT_TRUE(ok(guest_.ioctl<tag::G_FMT>(session_, format_)));
    format_.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
    format_.fmt.pix.width = format_.fmt.pix.height = 1;
    format_.fmt.pix.bytesperline = 0;  // lines without padding
    EXPECT_TRUE(ok(guest_.ioctl<tag::S_FMT>(session_, format_)));
    v4l2_streamparm parameters{};
    parameters.type = capture;
    parameters.parm.capture.timeperframe = {1, 1000};
    EXPECT_TRUE(ok(guest_.ioctl<tag::S_PARM>(session_, parameters)));
    v4l2_requestbuffers request{};
    request.type = capture;
    request.memory = memory_;
    request.count = count;
    EXPECT_TRUE(ok(guest_.ioctl<tag::REQBUFS>(session_, request)));
    for (std::uint32_t i = 0; i < count; ++i) {
      EXPECT_LE((i + 1) * size(), guest_.user_memory().size());
      buffers_.push_back(guest_.user_memory().subspan(i * size(), size()));
      if (memory_ != V4L2_MEMORY_MMAP) continue;
      v4l2::BufferPayload buffer = payload(i);
      EXPECT_TRUE(ok(guest_.ioctl<tag::QUERYBUF>(session_, buffer)));
      auto mapped = guest_.mmap(session_, buffer.buffer.head.m.offset);
      EXPECT_TRUE(mapped) << std::strerror(mapped.error().value);
      if (mapped) buffers_.back() = mapped->memory.first(size());
    }
    for (std::uint32_t i = 0; i < count; ++i) queue(i);
    tag::BufferType type = capture;
    EXPECT_TRUE(ok(guest_.ioctl<tag::STREAMON>(session_, type)));
  }

  [[nodiscard]] std::uint32_t session() const { return session_; }
  void close() { EXPECT_TRUE(ok(guest_.close(session_))); }

  // Takes the next frame, which has to carry its number: one more than the last one's.
  void expect_frame() {
    const auto event = guest_.wait_event(vumedia::test::patience);
    ASSERT_TRUE(event) << std::strerror(event.error().value) << " " << guest_.error().message;
    ASSERT_TRUE(*event && std::holds_alternative<client::DqbufEvent>(**event)) << "no frame came";
    const auto& head = std::get<client::DqbufEvent>(**event).buffer.head;
    ASSERT_LT(head.index, buffers_.size());
    EXPECT_EQ(head.bytesused, size());
    const auto number = backends::test_pattern::read_frame_number(format_.fmt.pix, buffers_[head.index]);
    ASSERT_TRUE(number) << "no picture of the test pattern";
    EXPECT_EQ(*number, head.sequence);
    if (last_) {
      EXPECT_GT(*number, *last_);
    }
    last_ = *number;
    std::ranges::fill(buffers_[head.index], std::byte{0x55});
    queue(head.index);
  }
  void expect_frames(int frames) {
    for (int i = 0; i < frames && !testing::Test::HasFatalFailure(); ++i) expect_frame();
  }

 private:
  [[nodiscard]] std::uint32_t size() const { return format_.fmt.pix.sizeimage; }
  [[nodiscard]] v4l2::BufferPayload payload(std::uint32_t index) const {
    v4l2::BufferPayload buffer{};
    buffer.buffer.head.type = capture;
    buffer.buffer.head.memory = memory_;
    buffer.buffer.head.index = index;
    if (memory_ == V4L2_MEMORY_USERPTR) {
      buffer.buffer.head.length = size();
      buffer.buffer.head.m.userptr = reinterpret_cast<unsigned long>(buffers_[index].data());
    }
    return buffer;
  }
  void queue(std::uint32_t index) {
    v4l2::BufferPayload buffer = payload(index);
    EXPECT_TRUE(ok(guest_.ioctl<tag::QBUF>(session_, buffer)));
  }

  Guest& guest_;
  const std::uint32_t memory_ = guest_.shm_size() != 0 ? V4L2_MEMORY_MMAP : V4L2_MEMORY_USERPTR;
  std::uint32_t session_ = 0;
  v4l2_format format_{};
  std::vector<std::span<std::byte>> buffers_;
  std::optional<std::uint32_t> last_;
};

template <class T>
void check(const Outcome<T>& outcome) {
  ASSERT_TRUE(outcome) << outcome.error().message;
}

// -- The sequences of VMMs, with everything that they do.

class FrontendOrder : public testing::TestWithParam<Habits> {};

TEST_P(FrontendOrder, CapturesThroughPausesAndResets) {
  const Habits& habits = GetParam();
  Camera camera((habits.protocol_features & pf::configure_mem_slots) != 0);
  for (int life = 0; life < 2; ++life) {
    SCOPED_TRACE(life);
    const auto guest = attach(camera, habits);
    ASSERT_TRUE(guest);
    EXPECT_EQ(guest->shm_size() != 0, (habits.protocol_features & pf::shmem) != 0);
    Stream stream(*guest);
    stream.expect_frames(5);
    for (int round = 0; round < 2 && !habits.pause.empty(); ++round) {
      SCOPED_TRACE("pause");
      check(guest->transport().pause());
      check(guest->transport().resume());
      stream.expect_frames(4);
    }
    for (int round = 0; round < 2 && !habits.reset.empty(); ++round) {
      SCOPED_TRACE("reset");
      check(guest->reset());
      // With everything alive; afterwards nothing of it is left.
      v4l2_format format{};
      format.type = capture;
      EXPECT_EQ(guest->ioctl<tag::G_FMT>(stream.session(), format).error().value, EINVAL);
      Stream again(*guest);
      again.expect_frames(5);
      again.close();
    }
  }
  EXPECT_EQ(camera.lines.text(), "");
}

INSTANTIATE_TEST_SUITE_P(Orders, FrontendOrder, testing::ValuesIn(frontend_orders()),
                         [](const auto& order) { return order.param.name; });

// Wherever a VMM stops, the device is available for the next one.
TEST_P(FrontendOrder, MayEndAnywhere) {
  const Habits& habits = GetParam();
  Camera camera((habits.protocol_features & pf::configure_mem_slots) != 0);
  for (std::size_t said = 0; said < habits.connect.size() + habits.start.size(); ++said) {
    SCOPED_TRACE(said);
    Habits part = habits;
    part.connect.resize(std::min(said, part.connect.size()));
    part.start.resize(said - part.connect.size());
    static_cast<void>(Guest::attach(ScriptedVmm(camera.connect(), part)));
  }
  const auto guest = attach(camera, habits);
  ASSERT_TRUE(guest);
  Stream(*guest).expect_frames(2);
}

// -- Single habits.

constexpr std::uint64_t usual_features =
    feature::version_1 | feature::ring_indirect_desc | feature::ring_event_idx | feature::protocol_features;
constexpr std::uint64_t usual_protocol_features =
    pf::mq | pf::reply_ack | pf::backend_req | pf::config | pf::status | pf::shmem | pf::reset_device;
constexpr std::uint64_t slots = usual_protocol_features | pf::configure_mem_slots;

struct Habit {
  const char* name;
  const char* connect = nullptr;  // null: the usual
  const char* start = nullptr;
  const char* then = "";  // sent while it streams
  std::uint64_t features = usual_features;
  std::uint64_t protocol_features = usual_protocol_features;
  std::size_t regions = 1;
  Habits::Tells mapped = Habits::Tells::nothing;
};

constexpr const char* usual_connect =
    "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD GET_SHMEM_CONFIG "
    "GET_CONFIG";
constexpr const char* usual_start =
    "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL "
    "SET_VRING_KICK )"
    " each( SET_VRING_ENABLE )";
constexpr std::uint64_t without_shm = pf::mq | pf::config | pf::status | pf::reply_ack;
constexpr const char* plain_connect =
    "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_CONFIG";

const Habit single_habits[] = {
    {.name = "the_usual"},
    // Memory.
    {.name = "memory_slots",
     .start = "SET_FEATURES ADD_MEM_REG! each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL"
              " SET_VRING_KICK SET_VRING_ENABLE )",
     .protocol_features = slots},
    {.name = "memory_slots_for_mapped_buffers",
     .connect = "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_MAX_MEM_SLOTS"
                " SET_BACKEND_REQ_FD GET_SHMEM_CONFIG GET_CONFIG",
     .start = "SET_FEATURES ADD_MEM_REG each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL"
              " SET_VRING_KICK SET_VRING_ENABLE )",
     .protocol_features = slots,
     .regions = 3,
     .mapped = Habits::Tells::region},
    {.name = "memory_table_though_there_are_slots", .protocol_features = slots},
    {.name = "table_for_mapped_buffers", .mapped = Habits::Tells::table},
    {.name = "memory_in_eight_regions", .regions = 8},
    {.name = "memory_behind_the_addresses",
     .start = "SET_FEATURES each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL ) SET_MEM_TABLE"
              " each( SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "memory_before_all",
     .start = "SET_MEM_TABLE SET_FEATURES each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL"
              " SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "memory_again_and_again", .then = "SET_MEM_TABLE SET_MEM_TABLE! SET_MEM_TABLE"},
    // Kicks.
    {.name = "no_kick_descriptor",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL"
              " SET_VRING_KICK=none SET_VRING_ENABLE )"},
    {.name = "kick_descriptor_later",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL"
              " SET_VRING_KICK=none SET_VRING_ENABLE )",
     .then = "each( SET_VRING_KICK )"},
    {.name = "kick_descriptor_taken_away", .then = "each( SET_VRING_KICK=none )"},
    {.name = "kick_descriptor_replaced", .then = "each( SET_VRING_KICK=blocking ) each( SET_VRING_KICK )"},
    {.name = "kick_before_call",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK"
              " SET_VRING_CALL SET_VRING_ENABLE )"},
    {.name = "blocking_descriptors",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR "
              "SET_VRING_CALL=blocking"
              " SET_VRING_KICK=blocking SET_VRING_ERR=blocking SET_VRING_ENABLE )"},
    // Calls.
    {.name = "no_call_descriptor",
     .start =
         "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL=none"
         " SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "call_never_mentioned",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK"
              " SET_VRING_ENABLE )"},
    {.name = "call_last",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK )"
              " each( SET_VRING_ENABLE ) each( SET_VRING_CALL )"},
    {.name = "call_first",
     .start = "each( SET_VRING_CALL ) each( SET_VRING_ERR ) SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM"
              " SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "one_call_descriptor",
     .start =
         "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL=shared"
         " SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "call_descriptors_replaced", .then = "each( SET_VRING_CALL=none ) each( SET_VRING_CALL )"},
    // Rings.
    {.name = "enabled_before_all",
     .start = "SET_FEATURES each( SET_VRING_ENABLE ) SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE "
              "SET_VRING_ADDR"
              " SET_VRING_CALL SET_VRING_KICK )"},
    {.name = "enabled_twice", .then = "each( SET_VRING_ENABLE ) each( SET_VRING_ENABLE )"},
    {.name = "disabled_and_enabled", .then = "back( SET_VRING_ENABLE=0 ) each( SET_VRING_ENABLE )"},
    {.name = "last_queue_first",
     .start = "SET_FEATURES SET_MEM_TABLE back( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL"
              " SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "addresses_before_sizes",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_ADDR SET_VRING_BASE SET_VRING_NUM SET_VRING_CALL"
              " SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "settings_again_before_enable",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL"
              " SET_VRING_KICK ) each( SET_VRING_ADDR SET_VRING_BASE SET_VRING_NUM SET_VRING_KICK ) each("
              " SET_VRING_ENABLE )"},
    {.name = "base_is_the_available_index",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE=available SET_VRING_ADDR "
              "SET_VRING_CALL"
              " SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "base_never_mentioned",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_ADDR SET_VRING_CALL SET_VRING_KICK"
              " SET_VRING_ENABLE )"},
    {.name = "stopped_before_it_is_started",
     .start =
         "each( GET_VRING_BASE ) SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR"
         " SET_VRING_CALL SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "stopped_without_being_disabled",
     .then = "each( GET_VRING_BASE ) each( SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK )"},
    {.name = "stopped_last_queue_first",
     .then =
         "back( SET_VRING_ENABLE=0 ) back( GET_VRING_BASE GET_VRING_BASE ) back( SET_VRING_NUM SET_VRING_BASE"
         " SET_VRING_ADDR SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "one_queue_restarted",
     .then = "SET_VRING_ENABLE:1=0 GET_VRING_BASE:1 SET_VRING_BASE:1 SET_VRING_KICK:1 SET_VRING_ENABLE:1"},
    // Features.
    {.name = "features_twice",
     .start = "SET_FEATURES SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE"
              " SET_VRING_ADDR SET_VRING_CALL SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "features_again_while_running", .then = "SET_FEATURES SET_FEATURES!"},
    {.name = "features_without_and_with_protocol_features",
     .start = "SET_FEATURES=0x130000000 SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE "
              "SET_VRING_ADDR"
              " SET_VRING_CALL SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "protocol_features_off_and_on_while_running", .then = "SET_FEATURES=0x130000000 SET_FEATURES"},
    {.name = "features_before_protocol_features",
     .connect =
         "SET_OWNER GET_FEATURES SET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD"
         " GET_SHMEM_CONFIG GET_CONFIG",
     .start = "SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL SET_VRING_KICK"
              " SET_VRING_ENABLE )"},
    {.name = "features_between_kick_and_enable",
     .start =
         "SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL SET_VRING_KICK )"
         " SET_FEATURES each( SET_VRING_ENABLE )"},
    {.name = "features_never_set",
     .start = "SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL SET_VRING_KICK"
              " SET_VRING_ENABLE )",
     .features = 0},
    {.name = "no_event_index",
     .features = feature::version_1 | feature::ring_indirect_desc | feature::protocol_features},
    {.name = "no_indirect_descriptors",
     .features = feature::version_1 | feature::ring_event_idx | feature::protocol_features},
    {.name = "no_agreement_on_protocol_features",  // but a configuration space is needed
     .connect = plain_connect,
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL"
              " SET_VRING_KICK )",
     .features = feature::version_1 | feature::ring_event_idx,
     .protocol_features = pf::config},
    {.name = "nothing_but_the_configuration", .connect = plain_connect, .protocol_features = pf::config},
    // Ownership.
    {.name = "owner_never_set",
     .connect = "GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD GET_SHMEM_CONFIG"
                " GET_CONFIG"},
    {.name = "owner_behind_the_features",
     .connect = "GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD GET_SHMEM_CONFIG"
                " GET_CONFIG",
     .start =
         "SET_FEATURES SET_OWNER SET_OWNER SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR"
         " SET_VRING_CALL SET_VRING_KICK SET_VRING_ENABLE )"},
    {.name = "owner_reset",
     .connect =
         "RESET_OWNER SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD"
         " GET_SHMEM_CONFIG GET_CONFIG",
     .then = "RESET_OWNER RESET_OWNER! SET_OWNER"},
    // Acknowledgements.
    {.name = "all_acknowledged",
     .connect = "SET_OWNER! GET_FEATURES! GET_PROTOCOL_FEATURES! SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD!"
                " GET_QUEUE_NUM! GET_SHMEM_CONFIG! GET_CONFIG!",
     .start =
         "SET_FEATURES! SET_MEM_TABLE! each( SET_VRING_NUM! SET_VRING_BASE! SET_VRING_ADDR! SET_VRING_CALL!"
         " SET_VRING_ERR! SET_VRING_KICK! SET_VRING_ENABLE! )",
     .then = "SET_STATUS! GET_STATUS! SET_MEM_TABLE!"},
    {.name = "acknowledgements_asked_and_not_agreed",
     .connect = plain_connect,
     .start =
         "SET_FEATURES! SET_MEM_TABLE! each( SET_VRING_NUM! SET_VRING_BASE! SET_VRING_ADDR! SET_VRING_CALL!"
         " SET_VRING_KICK! SET_VRING_ENABLE! )",
     .protocol_features = pf::config},
    // Status.
    {.name = "status_step_by_step",
     .connect = "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD"
                " GET_SHMEM_CONFIG SET_STATUS=0 SET_STATUS=1 SET_STATUS=3 GET_CONFIG",
     .start = "SET_FEATURES SET_STATUS=11 GET_STATUS SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE "
              "SET_VRING_ADDR"
              " SET_VRING_CALL SET_VRING_KICK ) each( SET_VRING_ENABLE ) SET_STATUS=15",
     .then = "GET_STATUS"},
    {.name = "device_reset_before_it_starts",
     .start = "RESET_DEVICE SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR"
              " SET_VRING_CALL SET_VRING_KICK SET_VRING_ENABLE )"},
    // Configuration.
    {.name = "configuration_byte_by_byte",
     .connect = "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD"
                " GET_SHMEM_CONFIG GET_CONFIG=1"},
    {.name = "configuration_in_odd_pieces",
     .connect = "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD"
                " GET_SHMEM_CONFIG GET_CONFIG=7",
     .then = "GET_CONFIG=3 GET_CONFIG=33"},
    // The back-end's channel.
    {.name = "channel_last",
     .connect =
         "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_SHMEM_CONFIG GET_CONFIG",
     .start = "SET_FEATURES SET_MEM_TABLE each( SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_CALL"
              " SET_VRING_KICK ) each( SET_VRING_ENABLE ) SET_BACKEND_REQ_FD!"},
    {.name = "channel_replaced_at_once",
     .connect = "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD"
                " SET_BACKEND_REQ_FD GET_SHMEM_CONFIG GET_CONFIG",
     .then = ""},
    {.name = "channel_replaced_while_running", .then = "SET_BACKEND_REQ_FD SET_BACKEND_REQ_FD!"},
    {.name = "no_channel", .connect = plain_connect, .protocol_features = without_shm},
    {.name = "shared_memory_never_asked_for",
     .connect =
         "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_BACKEND_REQ_FD GET_CONFIG"},
};

void PrintTo(const Habit& habit, std::ostream* out) {
  *out << habit.name;
}

class FrontendHabit : public testing::TestWithParam<Habit> {};

TEST_P(FrontendHabit, EndsInFrames) {
  const Habit& habit = GetParam();
  Habits habits;
  habits.name = habit.name;
  habits.connect = parse_script(habit.connect != nullptr ? habit.connect : usual_connect);
  habits.start = parse_script(habit.start != nullptr ? habit.start : usual_start);
  habits.features = habit.features;
  habits.protocol_features = habit.protocol_features;
  habits.regions = habit.regions;
  habits.mapped = habit.mapped;
  Camera camera(true);
  const auto guest = attach(camera, habits);
  ASSERT_TRUE(guest);
  Stream stream(*guest);
  stream.expect_frames(3);
  check(guest->transport().play(habit.then));
  stream.expect_frames(4);
  stream.close();
  // A second program maps, if it can: everything still works.
  Stream(*guest).expect_frames(1);
  for (std::size_t queue = 0; queue < media::wire::queue_count; ++queue)
    EXPECT_FALSE(guest->transport().has_err(queue));
  EXPECT_EQ(camera.lines.text(), "");
}

INSTANTIATE_TEST_SUITE_P(Habits, FrontendHabit, testing::ValuesIn(single_habits),
                         [](const auto& habit) { return std::string(habit.param.name); });

// -- Any order.

// The messages of a start in a random order that respects the specification: a ring is kicked once it is set
// up, and runs once its features are known. Some messages are sent twice.
std::vector<Step> shuffled_start(std::mt19937& dice) {
  const std::vector<Step> all = parse_script(
      "SET_FEATURES SET_MEM_TABLE SET_OWNER SET_BACKEND_REQ_FD SET_STATUS GET_STATUS each( SET_VRING_NUM "
      "SET_VRING_BASE"
      " SET_VRING_ADDR SET_VRING_CALL SET_VRING_ERR SET_VRING_KICK SET_VRING_ENABLE )");
  std::vector<Step> order;
  const auto said = [&](Request request, std::uint32_t queue) {
    return std::ranges::any_of(order, [&](const Step& step) {
      return step.request == static_cast<std::uint32_t>(request) && step.queue == queue;
    });
  };
  const auto may_say = [&](const Step& step) {
    const auto request = static_cast<Request>(step.request);
    const std::uint32_t queue = step.queue;
    if (request == request::SetVringKick::number) {
      for (const Request before :
           {request::SetVringNum::number, request::SetVringBase::number, request::SetVringAddr::number}) {
        if (!said(before, queue)) return false;
      }
      return said(request::SetMemTable::number, 0) &&
             (said(request::SetFeatures::number, 0) || !said(request::SetVringEnable::number, queue));
    }
    if (request == request::SetVringEnable::number)
      return said(request::SetFeatures::number, 0) || !said(request::SetVringKick::number, queue);
    return true;
  };
  std::vector<Step> left = all;
  while (!left.empty()) {
    const auto at = static_cast<std::ptrdiff_t>(dice() % left.size());
    Step step = left[static_cast<std::size_t>(at)];
    if (!may_say(step)) continue;
    step.need_reply = dice() % 2 == 0;
    order.push_back(step);
    // A running ring may not be set up again.
    const auto request = static_cast<Request>(step.request);
    const bool lays_out = request == request::SetVringNum::number ||
                          request == request::SetVringBase::number ||
                          request == request::SetVringAddr::number;
    if (lays_out || dice() % 4 != 0) left.erase(left.begin() + at);
  }
  return order;
}

TEST(FrontendHabits, TakesAnyOrderThatIsAllowed) {
  std::mt19937 dice(20261123);
  Camera camera(false);
  for (int round = 0; round < 40; ++round) {
    Habits habits;
    habits.connect =
        parse_script("GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_SHMEM_CONFIG GET_CONFIG");
    habits.start = shuffled_start(dice);
    habits.protocol_features = usual_protocol_features;
    std::string text;
    for (const Step& step : habits.start)
      text += std::string(" ") + request_name(step.request) + (step.need_reply ? "!:" : ":") +
              std::to_string(step.queue);
    SCOPED_TRACE(text);
    const auto guest = attach(camera, habits);
    ASSERT_TRUE(guest);
    Stream(*guest).expect_frames(1);
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_EQ(camera.lines.text(), "");
}

}  // namespace
}  // namespace vumedia::vhost_user::test
