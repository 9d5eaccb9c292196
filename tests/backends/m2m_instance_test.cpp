// A memory-to-memory device whose engine makes an instance for each file: an encoder with threads, controls
// and ioctls of its own.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/m2m.hpp>
#include <vumedia/backends/m2m/jobs.hpp>
#include <vumedia/backends/m2m/stamp.hpp>
#include <vumedia/client/guest.hpp>
#include <vumedia/v4l2/control_info.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/formats.hpp>

#include "backends/m2m_file.hpp"
#include "support/embedded_transport.hpp"
#include "support/patience.hpp"

namespace vumedia::test {
namespace m2m_instance_test {

namespace m2m = backends::m2m;
namespace tag = v4l2::tag;

constexpr std::uint32_t fourcc = v4l2_fourcc('R', 'U', 'N', 'S');

// Pairs of a length and a sample, at most as many as there is room for.
std::size_t pack(std::span<const std::byte> from, std::span<std::byte> to) {
  std::size_t used = 0;
  while (!from.empty() && to.size() - used >= 2) {
    const auto end = std::ranges::find_if(from.first(std::min<std::size_t>(from.size(), 255)),
                                          [&](std::byte sample) { return sample != from[0]; });
    const auto length = static_cast<std::size_t>(end - from.begin());
    to[used++] = static_cast<std::byte>(length);
    to[used++] = from[0];
    from = from.subspan(length);
  }
  return used;
}

// A thread that packs one picture after another.
class Packer {
 public:
  struct Job {
    std::uint64_t number = 0;
    std::span<const std::byte> from;
    std::span<std::byte> to;
    std::shared_ptr<const void> owners[2];  // of the memory
    std::size_t size = 0;                   // the result
  };

  explicit Packer(m2m::Notify notify) : notify_(std::move(notify)) {}
  ~Packer() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void give(Job job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    changed_.notify_all();
  }
  std::vector<Job> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(done_, {});
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return ended_ || !jobs_.empty(); });
      if (ended_) return;
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job.size = pack(job.from, job.to);
      lock.lock();
      done_.push_back(std::move(job));
      notify_();
    }
  }

  m2m::Notify notify_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::vector<Job> done_;
  bool ended_ = false;
  std::thread thread_{[this] { run(); }};
};

// OUTPUT is grey; CAPTURE, of the same size, is runs.
class PackerFormats {
 public:
  explicit PackerFormats(const m2m::QueueTypes& types) : types_(types) {}

  [[nodiscard]] Result<> enumerate(v4l2_fmtdesc& query) const {
    if (!types_.contains(query.type) || query.index != 0) return fail(EINVAL);
    const bool coded = query.type == types_.capture;
    query.pixelformat = coded ? fourcc : V4L2_PIX_FMT_GREY;
    query.flags = coded ? V4L2_FMT_FLAG_COMPRESSED : 0;
    return {};
  }
  [[nodiscard]] Result<> enumerate(v4l2_frmsizeenum&) const { return fail(EINVAL); }
  [[nodiscard]] Result<> get(v4l2_format& format) const {
    if (!types_.contains(format.type)) return fail(EINVAL);
    write(format, width_, height_);
    return {};
  }
  [[nodiscard]] Result<> adjust(v4l2_format& format) const {
    PackerFormats changed = *this;
    return changed.set(format, false);
  }
  [[nodiscard]] bool keeps_other(const v4l2_format& format) const {
    return format.type == types_.capture ||
           (side(format.fmt.pix.width) == width_ && side(format.fmt.pix.height) == height_);
  }
  [[nodiscard]] Result<> set(v4l2_format& format, bool other_is_busy) {
    if (!types_.contains(format.type)) return fail(EINVAL);
    EXPECT_TRUE(!other_is_busy || keeps_other(format));
    if (format.type == types_.output) {
      width_ = side(format.fmt.pix.width);
      height_ = side(format.fmt.pix.height);
    }
    write(format, width_, height_);
    return {};
  }
  [[nodiscard]] std::uint32_t size_image(std::uint32_t type) const {
    return type == types_.output ? width_ * height_ : 2 * width_ * height_;
  }

 private:
  static std::uint32_t side(std::uint32_t wanted) { return std::clamp(wanted, 16u, 256u); }
  void write(v4l2_format& format, std::uint32_t width, std::uint32_t height) const {
    const std::uint32_t type = format.type;
    format = {};
    format.type = type;
    format.fmt.pix.width = width;
    format.fmt.pix.height = height;
    format.fmt.pix.pixelformat = type == types_.output ? V4L2_PIX_FMT_GREY : fourcc;
    format.fmt.pix.field = V4L2_FIELD_NONE;
    format.fmt.pix.bytesperline = type == types_.output ? width : 0;
    format.fmt.pix.sizeimage = size_image(type);
  }

  m2m::QueueTypes types_;
  std::uint32_t width_ = 64, height_ = 48;
};

constexpr v4l2::ControlInfo controls[] = {
    {.id = V4L2_CID_MPEG_VIDEO_BITRATE, .name = "Bitrate", .minimum = 1, .maximum = 9, .default_value = 5}};

struct Encoder {
  static constexpr const char* card = "vumedia test encoder";
  static constexpr auto drain_command = m2m::DrainCommand::encoder;
  static constexpr std::uint32_t most = 256 * 256;
  m2m::BufferLimits buffer_limits() const { return {most, 2 * most}; }
  Result<> may_open() const { return broken ? fail(ENODEV) : Result<>{}; }

  class Instance {
   public:
    using Queue = v4l2::BufferQueue;
    Instance(Encoder&, m2m::File& file, m2m::Notify notify)
        : file_(file), formats_(file.queues.types()), jobs_(file), packer_(std::move(notify)) {}

    PackerFormats& formats() { return formats_; }
    v4l2::Controls& controls() { return controls_; }
    std::uint64_t bytes_needed() const { return page_size; }

    void queued(const Queue&) { next(); }
    void started(const Queue& queue) {
      jobs_.started(queue);
      next();
    }
    void stopped(const Queue& queue) { jobs_.stopped(queue); }
    Result<> drain() {
      const auto begun = jobs_.drain();
      next();
      return begun;
    }
    Result<> resume() {
      const auto resumed = jobs_.resume();
      next();
      return resumed;
    }
    void notified() {
      for (const Packer::Job& done : packer_.take()) {
        const m2m::Jobs::Job* const job = jobs_.current();
        if (job == nullptr || done.number != job->number) continue;  // from before a STREAMOFF
        Queue::Completion packed;
        packed.bytesused[0] = static_cast<std::uint32_t>(done.size);
        m2m::Stamp::of(*file_.queues.output().slot(job->from)).put(packed);
        jobs_.finish({}, packed);
      }
      next();
    }

    Result<> ioctl(tag::G_PARM, v4l2_streamparm& parameters) const {
      if (parameters.type != file_.queues.types().output) return fail(EINVAL);
      parameters.parm.output.timeperframe = interval_;
      return {};
    }
    Result<> ioctl(tag::S_PARM, v4l2_streamparm& parameters) {
      if (parameters.type != file_.queues.types().output) return fail(EINVAL);
      interval_ = parameters.parm.output.timeperframe;
      return {};
    }

   private:
    void next() {
      if (jobs_.current() != nullptr) return;
      const m2m::Jobs::Job* const job = jobs_.next();
      if (job == nullptr) return;
      const auto& source = file_.queues.output().slot(job->from)->planes[0];
      const auto& target = file_.queues.capture().slot(job->to)->planes[0];
      packer_.give({job->number,
                    source.bytes().first(source.bytesused),
                    target.bytes(),
                    {source.owner(), target.owner()}});
    }

    m2m::File& file_;
    PackerFormats formats_;
    v4l2::Controls controls_{m2m_instance_test::controls, false};
    v4l2_fract interval_{1, 30};
    m2m::Jobs jobs_;
    Packer packer_;
  };

  bool broken = false;
};
static_assert(m2m::Engine<Encoder> && !m2m::Converter<Encoder>);

using Device = backends::M2m<Encoder>;
using File = M2mFile;

std::unique_ptr<EmbeddedGuest> attach(const Encoder& encoder = {}, const backends::M2mOptions& options = {}) {
  auto guest =
      EmbeddedGuest::attach(EmbeddedTransport::over<Device>(media::DeviceOptions{}, encoder, options),
                            {.command_timeout = patience});
  EXPECT_TRUE(guest) << guest.error().message;
  return guest ? std::move(*guest) : nullptr;
}

TEST(M2mInstanceTest, EncodesOnItsThread) {
  const auto guest = attach();
  ASSERT_NE(guest, nullptr);
  File file(*guest);
  EXPECT_EQ(file.stream(File::output, true), 0);
  EXPECT_EQ(file.stream(File::capture, true), 0);
  for (const int picture : {0, 1, 2}) {
    const auto i = static_cast<std::uint32_t>(picture % 2);
    EXPECT_EQ(file.queue(File::capture, i), 0);
    EXPECT_EQ(file.queue(File::output, i, 40 + picture, 5 + picture), 0);
    const v4l2_buffer taken = file.buffer(File::output);
    EXPECT_EQ(taken.index, i);
    EXPECT_EQ(taken.sequence, static_cast<std::uint32_t>(picture));
    const v4l2_buffer made = file.buffer(File::capture);
    EXPECT_EQ(made.index, i);
    EXPECT_EQ(made.sequence, static_cast<std::uint32_t>(picture));
    EXPECT_EQ(made.timestamp.tv_sec, 5 + picture);
    EXPECT_EQ(made.bytesused, 2 * ((File::width * File::height + 254) / 255));
    EXPECT_EQ(file.memory(File::capture)[i][0], std::byte{255});
    EXPECT_EQ(file.memory(File::capture)[i][1], std::byte(40 + picture));
  }
}

TEST(M2mInstanceTest, ADrainEndsWithLast) {
  const auto guest = attach();
  ASSERT_NE(guest, nullptr);
  File file(*guest);
  EXPECT_EQ(file.subscribe(V4L2_EVENT_SOURCE_CHANGE), EINVAL);
  EXPECT_EQ(file.subscribe(V4L2_EVENT_EOS), 0);
  EXPECT_EQ(file.command(V4L2_ENC_CMD_STOP), 0) << "nothing streams: nothing happens";
  EXPECT_EQ(file.command(77), EINVAL);
  EXPECT_EQ(file.queue(File::output, 0, 1), 0);
  EXPECT_EQ(file.queue(File::capture, 0), 0);
  EXPECT_EQ(file.stream(File::output, true), 0);
  EXPECT_EQ(file.stream(File::capture, true), 0);
  EXPECT_EQ(file.command(V4L2_ENC_CMD_STOP), 0);
  EXPECT_EQ(file.buffer(File::output).index, 0u);
  EXPECT_EQ(file.buffer(File::capture).flags & V4L2_BUF_FLAG_LAST, 0u);
  EXPECT_EQ(file.command(V4L2_ENC_CMD_START), EBUSY) << "LAST has not come";
  EXPECT_EQ(file.queue(File::output, 0, 2), 0);
  EXPECT_EQ(file.queue(File::capture, 1), 0);
  const v4l2_buffer last = file.buffer(File::capture);
  EXPECT_EQ(last.bytesused, 0u);
  EXPECT_NE(last.flags & V4L2_BUF_FLAG_LAST, 0u);
  EXPECT_EQ(file.event(), std::uint32_t{V4L2_EVENT_EOS});
  EXPECT_EQ(file.queue(File::capture, 0), 0);
  EXPECT_EQ(file.command(V4L2_ENC_CMD_START), 0);
  EXPECT_EQ(file.buffer(File::output).index, 0u);
  EXPECT_EQ(file.buffer(File::capture).index, 0u);
}

TEST(M2mInstanceTest, HasControlsAndIoctlsOfItsOwn) {
  const auto guest = attach();
  ASSERT_NE(guest, nullptr);
  File file(*guest), other(*guest);
  v4l2_control control{V4L2_CID_MPEG_VIDEO_BITRATE, 0};
  EXPECT_EQ(file.call<tag::G_CTRL>(control), 0);
  EXPECT_EQ(control.value, 5);
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_CTRL;
  subscription.id = V4L2_CID_MPEG_VIDEO_BITRATE;
  subscription.flags = V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK;
  EXPECT_EQ(file.call<tag::SUBSCRIBE_EVENT>(subscription), 0);
  control.value = 9;
  EXPECT_EQ(file.call<tag::S_CTRL>(control), 0);
  EXPECT_EQ(file.event(), std::uint32_t{V4L2_EVENT_CTRL});
  EXPECT_EQ(other.call<tag::G_CTRL>(control), 0);
  EXPECT_EQ(control.value, 5) << "each file has its own";

  v4l2_streamparm parameters{};
  parameters.type = File::output;
  parameters.parm.output.timeperframe = {1, 25};
  EXPECT_EQ(file.call<tag::S_PARM>(parameters), 0);
  parameters = {};
  parameters.type = File::output;
  EXPECT_EQ(file.call<tag::G_PARM>(parameters), 0);
  EXPECT_EQ(parameters.parm.output.timeperframe.denominator, 25u);
  v4l2_selection selection{};
  EXPECT_EQ(file.call<tag::G_SELECTION>(selection), ENOTTY);

  std::uint32_t priority = V4L2_PRIORITY_RECORD;
  EXPECT_EQ(other.call<tag::S_PRIORITY>(priority), 0);
  EXPECT_EQ(file.call<tag::S_PARM>(parameters), EBUSY);
  EXPECT_EQ(file.call<tag::G_PARM>(parameters), 0);
  EXPECT_EQ(file.call<tag::S_CTRL>(control), EBUSY);
  EXPECT_EQ(file.command(V4L2_ENC_CMD_STOP), EBUSY);
  EXPECT_EQ(other.call<tag::S_PARM>(parameters), 0);
}

TEST(M2mInstanceTest, BuffersKeepTheFormatsOfBothQueues) {
  const auto guest = attach();
  ASSERT_NE(guest, nullptr);
  File file(*guest);
  EXPECT_EQ(file.set_format(File::output, 32, V4L2_PIX_FMT_GREY), EBUSY);
  EXPECT_EQ(file.request(File::output, 0), 0);
  EXPECT_EQ(file.set_format(File::output, 32, V4L2_PIX_FMT_GREY), EBUSY) << "CAPTURE would have another size";
  EXPECT_EQ(file.set_format(File::output, File::width, V4L2_PIX_FMT_GREY), 0);
  EXPECT_EQ(file.request(File::capture, 0), 0);
  EXPECT_EQ(file.set_format(File::output, 32, V4L2_PIX_FMT_GREY), 0);
  EXPECT_EQ(file.set_format(V4L2_BUF_TYPE_VBI_CAPTURE, 32, V4L2_PIX_FMT_GREY), EINVAL);
}

// Neither queue's STREAMOFF waits for the thread, nor does a file that is closed.
TEST(M2mInstanceTest, StopsAmidItsWork) {
  const auto guest = attach();
  ASSERT_NE(guest, nullptr);
  for (const std::uint32_t stopped : {File::output, File::capture}) {
    File file(*guest);
    EXPECT_EQ(file.stream(File::output, true), 0);
    EXPECT_EQ(file.stream(File::capture, true), 0);
    const std::uint32_t kept = stopped == File::output ? File::capture : File::output;
    EXPECT_EQ(file.queue(kept, 0), 0);
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(file.queue(stopped, 0), 0);
      EXPECT_EQ(file.stream(stopped, false), 0);
      EXPECT_EQ(file.stream(stopped, true), 0);
      // The thread may have been quick enough.
      while (const auto event = guest->wait_event(std::chrono::milliseconds(0)).value_or(std::nullopt)) {
        const auto* const done = std::get_if<client::DqbufEvent>(&*event);
        if (done == nullptr || done->buffer.head.type != kept) continue;
        EXPECT_EQ(file.queue(kept, 0), 0);
      }
    }
  }
}

TEST(M2mInstanceTest, AnswersWhatTheEngineDoesAboutOpen) {
  const auto guest = attach({.broken = true});
  ASSERT_NE(guest, nullptr);
  const auto opened = guest->open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().value, ENODEV);
}

TEST(M2mInstanceTest, HasBuffersWithinTheLimitOfAFile) {
  // The engine needs one page of five, and a CAPTURE buffer takes two.
  const auto guest = attach({}, {.max_buffer_bytes = 5 * page_size});
  ASSERT_NE(guest, nullptr);
  File file(*guest, 0);
  EXPECT_EQ(file.request(File::capture, 8), 0);
  EXPECT_EQ(file.granted, 2u);
  EXPECT_EQ(file.request(File::output, 1), ENOMEM);
}

}  // namespace m2m_instance_test
}  // namespace vumedia::test
