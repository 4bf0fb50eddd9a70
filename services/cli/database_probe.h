// A first look at a database that others run.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <string>

namespace aima::cli {

using DatabaseConnection = std::unique_ptr<PGconn, decltype(&PQfinish)>;

// Waits for three seconds at most. `who` is what the server calls it. May have failed: PQstatus and PQerrorMessage tell.
DatabaseConnection ConnectTo(const std::string& url, const char* who);

// Why it does not answer, on one line; empty if it does.
std::string WhyUnreachable(const std::string& url);

// The lines of a text on one line.
std::string OneLine(std::string text);

}  // namespace aima::cli
