// Feeds noise to the way from JSON to a unit's request: parse, read, defaults, rules, write. An input is the number of a
// unit in two bytes, then the JSON. Whatever is accepted must read back to the same from what it is written as.
//
//   tests/fuzz 60        builds and runs all fuzzers
#include <absl/strings/str_cat.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "libs/testing/fuzz_seeds.h"
#include "libs/unit/catalogue.h"
#include "libs/unit/json_codec.h"
#include "libs/unit/rules.h"

namespace aima {
namespace {

using google::protobuf::Message;

const Catalogue& Units() {
  static const Catalogue* catalogue = Catalogue::Load(AIMA_BINARY_DIR "/share/aima/units.binpb").value().release();
  return *catalogue;
}

std::string Written(const Message& message) { return ToJson(message, &Units().factory()); }

void Feed(std::string_view text) {
  if (text.size() < 2) return;
  const size_t number = static_cast<uint8_t>(text[0]) | static_cast<uint8_t>(text[1]) << 8;
  const UnitInfo& unit = Units().units()[number % Units().units().size()];
  const absl::StatusOr<nlohmann::json> json = ParseJsonText(text.substr(2));
  if (!json.ok()) return;
  const std::unique_ptr<Message> request = Units().New(*unit.method().input_type());
  if (!ParseJson(*json, *request).ok()) return;
  const std::unique_ptr<Message> again = Units().New(*unit.method().input_type());
  const std::string written = Written(*request);
  const absl::StatusOr<nlohmann::json> reread = ParseJsonText(written);
  const bool same = reread.ok() && ParseJson(*reread, *again).ok() && Written(*again) == written;
  if (!same) {
    std::fprintf(stderr, "%s was written as %s and read back as %s\n", unit.name.c_str(), written.c_str(), Written(*again).c_str());
    std::abort();
  }
  ApplyDefaults(*request);
  for (const FieldViolation& violation : BrokenRules(*request)) {
    if (violation.field.empty() || violation.description.empty()) std::abort();
  }
}

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  for (size_t i = 0; i < Units().units().size(); ++i) {
    const std::string number = {static_cast<char>(i & 0xff), static_cast<char>(i >> 8)};
    seeds.push_back(number + "{}");
    for (const auto& example : Units().units()[i].options.examples()) seeds.push_back(number + example.input());
  }
  return seeds;
}

}  // namespace
}  // namespace aima

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  aima::testing::WriteSeeds(aima::Seeds());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  aima::Feed(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
