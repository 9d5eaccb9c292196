// Where the library's lines go: to standard error, by way of spdlog.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include <vumedia/core/log.hpp>

namespace spdlog {
class logger;
}

namespace vumedia::device {

// Owns what its Logs write to; any thread may use those.
class Logging {
 public:
  explicit Logging(LogLevel level);
  Logging(const Logging&) = delete;
  Logging& operator=(const Logging&) = delete;
  ~Logging();

  // For lines of the program itself.
  [[nodiscard]] const Log& log() const noexcept { return log_; }
  // For lines of a device, which begin with its name. Not while another thread calls it.
  [[nodiscard]] Log log_of(std::string device);

 private:
  struct Named {
    spdlog::logger* logger;
    std::string name;
  };

  LogLevel level_;
  std::unique_ptr<spdlog::logger> logger_;
  std::deque<Named> named_;  // which its elements do not leave
  Log log_;
};

}  // namespace vumedia::device
