// For tests: the services model, resource and event, as far as engines see them.
#pragma once

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "aima/engine/v1/engine.pb.h"
#include "aima/event/v1/event.pb.h"
#include "aima/inference/v1/inference.pb.h"
#include "aima/model/v1/model.pb.h"
#include "aima/resource/v1/resource.pb.h"
#include "libs/errors/errors.h"
#include "libs/rpc/client.h"

namespace aima::engine {

class FakeNeighbourhood : public rpc::Client {
 public:
  std::map<std::string, model::v1::Model> models;
  std::set<std::string> slots;          // held
  std::map<std::string, int> occupants;  // slot to process
  bool resource_is_down = false;
  bool no_memory = false;
  bool allocation_answer_is_lost = false;  // the slot is granted all the same
  bool allocation_takes_forever = false;   // after the slot was granted
  bool nothing_is_released = false;
  int late = 0;  // allocations that are refused after memory was freed: that takes a moment to be seen
  std::map<std::string, int64_t> idle;  // instances that inference would unload, with their bytes
  bool idle_is_enough = true;
  std::set<std::string> wanted;  // of these: somebody keeps them after all
  bool frees = true;             // what is unloaded
  bool room_takes_forever = false;
  bool room_answer_is_lost = false;
  int rooms = 0;  // times that room was asked for, not only looked at
  std::vector<std::string> unloaded;
  int times_a_model_was_asked_for = 0;
  std::vector<event::v1::Event> events;  // published

  void AddModel(const std::string& id, const std::string& path) {
    model::v1::Model& model = models[id];
    model.set_id(id);
    model.set_path(path);
    model.set_type(model::v1::MODEL_TYPE_LLM);
    model.set_format(model::v1::MODEL_FORMAT_GGUF);
    model.set_status(model::v1::MODEL_STATUS_READY);
    model.mutable_details()->set_context_length(2048);
  }

  int CountEvents(const std::string& type) const {
    return static_cast<int>(
        std::count_if(events.begin(), events.end(), [&](const auto& event) { return event.type() == type; }));
  }

  // The newest event of Payload's type.
  template <class Payload>
  Payload LastEvent() const {
    Payload payload;
    for (const event::v1::Event& event : events) event.payload().UnpackTo(&payload);
    return payload;
  }

  static Task<void> Forever() {
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor,
                                    boost::asio::steady_timer::time_point::max());
    co_await timer.async_wait(boost::asio::use_awaitable);
  }

  Task<absl::Status> CallUntyped(const CallContext&, const google::protobuf::Message& request,
                                 google::protobuf::Message& response) override {
    if (const auto* get = dynamic_cast<const model::v1::GetRequest*>(&request)) {
      ++times_a_model_was_asked_for;
      const auto found = models.find(get->model_id());
      if (found == models.end()) {
        co_return Error(model::v1::MODEL_NOT_FOUND, "no model '" + get->model_id() + "'");
      }
      response.CopyFrom(found->second);
    } else if (dynamic_cast<const model::v1::EstimateResourcesRequest*>(&request)) {
      static_cast<model::v1::EstimateResourcesResponse&>(response).set_memory_recommended(64 << 20);
    } else if (const auto* publish = dynamic_cast<const event::v1::PublishRequest*>(&request)) {
      for (const event::v1::Event& event : publish->events()) {
        events.push_back(event);
        static_cast<event::v1::PublishResponse&>(response).add_sequences(static_cast<int64_t>(events.size()));
      }
    } else if (const auto* room = dynamic_cast<const inference::v1::MakeRoomRequest*>(&request)) {
      auto& answer = static_cast<inference::v1::MakeRoomResponse&>(response);
      const bool unloads = !room->only_look() && !idle.empty() && idle_is_enough;
      if (!room->only_look()) ++rooms;
      if (!room->only_look() && room_takes_forever) co_await Forever();
      for (const auto& [id, bytes] : idle) {
        if (unloads && wanted.contains(id)) continue;
        auto& engine = unloads ? *answer.add_unloaded() : *answer.add_engines();
        engine.set_instance_id(id);
        engine.set_memory_bytes(bytes);
        if (unloads) unloaded.push_back(id);
      }
      answer.set_enough(!idle.empty() && idle_is_enough && !(unloads && !wanted.empty()));
      if (unloads) idle.clear();
      if (unloads && frees) no_memory = false;
      if (!room->only_look() && room_answer_is_lost) co_return absl::UnavailableError("inference was killed");
    } else if (resource_is_down) {
      co_return absl::UnavailableError("resource is down");
    } else if (const auto* allocate = dynamic_cast<const resource::v1::AllocateRequest*>(&request)) {
      if (no_memory || late-- > 0) {
        co_return Error(resource::v1::RESOURCE_INSUFFICIENT, "the machine is full",
                        {{"class", "memory_bytes"}, {"needed", "2"}, {"available", "1"}});
      }
      slots.insert(allocate->slot_id());
      static_cast<resource::v1::AllocateResponse&>(response).set_slot_id(allocate->slot_id());
      if (allocation_answer_is_lost) co_return absl::UnavailableError("resource was killed");
      if (allocation_takes_forever) co_await Forever();
    } else if (const auto* release = dynamic_cast<const resource::v1::ReleaseRequest*>(&request)) {
      if (nothing_is_released) co_return absl::UnavailableError("resource was killed");
      slots.erase(release->slot_id());
    } else if (const auto* update = dynamic_cast<const resource::v1::UpdateSlotRequest*>(&request)) {
      occupants[update->slot_id()] = static_cast<int>(update->process_pid());
    } else {
      co_return absl::UnimplementedError(request.GetTypeName());
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> CallDomain(const std::string&, const CallContext& call, const google::protobuf::Message& request,
                                google::protobuf::Message& response) override {
    co_return co_await CallUntyped(call, request, response);
  }

  std::unique_ptr<RawReader> StreamUntyped(const CallContext&, const google::protobuf::Message&) override {
    return nullptr;
  }
};

}  // namespace aima::engine
