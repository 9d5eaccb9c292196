#include "supervisor.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <utility>

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "report.hpp"
#include "version.hpp"

namespace vumedia::device {

namespace {

const char* name_of(DeviceThread::State state) {
  switch (state) {
    case DeviceThread::State::starting:
    case DeviceThread::State::idle:
    case DeviceThread::State::opening:
      return "starting";
    case DeviceThread::State::serving:
      return "serving";
    case DeviceThread::State::ended:
      break;
  }
  return "ended";
}

}  // namespace

Supervisor::Supervisor(const CommandLine& line, std::vector<const BackendEntry*> backends,
                       std::optional<int> status_fd)
    : line_(line), backends_(std::move(backends)), status_fd_(status_fd), logging_(line.log_level) {}

Supervisor::~Supervisor() {
  if (loop_ == nullptr) return;
  for (io::Operation* const operation : std::initializer_list<io::Operation*>{
           &signalled_, &device_changed_, &faulted_, &asked_, &watchdog_due_})
    loop_->cancel(*operation);
}

int Supervisor::run() {
  if (auto prepared = prepare(); !prepared) return fail(prepared.error().message);
  // The loops start before the sockets are created, so that whoever finds a socket finds a device. The
  // threads then wait, so that nobody else creates a file while the umask is changed for a socket.
  const bool single = backends_.size() == 1;
  // Where io_uring is refused to one, the others need not ask, and say the same.
  const ReactorKind kind = loop_->kind() == ReactorKind::epoll ? ReactorKind::epoll : line_.reactor;
  for (std::size_t i = 0; i < backends_.size(); ++i) {
    const Options& options = line_.devices[i];
    devices_.push_back(std::make_unique<DeviceThread>(options, *backends_[i], logging_.log_of(options.name),
                                                      changed_.get(), kind, single ? loop_.get() : nullptr));
  }
  mourned_.resize(devices_.size());
  watch();
  using enum DeviceThread::State;
  wait([this] { return failed_start() || all_in({idle}); });
  if (loop_failure_) return fail(*loop_failure_);
  if (const auto reason = failed_start()) return fail(*reason);
  if (stop_signal_ != 0) return end(0);

  if (auto opened = open_sockets(); !opened) return fail(opened.error().message);
  if (status_) loop_->poll(asked_, status_->fd(), POLLIN);
  if (single) {
    devices_.front()->serve_here();
    announce();  // it may have gone through all states in one turn of the loop
  } else {
    wait([this] { return (!ready_ && failed_start()) || all_in({ended}); });
  }
  if (loop_failure_) return fail(*loop_failure_);
  if (!ready_ && stop_signal_ == 0) {
    if (const auto reason = failed_start()) return fail(*reason);
  }
  mourn();
  int status = 0;
  if (stop_signal_ == 0) {
    for (const auto& device : devices_) status = std::max(status, device->status());
  }
  return end(status);
}

// The parts that need no device yet.
Outcome<> Supervisor::prepare() {
  auto manager = ServiceManager::from_environment();
  if (!manager) return std::unexpected(std::move(manager.error()));
  manager_ = std::move(*manager);
  auto signals = StopSignals::block();
  if (!signals) return std::unexpected(std::move(signals.error()));
  signals_.emplace(std::move(*signals));
  auto guard = TruncationGuard::install();
  if (!guard) return std::unexpected(std::move(guard.error()));
  guard_.emplace(std::move(*guard));
  auto changed = make_event_fd();
  if (!changed) return system_failure(changed.error().value, "cannot make an event fd");
  changed_ = std::move(*changed);
  auto loop = Loop::create(line_.reactor, logging_.log());
  if (!loop) return std::unexpected(std::move(loop.error()));
  loop_ = std::move(*loop);
  return {};
}

Outcome<> Supervisor::open_sockets() {
  if (status_fd_ || !line_.status_socket.empty()) {
    auto status = status_fd_ ? StatusSocket::adopt(*status_fd_) : StatusSocket::make(line_.status_socket);
    if (!status) return std::unexpected(std::move(status.error()));
    status_.emplace(std::move(*status));
  }
  std::vector<OwnedFd> sockets;
  for (const Options& options : line_.devices) {
    auto listener = options.socket_fd ? io::Listener::inherited(*options.socket_fd)
                                      : io::Listener::at(options.socket_path, options.socket_mode);
    if (!listener) return std::unexpected(std::move(listener.error()));
    sockets.push_back(std::move(listener->socket()));
    files_.push_back(std::move(*listener));
  }
  for (std::size_t i = 0; i < devices_.size(); ++i) devices_[i]->open(std::move(sockets[i]));
  return {};
}

// Why a device could not start, if one failed.
std::optional<std::string> Supervisor::failed_start() const {
  for (const auto& device : devices_) {
    if (device->state() != DeviceThread::State::ended || device->failure().empty()) continue;
    return devices_.size() > 1 ? device->options().name + ": " + device->failure() : device->failure();
  }
  return std::nullopt;
}

bool Supervisor::all_in(std::initializer_list<DeviceThread::State> states) const {
  return std::ranges::all_of(devices_, [&](const auto& device) {
    return std::ranges::find(states, device->state()) != states.end();
  });
}

void Supervisor::wait(const std::function<bool()>& done) {
  while (stop_signal_ == 0 && !loop_failure_ && !done()) {
    if (const auto turn = loop_->run_once(true); !turn)
      loop_failure_ = system_failure(turn.error().value, "the main loop has failed").error().message;
  }
}

void Supervisor::watch() {
  loop_->poll(signalled_, signals_->fd(), POLLIN);
  loop_->poll(device_changed_, changed_.get(), POLLIN);
  loop_->poll(faulted_, guard_->fd(), POLLIN);
}

void Supervisor::on_signal(std::int32_t) noexcept {
  const int number = signals_->take();
  if (number == SIGUSR1) write_counters();
  if (number == SIGUSR1 || number == 0) return loop_->poll(signalled_, signals_->fd(), POLLIN);
  stop_signal_ = number;
  logging_.log().write(LogLevel::info, "stopped by a signal: %s", ::strsignal(number));
  remove_files();
  StopSignals::limit_shutdown(0);
  begin_end();
}

void Supervisor::on_change(std::int32_t) noexcept {
  eventfd_t changes = 0;
  ::eventfd_read(changed_.get(), &changes);
  loop_->poll(device_changed_, changed_.get(), POLLIN);
  announce();
  if (ready_) mourn();
}

// Each device knows whether it is its memory.
void Supervisor::on_fault(std::int32_t) noexcept {
  const auto addresses = guard_->take_addresses();
  loop_->poll(faulted_, guard_->fd(), POLLIN);
  if (addresses.empty()) return;
  logging_.log().write(LogLevel::warning, "memory that a frontend shares was truncated during %zu accesses",
                       addresses.size());
  for (const auto& device : devices_) device->tell_of_cut_off_memory(addresses);
}

void Supervisor::on_status(std::int32_t) noexcept {
  constexpr std::chrono::milliseconds retry{100};
  if (status_->serve([this] { return counters(); }))
    loop_->poll(asked_, status_->fd(), POLLIN);
  else
    loop_->timer(asked_, io::Clock::now() + retry);
}

// Once, when all devices serve.
void Supervisor::announce() {
  using enum DeviceThread::State;
  if (ready_ || ending_ || failed_start() || !all_in({serving, ended})) return;
  ready_ = true;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const Options& options = line_.devices[i];
    devices_[i]->log().write(LogLevel::info, "serving %s on %s", options.backend.c_str(),
                             options.socket_fd ? "an inherited socket" : options.socket_path.c_str());
  }
  tell_manager(
      format_text("READY=1\nSTATUS=serving %zu device%s", devices_.size(), devices_.size() == 1 ? "" : "s"));
  if (manager_.watchdog()) on_watchdog(0);
}

// A device that ends does not affect the others.
void Supervisor::mourn() {
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    DeviceThread& device = *devices_[i];
    if (ending_ || mourned_[i] || device.state() != DeviceThread::State::ended) continue;
    mourned_[i] = true;
    files_[i].remove_file();
    const std::string failure = device.failure();
    device.log().write(device.status() == 0 ? LogLevel::info : LogLevel::error, "has ended%s%s",
                       failure.empty() ? "" : ": ", failure.c_str());
    const auto left = std::ranges::count(mourned_, false);
    if (left > 0)
      tell_manager(format_text("STATUS=%s has ended; %td of %zu devices serve", device.options().name.c_str(),
                               left, devices_.size()));
  }
}

std::string Supervisor::counters() const {
  std::vector<DeviceReport> reports;
  for (const auto& device : devices_) {
    reports.push_back(
        {.options = device->options(), .state = name_of(device->state()), .counters = device->counters()});
  }
  return report(line_.status_format, reports, Clock::now() - begun_);
}

// Written whatever the log level, because they were asked for.
void Supervisor::write_counters() {
  const std::string text = counters();
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

// The watchdog is only notified if every loop has answered since the last time, so that the manager restarts
// the program if a device hangs.
void Supervisor::on_watchdog(std::int32_t) noexcept {
  const auto hangs = std::ranges::find_if(devices_, [](const auto& device) { return !device->shows_life(); });
  if (hangs == devices_.end())
    tell_manager("WATCHDOG=1");
  else
    (*hangs)->log().write(LogLevel::error, "its loop does not answer; the watchdog is not notified");
  for (const auto& device : devices_) device->ask_for_life();
  loop_->timer(watchdog_due_, io::Clock::now() + *manager_.watchdog());
}

void Supervisor::tell_manager(const std::string& state) {
  if (!manager_.tell(state))
    logging_.log().write(LogLevel::warning, "the service manager does not accept '%s': %s",
                         state.substr(0, state.find('\n')).c_str(), std::strerror(errno));
}

void Supervisor::remove_files() {
  for (io::Listener& file : files_) file.remove_file();
  if (status_) status_->remove_file();
}

// Tells all devices, and waits for none.
void Supervisor::begin_end() {
  if (std::exchange(ending_, true)) return;
  // Removed at once, so that nobody connects to a device that is ending.
  remove_files();
  tell_manager("STOPPING=1\nSTATUS=ending");
  for (const auto& device : devices_) device->stop();
}

int Supervisor::end(int status) {
  begin_end();
  devices_.clear();
  return status;
}

int Supervisor::fail(const std::string& reason) {
  std::fprintf(stderr, "%s: %s\n", program_name, reason.c_str());
  remove_files();
  // Does not wait for one that hangs in its start.
  StopSignals::limit_shutdown(1);
  for (const auto& device : devices_) device->stop();
  devices_.clear();
  return 1;
}

}  // namespace vumedia::device
