// aima watch: a resource as it is, and each change of it as it comes.
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <iostream>

#include "libs/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/cli/gateway_client.h"
#include "services/cli/json_changes.h"
#include "services/cli/output.h"
#include "services/cli/table.h"
#include "services/cli/terminal.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

constexpr char kScheme[] = "asms://";

Task<absl::Status> Pause(absl::Duration time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, absl::ToChronoNanoseconds(time));
  co_await timer.async_wait(boost::asio::use_awaitable);
  co_return absl::OkStatus();
}

// Prints values as they come, each only if it differs from the one before.
class Watched {
 public:
  Watched(const Globals& globals, const std::string& uri) : globals_(globals) {
    const Catalogue* catalogue = LocalCatalogue();
    const ViewInfo* view = catalogue ? catalogue->FindView(uri).view : nullptr;
    if (view) type_ = OutputTypeOf(view->unit->name);
  }

  void Take(const ordered_json& value) {
    if (!first_ && value == last_) return;
    if (globals_.output == "table" && !first_) {
      const std::string time =
          Painted(absl::FormatTime("%H:%M:%S", absl::Now(), absl::LocalTimeZone()), Colour::kDim, STDOUT_FILENO);
      const size_t width = globals_.wide ? 0 : TerminalWidth(STDOUT_FILENO);
      for (const std::string& change : Changes(last_, value)) {
        std::cout << time << "  " << (width > 12 ? CutTo(change, width - 10) : change) << "\n";
      }
    } else if (globals_.output == "json" || globals_.output == "ndjson") {
      // A line each: what reads them need not know where one ends.
      std::cout << value.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << "\n";
    } else {
      if (globals_.output == "yaml") std::cout << "---\n";
      std::cout << Format(value, globals_.output, type_);
    }
    std::cout << std::flush;
    last_ = value;
    first_ = false;
  }

 private:
  const Globals& globals_;
  const google::protobuf::Descriptor* type_ = nullptr;
  bool first_ = true;
  ordered_json last_;
};

absl::Status ListAddresses(Session& session, GatewayClient& client) {
  ASSIGN_OR_RETURN(const ordered_json units, Await(session.loop, client.Get("units")));
  const ordered_json resources = units.value("resources", ordered_json::array());
  if (session.globals.output != "table") {
    std::cout << Format({{"resources", resources}}, session.globals.output);
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows = {{"ADDRESS", "WHAT IT SHOWS"}};
  for (const ordered_json& resource : resources) {
    rows.push_back({Text(resource, "uri"), FirstSentence(Text(resource, "description"))});
  }
  std::cout << FormatTable(rows);
  return absl::OkStatus();
}

}  // namespace

absl::Status WatchCommand(Session& session) {
  const std::optional<std::string> address = session.arguments.Next();
  RETURN_IF_ERROR(session.arguments.Done("watch"));
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client, GatewayClient::Connect(session.loop, session.globals));
  if (!address) return ListAddresses(session, *client);
  const std::string uri = address->starts_with(kScheme) ? *address : kScheme + *address;
  Watched watched(session.globals, uri);
  absl::Duration pause = absl::Milliseconds(250);
  for (bool begun = false, told = false;;) {
    const absl::Status status = AwaitOrInterrupt(session.loop, client->Watch(uri, [&](const ordered_json& value) {
      if (told) std::cerr << "The gateway is back." << std::endl;
      begun = true;
      told = false;
      pause = absl::Milliseconds(250);
      watched.Take(value);
    }));
    // A gateway that ends or is started anew comes back; everything else is an answer.
    const bool away = status.code() == absl::StatusCode::kUnavailable ||
                      status.code() == absl::StatusCode::kResourceExhausted ||
                      status.code() == absl::StatusCode::kDeadlineExceeded || status.ok();
    if (!begun || !away) return status;
    if (!told) std::cerr << "The stream broke off; waiting for the gateway." << std::endl;
    told = true;
    RETURN_IF_ERROR(AwaitOrInterrupt(session.loop, Pause(pause)));
    pause = std::min(pause * 2, absl::Seconds(5));
  }
}

}  // namespace aima::cli
