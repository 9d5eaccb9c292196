#include "device_thread.hpp"

#include <cstring>
#include <utility>

#include <sys/eventfd.h>

#include "environment.hpp"

namespace vumedia::device {

DeviceThread::DeviceThread(const Options& options, const BackendEntry& backend, const Log& log, int changed,
                           ReactorKind kind, Loop* main)
    : options_(options), backend_(backend), log_(log), changed_(changed), kind_(kind), main_(main) {
  if (main_ != nullptr) {
    take_loop(*main_);
    return;
  }
  thread_ = std::thread([this] { run_thread(); });
  // Shown in /proc and in debuggers; 15 bytes are kept.
  ::pthread_setname_np(thread_.native_handle(), options.name.substr(0, 15).c_str());
}

DeviceThread::~DeviceThread() {
  if (!thread_.joinable()) return;
  stop();
  thread_.join();
}

void DeviceThread::open(OwnedFd socket) {
  const std::lock_guard lock(mutex_);
  socket_ = std::move(socket);
  state_ = State::opening;
  told_.notify_all();
}

void DeviceThread::stop() {
  std::shared_ptr<io::Inbox> inbox;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    told_.notify_all();
    inbox = inbox_;
  }
  // Runs on the device's own thread, where the loop exists for as long as the inbox takes tasks.
  if (inbox != nullptr) inbox->post([this] { loop_->stop(); });
}

void DeviceThread::tell_of_cut_off_memory(const std::vector<std::uintptr_t>& addresses) {
  const std::lock_guard lock(mutex_);
  if (state_ != State::serving) return;
  inbox_->post([this, addresses] { environment_->memory_cut_off(addresses); });
}

void DeviceThread::ask_for_life() {
  const std::lock_guard lock(mutex_);
  if (state_ != State::serving) return;
  inbox_->post([this, asked = ++asked_] { answered_.store(asked); });
}

bool DeviceThread::shows_life() const {
  return state() != State::serving || answered_.load() == asked_;
}

DeviceThread::State DeviceThread::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

int DeviceThread::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

std::string DeviceThread::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void DeviceThread::set_state(State state) {
  const std::lock_guard lock(mutex_);
  state_ = state;
  ::eventfd_write(changed_, 1);
}

std::optional<OwnedFd> DeviceThread::wait_for_socket() {
  std::unique_lock lock(mutex_);
  told_.wait(lock, [this] { return stop_ || socket_; });
  if (stop_) return std::nullopt;
  return std::exchange(socket_, std::nullopt);
}

void DeviceThread::end(int status, std::string failure) {
  const std::lock_guard lock(mutex_);
  status_ = status;
  failure_ = std::move(failure);
  state_ = State::ended;
  ::eventfd_write(changed_, 1);
}

void DeviceThread::take_loop(Loop& loop) {
  {
    const std::lock_guard lock(mutex_);
    inbox_ = loop.inbox();
    loop_ = &loop;
  }
  set_state(State::idle);
}

void DeviceThread::run_thread() {
  auto loop = Loop::create(kind_, log_);
  if (!loop) return end(1, loop.error().message);
  take_loop(**loop);
  serve(**loop);
}

void DeviceThread::serve_here() {
  serve(*main_);
}

void DeviceThread::serve(Loop& loop) {
  auto socket = wait_for_socket();
  if (!socket) return end(0, {});

  counters_.media.measure_latency(options_.latency);
  Environment environment{.options = options_,
                          .log = log_,
                          .counters = counters_,
                          .socket = std::move(*socket),
                          .serving = {},
                          .failure = {},
                          .memory_cut_off = {}};
  environment_ = &environment;
  environment.serving = [this] { set_state(State::serving); };
  const int status = loop.visit([&](auto& reactor) { return backend_.serve(environment, reactor); });
  // To be called before a thread's reactor is destroyed, together with what is left in the inbox.
  end(status, std::move(environment.failure));
}

}  // namespace vumedia::device
