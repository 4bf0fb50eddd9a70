#include "libs/runtime/notify.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace aima::runtime {
namespace {

// A supervisor's socket, which is read only when a test reads it.
class NotifyTest : public ::testing::Test {
 protected:
  NotifyTest() : path_(::testing::TempDir() + "/notify-" + std::to_string(getpid())) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path_.c_str());
    unlink(path_.c_str());
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  }
  ~NotifyTest() override {
    unsetenv("NOTIFY_SOCKET");
    close(socket_);
    unlink(path_.c_str());
  }

  // What has come.
  std::vector<std::string> Read() {
    std::vector<std::string> messages;
    char buffer[256];
    ssize_t size;
    while ((size = recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT)) >= 0) messages.emplace_back(buffer, size);
    return messages;
  }

  const std::string path_;
  const int socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
};

TEST_F(NotifyTest, ASupervisorThatReadsNothingHoldsUpNobody) {
  for (int i = 0; i < 2000; ++i) Notify("WATCHDOG=1");  // does not end where it waits for room
  const std::vector<std::string> messages = Read();
  ASSERT_FALSE(messages.empty());
  EXPECT_EQ(messages[0], "WATCHDOG=1");
  EXPECT_LT(messages.size(), 2000u) << "there was room for all";
}

TEST_F(NotifyTest, WhatHasChangedIsToldWhenThereIsRoomAgain) {
  for (int i = 0; i < 2000; ++i) Notify("WATCHDOG=1");
  std::thread teller([] { Notify("READY=1"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // in which it finds no room
  std::vector<std::string> messages = Read();
  teller.join();
  for (std::string& message : Read()) messages.push_back(std::move(message));
  EXPECT_EQ(messages.back(), "READY=1");
}

}  // namespace
}  // namespace aima::runtime
