#include "services/model/gguf.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <set>

#include "aima/model/v1/model.pb.h"
#include "libs/errors/errors.h"
#include "services/model/ggml_types.h"

namespace aima::model {

namespace {

constexpr uint64_t kMaxKeys = 65'536;
constexpr uint64_t kMaxTensors = 1'000'000;
constexpr uint64_t kMaxKeyLength = 256;
constexpr uint64_t kMaxTensorName = 256;
constexpr uint64_t kMaxTextKept = 64 * 1024;
constexpr uint64_t kMaxKept = 8 * 1024 * 1024;  // bytes of all keys and texts
constexpr uint64_t kMaxListKept = 1024;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kMinKeyBytes = 8 + 4 + 1;            // length of the name, type, smallest value
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;  // length of the name, dimensions, one of them, type, place

// Types of values, as the format numbers them.
enum ValueType : uint32_t {
  kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kText, kArray, kU64, kI64, kF64, kValueTypes
};
constexpr std::array<uint64_t, kValueTypes> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

bool IsInteger(uint32_t type) { return type != kF32 && type != kF64 && type != kText && type != kArray; }

class Reader {
 public:
  explicit Reader(const ByteSource& source) : source_(source), cursor_(source, 0, source.size()) {}

  absl::StatusOr<Gguf> Read() {
    RETURN_IF_ERROR(ReadStart());
    for (uint64_t i = 0; i < keys_; ++i) RETURN_IF_ERROR(ReadKey(i));
    RETURN_IF_ERROR(ReadAlignment());
    for (uint64_t i = 0; i < gguf_.tensors; ++i) RETURN_IF_ERROR(ReadTensor(i));
    RETURN_IF_ERROR(CheckExtent());
    const auto most = std::max_element(by_type_.begin(), by_type_.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != by_type_.end()) gguf_.main_type = std::string(FindGgmlType(most->first)->name);
    return std::move(gguf_);
  }

 private:
  absl::Status Wrong(uint64_t at, const std::string& what) const { return Corrupt(source_, at, what); }

  absl::Status ReadStart() {
    char magic[4];
    RETURN_IF_ERROR(cursor_.Read(magic, sizeof magic, "the magic number"));
    if (std::memcmp(magic, "GGUF", 4) != 0) return Wrong(0, "it does not begin with 'GGUF'");
    ASSIGN_OR_RETURN(gguf_.version, cursor_.Number<uint32_t>("the version"));
    if (gguf_.version != 2 && gguf_.version != 3) {
      const bool swapped = gguf_.version != 0 && (gguf_.version & 0xffff) == 0;
      return Error(v1::MODEL_FORMAT_UNSUPPORTED,
                   absl::StrCat("'", source_.name(), "' is ",
                                swapped ? "a big-endian GGUF file" : absl::StrCat("GGUF version ", gguf_.version),
                                "; little-endian versions 2 and 3 can be read"),
                   {{"path", source_.name()}});
    }
    ASSIGN_OR_RETURN(gguf_.tensors, cursor_.Number<uint64_t>("the number of tensors"));
    ASSIGN_OR_RETURN(keys_, cursor_.Number<uint64_t>("the number of keys"));
    if (gguf_.tensors > kMaxTensors || gguf_.tensors > cursor_.remaining() / kMinTensorBytes) {
      return Wrong(8, absl::StrCat("it claims ", gguf_.tensors, " tensors, more than the file can hold"));
    }
    if (keys_ > kMaxKeys || keys_ > cursor_.remaining() / kMinKeyBytes) {
      return Wrong(16, absl::StrCat("it claims ", keys_, " keys, more than the file can hold"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> ReadName(uint64_t max, const std::string& what) {
    const uint64_t at = cursor_.offset();
    ASSIGN_OR_RETURN(const uint64_t length, cursor_.Number<uint64_t>(what));
    if (length == 0 || length > max) {
      return Wrong(at, absl::StrCat(what, " has ", length, " bytes; 1 to ", max, " are allowed"));
    }
    return cursor_.Text(length, what);
  }

  absl::Status ReadKey(uint64_t index) {
    const uint64_t at = cursor_.offset();
    ASSIGN_OR_RETURN(const std::string key, ReadName(kMaxKeyLength, absl::StrCat("the name of key ", index)));
    RETURN_IF_ERROR(Keep(at, key.size()));
    if (!seen_.insert(key).second) {
      return Wrong(at, absl::StrCat("the key '", CleanText(key, 100), "' is there twice"));
    }
    const std::string what = absl::StrCat("the value of '", CleanText(key, 100), "'");
    ASSIGN_OR_RETURN(const uint32_t type, cursor_.Number<uint32_t>(what));
    if (type >= kValueTypes) return Wrong(cursor_.offset() - 4, absl::StrCat(what, " has the unknown type ", type));
    if (type == kText) return ReadText(key, what);
    if (type == kArray) return ReadArray(key, what);
    if (!IsInteger(type)) return cursor_.Skip(kValueBytes[type], what);
    ASSIGN_OR_RETURN(gguf_.integers[key], ReadInteger(type, what));
    return absl::OkStatus();
  }

  absl::StatusOr<int64_t> ReadInteger(uint32_t type, const std::string& what) {
    const uint64_t at = cursor_.offset();
    uint64_t bits = 0;
    RETURN_IF_ERROR(cursor_.Read(&bits, kValueBytes[type], what));
    switch (type) {
      case kI8: return static_cast<int8_t>(bits);
      case kI16: return static_cast<int16_t>(bits);
      case kI32: return static_cast<int32_t>(bits);
      case kI64: return static_cast<int64_t>(bits);
      case kBool:
        if (bits > 1) return Wrong(at, absl::StrCat(what, " is neither true nor false but ", bits));
        return static_cast<int64_t>(bits);
      default:
        // What does not fit is no figure of a model; it is kept as one that is out of every range.
        return bits > INT64_MAX ? int64_t{-1} : static_cast<int64_t>(bits);
    }
  }

  absl::Status ReadText(const std::string& key, const std::string& what) {
    ASSIGN_OR_RETURN(const uint64_t length, cursor_.Number<uint64_t>(what));
    gguf_.lengths[key] = length;
    if (length > kMaxTextKept || key == "tokenizer.chat_template") return cursor_.Skip(length, what);
    RETURN_IF_ERROR(Keep(cursor_.offset(), length));
    ASSIGN_OR_RETURN(gguf_.texts[key], cursor_.Text(length, what));
    return absl::OkStatus();
  }

  absl::Status ReadArray(const std::string& key, const std::string& what) {
    const uint64_t at = cursor_.offset();
    ASSIGN_OR_RETURN(const uint32_t type, cursor_.Number<uint32_t>(what));
    ASSIGN_OR_RETURN(const uint64_t count, cursor_.Number<uint64_t>(what));
    if (type == kArray) return Wrong(at, absl::StrCat(what, " is an array of arrays"));
    if (type >= kValueTypes) return Wrong(at, absl::StrCat(what, " has entries of the unknown type ", type));
    if (count > cursor_.remaining() / (type == kText ? 8 : kValueBytes[type])) {
      return Wrong(at + 4, absl::StrCat(what, " claims ", count, " entries, more than the file can hold"));
    }
    gguf_.lengths[key] = count;
    if (type == kText) {
      for (uint64_t i = 0; i < count; ++i) {
        ASSIGN_OR_RETURN(const uint64_t length, cursor_.Number<uint64_t>(what));
        RETURN_IF_ERROR(cursor_.Skip(length, what));
      }
      return absl::OkStatus();
    }
    if (!IsInteger(type) || count > kMaxListKept) return cursor_.Skip(count * kValueBytes[type], what);
    RETURN_IF_ERROR(Keep(at, count * sizeof(int64_t)));
    std::vector<int64_t>& list = gguf_.lists[key];
    for (uint64_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(list.emplace_back(), ReadInteger(type, what));
    }
    return absl::OkStatus();
  }

  absl::Status ReadAlignment() {
    const int64_t alignment = gguf_.Integer("general.alignment", 32);
    if (alignment <= 0 || alignment > static_cast<int64_t>(kMaxAlignment) ||
        !std::has_single_bit(static_cast<uint64_t>(alignment))) {
      return Wrong(cursor_.offset(), absl::StrCat("general.alignment is ", alignment, ", not a power of two up to ",
                                                  kMaxAlignment));
    }
    alignment_ = static_cast<uint64_t>(alignment);
    return absl::OkStatus();
  }

  absl::Status ReadTensor(uint64_t index) {
    ASSIGN_OR_RETURN(const std::string name, ReadName(kMaxTensorName, absl::StrCat("the name of tensor ", index)));
    const uint64_t at = cursor_.offset();
    const std::string what = absl::StrCat("tensor '", CleanText(name, 100), "'");
    ASSIGN_OR_RETURN(const uint32_t dimensions, cursor_.Number<uint32_t>(what));
    if (dimensions == 0 || dimensions > kMaxDimensions) {
      return Wrong(at, absl::StrCat(what, " has ", dimensions, " dimensions; 1 to ", kMaxDimensions,
                                    " are allowed"));
    }
    uint64_t numbers = 1, row = 0;
    for (uint32_t i = 0; i < dimensions; ++i) {
      ASSIGN_OR_RETURN(const uint64_t length, cursor_.Number<uint64_t>(what));
      if (i == 0) row = length;
      if (length == 0 || !Multiply(numbers, length, numbers)) {
        return Wrong(at, absl::StrCat(what, length == 0 ? " is empty" : " has more numbers than can be counted"));
      }
    }
    ASSIGN_OR_RETURN(const uint32_t type, cursor_.Number<uint32_t>(what));
    ASSIGN_OR_RETURN(const uint64_t offset, cursor_.Number<uint64_t>(what));
    const GgmlType* packing = FindGgmlType(type);
    if (packing == nullptr) {
      return Error(v1::MODEL_FORMAT_UNSUPPORTED,
                   absl::StrCat("'", source_.name(), "': ", what, " at byte ", at,
                                " is packed in a way that is not known (", type,
                                "): the file is corrupt or newer than this version of AIMA"),
                   {{"path", source_.name()}, {"offset", absl::StrCat(at)}});
    }
    uint64_t bytes = 0;
    if (row % packing->block != 0 || !Multiply(numbers / packing->block, packing->bytes, bytes)) {
      return Wrong(at, absl::StrCat(what, " has rows of ", row, " numbers, which cannot be packed as ",
                                    std::string(packing->name)));
    }
    if (offset != data_bytes_) {
      return Wrong(at, absl::StrCat(what, " begins at ", offset, " of the data instead of ", data_bytes_,
                                    ", where the one before it ends"));
    }
    const uint64_t padded = (bytes + alignment_ - 1) & ~(alignment_ - 1);
    if (padded < bytes || !Add(data_bytes_, padded, data_bytes_) || data_bytes_ - padded + bytes > source_.size()) {
      return Wrong(at, absl::StrCat(what, " takes ", bytes, " bytes, which go past the end of the file"));
    }
    last_end_ = data_bytes_ - padded + bytes;
    last_tensor_ = what;
    gguf_.parameters += numbers;  // fits: every number but those of tiny blocks takes part of a byte of the file
    gguf_.tensor_bytes += bytes;
    by_type_[type] += numbers;
    gguf_.classifier |= name.starts_with("cls.") || name.starts_with("classifier");
    return absl::OkStatus();
  }

  absl::Status CheckExtent() {
    gguf_.data_offset = (cursor_.offset() + alignment_ - 1) & ~(alignment_ - 1);
    if (last_end_ == 0) return absl::OkStatus();
    if (gguf_.data_offset > source_.size() || last_end_ > source_.size() - gguf_.data_offset) {
      return Wrong(source_.size(), absl::StrCat(last_tensor_, " ends at byte ", gguf_.data_offset + last_end_,
                                                ": the file is incomplete"));
    }
    return absl::OkStatus();
  }

  absl::Status Keep(uint64_t at, uint64_t bytes) {
    kept_ += bytes;
    if (kept_ <= kMaxKept) return absl::OkStatus();
    return Wrong(at, absl::StrCat("its keys and texts take more than ", kMaxKept, " bytes"));
  }

  const ByteSource& source_;
  Cursor cursor_;
  Gguf gguf_;
  uint64_t keys_ = 0;
  uint64_t alignment_ = 32;
  uint64_t data_bytes_ = 0;  // of the tensors so far, with padding
  uint64_t last_end_ = 0;    // of the last tensor, without padding
  std::string last_tensor_;
  uint64_t kept_ = 0;
  std::set<std::string> seen_;
  std::map<uint32_t, uint64_t> by_type_;
};

}  // namespace

int64_t Gguf::Integer(std::string_view key, int64_t otherwise) const {
  const auto found = integers.find(key);
  return found == integers.end() ? otherwise : found->second;
}

std::string Gguf::Text(std::string_view key) const {
  const auto found = texts.find(key);
  return found == texts.end() ? std::string() : found->second;
}

absl::StatusOr<Gguf> ReadGguf(const ByteSource& source) { return Reader(source).Read(); }

}  // namespace aima::model
