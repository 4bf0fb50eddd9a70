// Files of pulled models, each kept once.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "aima/model/v1/pull.pb.h"
#include "services/model/part_file.h"

namespace aima::model {

// In the directory of models, blobs/sha256-<digest> holds one file, and pulled/<model>/<id>/ the files of a model under
// their own names, as hard links to their blobs: the number of links of a blob is the number of its users, kept by the
// file system itself. A blob without links that no pull holds is removed. What has a blob's name was checked before it
// got it. Blocks; thread-safe.
class BlobStore {
 public:
  // Directories are made when they are first needed.
  explicit BlobStore(const std::string& directory) : blobs_(directory + "/blobs"), pulled_(directory + "/pulled") {}
  ~BlobStore();

  // Makes this process the only one that works here, until it ends in whatever way: what another one is about to use
  // must not be taken for refuse. False while there is another.
  absl::StatusOr<bool> Lock();

  // While a key is held, neither its blob nor its part is removed. Keys are those of KeyOf.
  void Hold(const std::set<std::string>& keys);
  void Release(const std::set<std::string>& keys);
  // Holds a key until what is returned goes; it may outlive the store.
  std::shared_ptr<void> HoldWhile(const std::string& key);

  // "sha256-…" or "git-…", whatever its source tells of a file.
  static std::string KeyOf(const v1::PullPlan::File& file);

  // Whether the blob is there and right: it is read whole. One that is wrong is removed.
  absl::StatusOr<bool> Check(const std::string& sha256, int64_t size, const std::function<absl::Status()>& go_on) const;

  // The part of a file, opened or made.
  absl::StatusOr<std::shared_ptr<PartFile>> OpenPart(const std::string& key, int64_t size, int64_t piece_size,
                                                     const std::function<absl::Status()>& go_on) const;
  void RemovePart(const std::string& key) const;
  // Makes a part that was found to be right a blob.
  absl::Status Commit(const PartFile& part, const std::string& sha256) const;

  // Bytes that these files still need on the disk.
  int64_t Missing(const v1::PullPlan& plan) const;
  // MODEL_STORAGE_FULL unless the disk has room for so many bytes more, a twentieth and some reserve.
  absl::Status CheckRoom(int64_t bytes) const;
  // Bytes of all blobs and parts.
  int64_t UsedBytes() const;

  // Bytes that Collect would free if these models' files were removed: not those that others share, or that are held.
  int64_t Freed(const std::vector<std::string>& paths);

  // A directory that holds these blobs under their names. It is on the disk when this returns.
  struct Placed {
    std::string name;
    std::string sha256;
  };
  absl::StatusOr<std::string> Place(const std::string& model_id, const std::vector<Placed>& files) const;
  // True for paths that Place made.
  bool IsPlaced(const std::string& path) const;
  // Removes the directory of Place that holds `path`, if it is one; its blobs stay until Collect.
  void Remove(const std::string& path) const;
  // Removes what no record and no pull needs: directories of Place other than those that hold one of `paths`, blobs
  // without users, parts that nobody holds. Returns the bytes that were freed.
  int64_t Collect(const std::vector<std::string>& paths);
  // The same, for blobs and parts only.
  int64_t Collect();

 private:
  std::string BlobPath(const std::string& sha256) const;
  std::string PartPath(const std::string& key) const;
  // The directory of Place that holds `path`; empty if none does.
  std::string PlaceOf(const std::string& path) const;

  const std::string blobs_;
  const std::string pulled_;
  int lock_ = -1;
  std::mutex mutex_;  // of held_, and of the names that Collect takes away
  std::map<std::string, int> held_;
  const std::shared_ptr<BlobStore> self_{this, [](BlobStore*) {}};  // for those that may outlive it
};

}  // namespace aima::model
