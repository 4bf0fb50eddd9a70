#include "services/gateway/mcp/stream_fold.h"

#include <algorithm>

namespace aima::gateway::mcp {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using nlohmann::json;

// The field of `stream` that holds a whole `output`.
const FieldDescriptor* ResultField(const Descriptor& stream, const Descriptor& output) {
  for (int i = 0; i < stream.field_count(); ++i) {
    const FieldDescriptor& field = *stream.field(i);
    if (field.message_type() == &output && !field.is_repeated()) return &field;
  }
  return nullptr;
}

bool ArePieces(const Descriptor& stream, const Descriptor& output) {
  for (int i = 0; i < output.field_count(); ++i) {
    const FieldDescriptor& wanted = *output.field(i);
    const FieldDescriptor* field = stream.FindFieldByName(wanted.name());
    if (!field || field->type() != wanted.type() || field->is_repeated() != wanted.is_repeated()) return false;
  }
  return output.field_count() > 0;
}

}  // namespace

bool StreamFold::Fits(const UnitInfo& unit) {
  if (!unit.unary || !unit.stream) return false;
  const Descriptor& stream = *unit.stream->output_type();
  const Descriptor& output = *unit.unary->output_type();
  return ResultField(stream, output) || ArePieces(stream, output);
}

StreamFold::StreamFold(const UnitInfo& unit)
    : type_(*unit.stream->output_type()), output_type_(*unit.unary->output_type()) {
  if (const FieldDescriptor* field = ResultField(type_, *unit.unary->output_type())) result_field_ = field->name();
  const FieldDescriptor* percent = type_.FindFieldByName("percent");
  percent_ = percent && percent->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
}

void StreamFold::Add(const json& message) {
  if (!message.is_object()) return;
  if (percent_) {
    progress_ = std::clamp(message.value("percent", 0.0), progress_, 100.0);
  } else {
    ++progress_;
  }
  if (result_field_.empty()) return AddPiece(message);
  if (const auto text = message.find("message"); text != message.end() && text->is_string()) {
    news_ = text->get<std::string>();
  }
  if (const auto result = message.find(result_field_); result != message.end() && result->is_object()) {
    output_ = *result;
  }
}

// Texts are continued, lists grow, everything else is as the last piece has it. What only pieces have is left out.
void StreamFold::AddPiece(const json& message) {
  for (const auto& [key, value] : message.items()) {
    if (!output_type_.FindFieldByName(key)) continue;
    const FieldDescriptor* field = type_.FindFieldByName(key);
    json& whole = output_[key];
    if (field && field->type() == FieldDescriptor::TYPE_STRING && value.is_string() && whole.is_string()) {
      whole.get_ref<std::string&>() += value.get_ref<const std::string&>();
    } else if (value.is_array() && whole.is_array()) {
      whole.insert(whole.end(), value.begin(), value.end());
    } else {
      whole = value;
    }
    if (field && field->type() == FieldDescriptor::TYPE_STRING && !field->has_presence() && value.is_string()) {
      news_ += value.get_ref<const std::string&>();
    }
  }
}

std::string StreamFold::TakeNews() { return std::exchange(news_, ""); }

}  // namespace aima::gateway::mcp
