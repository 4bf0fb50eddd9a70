#include "services/cli/database_probe.h"

#include <vector>

namespace aima::cli {

DatabaseConnection ConnectTo(const std::string& url, const char* who) {
  char* error = nullptr;
  PQconninfoOption* parsed = PQconninfoParse(url.c_str(), &error);
  if (error) PQfreemem(error);
  std::vector<const char*> names, values;
  for (PQconninfoOption* option = parsed; option && option->keyword; ++option) {
    if (!option->val) continue;
    names.push_back(option->keyword);
    values.push_back(option->val);
  }
  names.insert(names.end(), {"connect_timeout", "application_name"});
  values.insert(values.end(), {"3", who});
  names.push_back(nullptr);
  values.push_back(nullptr);
  PGconn* connection = PQconnectdbParams(names.data(), values.data(), 0);
  if (parsed) PQconninfoFree(parsed);
  return {connection, &PQfinish};
}

std::string WhyUnreachable(const std::string& url) {
  const DatabaseConnection connection = ConnectTo(url, "aima start");
  return PQstatus(connection.get()) == CONNECTION_OK ? "" : OneLine(PQerrorMessage(connection.get()));
}

std::string OneLine(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  return text;
}

}  // namespace aima::cli
