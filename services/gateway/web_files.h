// The files of the reference page, as the gateway serves them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "libs/http/document.h"

namespace aima::gateway {

// Read once, from share/aima/web: what is served later is no path that a request names.
class WebFiles {
 public:
  explicit WebFiles(const std::string& folder);

  // Null if there is none of this name.
  const http::Document* Find(std::string_view name) const;

 private:
  std::map<std::string, std::unique_ptr<const http::Document>, std::less<>> files_;
};

// What a browser may do with these files: run scripts and styles that come from here, and call nobody else.
void AddPageHeaders(http::Headers& headers);

}  // namespace aima::gateway
