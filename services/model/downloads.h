// Downloads that pulls share.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "services/model/download.h"

namespace aima::model {

// One download per file, however many pulls want it. Lives on the loop.
class Downloads {
 public:
  Downloads(Download::Parts parts, const Download::Settings& settings) : parts_(std::move(parts)), settings_(settings) {}

  // A share in a download. When the last one goes, the download is cancelled.
  class Share {
   public:
    explicit Share(std::shared_ptr<Download> download) : download(std::move(download)) {}
    ~Share() {
      if (!download->finished()) download->Cancel();
    }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    const std::shared_ptr<Download> download;
  };

  // The download of a file that is going on, or a new one. One that was cancelled has ended before this returns.
  Task<std::shared_ptr<Share>> Join(v1::PullPlan::File file, http::Headers headers);

  // Returns when nothing works on this file any more.
  Task<void> AwaitEnd(std::string key);

 private:
  struct Entry {
    std::weak_ptr<Share> share;
    std::weak_ptr<Download> download;
  };

  const Download::Parts parts_;
  const Download::Settings settings_;
  std::map<std::string, Entry> entries_;
};

}  // namespace aima::model
