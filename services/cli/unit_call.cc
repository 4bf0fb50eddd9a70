#include "services/cli/unit_call.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <iostream>
#include <memory>

#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "services/cli/output.h"
#include "services/cli/progress_display.h"
#include "services/cli/terminal.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

// Says on a terminal how long a call has been going on, once that is long, until `done`.
Task<void> TellTime(std::string unit, std::shared_ptr<bool> done) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
  for (int seconds = 1;; ++seconds) {
    timer.expires_after(std::chrono::seconds(1));
    boost::system::error_code error;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (error || *done) co_return;
    if (seconds >= 3) std::cerr << "\r" << unit << " … " << seconds << " s " << std::flush;
  }
}

// Takes the pieces of a stream: text is printed as text, progress goes to standard error, everything else is a value.
class StreamPrinter {
 public:
  StreamPrinter(std::string format, bool progress, const google::protobuf::Descriptor* type)
      : format_(std::move(format)), progress_(progress), type_(type), display_(stderr, isatty(STDERR_FILENO) != 0) {}

  void Take(const ordered_json& message) {
    last_ = message;
    if (progress_ && message.is_object()) {
      display_.Show(message);
      if (message.contains("result") && message["result"].is_object()) {
        display_.End();
        result_ = message["result"];
      }
      return;
    }
    if (format_ == "ndjson") {
      std::cout << message.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << std::endl;
      return;
    }
    const char* field = message.contains("content") ? "content" : "text";
    if (format_ == "table" && message.is_object() && message.contains(field) && message[field].is_string()) {
      std::cout << ForOutput(message[field].get<std::string>()) << std::flush;
      open_ = open_ || !message[field].get_ref<const std::string&>().empty();
      return;
    }
    End();
    if (format_ == "yaml") std::cout << "---\n";
    std::cout << Format(message, format_, type_) << std::flush;
  }

  // Ends a line of text that is open.
  void End() {
    if (open_) std::cout << std::endl;
    open_ = false;
    display_.End();
  }

  const ordered_json& result() const { return result_; }
  const ordered_json& last() const { return last_; }

 private:
  const std::string format_;
  const bool progress_;
  const google::protobuf::Descriptor* const type_;
  ProgressDisplay display_;
  bool open_ = false;
  ordered_json result_, last_;
};

absl::StatusOr<ordered_json> Stream(Session& session, GatewayClient& client, const UnitCall& call) {
  StreamPrinter printer(session.globals.output, call.progress, OutputTypeOf(call.unit, /*stream=*/true));
  boost::asio::signal_set interrupted(session.loop);
  if (call.attaches) {
    interrupted.add(SIGINT);
    interrupted.async_wait([&](boost::system::error_code error, int) {
      if (error) return;
      std::cerr << "\n"
                << (call.on_leave ? call.on_leave(printer.last())
                                  : absl::StrCat("No longer watching ", call.unit,
                                                 ", which goes on; the same command shows it again."))
                << std::endl;
      std::_Exit(128 + SIGINT);
    });
  }
  const absl::Status status = Await(
      session.loop,
      client.Stream(
          call.unit, call.input, [&printer](const ordered_json& message) { printer.Take(message); }, call.options));
  printer.End();
  interrupted.cancel();
  RETURN_IF_ERROR(status);
  return printer.result();
}

absl::StatusOr<ordered_json> Plain(Session& session, GatewayClient& client, const UnitCall& call) {
  const bool tell = isatty(STDERR_FILENO) != 0;
  const auto done = std::make_shared<bool>(false);
  if (tell) boost::asio::co_spawn(session.loop, TellTime(call.unit, done), boost::asio::detached);
  absl::StatusOr<ordered_json> output = Await(session.loop, client.Execute(call.unit, call.input, call.options));
  *done = true;
  if (tell) std::cerr << "\r\033[K" << std::flush;
  return output;
}

}  // namespace

absl::StatusOr<KnownUnit> Describe(Session& session, GatewayClient& client, const std::string& unit) {
  absl::StatusOr<ordered_json> told = Await(session.loop, client.Get("units/" + unit));
  if (told.ok()) return KnownUnit{*std::move(told), absl::OkStatus()};
  if (!absl::IsUnavailable(told.status())) return told.status();
  ordered_json local = DescribeLocally(unit);
  if (local.is_object()) return KnownUnit{std::move(local), told.status()};
  if (!LocalCatalogue()) return told.status();
  std::vector<std::string> names;
  for (const UnitInfo& known : LocalCatalogue()->units()) names.push_back(known.name);
  const std::vector<std::string> near = Nearest(unit, names, 2);
  return WithRemedy(
      absl::NotFoundError(absl::StrCat("this version of aima knows no unit '", unit, "'",
                                       near.empty() ? "" : "; did you mean " + absl::StrJoin(near, " or ") + "?")),
      absl::StrCat("Nor can the cluster be asked: ", told.status().message(), "."));
}

bool TellsProgress(const ordered_json& description) {
  const ordered_json schema = description.value("stream_schema", ordered_json::object());
  const ordered_json properties = schema.value("properties", ordered_json::object());
  return properties.contains("percent") && properties.contains("message") && properties.contains("result");
}

absl::StatusOr<ordered_json> OutputOf(Session& session, GatewayClient& client, const UnitCall& call) {
  return call.stream ? Stream(session, client, call) : Plain(session, client, call);
}

absl::Status RunUnit(Session& session, GatewayClient& client, const UnitCall& call) {
  ASSIGN_OR_RETURN(const ordered_json output, OutputOf(session, client, call));
  if (call.stream && !call.progress) return absl::OkStatus();  // printed as it came
  const google::protobuf::Descriptor* type = call.options.async ? nullptr : OutputTypeOf(call.unit);
  std::cout << Format(output, session.globals.output, type) << std::flush;
  if (call.options.async && isatty(STDERR_FILENO) != 0) {
    std::cerr << "`aima exec operation.wait --operation-id " << Text(output, "id") << "` waits for its end.\n";
  }
  return absl::OkStatus();
}

}  // namespace aima::cli
