// vumedia-ctl get-ctrl, set-ctrl and list-ctrls on a device with a control of every kind.
#include <cstring>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "programs/ctl_fixture.hpp"
#include "support/control_zoo.hpp"
#include "vhost_user/media_server.hpp"

namespace vumedia::ctl_test {
namespace {

class CtlControlZoo : public Ctl {
 protected:
  CtlControlZoo() : server_(listen()) {}

  void expect_set(const std::string& assignment, const std::string& output) {
    const auto ended = run({"set-ctrl", assignment});
    EXPECT_EQ(ended.status, 0) << assignment << ": " << ended.errors;
    EXPECT_EQ(ended.output, output) << assignment;
  }
  void expect_refusal(const std::string& command, const std::string& word, const std::string& reason) {
    const auto ended = run({command, word});
    expect_failure(ended, reason);
    EXPECT_EQ(ended.output, "") << word;
  }

 private:
  [[nodiscard]] OwnedFd listen() const {
    OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket().c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    return fd;
  }

  vhost_user::test::MediaServer<vumedia::test::ControlZoo> server_;
};

TEST_F(CtlControlZoo, SetsEachKind) {
  expect_set("integer=-5", "Integer: -5\n");
  expect_set("boolean=on", "Boolean: 1\n");
  expect_set("boolean=FALSE", "Boolean: 0\n");
  expect_set("menu=cat", "Menu: 2 (Cat)\n");
  expect_set("Menu with Gaps=3", "Menu with Gaps: 3 (Fox)\n");
  expect_set("integer_menu=1", "Integer Menu: 1 (4)\n");
  expect_set("bitmask=0x80000001", "Bitmask: 0x80000001\n");
  expect_set("string=a b=c", "String: a b=c\n");
  expect_set("integer_64_bits=-1099511627776", "Integer 64 Bits: -1099511627776\n");
  // There is nothing to print of it.
  expect_set("button=1", "");
  expect_set("write_only=4", "");
  expect_set("inactive=4", "Inactive: 4\n");
  const auto several = run({"set-ctrl", "integer=0", "string=  ", "menu=0"});
  EXPECT_EQ(several.output, "Integer: 0\nString:   \nMenu: 0 (Ape)\n") << several.errors;
}

TEST_F(CtlControlZoo, SaysWhyItSetsNothing) {
  expect_refusal("set-ctrl", "integer=3", "Integer: 3 is not -10 plus a multiple of 5");
  expect_refusal("set-ctrl", "integer=91", "Integer: 91 is not within -10 to 90");
  expect_refusal("set-ctrl", "boolean=2", "Boolean: 2 is not within 0 to 1");
  expect_refusal("set-ctrl", "menu_with_gaps=1",
                 "there is no entry '1'; there are 0 (Duck), 2 (Eel), 3 (Fox)");
  expect_refusal("set-ctrl", "bitmask=0x2", "Bitmask: 0x2 is not within the bits 0x800000f5");
  expect_refusal("set-ctrl", "string=a", "String: the text must have 2 to 8 characters");
  expect_refusal("set-ctrl", "string=123456789", "String: the text must have 2 to 8 characters");
  expect_refusal("set-ctrl", "integer_64_bits=1099511627777",
                 "is not within -1099511627776 to 1099511627776");
  expect_refusal("set-ctrl", "integer_64_bits=-9223372036854775808", "is not within");
  expect_refusal("set-ctrl", "array=1", "Array is an array of 5 elements and cannot be set here");
  expect_refusal("set-ctrl", "bytes=1", "Bytes is an array of 8 elements and cannot be set here");
  expect_refusal("set-ctrl", "area=1", "Area is of a compound type and cannot be set here");
  expect_refusal("set-ctrl", "read_only=1", "Read-Only is read-only");
  expect_refusal("set-ctrl", "volatile=1", "Volatile is read-only");
  expect_refusal("set-ctrl", "grabbed=1", "Grabbed cannot be set now");
}

TEST_F(CtlControlZoo, SaysWhyItReadsNothing) {
  expect_refusal("get-ctrl", "button", "Button cannot be read: it is write-only");
  expect_refusal("get-ctrl", "write_only", "Write-Only cannot be read: it is write-only");
  expect_refusal("get-ctrl", "array", "Array is an array of 5 elements and has no value to print");
  expect_refusal("get-ctrl", "area", "Area is of a compound type and has no value to print");
  expect_refusal("get-ctrl", "user_controls", "the device has no control 'user_controls'");
  EXPECT_EQ(run({"get-ctrl", "read_only"}).output, "Read-Only: 3\n");
}

}  // namespace
}  // namespace vumedia::ctl_test
