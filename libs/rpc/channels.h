// gRPC channels to the other processes of this machine.
#pragma once

#include <grpcpp/channel.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace aima::rpc {

// One channel per domain, over the Unix socket <run_dir>/<domain>.sock. Thread-safe.
class Channels {
 public:
  explicit Channels(std::string run_dir) : run_dir_(std::move(run_dir)) {}

  std::shared_ptr<grpc::Channel> To(const std::string& domain);

  // The address at which a domain serves, as gRPC writes it.
  static std::string AddressOf(std::string_view run_dir, std::string_view domain);

 private:
  const std::string run_dir_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

}  // namespace aima::rpc
