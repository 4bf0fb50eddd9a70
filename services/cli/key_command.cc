// aima key: API keys of the cluster on this machine.
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include <iostream>

#include "aima/unit/v1/unit.pb.h"
#include "libs/base/status_macros.h"
#include "libs/unit/quantity.h"
#include "services/cli/commands.h"
#include "services/cli/keys.h"
#include "services/cli/output.h"
#include "services/cli/session.h"

namespace aima::cli {
namespace {

absl::Status Create(Session& session, KeyFile& file) {
  ASSIGN_OR_RETURN(const std::optional<std::string> role, session.arguments.Value("role"));
  ASSIGN_OR_RETURN(const std::optional<std::string> name, session.arguments.Value("name"));
  ASSIGN_OR_RETURN(const std::optional<std::string> expires, session.arguments.Value("expires"));
  RETURN_IF_ERROR(session.arguments.Done("key create"));
  if (!role) return UsageOf(*session.command, "create needs --role read, operate or admin");
  std::optional<absl::Duration> lifetime;
  if (expires) {
    const absl::StatusOr<int64_t> parsed = ParseQuantity(*expires, unit::v1::MILLISECONDS);
    if (!parsed.ok() || *parsed <= 0) return UsageError("--expires takes a duration, such as 720h");
    lifetime = absl::Milliseconds(*parsed);
  }
  ASSIGN_OR_RETURN(const std::string text, file.Create(*role, name.value_or(""), lifetime));
  std::cerr << "Key " << KeyFile::IdOf(text) << ", which `aima key revoke " << KeyFile::IdOf(text)
            << "` ends. This is the only time that it is shown:\n";
  if (session.globals.output == "table") {
    std::cout << text << std::endl;
  } else {
    std::cout << Format({{"id", KeyFile::IdOf(text)}, {"role", *role}, {"key", text}}, session.globals.output);
  }
  return absl::OkStatus();
}

absl::Status List(Session& session, const KeyFile& file) {
  RETURN_IF_ERROR(session.arguments.Done("key list"));
  ASSIGN_OR_RETURN(const std::vector<KeyEntry> keys, file.List());
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const KeyEntry& key : keys) {
    list.push_back({{"id", key.id},
                    {"role", key.role},
                    {"name", key.name},
                    {"state", key.Expired(absl::Now()) ? "expired" : "valid"},
                    {"created", key.created},
                    {"expires", key.expires}});
  }
  if (list.empty() && session.globals.output == "table") {
    std::cout << "There are no keys. `aima key create --role operate --name NAME` makes one.\n";
  } else {
    std::cout << Format({{"keys", list}}, session.globals.output);
  }
  return absl::OkStatus();
}

absl::Status Revoke(Session& session, KeyFile& file) {
  const std::optional<std::string> given = session.arguments.Next();
  if (!given) return UsageOf(*session.command, "revoke needs the id of a key; `aima key list` shows them");
  RETURN_IF_ERROR(session.arguments.Done("key revoke"));
  // Whoever has the key itself has its id in the middle of it.
  const std::string inner = KeyFile::IdOf(*given);
  const std::string id = inner.empty() ? *given : inner;
  const bool operators = id == KeyFile::IdOf(file.AdminKey());
  RETURN_IF_ERROR(file.Revoke(id));
  std::cerr << "Key " << id << " is valid no longer.\n";
  if (operators) {
    std::cerr << "It was the one that the command line used by itself on this machine, which now reads and operates "
                 "without a key: it does not administer, and does not see the operations that were begun with the "
                 "key. The next `aima start` makes another.\n";
  } else if (id == KeyFile::IdOf(session.globals.key)) {
    std::cerr << "It is the one that --key or $AIMA_KEY gives here.\n";
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status KeyCommand(Session& session) {
  const std::string verb = session.arguments.Next().value_or("");
  KeyFile file(session.globals.data_dir);
  if (verb == "create") return Create(session, file);
  if (verb == "list") return List(session, file);
  if (verb == "revoke") return Revoke(session, file);
  return UsageOf(*session.command, verb.empty() ? "needs create, list or revoke" : "knows no " + verb);
}

}  // namespace aima::cli
