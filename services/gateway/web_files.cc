#include "services/gateway/web_files.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace aima::gateway {
namespace {

// Null for files that are not for browsers.
const char* TypeOf(const std::filesystem::path& path) {
  const std::string extension = path.extension();
  if (extension == ".html") return "text/html; charset=utf-8";
  if (extension == ".css") return "text/css; charset=utf-8";
  if (extension == ".js") return "text/javascript; charset=utf-8";
  if (extension == ".svg") return "image/svg+xml";
  return nullptr;
}

}  // namespace

WebFiles::WebFiles(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const char* type = TypeOf(entry.path());
    if (!type) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    files_[entry.path().filename()] = std::make_unique<const http::Document>(type, bytes.str());
  }
  if (files_.empty()) spdlog::warn("there is no reference page: {} has no files", folder);
}

const http::Document* WebFiles::Find(std::string_view name) const {
  const auto found = files_.find(name);
  return found == files_.end() ? nullptr : found->second.get();
}

void AddPageHeaders(http::Headers& headers) {
  headers.Add("Content-Security-Policy",
              "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
              "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'");
  headers.Add("X-Content-Type-Options", "nosniff");
  headers.Add("Referrer-Policy", "no-referrer");
  headers.Add("Cross-Origin-Opener-Policy", "same-origin");
  headers.Add("Cache-Control", "no-cache");
}

}  // namespace aima::gateway
