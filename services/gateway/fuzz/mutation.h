// Mutations that know what an input of http_fuzz is made of: a request whose body is JSON, and lines of a script.
#pragma once

#include <random>
#include <string>

namespace aima::gateway {

// A neighbour of `input`: a value of the JSON in it is another, or a line of the script is doubled, left out or moved.
// What is not there to be changed stays.
std::string MutateParts(const std::string& input, std::mt19937& random);

}  // namespace aima::gateway
