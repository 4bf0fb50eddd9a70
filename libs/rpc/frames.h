// Between nghttp2 and a Connection. Private to libs/rpc.
#pragma once

#include <absl/strings/string_view.h>
#include <nghttp2/nghttp2.h>

#include <vector>

#include "libs/rpc/headers.h"

namespace aima::rpc {

inline constexpr uint32_t kMaxHeaderBytes = 16 << 10;  // that a caller may send
inline constexpr size_t kStreamWindow = 256 << 10;

enum class Index { kYes, kNo };  // may the field go into the table of the compression?

// A header field that refers to `name` and `value`.
nghttp2_nv Field(absl::string_view name, absl::string_view value, Index index = Index::kYes);
void AppendFields(const Headers& headers, std::vector<nghttp2_nv>& fields);

// What nghttp2 calls while it reads and makes frames; its user data is the Connection.
nghttp2_session_callbacks* MakeCallbacks();

// Gives nghttp2 what a stream has to send, and then the end: a data provider's callback.
ssize_t ProvideBytes(nghttp2_session* session, int32_t id, uint8_t* buffer, size_t length, uint32_t* flags,
                     nghttp2_data_source* source, void* user);

}  // namespace aima::rpc
