#include "libs/rpc/frames.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <cstring>

#include "libs/rpc/connection.h"

namespace aima::rpc {

namespace {

constexpr uint32_t kMaxAnswerHeaderBytes = 256 << 10;  // that a server may

absl::string_view View(const uint8_t* data, size_t size) { return {reinterpret_cast<const char*>(data), size}; }

// As gRPC maps what proxies and others answer in its place.
absl::StatusCode CodeOfHttp(absl::string_view status) {
  if (status == "401") return absl::StatusCode::kUnauthenticated;
  if (status == "403") return absl::StatusCode::kPermissionDenied;
  if (status == "404") return absl::StatusCode::kUnimplemented;
  if (status == "429" || status == "502" || status == "503" || status == "504") return absl::StatusCode::kUnavailable;
  return absl::StatusCode::kUnknown;
}

}  // namespace

nghttp2_nv Field(absl::string_view name, absl::string_view value, Index index) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          static_cast<uint8_t>(index == Index::kYes ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX)};
}

// Values of metadata rarely repeat: keeping them out of the compression table keeps the table useful.
void AppendFields(const Headers& headers, std::vector<nghttp2_nv>& fields) {
  for (const auto& [name, value] : headers) fields.push_back(Field(name, value, Index::kNo));
}

// What nghttp2 tells while it reads and makes frames.
struct Callbacks {
  static Connection& Of(void* user) { return *static_cast<Connection*>(user); }
  static Stream* StreamOf(Connection& connection, int32_t id) {
    const auto found = connection.streams_.find(id);
    return found == connection.streams_.end() ? nullptr : found->second.get();
  }

  static int OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Connection& connection = Of(user);
    if (!connection.server_ || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    if (!connection.open()) return 0;  // refused by the GOAWAY that is on its way
    auto stream = std::make_shared<Stream>(connection, connection.receiving_, /*server=*/true);
    stream->id_ = frame->hd.stream_id;
    connection.streams_[stream->id_] = std::move(stream);
    return 0;
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name_data, size_t name_size,
                      const uint8_t* value_data, size_t value_size, uint8_t, void* user) {
    Stream* stream = StreamOf(Of(user), frame->hd.stream_id);
    if (!stream) return 0;
    // As RFC 9113 counts. A few bytes of compressed header can stand for very many.
    stream->header_bytes_ += name_size + value_size + 32;
    if (stream->header_bytes_ > (stream->server_ ? kMaxHeaderBytes : kMaxAnswerHeaderBytes)) {
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    const absl::string_view name = View(name_data, name_size);
    const absl::string_view value = View(value_data, value_size);
    if (stream->headers_.empty()) stream->headers_.reserve(16);
    if (stream->got_headers_) {
      if (!absl::StartsWith(name, ":")) stream->trailers_.emplace_back(name, value);
    } else if (name == ":path") {
      stream->path_ = std::string(value);
    } else if (name == ":status" || name == ":method" || name == "content-type" || name == "grpc-timeout" ||
               name == "grpc-encoding" || !stream->server_ || !IsReserved(name)) {
      stream->headers_.emplace_back(name, value);
    }
    return 0;
  }

  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Connection& connection = Of(user);
    const bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    switch (frame->hd.type) {
      case NGHTTP2_SETTINGS: connection.greeted_ = true; return 0;
      case NGHTTP2_GOAWAY:
        if (!connection.server_) connection.going_away_ = true;
        return 0;
      case NGHTTP2_HEADERS:
      case NGHTTP2_DATA: break;
      default: return 0;
    }
    Stream* found = StreamOf(connection, frame->hd.stream_id);
    if (!found) return 0;
    const auto stream = found->shared_from_this();
    if (last) stream->remote_ended_ = true;
    if (frame->hd.type == NGHTTP2_HEADERS) OnHeadersFrame(connection, *stream, last);
    if (last && stream->server_) {
      if (const auto receiver = stream->receiver_) receiver->OnHalfClose();
    } else if (last && stream->receiver_) {
      stream->Refuse(absl::UnknownError("the call ended without a status"));
    }
    return 0;
  }

  static void OnHeadersFrame(Connection& connection, Stream& stream, bool last) {
    const bool first = !std::exchange(stream.got_headers_, true);
    if (stream.server_) {
      if (first) connection.Begun(stream);
      return;
    }
    if (last) {
      if (first) stream.trailers_ = std::move(stream.headers_);
      std::optional<absl::Status> status = StatusOf(stream.trailers_);
      if (!status) return;
      stream.EndWith(*status, true, true);
      if (!stream.ended_) stream.Cancel();  // it wants no more requests
    } else if (first) {
      const std::string* status = Find(stream.headers_, ":status");
      if (status && *status != "200") {
        return stream.Refuse(absl::Status(CodeOfHttp(*status), absl::StrCat("the server answers HTTP ", *status)));
      }
      if (const auto receiver = stream.receiver_) receiver->OnHeaders(stream.headers_);
    }
  }

  static int OnData(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* data, size_t size, void* user) {
    nghttp2_session_consume_connection(session, size);
    Stream* found = StreamOf(Of(user), id);
    if (!found) return 0;
    const auto stream = found->shared_from_this();
    stream->Receive(data, size);
    if (stream->paused_) {
      stream->withheld_ += size;
    } else {
      nghttp2_session_consume_stream(session, id, size);
    }
    return 0;
  }

  static int OnClose(nghttp2_session*, int32_t id, uint32_t error_code, void* user) {
    Of(user).Forget(id, error_code);
    return 0;
  }

  static int OnSent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    Stream* stream = StreamOf(Of(user), frame->hd.stream_id);
    if (!stream) return 0;
    if (!stream->server_) {
      stream->on_wire_ = true;
    } else if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && !stream->remote_ended_) {
      // The caller may stop sending requests: nobody reads them.
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static int OnNotSent(nghttp2_session* session, const nghttp2_frame* frame, int, void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    if (Of(user).server_) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
    } else {
      Of(user).Forget(frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
    }
    return 0;
  }

  // Gives nghttp2 what a stream has to send.
  static ssize_t Provide(nghttp2_session* session, int32_t id, uint8_t* buffer, size_t length, uint32_t* flags,
                         nghttp2_data_source*, void* user) {
    Connection& connection = Of(user);
    Stream* stream = StreamOf(connection, id);
    if (!stream) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const size_t size = std::min(length, stream->Pending());
    memcpy(buffer, stream->out_.data() + stream->sent_, size);
    stream->sent_ += size;
    if (stream->full_ && stream->Pending() <= kStreamWindow / 16) {
      stream->full_ = false;
      connection.writable_.push_back(stream->shared_from_this());
    }
    if (stream->Pending() > 0) return static_cast<ssize_t>(size);
    if (stream->ended_) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (stream->server_) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        std::vector<nghttp2_nv> fields;
        AppendFields(stream->closing_, fields);
        nghttp2_submit_trailer(session, id, fields.data(), fields.size());
      }
    } else if (size == 0) {
      stream->deferred_ = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    return static_cast<ssize_t>(size);
  }

  static nghttp2_session_callbacks* Make() {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, OnBeginHeaders);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnClose);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, OnSent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, OnNotSent);
    return callbacks;
  }
};

nghttp2_session_callbacks* MakeCallbacks() { return Callbacks::Make(); }

ssize_t ProvideBytes(nghttp2_session* session, int32_t id, uint8_t* buffer, size_t length, uint32_t* flags,
                     nghttp2_data_source* source, void* user) {
  return Callbacks::Provide(session, id, buffer, length, flags, source, user);
}

}  // namespace aima::rpc
