#include "services/device/cpu_topology.h"

#include <hwloc.h>
#include <stdlib.h>

#include <map>
#include <memory>
#include <utility>

namespace aima::device {
namespace {

const char* KindOf(hwloc_obj_cache_type_t type) {
  switch (type) {
    case HWLOC_OBJ_CACHE_DATA:
      return "data";
    case HWLOC_OBJ_CACHE_INSTRUCTION:
      return "instruction";
    default:
      return "unified";
  }
}

void AddCaches(hwloc_topology_t topology, v1::Topology& out) {
  // Cores of one processor may have caches of different sizes, so sizes are told apart.
  std::map<std::pair<int, std::string>, std::map<uint64_t, int>> caches;
  for (int type = HWLOC_OBJ_L1CACHE; type <= HWLOC_OBJ_L3ICACHE; ++type) {
    hwloc_obj_t object = nullptr;
    while ((object = hwloc_get_next_obj_by_type(topology, static_cast<hwloc_obj_type_t>(type), object)) != nullptr) {
      const auto& cache = object->attr->cache;
      caches[{static_cast<int>(cache.depth), KindOf(cache.type)}][cache.size] += 1;
    }
  }
  for (const auto& [key, sizes] : caches) {
    for (const auto& [size, count] : sizes) {
      v1::Cache& cache = *out.add_caches();
      cache.set_level(key.first);
      cache.set_kind(key.second);
      cache.set_size_bytes(static_cast<int64_t>(size));
      cache.set_count(count);
    }
  }
}

}  // namespace

absl::StatusOr<v1::Topology> ReadTopology(const SystemFiles& files) {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return absl::InternalError("hwloc_topology_init failed");
  const std::unique_ptr<hwloc_topology, decltype(&hwloc_topology_destroy)> topology(raw, hwloc_topology_destroy);
  hwloc_topology_set_all_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_ALL);
  hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE);
  // hwloc takes another root only from the environment. Tests alone use one, and only from one thread.
  if (!files.root().empty()) setenv("HWLOC_FSROOT", files.root().c_str(), 1);
  const int loaded = hwloc_topology_load(raw);
  if (!files.root().empty()) unsetenv("HWLOC_FSROOT");
  if (loaded != 0) return absl::InternalError("hwloc_topology_load failed");

  v1::Topology out;
  const auto count = [raw](hwloc_obj_type_t type) { return std::max(1, hwloc_get_nbobjs_by_type(raw, type)); };
  out.set_packages(count(HWLOC_OBJ_PACKAGE));
  out.set_threads(count(HWLOC_OBJ_PU));
  const int cores = hwloc_get_nbobjs_by_type(raw, HWLOC_OBJ_CORE);
  out.set_cores(cores > 0 ? cores : out.threads());
  out.set_numa_nodes(count(HWLOC_OBJ_NUMANODE));
  AddCaches(raw, out);
  return out;
}

}  // namespace aima::device
