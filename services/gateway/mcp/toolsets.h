// Which tools a client wants to see.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

#include "services/gateway/mcp/surface.h"

namespace aima::gateway::mcp {

// A selection is a list of words, separated by commas:
//   all            every tool
//   default        those that the configuration names (mcp.toolsets)
//   model          those of a domain
//   model.pull     one tool, by its unit or its own name
//   -model.delete  without these; outranks everything else
//   read-only      of what the other words name, or of everything, only what changes nothing
class Toolsets {
 public:
  // `tools` outlives the object. `configured` is what `default` stands for.
  Toolsets(std::vector<const Tool*> tools, std::string configured);

  // The tools of a selection, in the order of their names; empty text is `default`. INVALID_INPUT names a word that
  // means nothing.
  absl::StatusOr<std::vector<const Tool*>> Select(std::string_view selection) const;

  // Domains that there are, for messages.
  const std::vector<std::string>& domains() const { return domains_; }

 private:
  absl::Status Apply(std::string_view selection, int depth, std::vector<bool>& chosen, std::vector<bool>& excluded,
                     bool& any, bool& read_only) const;
  // Marks the tools that a word names; false if it names none.
  bool Mark(std::string_view word, std::vector<bool>& marks) const;

  std::vector<const Tool*> tools_;
  std::vector<std::string> domains_;
  const std::string configured_;
};

}  // namespace aima::gateway::mcp
