// Where the library's lines go: to standard error, by way of spdlog.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include <vumedia/core/log.hpp>
#include <vumedia/core/log_limiter.hpp>

namespace spdlog {
class logger;
}

namespace vumedia::device {

// Owns the sinks of its Logs; any thread may use those. Frontends and guests cannot flood them: each is
// limited separately.
class Logging {
 public:
  explicit Logging(LogLevel level);
  Logging(const Logging&) = delete;
  Logging& operator=(const Logging&) = delete;
  ~Logging();

  // For lines of the program itself.
  [[nodiscard]] const Log& log() const noexcept { return log_; }
  // For lines of a device, which begin with its name. Only one thread at a time may call it.
  [[nodiscard]] Log log_of(std::string device);

 private:
  struct Named {
    Named(spdlog::logger& to, std::string of, LogLevel level);
    spdlog::logger& logger;
    const std::string name;
    LogLimiter limiter;
  };

  LogLevel level_;
  std::unique_ptr<spdlog::logger> logger_;
  std::deque<Named> named_;  // which its elements do not leave
  LogLimiter limiter_;
  const Log log_;
};

}  // namespace vumedia::device
