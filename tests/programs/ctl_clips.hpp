// vumedia-ctl with files that the ffmpeg program makes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "programs/ctl_fixture.hpp"
#include "support/media_file.hpp"

namespace vumedia::ctl_test {

class CtlClips : public Ctl {
 protected:
  // Makes a file with the ffmpeg program; false if that or the encoder is missing.
  bool make(const std::string& options, const std::string& name) {
    const auto made = vumedia::test::clip_file(options, name);
    std::error_code error;
    return !made.empty() && std::filesystem::copy_file(
                                made, path(name), std::filesystem::copy_options::overwrite_existing, error);
  }
  void write(const std::string& name, const std::vector<std::byte>& bytes) {
    std::ofstream(path(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
};

}  // namespace vumedia::ctl_test
