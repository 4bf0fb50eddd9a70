#include "services/model/downloads.h"

namespace aima::model {

Task<void> Downloads::AwaitEnd(std::string key) {
  while (true) {
    const auto entry = entries_.find(key);
    if (entry == entries_.end()) co_return;
    const std::shared_ptr<Download> download = entry->second.download.lock();
    if (!download || download->finished()) co_return;
    co_await download->Wait();
  }
}

Task<std::shared_ptr<Downloads::Share>> Downloads::Join(v1::PullPlan::File file, http::Headers headers) {
  const std::string key = BlobStore::KeyOf(file);
  while (true) {
    std::erase_if(entries_, [](const auto& entry) { return entry.second.download.expired(); });
    const auto entry = entries_.find(key);
    if (entry == entries_.end()) break;
    std::shared_ptr<Share> share = entry->second.share.lock();
    if (share && !share->download->finished()) co_return share;
    const std::shared_ptr<Download> download = entry->second.download.lock();
    if (!download || download->finished()) break;
    co_await download->Wait();
  }
  auto download = std::make_shared<Download>(parts_, settings_, std::move(file), std::move(headers));
  auto share = std::make_shared<Share>(download);
  entries_[key] = {share, download};
  download->Start();
  co_return share;
}

}  // namespace aima::model
