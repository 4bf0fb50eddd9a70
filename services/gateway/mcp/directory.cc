#include "services/gateway/mcp/directory.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include "libs/base/status_macros.h"

namespace aima::gateway::mcp {
namespace {

// Clients may name any selection; what few of them name is not worth keeping.
constexpr size_t kMaxViews = 200;

}  // namespace

bool MayUse(Role role, unit::v1::Access access) { return Access::Check({"-", role}, access, "").ok(); }

Directory::Directory(std::vector<Source*> sources, std::string default_toolsets)
    : sources_(std::move(sources)), default_toolsets_(std::move(default_toolsets)) {
  for (Source* source : sources_) {
    if (!source->lists_change()) continue;
    lists_change_ = true;
    source->OnChange([this](std::string_view list) {
      Index();
      for (const auto& [id, listener] : listeners_) listener(list);
    });
  }
  Index();
}

void Directory::Index() {
  views_.clear();
  lists_.clear();
  tools_.clear();
  tool_sources_.clear();
  std::vector<const Tool*> tools;
  for (Source* source : sources_) {
    for (const Tool& tool : source->tools()) {
      tools.push_back(&tool);
      tool_sources_[&tool] = source;
      tools_.try_emplace(tool.name, &tool);
      for (const std::string& alias : tool.aliases) tools_.try_emplace(alias, &tool);
    }
  }
  toolsets_ = std::make_unique<Toolsets>(std::move(tools), default_toolsets_);
}

absl::StatusOr<const ToolView*> Directory::Tools(Role role, const std::string& selection) {
  const auto key = std::pair(role, selection);
  if (const auto found = views_.find(key); found != views_.end()) return found->second.get();
  ASSIGN_OR_RETURN(const std::vector<const Tool*> selected, toolsets_->Select(selection));
  if (views_.size() >= kMaxViews) views_.clear();
  auto view = std::make_unique<ToolView>();
  std::vector<std::string> entries;
  for (const Tool* tool : selected) {
    if (!MayUse(role, tool->access)) continue;
    entries.push_back(tool->entry);
    view->by_name.try_emplace(tool->name, tool);
    for (const std::string& alias : tool->aliases) view->by_name.try_emplace(alias, tool);
  }
  view->list = absl::StrCat("{\"tools\":[", absl::StrJoin(entries, ","), "]}");
  return views_.emplace(key, std::move(view)).first->second.get();
}

const Tool* Directory::FindTool(const std::string& name) const {
  const auto found = tools_.find(name);
  return found == tools_.end() ? nullptr : found->second;
}

const std::string& Directory::List(const char* kind, Role role) {
  const auto [entry, fresh] = lists_.try_emplace({role, kind});
  if (!fresh) return entry->second;
  std::vector<std::string> entries;
  const std::string_view wanted = kind;
  for (const Source* source : sources_) {
    for (const Prompt& prompt : source->prompts()) {
      if (wanted == "prompts" && MayUse(role, prompt.access)) entries.push_back(prompt.entry);
    }
    for (const Resource& resource : source->resources()) {
      if (wanted == (resource.is_template ? "resourceTemplates" : "resources") && MayUse(role, resource.access)) {
        entries.push_back(resource.entry);
      }
    }
  }
  entry->second = absl::StrCat("{\"", kind, "\":[", absl::StrJoin(entries, ","), "]}");
  return entry->second;
}

Source* Directory::FindSource(std::string_view uri) const {
  for (Source* source : sources_) {
    if (source->Owns(uri)) return source;
  }
  return nullptr;
}

Directory::FoundPrompt Directory::FindPrompt(const std::string& name, Role role) const {
  for (Source* source : sources_) {
    for (const Prompt& prompt : source->prompts()) {
      if (prompt.name == name && MayUse(role, prompt.access)) return {&prompt, source};
    }
  }
  return {};
}

Directory::FoundResource Directory::FindTemplate(const std::string& uri, Role role) const {
  for (Source* source : sources_) {
    for (const Resource& resource : source->resources()) {
      if (resource.uri == uri && MayUse(role, resource.access)) return {&resource, source};
    }
  }
  return {};
}

int Directory::Listen(std::function<void(std::string_view list)> listener) {
  listeners_[next_listener_] = std::move(listener);
  return next_listener_++;
}

}  // namespace aima::gateway::mcp
