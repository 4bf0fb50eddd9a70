// Recorded machines for tests.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "services/device/system_files.h"

namespace aima::device {

// Unpacks testdata/<name>.tree (see testdata/README.md) to a temporary directory, which tests may change as hardware
// would, and removes it at the end.
class RecordedTree {
 public:
  explicit RecordedTree(const std::string& name) : root_(MakeDirectory()), files_(root_.string()) {
    const std::string path = AIMA_SOURCE_DIR "/services/device/testdata/" + name + ".tree";
    std::ifstream in(path);
    EXPECT_TRUE(in.is_open()) << path;
    std::ofstream out;
    for (std::string line; std::getline(in, line);) {
      if (line.rfind("=== ", 0) != 0) {
        if (out.is_open()) out << line << "\n";
        continue;
      }
      Begin(line.substr(4), out);
    }
  }
  ~RecordedTree() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  RecordedTree(const RecordedTree&) = delete;
  RecordedTree& operator=(const RecordedTree&) = delete;

  const SystemFiles& files() const { return files_; }

  // Changes or adds a file.
  void Set(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path.substr(1)).parent_path());
    std::ofstream(root_ / path.substr(1), std::ios::trunc) << text << "\n";
  }
  void Remove(const std::string& path) { std::filesystem::remove_all(root_ / path.substr(1)); }

 private:
  static std::filesystem::path MakeDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "aima-tree-XXXXXX").string();
    return mkdtemp(pattern.data());
  }

  void Begin(const std::string& head, std::ofstream& out) {
    out.close();
    const size_t link = head.find(" -> ");
    const size_t one_line = head.find(" = ");
    if (link != std::string::npos) {
      const std::filesystem::path path = root_ / head.substr(1, link - 1);
      std::filesystem::create_directories(path.parent_path());
      std::filesystem::create_symlink(head.substr(link + 4), path);
    } else if (one_line != std::string::npos) {
      Set(head.substr(0, one_line), head.substr(one_line + 3));
    } else {
      Set(head, "");
      out.open(root_ / head.substr(1), std::ios::trunc);
    }
  }

  const std::filesystem::path root_;
  const SystemFiles files_;
};

}  // namespace aima::device
