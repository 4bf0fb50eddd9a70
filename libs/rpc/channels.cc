#include "libs/rpc/channels.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

namespace aima::rpc {

std::string Channels::AddressOf(std::string_view run_dir, std::string_view domain) {
  return "unix:" + std::string(run_dir) + "/" + std::string(domain) + ".sock";
}

std::shared_ptr<grpc::Channel> Channels::To(const std::string& domain) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<grpc::Channel>& channel = channels_[domain];
  if (!channel) {
    grpc::ChannelArguments arguments;
    // A process that was restarted is back within a second; do not wait for it longer than that.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // what may be repeated is decided per unit, by the client
    arguments.SetMaxReceiveMessageSize(64 << 20);
    channel = grpc::CreateCustomChannel(AddressOf(run_dir_, domain), grpc::InsecureChannelCredentials(), arguments);
  }
  return channel;
}

}  // namespace aima::rpc
