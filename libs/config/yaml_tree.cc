#include "libs/config/yaml_tree.h"

#include <absl/strings/str_cat.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <sstream>
#include <stdexcept>

namespace aima::config {
namespace {

// Thrown through yaml-cpp, which knows no other way to stop, and caught in ParseYaml.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] void Refuse(const YAML::Mark& mark, std::string_view what) {
  throw Refused(absl::StrCat("line ", mark.line + 1, ": ", absl::string_view(what.data(), what.size())));
}

class TreeBuilder : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Refuse(mark, "aliases (*name) are not allowed");
  }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(mark, "", anchor, YamlNode::Kind::kNull, "");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool null = tag == "?" && (value.empty() || value == "~" || value == "null");
    Add(mark, tag, anchor, null ? YamlNode::Kind::kNull : YamlNode::Kind::kScalar, value);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

  YamlNode root;

 private:
  struct Level {
    YamlNode node;
    std::string key;  // of the entry that comes next, in a map
    int key_line = 0;
    bool has_key = false;
  };

  void Add(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind,
           const std::string& value) {
    CheckPlain(mark, tag, anchor);
    if (!levels_.empty() && levels_.back().node.kind == YamlNode::Kind::kMap && !levels_.back().has_key) {
      return TakeKey(mark, kind == YamlNode::Kind::kNull ? "" : value);
    }
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.text = value;
    node.quoted = tag == "!";
    Put(std::move(node));
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    CheckPlain(mark, tag, anchor);
    if (levels_.size() >= kMaxYamlDepth) Refuse(mark, "is nested too deep");
    if (!levels_.empty() && levels_.back().node.kind == YamlNode::Kind::kMap && !levels_.back().has_key) {
      Refuse(mark, "a key must be a word");
    }
    Level level;
    level.node.kind = kind;
    level.node.line = mark.line + 1;
    levels_.push_back(std::move(level));
  }

  void Close() {
    YamlNode node = std::move(levels_.back().node);
    levels_.pop_back();
    Put(std::move(node));
  }

  void TakeKey(const YAML::Mark& mark, const std::string& key) {
    Level& level = levels_.back();
    for (const YamlNode& entry : level.node.items) {
      if (entry.key == key) Refuse(mark, absl::StrCat("the key ", key, " is there already, on line ", entry.line));
    }
    level.key = key;
    level.key_line = mark.line + 1;
    level.has_key = true;
  }

  void Put(YamlNode node) {
    if (levels_.empty()) {
      root = std::move(node);
      return;
    }
    Level& level = levels_.back();
    if (level.node.kind == YamlNode::Kind::kMap) {
      node.line = level.key_line;
      node.key = level.key;
      level.has_key = false;
    }
    level.node.items.push_back(std::move(node));
  }

  static void CheckPlain(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) Refuse(mark, "anchors (&name) are not allowed");
    // yaml-cpp writes "?" for what has no tag and "!" for what is quoted.
    if (!tag.empty() && tag != "?" && tag != "!") Refuse(mark, "tags (!name) are not allowed");
  }

  std::vector<Level> levels_;
};

}  // namespace

absl::StatusOr<YamlNode> ParseYaml(std::string_view text) {
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat("is larger than ", kMaxFileBytes / 1024, " KiB"));
  }
  if (text.find('\0') != std::string_view::npos) return absl::InvalidArgumentError("contains a NUL byte");
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder;
    if (!parser.HandleNextDocument(builder)) return YamlNode();
    TreeBuilder second;
    if (parser.HandleNextDocument(second)) {
      return absl::InvalidArgumentError(absl::StrCat("line ", second.root.line, ": only one document is allowed"));
    }
    return std::move(builder.root);
  } catch (const Refused& refused) {
    return absl::InvalidArgumentError(refused.what());
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("line ", error.mark.line + 1, ": ", error.msg));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(error.what());
  }
}

}  // namespace aima::config
