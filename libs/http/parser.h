// Beast's HTTP/1 parser, filling our messages. Private to libs/http.
#pragma once

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <string>

#include "libs/http/message.h"

namespace aima::http {

// Collects the head into `Message` and the body into `body()`, from where the caller may take bytes at any time.
template <bool is_request>
class Parser : public boost::beast::http::basic_parser<is_request> {
 public:
  using Error = boost::beast::error_code;
  using Text = boost::beast::string_view;
  using Message = std::conditional_t<is_request, Request, Response>;

  explicit Parser(int max_fields) : max_fields_(max_fields) { this->eager(true); }

  Message& message() { return message_; }
  std::string& body() { return message_.body; }
  int version() const { return version_; }

 private:
  static std::string_view View(Text text) { return std::string_view(text.data(), text.size()); }

  void on_request_impl(boost::beast::http::verb, Text method, Text target, int version, Error&) override {
    if constexpr (is_request) {
      message_.method = View(method);
      message_.target = View(target);
    }
    version_ = version;
  }
  void on_response_impl(int code, Text, int version, Error&) override {
    if constexpr (!is_request) message_.status = code;
    version_ = version;
  }
  void on_field_impl(boost::beast::http::field, Text name, Text value, Error& error) override {
    if (static_cast<int>(message_.headers.size()) >= max_fields_) {
      error = boost::beast::http::error::header_limit;
      return;
    }
    if (message_.headers.empty()) message_.headers.Reserve(8);
    message_.headers.Add(std::string(View(name)), std::string(View(value)));
  }
  void on_header_impl(Error&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>& length, Error&) override {
    if (length) message_.body.reserve(std::min<std::uint64_t>(*length, 1 << 20));
  }
  size_t on_body_impl(Text body, Error&) override {
    message_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, Text, Error&) override {}
  size_t on_chunk_body_impl(std::uint64_t, Text body, Error&) override {
    message_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_finish_impl(Error&) override {}

  const int max_fields_;
  int version_ = 11;
  Message message_;
};

}  // namespace aima::http
