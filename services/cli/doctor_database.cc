// The check of PostgreSQL (doctor.h): the configured one, or the private one of the data directory.
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_split.h>
#include <absl/time/clock.h>
#include <libpq-fe.h>
#include <unistd.h>

#include <cmath>
#include <memory>

#include "services/cli/database_probe.h"
#include "services/cli/doctor.h"
#include "services/cli/environment.h"
#include "services/cli/files.h"
#include "services/cli/logs.h"
#include "services/cli/private_postgres.h"
#include "services/cli/supervisor.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

constexpr int kOldestVersion = 130000;
constexpr double kClockTolerance = 2;  // seconds

// One text; empty if the query fails.
std::string Ask(PGconn* connection, const char* sql) {
  PGresult* result = PQexec(connection, sql);
  std::string text;
  if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) text = PQgetvalue(result, 0, 0);
  PQclear(result);
  return text;
}

// The last lines of the private server's log that tell of an end.
std::vector<std::string> LastWords(const Patient& patient) {
  std::vector<std::string> words;
  for (const LogPlace& place : LogsOf(patient.data_dir)) {
    if (place.name != "postgres") continue;
    for (const absl::string_view line : absl::StrSplit(Tail(place.path, 0, 20), '\n', absl::SkipEmpty())) {
      for (const char* level : {"FATAL:", "PANIC:", "ERROR:"}) {
        if (line.find(level) != absl::string_view::npos) words.emplace_back(line);
      }
    }
  }
  if (words.size() > 3) words.erase(words.begin(), words.end() - 3);
  return words;
}

void LookInside(const Patient& patient, PGconn* connection, const std::string& who, Findings& findings) {
  const int version = PQserverVersion(connection);
  if (version < kOldestVersion) {
    findings.push_back({Verdict::kFailure,
                        absl::StrCat(who, " is version ", version / 10000, "; AIMA needs 13 or newer"),
                        {"Update the server. (Without a database.url AIMA runs a server of its own, with nothing in it.)"}});
  }
  for (const char* setting : {"fsync", "full_page_writes", "synchronous_commit"}) {
    if (Ask(connection, absl::StrCat("SHOW ", setting).c_str()) == "off") {
      findings.push_back(
          {Verdict::kFailure,
           absl::StrCat(who, " runs with ", setting, " off: committed data may be lost"),
           {absl::StrCat("Switch it on: ALTER SYSTEM SET ", setting, " = on; SELECT pg_reload_conf();")}});
    }
  }
  double theirs = 0;
  const double before = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  const bool told = absl::SimpleAtod(Ask(connection, "SELECT extract(epoch FROM clock_timestamp())"), &theirs);
  const double after = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  const double apart = theirs < before ? before - theirs : theirs > after ? theirs - after : 0;
  if (told && apart > kClockTolerance) {
    findings.push_back({Verdict::kFailure,
                        absl::StrCat("the clocks of this machine and of the database are ",
                                     absl::StrFormat("%.1f", apart), " s apart: leases and deadlines go wrong"),
                        {"$ sudo timedatectl set-ntp true", "on both machines."}});
  }
  if (findings.empty()) {
    findings.push_back({Verdict::kOk, absl::StrCat(who, " answers: version ", version / 10000, ".", version % 10000,
                                                   ", clocks agree")});
  }
}

}  // namespace

Findings CheckDatabase(Patient& patient) {
  Findings findings;
  // A private server's address is written into the configuration of the running cluster.
  const std::string url = patient.config.database().url();
  const bool own = url.empty() || url.find(patient.data_dir + "/run/pg") != std::string::npos;
  if (!own) {
    const DatabaseConnection connection = ConnectTo(url, "aima doctor");
    if (PQstatus(connection.get()) != CONNECTION_OK) {
      return {
          {Verdict::kFailure,
           absl::StrCat("PostgreSQL of database.url cannot be reached: ", OneLine(PQerrorMessage(connection.get()))),
           {"Start that server, or correct database.url. (Without a database.url AIMA runs a server of its own, with nothing in it.)"}}};
    }
    LookInside(patient, connection.get(), "PostgreSQL", findings);
    return findings;
  }
  const absl::StatusOr<PrivatePostgres> postgres = PrivatePostgres::Find(patient.data_dir, patient.program);
  if (!postgres.ok()) {
    const std::string remedy = RemedyOf(postgres.status());
    return {{Verdict::kFailure,
             std::string(postgres.status().message()),
             {remedy.empty() ? "Install it, or name another server in database.url." : remedy,
              "$ sudo apt install postgresql"}}};
  }
  if (!patient.supervised) {
    const bool made = access((patient.data_dir + "/pg/PG_VERSION").c_str(), F_OK) == 0;
    Finding finding{Verdict::kOk, made ? "the private PostgreSQL is there; it runs with the cluster"
                                       : "a private PostgreSQL will be made"};
    finding.mend = LastWords(patient);
    if (!finding.mend.empty()) {
      finding.verdict = Verdict::kWarning;
      finding.message += "; its log ends with";
    }
    return {finding};
  }
  const DatabaseConnection connection = ConnectTo(postgres->Url(), "aima doctor");
  if (PQstatus(connection.get()) == CONNECTION_OK) {
    LookInside(patient, connection.get(), "the private PostgreSQL", findings);
    return findings;
  }
  Finding finding{Verdict::kFailure,
                  absl::StrCat("the private PostgreSQL does not answer: ", OneLine(PQerrorMessage(connection.get())))};
  finding.mend = LastWords(patient);
  finding.mend.push_back("The supervisor starts it again by itself; its log says why it ended:");
  finding.mend.push_back(LookWith(patient, "logs postgres --tail 20"));
  return {finding};
}

}  // namespace aima::cli
