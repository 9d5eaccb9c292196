// A test's own folder for its sockets and files.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include <gtest/gtest.h>
#include <stdlib.h>

namespace vumedia::test {

// Created empty, and removed at the end with its contents. Its name is short enough for a socket's.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "vumedia-XXXXXX").string()) {
    const char* const made = ::mkdtemp(path_.data());
    EXPECT_NE(made, nullptr) << path_;
    if (made == nullptr) path_ = "/nonexistent";
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  // The path of a file in it, which need not exist.
  [[nodiscard]] std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace vumedia::test
