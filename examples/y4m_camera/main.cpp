// A camera that plays a .y4m file (YUV4MPEG2, 4:2:0 with 8 bits) again and again, at its size and rate.
//
//   ffmpeg -i video.mp4 -pix_fmt yuv420p video.y4m
//   y4m_camera video.y4m /tmp/camera.sock
#include <cstdio>
#include <fstream>
#include <sstream>

#include <vumedia/backends/camera.hpp>
#include <vumedia/media/serve.hpp>

using namespace vumedia;
namespace camera = backends::camera;

struct Video {
  explicit Video(const char* path) {
    std::ifstream file(path, std::ios::binary);
    std::string line, word;
    std::istringstream words(std::getline(file, line) ? line : "");
    bool known = words >> word && word == "YUV4MPEG2";
    while (words >> word) {
      if (word[0] == 'C') known = known && word.starts_with("C420") && word.find("p1") == std::string::npos;
      std::sscanf(word.c_str(), "W%u", &size.width);
      std::sscanf(word.c_str(), "H%u", &size.height);
      std::sscanf(word.c_str(), "F%u:%u", &interval.denominator, &interval.numerator);
    }
    if (!known || size.width % 2 != 0 || !camera::valid_modes(modes)) return;
    const auto bytes = camera::lent_size(camera::make_mode(*v4l2::find_pixel_format(format[0]), size));
    while (std::getline(file, line) && line.starts_with("FRAME")) {
      std::string frame(bytes, '\0');
      if (file.read(frame.data(), static_cast<std::streamsize>(bytes))) frames.push_back(std::move(frame));
    }
  }
  v4l2_fract interval{1, 25};
  camera::FrameSize size{0, 0, std::span(&interval, 1)};
  static constexpr std::uint32_t format[] = {V4L2_PIX_FMT_YUV420};
  camera::Modes modes{format, std::span(&size, 1)};
  std::vector<std::string> frames;  // empty: it cannot be played
};

struct Y4mSource {
  static constexpr const char *card = "Y4M camera", *input = "Video";
  camera::Modes modes() const { return video->modes; }
  Result<std::span<const std::byte>> lend(const camera::Mode&, std::uint32_t number) {
    return std::as_bytes(std::span(video->frames[number % video->frames.size()]));
  }
  std::shared_ptr<const Video> video;
};

int main(int count, char** arguments) {
  const auto complain = [](const std::string& why) { return std::fprintf(stderr, "%s\n", why.c_str()), 1; };
  if (count != 3) return complain("usage: y4m_camera VIDEO.y4m SOCKET");
  const Y4mSource source{std::make_shared<const Video>(arguments[1])};
  if (source.video->frames.empty()) return complain("the video is not in YUV4MPEG2, or not in 4:2:0");
  auto listener = io::Listener::at(arguments[2]);
  if (!listener) return complain(listener.error().message);
  const auto served = vhost_user::serve<backends::Camera<Y4mSource>>(std::move(*listener), {}, source);
  return served ? 0 : complain(served.error().message);
}
