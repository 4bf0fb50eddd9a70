#include "libs/rpc/stream.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/rpc/connection.h"

namespace aima::rpc {
namespace {

// A message is preceded by a flag (1: compressed) and its length, big-endian.
constexpr size_t kPrefix = 5;
constexpr size_t kHighMark = 64 << 10;
constexpr absl::Duration kTakeTime = absl::Minutes(5);
constexpr absl::Duration kLastWordTime = absl::Seconds(5);

uint32_t LengthAt(const char* prefix) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(prefix + 1);
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

}  // namespace

const net::Peer& Stream::peer() const {
  static const net::Peer* const gone = new net::Peer();
  return connection_ ? connection_->peer() : *gone;
}

bool Stream::has_room() const { return Pending() < kHighMark; }

void Stream::BeginMessage(size_t size) {
  if (sent_ == out_.size()) {
    out_.clear();
    sent_ = 0;
  } else if (sent_ > kHighMark) {
    out_.erase(0, sent_);
    sent_ = 0;
  }
  const char prefix[kPrefix] = {0, static_cast<char>(size >> 24), static_cast<char>(size >> 16),
                                static_cast<char>(size >> 8), static_cast<char>(size)};
  out_.append(prefix, kPrefix);
}

bool Stream::Send(const google::protobuf::Message& message) {
  if (!connection_ || ended_) return true;
  const size_t size = message.ByteSizeLong();
  BeginMessage(size);
  const size_t start = out_.size();
  out_.resize(start + size);
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(out_.data() + start));
  connection_->Submit(*this);
  full_ = !has_room();
  return !full_;
}

bool Stream::Send(absl::string_view bytes) {
  if (!connection_ || ended_) return true;
  BeginMessage(bytes.size());
  out_.append(bytes.data(), bytes.size());
  connection_->Submit(*this);
  full_ = !has_room();
  return !full_;
}

void Stream::SendUnfinished(absl::string_view bytes, size_t size) {
  if (!connection_) return;
  BeginMessage(size);
  out_.append(bytes.data(), bytes.size());
  connection_->Submit(*this);
}

void Stream::SendHeaders(Headers headers) {
  if (!connection_ || begun_ || ended_) return;
  initial_ = std::move(headers);
  connection_->Submit(*this);
}

void Stream::EndRequests() {
  if (!connection_ || ended_) return;
  ended_ = true;
  connection_->Submit(*this);
}

void Stream::Finish(const absl::Status& status, Headers trailers) {
  const auto last = std::move(receiver_);
  if (!connection_ || ended_) return;
  // The deadline stays, for callers who do not take their answer. Where it is about to pass, it must not overtake the
  // answer, which may say why nothing was done in time.
  const absl::Time now = absl::Now();
  if (!has_deadline_entry_) {
    deadline_ = now + kTakeTime;
    connection_->WatchDeadline(*this);
  } else if (deadline_ < now + kLastWordTime) {
    SetDeadline(now + kLastWordTime);
  }
  ended_ = true;
  closing_ = std::move(trailers);
  AppendStatus(status, closing_);
  connection_->Submit(*this);
}

void Stream::Cancel() {
  const auto last = std::move(receiver_);
  if (!connection_) return;
  connection_->UnwatchDeadline(*this);
  ended_ = true;
  connection_->Reset(*this, NGHTTP2_CANCEL);
}

void Stream::Pause(bool paused) {
  paused_ = paused;
  if (paused || withheld_ == 0 || !connection_) return;
  connection_->Credit(*this, std::exchange(withheld_, 0));
}

void Stream::SetDeadline(absl::Time deadline) {
  if (!connection_ || ended_) return;
  connection_->UnwatchDeadline(*this);
  deadline_ = deadline;
  connection_->WatchDeadline(*this);
}

void Stream::EndWith(const absl::Status& status, bool reached, bool answered) {
  const auto last = std::move(receiver_);
  if (!last) return;
  if (connection_) connection_->UnwatchDeadline(*this);
  last->OnEnd({status, std::move(trailers_), reached, answered});
}

void Stream::Refuse(const absl::Status& status) {
  const auto last = std::move(receiver_);
  if (server_) {
    Finish(status);
  } else {
    Cancel();
  }
  if (last) last->OnEnd({status});
}

void Stream::Receive(const uint8_t* data, size_t size) {
  const auto self = shared_from_this();
  absl::string_view rest(reinterpret_cast<const char*>(data), size);
  while (!rest.empty() && receiver_ && connection_) {
    const auto receiver = receiver_;
    if (in_.empty() && rest.size() >= kPrefix && rest[0] == 0) {
      const size_t length = LengthAt(rest.data());
      if (rest.size() - kPrefix >= length) {  // the usual case: nothing needs to be kept
        receiver->OnMessage(rest.substr(kPrefix, length));
        rest.remove_prefix(kPrefix + length);
        continue;
      }
    }
    const size_t whole = in_.size() < kPrefix ? kPrefix : kPrefix + LengthAt(in_.data());
    const absl::string_view piece = rest.substr(0, whole - in_.size());
    in_.append(piece.data(), piece.size());
    rest.remove_prefix(piece.size());
    *receiving_ += piece.size();
    if (in_.size() < kPrefix) continue;
    if (in_[0] != 0) return Refuse(absl::UnimplementedError("compressed messages are not accepted: send grpc-encoding identity"));
    const size_t length = LengthAt(in_.data());
    if (length > connection_->limits_.message_bytes) {
      return Refuse(Error(unit::v1::TOO_LARGE, absl::StrCat("a message of ", length, " bytes; at most ",
                                                            connection_->limits_.message_bytes, " are accepted")));
    }
    if (*receiving_ > connection_->limits_.receiving_bytes) {
      return Refuse(Error(unit::v1::OVERLOADED, "too many large messages are being received at once"));
    }
    if (in_.size() < kPrefix + length) continue;
    const std::string message = std::exchange(in_, {});
    *receiving_ -= message.size();
    receiver->OnMessage(absl::string_view(message).substr(kPrefix));
  }
}

}  // namespace aima::rpc
