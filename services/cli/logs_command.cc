// aima logs: what services and engines of this machine wrote down, whether or not they run.
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/time/clock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <iostream>
#include <tuple>

#include "aima/unit/v1/unit.pb.h"
#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "libs/config/config.h"
#include "libs/unit/quantity.h"
#include "services/cli/commands.h"
#include "services/cli/files.h"
#include "services/cli/log_reader.h"
#include "services/cli/logs.h"
#include "services/cli/supervisor.h"
#include "services/cli/terminal.h"

namespace aima::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kUsual = 200;
constexpr size_t kAll = 1'000'000;

struct Wish {
  size_t lines = kUsual;
  absl::Time since = absl::InfinitePast();
  bool follow = false;
};

absl::StatusOr<Wish> TakeWish(Session& session) {
  Wish wish;
  wish.follow = session.arguments.Flag("follow", 'f');
  ASSIGN_OR_RETURN(const std::optional<std::string> since, session.arguments.Value("since"));
  ASSIGN_OR_RETURN(std::optional<std::string> lines, session.arguments.Value("tail"));
  if (!lines) {
    ASSIGN_OR_RETURN(lines, session.arguments.Value("n"));
  }
  if (since) {
    const absl::StatusOr<int64_t> ago = ParseQuantity(*since, unit::v1::MILLISECONDS);
    std::string error;
    if (ago.ok()) {
      wish.since = absl::Now() - absl::Milliseconds(*ago);
    } else if (!absl::ParseTime(absl::RFC3339_full, *since, &wish.since, &error)) {
      return UsageError("--since takes how long ago, such as 10m, or a time, such as 2026-11-21T09:00:00Z");
    }
    wish.lines = kAll;
  }
  if (lines && *lines == "all") {
    wish.lines = kAll;
  } else if (lines && !absl::SimpleAtoi(*lines, &wish.lines)) {
    return UsageError("--tail takes a number of lines, or all");
  }
  return wish;
}

// A log and the lines of it that are to be shown.
struct Source {
  std::string name;
  LogFile file;
  std::optional<absl::Time> time{};  // of the line that was read last
};

class Printer {
 public:
  Printer(const Globals& globals, size_t names)
      : raw_(globals.output != "table"), colours_(HasColours(STDOUT_FILENO)), names_(names) {}

  void Print(const std::string& name, const LogLine& line) {
    if (raw_) {
      std::cout << ForPrograms(line, name) << "\n";
      return;
    }
    if (names_ > 0)
      std::cout << Painted(name, Colour::kDim, STDOUT_FILENO) << std::string(names_ - name.size() + 2, ' ');
    std::cout << ForPeople(line, colours_) << "\n";
  }

 private:
  const bool raw_, colours_;
  const size_t names_;
};

Task<absl::Status> Pause() {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, std::chrono::milliseconds(100));
  co_await timer.async_wait(boost::asio::use_awaitable);
  co_return absl::OkStatus();
}

absl::Time TimeWritten(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 ? absl::TimeFromTimespec(info.st_mtim) : absl::InfinitePast();
}

void PrintLast(std::vector<Source>& sources, const Wish& wish, Printer& printer) {
  struct Entry {
    absl::Time time;
    size_t order;  // lines of one file stay as they are
    const std::string* name;
    LogLine line;
  };
  std::vector<Entry> entries;
  for (Source& source : sources) {
    // A file without any time is as new as what was written to it last.
    const absl::Time written = TimeWritten(source.file.path());
    for (LogLine& line : ReadLogLines(source.file.Last(wish.lines), source.name)) {
      const absl::Time time = line.time.value_or(written);
      source.time = line.time;
      if (time >= wish.since) entries.push_back({time, entries.size(), &source.name, std::move(line)});
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.time, a.order) < std::tie(b.time, b.order); });
  const size_t begin = entries.size() > wish.lines ? entries.size() - wish.lines : 0;
  for (size_t i = begin; i < entries.size(); ++i) printer.Print(*entries[i].name, entries[i].line);
}

}  // namespace

std::vector<LogPlace> LogsOf(const std::string& data_dir) {
  std::vector<LogPlace> places;
  std::error_code ignored;
  std::string own = data_dir + "/logs";
  if (access(EffectiveConfigFile(data_dir).c_str(), R_OK) == 0) {
    const absl::StatusOr<config::v1::Config> config = config::Load({.file = EffectiveConfigFile(data_dir)});
    if (config.ok() && !config->logging().dir().empty()) own = config->logging().dir();
  }
  for (const bool engine : {false, true}) {
    for (const fs::directory_entry& entry :
         fs::directory_iterator(engine ? data_dir + "/logs/engines" : own, ignored)) {
      if (entry.path().extension() != ".log" || !entry.is_regular_file(ignored)) continue;
      places.push_back({entry.path().stem(), entry.path(), engine});
    }
  }
  std::sort(places.begin(), places.end(), [](const LogPlace& a, const LogPlace& b) {
    return std::tie(a.engine, a.name) < std::tie(b.engine, b.name);
  });
  return places;
}

absl::Status LogsCommand(Session& session) {
  ASSIGN_OR_RETURN(const Wish wish, TakeWish(session));
  const std::vector<std::string> wanted = session.arguments.words();
  const std::vector<LogPlace> places = LogsOf(session.globals.data_dir);
  std::vector<std::string> names;
  for (const LogPlace& place : places) names.push_back(place.name);
  std::vector<Source> sources;
  for (const std::string& name : wanted) {
    if (name.starts_with('-')) return UsageOf(*session.command, absl::StrCat("has no flag ", name));
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      const std::vector<std::string> near = Nearest(name, names, 2);
      return WithRemedy(
          absl::NotFoundError(absl::StrCat("there is no log of ", name, " in ", session.globals.data_dir, "/logs",
                                           near.empty() ? "" : "; did you mean " + absl::StrJoin(near, " or ") + "?")),
          names.empty() ? "Logs are kept where the cluster runs; --data-dir names another directory."
                        : absl::StrCat("There are logs of ", absl::StrJoin(names, ", "), "."));
    }
    sources.push_back({name, LogFile(places[static_cast<size_t>(found - names.begin())].path)});
  }
  // Without a name, what the cluster's own processes say; engines talk much.
  for (const LogPlace& place : places) {
    if (wanted.empty() && !place.engine) sources.push_back({place.name, LogFile(place.path)});
  }
  if (sources.empty()) {
    return WithRemedy(absl::NotFoundError(absl::StrCat("there are no logs in ", session.globals.data_dir, "/logs")),
                      "`aima start` makes some; --data-dir names another directory.");
  }
  size_t width = 0;
  if (sources.size() > 1) {
    for (const Source& source : sources) width = std::max(width, source.name.size());
  }
  Printer printer(session.globals, width);
  PrintLast(sources, wish, printer);
  std::cout << std::flush;
  while (wish.follow) {
    RETURN_IF_ERROR(AwaitOrInterrupt(session.loop, Pause()));
    for (Source& source : sources) {
      for (std::string& text : source.file.More()) {
        LogLine line = ReadLogLine(std::move(text), source.name);
        if (!line.time) line.time = source.time;
        source.time = line.time;
        printer.Print(source.name, line);
      }
    }
    if (!(std::cout << std::flush)) return absl::OkStatus();  // nobody reads any more
  }
  return absl::OkStatus();
}

}  // namespace aima::cli
