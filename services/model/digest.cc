#include "services/model/digest.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>

namespace aima::model {

namespace {

constexpr size_t kChunk = 1024 * 1024;

class Hash {
 public:
  explicit Hash(const EVP_MD* kind) : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), kind, nullptr);
  }
  void Add(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  std::string Hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &length);
    return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), length));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

absl::StatusOr<std::string> HashFile(const FileBytes& file, const std::function<absl::Status()>& go_on) {
  ASSIGN_OR_RETURN(FileDigests digests, HashBlob(file, /*git_id=*/false, go_on));
  return std::move(digests.sha256);
}

absl::StatusOr<FileDigests> HashBlob(const FileBytes& file, bool git_id, const std::function<absl::Status()>& go_on) {
  ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_SEQUENTIAL);
  Hash sha256(EVP_sha256());
  Hash git(EVP_sha1());
  git.Add(absl::StrCat("blob ", file.size()) + '\0');
  std::string chunk(kChunk, '\0');
  for (uint64_t at = 0; at < file.size(); at += chunk.size()) {
    RETURN_IF_ERROR(go_on());
    chunk.resize(std::min<uint64_t>(kChunk, file.size() - at));
    RETURN_IF_ERROR(file.ReadAt(at, chunk.data(), chunk.size()));
    sha256.Add(chunk);
    if (git_id) git.Add(chunk);
  }
  return FileDigests{sha256.Hex(), git_id ? git.Hex() : ""};
}

std::string HashText(std::string_view text) {
  Hash hash(EVP_sha256());
  hash.Add(text);
  return hash.Hex();
}

std::string CombinedDigest(std::vector<NamedDigest> files) {
  const auto unknown = [](const NamedDigest& file) { return file.digest.empty(); };
  if (files.empty() || std::any_of(files.begin(), files.end(), unknown)) return "";
  if (files.size() == 1) return files[0].digest;
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::string lines;
  for (const NamedDigest& file : files) absl::StrAppend(&lines, file.digest, "  ", file.name, "\n");
  return HashText(lines);
}

}  // namespace aima::model
