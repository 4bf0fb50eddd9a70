#include "services/device/device_monitor.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <tuple>
#include <type_traits>

#include "libs/errors/errors.h"

namespace aima::device {
namespace {

template <class F>
Task<std::invoke_result_t<F>> Invoke(F function) {
  co_return function();
}

// Runs `function` on the worker's thread and comes back with its result.
template <class F>
Task<std::invoke_result_t<F>> RunOn(boost::asio::thread_pool& worker, F function) {
  co_return co_await boost::asio::co_spawn(worker.get_executor(), Invoke(std::move(function)),
                                           boost::asio::use_awaitable);
}

bool CanBeMain(const v1::Device& device) {
  const auto& abilities = device.capabilities();
  const auto has = [&](const char* ability) {
    return std::find(abilities.begin(), abilities.end(), ability) != abilities.end();
  };
  return device.type() == v1::DEVICE_TYPE_GPU && !device.driver().empty() &&
         (has("cuda") || has("rocm") || (!device.memory().unified() && device.memory().total() > 0));
}

int Rank(v1::DeviceType type) {
  switch (type) {
    case v1::DEVICE_TYPE_GPU:
      return 1;
    case v1::DEVICE_TYPE_NPU:
      return 2;
    default:
      return 3;
  }
}

}  // namespace

DeviceMonitor::DeviceMonitor(std::vector<std::unique_ptr<DeviceProvider>> providers)
    : providers_(std::move(providers)) {}

DeviceMonitor::~DeviceMonitor() { worker_.join(); }

std::vector<DeviceMonitor::Found> DeviceMonitor::ScanAll() {
  std::vector<Found> found;
  std::vector<v1::Device> known;
  for (const auto& provider : providers_) {
    for (v1::Device& device : provider->Scan(known)) {
      known.push_back(device);
      found.push_back({std::move(device), provider.get()});
    }
  }
  return found;
}

Task<void> DeviceMonitor::Scan() {
  std::vector<Found> found = co_await RunOn(worker_, [this] { return ScanAll(); });
  Merge(std::move(found));
}

void DeviceMonitor::Merge(std::vector<Found> found) {
  // A device that a better provider now speaks for, under another id, is not lost.
  std::erase_if(devices_, [&](const auto& state) {
    const v1::Device& old = state->device;
    return !old.pci_address().empty() && std::any_of(found.begin(), found.end(), [&](const Found& now) {
      return now.device.pci_address() == old.pci_address() && now.device.id() != old.id();
    });
  });
  for (Found& item : found) {
    if (DeviceState* state = Find(item.device.id())) {
      state->device = std::move(item.device);
      state->provider = item.provider;
    } else {
      devices_.push_back(std::make_unique<DeviceState>());
      devices_.back()->device = std::move(item.device);
      devices_.back()->provider = item.provider;
    }
  }
  Sort();
}

void DeviceMonitor::Sort() {
  DeviceState* main = nullptr;
  for (const auto& state : devices_) {
    state->device.set_main(false);
    const bool gpu = CanBeMain(state->device);
    if (!gpu && state->device.type() != v1::DEVICE_TYPE_CPU) continue;
    const auto weight = [](const DeviceState& s) { return std::tuple(CanBeMain(s.device), s.device.memory().total()); };
    if (main == nullptr || weight(*state) > weight(*main)) main = state.get();
  }
  if (main != nullptr) main->device.set_main(true);
  const auto key = [](const DeviceState& s) {
    return std::tuple(!s.device.main(), Rank(s.device.type()), s.device.pci_address(), s.device.id());
  };
  std::sort(devices_.begin(), devices_.end(), [&](const auto& a, const auto& b) { return key(*a) < key(*b); });
}

Task<void> DeviceMonitor::Measure() {
  std::vector<Found> targets;
  for (const auto& state : devices_) {
    Found target{{}, state->provider};
    target.device.set_id(state->device.id());
    targets.push_back(std::move(target));
  }
  const auto measure = [targets = std::move(targets)] {
    std::vector<Measured> measured;
    for (const Found& target : targets) {
      Reading reading = target.provider->Read(target.device.id());
      measured.push_back({target.device.id(), std::move(reading), absl::Now()});
    }
    return measured;
  };
  std::vector<Measured> measured = co_await RunOn(worker_, measure);
  for (Measured& item : measured) {
    DeviceState* state = Find(item.device_id);
    if (state == nullptr) continue;
    for (v1::Issue& issue : state->health.Update(state->device, item.reading, item.time)) {
      if (!issue.metric().empty()) state->alerts.push_back(std::move(issue));
    }
    // A lost device tells nothing any more; what it was stays known.
    if (item.reading.memory.total() > 0) *state->device.mutable_memory() = item.reading.memory;
    if (item.reading.power_limit && state->device.has_power_limit()) {
      state->device.mutable_power_limit()->set_current_watts(*item.reading.power_limit);
    }
    state->history.Add(item.time, item.reading);
    state->reading = std::move(item.reading);
    state->measured = item.time;
  }
}

Task<absl::StatusOr<double>> DeviceMonitor::SetPowerLimit(std::string device_id, double watts) {
  DeviceState* state = Find(device_id);
  if (state == nullptr) {
    co_return Error(v1::DEVICE_NOT_FOUND, absl::StrCat("no device '", device_id, "' in this machine"),
                    {{"device_id", device_id}});
  }
  const auto set = [provider = state->provider, device_id, watts] {
    return provider->SetPowerLimit(device_id, watts);
  };
  absl::StatusOr<double> applied = co_await RunOn(worker_, set);
  state = Find(device_id);
  if (applied.ok() && state != nullptr) {
    state->device.mutable_power_limit()->set_current_watts(*applied);
    state->reading.power_limit = *applied;
  }
  co_return applied;
}

DeviceState* DeviceMonitor::Find(const std::string& device_id) const {
  for (const auto& state : devices_) {
    if (state->device.id() == device_id) return state.get();
  }
  return nullptr;
}

}  // namespace aima::device
