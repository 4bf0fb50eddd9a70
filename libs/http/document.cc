#include "libs/http/document.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <openssl/sha.h>
#include <zlib.h>

#include <boost/asio/post.hpp>

namespace aima::http {
namespace {

constexpr size_t kStep = 64 << 10;
constexpr int kGzipWindow = 15 + 16;  // zlib's largest, with gzip's header

absl::string_view View(std::string_view text) { return absl::string_view(text.data(), text.size()); }

class Deflater {
 public:
  explicit Deflater(int level) { deflateInit2(&stream_, level, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY); }
  ~Deflater() { deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  void Add(std::string_view text, bool last) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream_.avail_in = static_cast<uInt>(text.size());
    do {
      const size_t used = out_.size();
      out_.resize(used + kStep / 4);
      stream_.next_out = reinterpret_cast<Bytef*>(out_.data() + used);
      stream_.avail_out = kStep / 4;
      deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH);
      out_.resize(out_.size() - stream_.avail_out);
    } while (stream_.avail_out == 0);
  }
  std::string Take() { return std::move(out_); }

 private:
  z_stream stream_ = {};
  std::string out_;
};

std::string_view WithoutWeakness(std::string_view tag) {
  return tag.substr(0, 2) == "W/" ? tag.substr(2) : tag;
}

}  // namespace

std::string EntityTag(std::string_view body, bool weak) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(body.data()), body.size(), digest);
  const std::string half = absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), 16));
  return absl::StrCat(weak ? "W/\"" : "\"", half, "\"");
}

bool HoldsTag(std::string_view if_none_match, std::string_view etag) {
  for (absl::string_view piece : absl::StrSplit(View(if_none_match), ',')) {
    piece = absl::StripAsciiWhitespace(piece);
    const std::string_view tag(piece.data(), piece.size());
    if (tag == "*" || (!tag.empty() && WithoutWeakness(tag) == WithoutWeakness(etag))) return true;
  }
  return false;
}

bool WantsGzip(std::string_view accept_encoding) {
  bool any = false;
  for (absl::string_view piece : absl::StrSplit(View(accept_encoding), ',')) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(piece, absl::MaxSplits(';', 1));
    const std::string coding = absl::AsciiStrToLower(absl::StripAsciiWhitespace(parts.first));
    absl::string_view weight = absl::StripAsciiWhitespace(parts.second);
    double quality = 1;
    if ((absl::ConsumePrefix(&weight, "q=") || absl::ConsumePrefix(&weight, "Q=")) && !absl::SimpleAtod(weight, &quality)) quality = 0;
    if (coding == "gzip" || coding == "x-gzip") return quality > 0;
    if (coding == "*") any = quality > 0;
  }
  return any;
}

Task<std::string> Gzip(std::string_view text, int level) {
  Deflater deflater(level);
  while (text.size() > kStep) {
    deflater.Add(text.substr(0, kStep), false);
    text.remove_prefix(kStep);
    co_await boost::asio::post(boost::asio::use_awaitable);
  }
  deflater.Add(text, true);
  co_return deflater.Take();
}

std::string GzipNow(std::string_view text) {
  Deflater deflater(Z_BEST_COMPRESSION);
  deflater.Add(text, true);
  return deflater.Take();
}

Document::Document(std::string media_type, std::string text)
    : type(std::move(media_type)), body(std::move(text)), etag(EntityTag(body)) {
  if (body.size() < kCompressMin) return;
  gzip = GzipNow(body);
  if (gzip.size() > body.size() * 9 / 10) gzip.clear();
}

Response DocumentResponse(const Request& request, const Document& document) {
  Response response;
  const bool packed = !document.gzip.empty() && WantsGzip(request.headers.Get("Accept-Encoding"));
  // Other bytes need another strong name.
  std::string etag = document.etag;
  if (packed) etag.insert(etag.size() - 1, "-gzip");
  if (!document.gzip.empty()) response.headers.Add("Vary", "Accept-Encoding");
  const std::string_view held = request.headers.Get("If-None-Match");
  if (!held.empty() && HoldsTag(held, etag)) {
    response.status = 304;
  } else {
    response.headers.Add("Content-Type", document.type);
    if (packed) response.headers.Add("Content-Encoding", "gzip");
    response.body = packed ? document.gzip : document.body;
  }
  response.headers.Add("ETag", std::move(etag));
  return response;
}

}  // namespace aima::http
