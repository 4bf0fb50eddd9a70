#include "services/gateway/fuzz/mutation.h"

#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "services/gateway/fuzz/translation_seeds.h"

namespace aima::gateway {
namespace {

using nlohmann::json;

void CollectNodes(json& value, std::vector<json*>& nodes) {
  nodes.push_back(&value);
  for (json& member : value) {
    if (value.is_structured()) CollectNodes(member, nodes);
  }
}

void CollectWords(const json& value, std::vector<json>& words) {
  words.push_back(value);
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) words.push_back(key);
  }
  if (!value.is_structured()) return;
  for (const json& member : value) CollectWords(member, words);
}

// What is put in the place of something else: all that seeds say, and what the APIs know besides.
const std::vector<json>& Words() {
  static const std::vector<json>* all = [] {
    auto* words = new std::vector<json>{nullptr, true, false, 0, -1, 1, 1.5, 1e308, int64_t{1} << 62, "", "\xc3\xa4", json::array(),
                                        json::object(), "auto", "any", "none", "required", "json_object", "text", "high", "medium",
                                        "max", "url", "system", "adaptive", "disabled", "content_filter", "stop", "5m", "hf.co/o/r"};
    for (const TranslationSeed& seed : TranslationSeeds()) {
      for (const absl::string_view text : absl::StrSplit(seed.body + "\n" + seed.script, '\n')) {
        const json value = json::parse(text.begin(), text.end(), nullptr, false);
        if (!value.is_discarded()) CollectWords(value, *words);
      }
    }
    return words;
  }();
  return *all;
}

template <class List>
auto& OneOf(List& list, std::mt19937& random) {
  return list[random() % list.size()];
}

std::string MutateJson(const std::string& text, std::mt19937& random) {
  json tree = json::parse(text, nullptr, false);
  if (tree.is_discarded()) return text;
  std::vector<json*> nodes;
  CollectNodes(tree, nodes);
  json& node = *OneOf(nodes, random);
  const json word = random() % 4 == 0 ? *OneOf(nodes, random) : OneOf(Words(), random);
  const unsigned how = random() % 4;
  if (node.is_array() && how > 0) {
    if (how == 1 && !node.empty()) {
      node.erase(random() % node.size());
    } else {
      node.insert(node.begin() + random() % (node.size() + 1), how == 2 || node.empty() ? word : json(OneOf(node, random)));
    }
  } else if (node.is_object() && how > 0) {
    if (how == 1 && !node.empty()) {
      node.erase(std::next(node.begin(), random() % node.size()));
    } else {
      const json& key = OneOf(Words(), random);
      node[key.is_string() ? key.get<std::string>() : "type"] = word;
    }
  } else {
    node = word;
  }
  return tree.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string MutateScript(const std::string& script, std::mt19937& random) {
  std::vector<std::string> lines = absl::StrSplit(script, '\n');
  const size_t at = random() % lines.size();
  static const std::vector<std::string> others = [] {
    std::vector<std::string> all;
    for (const TranslationSeed& seed : TranslationSeeds()) {
      for (const absl::string_view line : absl::StrSplit(seed.script, '\n')) all.emplace_back(line);
    }
    return all;
  }();
  switch (random() % 6) {
    case 0: lines.insert(lines.begin() + at, lines[at]); break;
    case 1: lines.erase(lines.begin() + at); break;
    case 2: std::swap(lines[at], OneOf(lines, random)); break;
    case 3: lines.insert(lines.begin() + at, OneOf(others, random)); break;
    case 4: lines[at] = lines[at].substr(0, 1); break;
    default: lines[at] = MutateJson(lines[at], random);
  }
  return absl::StrJoin(lines, "\n");
}

}  // namespace

std::string MutateParts(const std::string& input, std::mt19937& random) {
  const size_t body = input.find("\r\n\r\n");
  if (body == std::string::npos) return input;
  const std::string head = input.substr(0, body + 4);
  const size_t end = input.find("\n---\n", body);
  const std::string asked = end == std::string::npos ? input.substr(body + 4) : input.substr(body + 4, end - body - 4);
  const std::string script = end == std::string::npos ? "" : input.substr(end + 5);
  if (!asked.empty() && (script.empty() || random() % 2 == 0)) return head + MutateJson(asked, random) + "\n---\n" + script;
  return head + asked + "\n---\n" + MutateScript(script, random);
}

}  // namespace aima::gateway
