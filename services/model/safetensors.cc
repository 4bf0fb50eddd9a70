#include "services/model/safetensors.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <streambuf>

#include "aima/model/v1/model.pb.h"
#include "libs/errors/errors.h"
#include "services/model/shallow_json.h"

namespace aima::model {

namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;
constexpr uint64_t kMaxIndex = 100'000'000;
constexpr size_t kMaxTensors = 1'000'000;
constexpr size_t kMaxDimensions = 16;
constexpr size_t kMaxShards = 10'000;

// Bits of one number of a type; nullopt if the type is not known.
std::optional<uint64_t> BitsOf(const std::string& type) {
  static const std::map<std::string, uint64_t> kBits = {
      {"BOOL", 8},   {"U8", 8},      {"I8", 8},      {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8},
      {"F4", 4},     {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16},    {"U16", 16},    {"F16", 16},
      {"BF16", 16},  {"I32", 32},    {"U32", 32},    {"F32", 32},    {"I64", 64},    {"U64", 64},
      {"F64", 64},   {"C64", 64},    {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
  };
  const auto found = kBits.find(type);
  if (found == kBits.end()) return std::nullopt;
  return found->second;
}

// A part of a source as a stream, so that a header is parsed without being in memory as a whole.
class CursorStream : public std::streambuf {
 public:
  explicit CursorStream(Cursor& cursor) : cursor_(cursor) {}
  const absl::Status& status() const { return failure_; }
  uint64_t offset() const { return cursor_.offset() - static_cast<uint64_t>(egptr() - gptr()); }

 protected:
  int_type underflow() override {
    const size_t count = std::min<uint64_t>(sizeof chunk_, cursor_.remaining());
    if (count == 0 || !failure_.ok()) return traits_type::eof();
    failure_ = cursor_.Read(chunk_, count, "the header");
    if (!failure_.ok()) return traits_type::eof();
    setg(chunk_, chunk_, chunk_ + count);
    return traits_type::to_int_type(chunk_[0]);
  }

 private:
  Cursor& cursor_;
  absl::Status failure_;
  char chunk_[16 * 1024];
};

// Takes the header apart while it is parsed: {"name": {"dtype": …, "shape": […], "data_offsets": [b, e]}, …},
// and __metadata__, an object of texts.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(const ByteSource& source, const CursorStream& stream, uint64_t data_bytes)
      : source_(source), stream_(stream), data_bytes_(data_bytes) {}

  absl::StatusOr<Safetensors> Finish() {
    RETURN_IF_ERROR(failure_);
    std::sort(extents_.begin(), extents_.end());
    uint64_t expected = 0;
    for (const auto& [begin, end] : extents_) {
      if (begin != expected) {
        return Corrupt(source_, data_at_ + std::min(begin, expected),
                       absl::StrCat(begin < expected ? "tensors overlap" : "no tensor covers the data", " from ",
                                    std::min(begin, expected), " to ", std::max(begin, expected), " of the data"));
      }
      expected = end;
    }
    if (expected != data_bytes_) {
      return Corrupt(source_, data_at_ + expected,
                     absl::StrCat("tensors take ", expected, " bytes of data, but the file holds ", data_bytes_));
    }
    found_.tensors = extents_.size();
    found_.tensor_bytes = expected;
    return std::move(found_);
  }
  void set_data_at(uint64_t at) { data_at_ = at; }
  const absl::Status& status() const { return failure_; }

  bool start_object(size_t) override {
    if (++depth_ == 2) tensor_ = Tensor();
    return (depth_ <= 2 && list_ == nullptr) || Wrong("an object where none belongs");
  }
  bool end_object() override {
    if (--depth_ == 1 && !metadata_) return CheckTensor();
    return true;
  }
  bool key(std::string& key) override {
    if (depth_ == 1) {
      name_ = CleanText(key, 100);
      metadata_ = key == "__metadata__";
      return metadata_ || names_.insert(std::hash<std::string>()(key)).second ||
             Wrong(absl::StrCat("tensor '", name_, "' is there twice"));
    }
    field_ = key;
    return true;
  }
  bool start_array(size_t) override {
    list_ = nullptr;
    if (depth_ == 2 && !metadata_ && field_ == "shape") list_ = &tensor_.shape;
    if (depth_ == 2 && !metadata_ && field_ == "data_offsets") list_ = &tensor_.offsets;
    return list_ != nullptr || Wrong("a list where none belongs");
  }
  bool end_array() override {
    list_ = nullptr;
    return true;
  }
  bool number_unsigned(uint64_t value) override {
    if (list_ == nullptr || list_->size() >= kMaxDimensions) return Wrong("a number where none belongs");
    list_->push_back(value);
    return true;
  }
  bool string(std::string& value) override {
    if (metadata_ && depth_ == 2) return true;
    if (depth_ != 2 || list_ != nullptr || field_ != "dtype") return Wrong("a text where none belongs");
    tensor_.type = value.substr(0, 32);
    return true;
  }
  bool number_integer(int64_t value) override { return Wrong(absl::StrCat("the negative number ", value)); }
  bool number_float(double, const std::string& text) override {
    return Wrong(absl::StrCat("the number ", CleanText(text, 40), ", which is not whole or too large"));
  }
  bool null() override { return Wrong("null where a value belongs"); }
  bool boolean(bool) override { return Wrong("a truth value where none belongs"); }
  bool binary(binary_t&) override { return Wrong("binary data"); }
  bool parse_error(size_t, const std::string& token, const Json::exception&) override {
    return Wrong(absl::StrCat("invalid JSON near '", CleanText(token.substr(0, 40), 40), "'"));
  }

 private:
  struct Tensor {
    std::string type;
    std::vector<uint64_t> shape, offsets;
  };

  bool Wrong(const std::string& what) {
    if (failure_.ok()) {
      const std::string where = depth_ >= 2 ? absl::StrCat("in '", name_, "' ") : "";
      failure_ = Corrupt(source_, stream_.offset(), absl::StrCat("its header holds ", where, what));
    }
    return false;
  }

  bool CheckTensor() {
    const std::string what = absl::StrCat("tensor '", name_, "'");
    const std::optional<uint64_t> bits = BitsOf(tensor_.type);
    if (!bits) return Wrong(absl::StrCat(what, " of the unknown type '", CleanText(tensor_.type, 32), "'"));
    if (tensor_.offsets.size() != 2) return Wrong(absl::StrCat(what, " without a beginning and an end"));
    const uint64_t begin = tensor_.offsets[0], end = tensor_.offsets[1];
    if (begin > end || end > data_bytes_) {
      return Wrong(absl::StrCat(what, " from ", begin, " to ", end, " of ", data_bytes_, " bytes of data"));
    }
    uint64_t numbers = 1, size = 0;
    for (const uint64_t length : tensor_.shape) {
      if (!Multiply(numbers, length, numbers)) return Wrong(absl::StrCat(what, " with too many numbers"));
    }
    if (!Multiply(numbers, *bits, size) || size % 8 != 0 || size / 8 != end - begin) {
      return Wrong(absl::StrCat(what, " whose shape of ", numbers, " numbers does not take ", end - begin,
                                " bytes"));
    }
    if (extents_.size() >= kMaxTensors) return Wrong(absl::StrCat("more than ", kMaxTensors, " tensors"));
    extents_.emplace_back(begin, end);
    found_.parameters += numbers;
    found_.parameters_by_type[tensor_.type] += numbers;
    return true;
  }

  const ByteSource& source_;
  const CursorStream& stream_;
  const uint64_t data_bytes_;
  uint64_t data_at_ = 0;
  absl::Status failure_;
  Safetensors found_;
  std::vector<std::pair<uint64_t, uint64_t>> extents_;
  std::set<size_t> names_;  // hashes
  int depth_ = 0;
  bool metadata_ = false;
  std::string name_, field_;
  Tensor tensor_;
  std::vector<uint64_t>* list_ = nullptr;
};

}  // namespace

std::string Safetensors::MainType() const {
  const auto most = std::max_element(parameters_by_type.begin(), parameters_by_type.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == parameters_by_type.end() ? std::string() : most->first;
}

absl::StatusOr<Safetensors> ReadSafetensors(const ByteSource& source) {
  Cursor start(source, 0, source.size());
  ASSIGN_OR_RETURN(const uint64_t length, start.Number<uint64_t>("the length of the header"));
  if (length < 2 || length > kMaxHeader || length > source.size() - 8) {
    return Corrupt(source, 0, absl::StrCat("it claims a header of ", length, " bytes; 2 to ", kMaxHeader,
                                           " and no more than the file holds are allowed"));
  }
  Cursor header(source, 8, 8 + length);
  CursorStream stream(header);
  if (stream.sgetc() != '{') return Corrupt(source, 8, "its header does not begin with '{'");
  std::istream in(&stream);
  HeaderReader reader(source, stream, source.size() - 8 - length);
  reader.set_data_at(8 + length);
  const bool parsed = Json::sax_parse(in, &reader);
  RETURN_IF_ERROR(stream.status());
  RETURN_IF_ERROR(reader.status());
  if (!parsed) return Corrupt(source, 8, "its header is not valid JSON");
  return reader.Finish();
}

absl::StatusOr<std::vector<std::string>> ReadShardNames(const ByteSource& index) {
  if (index.size() > kMaxIndex) {
    return Corrupt(index, 0, absl::StrCat("an index of more than ", kMaxIndex, " bytes"));
  }
  Cursor cursor(index, 0, index.size());
  ASSIGN_OR_RETURN(const std::string text, cursor.Text(index.size(), "the index"));
  const Json json = ParseShallow(text);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    return Corrupt(index, 0, "it is no JSON object with a 'weight_map'");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos ||
        !name.ends_with(".safetensors") || CleanText(name, 255) != name) {
      return Corrupt(index, 0, absl::StrCat("'weight_map' places '", CleanText(tensor, 100),
                                            "' in something that is no safetensors file beside it"));
    }
    names.insert(name);
    if (names.size() > kMaxShards) {
      return Corrupt(index, 0, absl::StrCat("it names more than ", kMaxShards, " files"));
    }
  }
  if (names.empty()) return Corrupt(index, 0, "its 'weight_map' is empty");
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace aima::model
