// A file that is still arriving.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "services/model/digest.h"

namespace aima::model {

// The bytes that have arrived, at their places, and a journal beside them with the SHA-256 of every piece that is whole.
// What the journal does not vouch for counts as not there: a process that dies, or a disk that loses power, at any moment
// leaves nothing behind that could be taken for good bytes. Blocks. Write is thread-safe, for different pieces.
class PartFile {
 public:
  // Opens the part at `path`, or makes it and claims its room on the disk. Pieces whose bytes are not those of the journal
  // are forgotten. MODEL_STORAGE_FULL or MODEL_STORAGE_FAILED; else fails only with the error of `go_on`.
  static absl::StatusOr<std::shared_ptr<PartFile>> Open(const std::string& path, int64_t size, int64_t piece_size,
                                                        const std::function<absl::Status()>& go_on);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  // Removes a part and its journal.
  static void Remove(const std::string& path);

  int64_t size() const { return size_; }
  int64_t piece_size() const { return piece_size_; }
  size_t pieces() const { return there_.size(); }
  int64_t SizeOf(size_t piece) const;
  // Which pieces were there when it was opened.
  const std::vector<bool>& there() const { return there_; }

  // Writes a whole piece, then its line in the journal.
  absl::Status Write(size_t piece, std::string_view bytes) const;

  // Reads everything and returns what it is.
  absl::StatusOr<FileDigests> Digest(bool git_id, const std::function<absl::Status()>& go_on) const;

  // Forces it to the disk and gives it its final name; the journal goes.
  absl::Status Commit(const std::string& path) const;

 private:
  PartFile(std::string path, int64_t size, int64_t piece_size);
  absl::Status OpenFiles();
  absl::Status Claim() const;
  absl::Status ReadJournal(const std::function<absl::Status()>& go_on);
  absl::Status StartJournal();

  const std::string path_;
  const int64_t size_;
  const int64_t piece_size_;
  std::vector<bool> there_;
  int file_ = -1;
  int journal_ = -1;
};

}  // namespace aima::model
