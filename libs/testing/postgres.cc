#include "libs/testing/postgres.h"

#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "libs/testing/task.h"

namespace aima::testing {
namespace {

namespace fs = std::filesystem;
constexpr char kPrefix[] = "aima-test-pg-";

[[noreturn]] void Die(const std::string& why) {
  std::cerr << "PostgreSQL for tests: " << why << std::endl;
  std::abort();
}

// Newest installed server's programs.
std::string BinDirectory() {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& version : fs::directory_iterator("/usr/lib/postgresql", ignored)) {
    if (fs::exists(version.path() / "bin/initdb", ignored)) found.push_back((version.path() / "bin").string());
  }
  if (!found.empty()) return *std::max_element(found.begin(), found.end());
  std::string directory;
  if (FILE* pipe = popen("pg_config --bindir 2>/dev/null", "r")) {
    char line[512];
    if (fgets(line, sizeof(line), pipe)) directory = line;
    pclose(pipe);
    while (!directory.empty() && directory.back() == '\n') directory.pop_back();
  }
  if (!fs::exists(directory + "/initdb", ignored)) Die("no initdb found; install the package postgresql");
  return directory;
}

// The user to run as: PostgreSQL refuses to be root.
const passwd* ServerUser() {
  if (geteuid() != 0) return nullptr;
  for (const char* name : {"postgres", "nobody"}) {
    if (const passwd* user = getpwnam(name)) return user;
  }
  Die("running as root, and there is no user postgres or nobody");
}

pid_t Spawn(const std::vector<std::string>& arguments, const std::string& log) {
  const passwd* user = ServerUser();
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) Die("fork failed");
  if (pid > 0) return pid;
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  dup2(open("/dev/null", O_RDONLY), 0);
  dup2(out, 1);
  dup2(out, 2);
  setsid();  // a Ctrl-C at the terminal is for the tests
  if (user && (setgroups(0, nullptr) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) _exit(126);
  // After the change of user, which clears it: the server must not outlive the tests.
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  if (getppid() != parent) _exit(125);
  if (chdir("/") != 0) _exit(124);
  close_range(3, ~0U, 0);
  execv(argv[0], argv.data());
  _exit(127);
}

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Directories of test programs that were killed.
void RemoveLeftovers(const fs::path& parent) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(kPrefix, 0) != 0) continue;
    const pid_t owner = atoi(name.c_str() + sizeof(kPrefix) - 1);
    if (owner > 0 && kill(owner, 0) != 0 && errno == ESRCH) fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace

Postgres& Postgres::Shared() {
  static Postgres server;
  return server;
}

Postgres::Postgres(bool durable) : durable_(durable) {
  const char* tmp = getenv("TMPDIR");
  const fs::path parent = tmp && strlen(tmp) < 60 ? tmp : "/tmp";
  RemoveLeftovers(parent);
  std::string pattern = (parent / (kPrefix + std::to_string(getpid()) + "-XXXXXX")).string();
  if (!mkdtemp(pattern.data())) Die("cannot make " + pattern);
  directory_ = pattern;
  if (const passwd* user = ServerUser()) {
    if (chown(directory_.c_str(), user->pw_uid, user->pw_gid) != 0) Die("cannot give away " + directory_);
  }
  const std::string log = directory_ + "/initdb.log";
  const pid_t init = Spawn({BinDirectory() + "/initdb", "-D", directory_ + "/data", "-U", "aima", "--auth=trust", "-E",
                            "UTF8", "--locale=C", "--no-sync", "--no-instructions", "--wal-segsize=1"},
                           log);
  int status = 0;
  if (waitpid(init, &status, 0) != init || status != 0) Die("initdb failed:\n" + Contents(log));
  Start();
}

Postgres::~Postgres() {
  Stop();
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

void Postgres::Start() {
  if (server_ != 0) return;
  const std::string log = directory_ + "/server.log";
  std::vector<std::string> arguments = {BinDirectory() + "/postgres", "-D", directory_ + "/data"};
  for (const char* setting :
       {"listen_addresses=", durable_ ? "fsync=on" : "fsync=off",
        durable_ ? "full_page_writes=on" : "full_page_writes=off", "jit=off", "shared_buffers=16MB", "max_connections=60",
        "autovacuum=off", "wal_level=minimal", "max_wal_senders=0", "max_worker_processes=0", "deadlock_timeout=100ms"}) {
    arguments.insert(arguments.end(), {"-c", setting});
  }
  arguments.insert(arguments.end(), {"-c", "unix_socket_directories=" + directory_});
  server_ = Spawn(arguments, log);
  for (int attempt = 0; attempt < 1500; ++attempt) {
    if (PQping(Url("postgres").c_str()) == PQPING_OK) return;
    int status = 0;
    if (waitpid(server_, &status, WNOHANG) == server_) Die("the server ended at start:\n" + Contents(log));
    poll(nullptr, 0, 20);
  }
  Die("the server does not answer:\n" + Contents(log));
}

void Postgres::Stop() {
  if (server_ == 0) return;
  // SIGQUIT is what a crash looks like to clients and to the data; SIGKILL would leave backends behind that keep the
  // data directory from being used.
  kill(server_, SIGQUIT);
  waitpid(server_, nullptr, 0);
  server_ = 0;
}

std::string Postgres::Url(const std::string& database) const {
  return "host=" + directory_ + " user=aima dbname=" + database;
}

std::string Postgres::FreshUrl() {
  const std::string name = "test_" + std::to_string(++databases_);
  Execute(Url("postgres"), "CREATE DATABASE " + name);
  return Url(name);
}

pg::Options Postgres::FreshOptions(std::string schema) {
  pg::Options options;
  options.url = FreshUrl();
  options.schema = std::move(schema);
  options.allow_unsafe_server = true;
  return options;
}

std::unique_ptr<pg::Database> Postgres::Open(Loop& loop, std::string schema,
                                             const std::vector<std::string>& migrations) {
  std::unique_ptr<pg::Database> db = pg::Open(loop, FreshOptions(std::move(schema)));
  std::vector<std::string> directories = {AIMA_SOURCE_DIR "/libs/events/migrations"};
  directories.insert(directories.end(), migrations.begin(), migrations.end());
  for (const std::string& directory : directories) {
    const absl::Status status = Run(loop, db->Migrate(directory));
    if (!status.ok()) Die("migrations of " + directory + ": " + status.ToString());
  }
  return db;
}

std::string Postgres::Execute(const std::string& url, const std::string& sql) {
  PGconn* connection = PQconnectdb(url.c_str());
  PGresult* result = PQexec(connection, sql.c_str());
  const ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) Die(sql + ": " + PQerrorMessage(connection));
  std::string value = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
  PQclear(result);
  PQfinish(connection);
  return value;
}

}  // namespace aima::testing
