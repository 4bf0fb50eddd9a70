// What the user typed, and how programs learn how it went.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aima::cli {

// Exit statuses, as `aima help` documents them.
enum ExitCode {
  kOk = 0,
  kFailure = 1,
  kUsage = 2,
  kNotFound = 3,
  kDenied = 4,
  kUnavailable = 5,
  kDeadline = 6,
  kInterrupted = 130,
};

// Flags that every command takes.
struct Globals {
  std::string output = "table";  // table, json, yaml, ndjson or name
  bool output_given = false;
  bool wide = false;            // -o wide: a table with all there is, however broad
  bool colour = true;           // not --no-color, nor $NO_COLOR
  std::string server;           // --server, else $AIMA_SERVER, else found in the data directory
  std::string key;              // --key, else $AIMA_KEY, else the admin key of the data directory
  std::string data_dir;         // --data-dir, else $AIMA_DATA_DIR, else ~/.aima; absolute
  bool data_dir_given = false;  // by a flag
};

// An argument list that is taken apart from the left.
class Arguments {
 public:
  explicit Arguments(std::vector<std::string> words) : words_(std::move(words)) {}

  bool empty() const { return words_.empty(); }
  const std::vector<std::string>& words() const { return words_; }

  // Removes the first word; nothing if there is none.
  std::optional<std::string> Next();

  // Removes --name VALUE or --name=VALUE wherever it is; the last one counts.
  absl::StatusOr<std::optional<std::string>> Value(std::string_view name);
  // The same, all of them, in order.
  absl::StatusOr<std::vector<std::string>> Values(std::string_view name);
  // Removes --name wherever it is.
  bool Flag(std::string_view name);
  // Removes --name or, if it is not 0, -letter; also "-fn 5" for -f -n 5.
  bool Flag(std::string_view name, char letter);

  // An error that names what is left, if anything is.
  absl::Status Done(std::string_view command) const;

 private:
  std::vector<std::string> words_;
};

// Takes the global flags out of `arguments`.
absl::StatusOr<Globals> TakeGlobals(Arguments& arguments);

// An error of usage: exit status 2.
absl::Status UsageError(std::string_view what);

// Prints an error with what to do about it and returns the exit status that fits. With `as_json` it is one object,
// {"error": {"code", "message", "details"}, "exit_status"}, as the gateway gave it.
int ReportError(const absl::Status& status, bool as_json = false);
int ExitCodeOf(const absl::Status& status);

// The error object of the gateway that a status was made of, as JSON text; empty if it was none.
absl::Status WithErrorObject(absl::Status status, std::string_view json);
std::string ErrorObjectOf(const absl::Status& status);

// An end that has been explained already: nothing is printed, and this is the exit status.
absl::Status QuietFailure(int exit_status);

// What the user can do about an error, shown by ReportError.
absl::Status WithRemedy(absl::Status status, std::string_view remedy);
std::string RemedyOf(const absl::Status& status);

}  // namespace aima::cli
