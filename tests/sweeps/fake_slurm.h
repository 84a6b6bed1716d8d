// Commands with SLURM's names in a folder of their own, for tests of what is asked of them.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/temporary_folder.h"
#include "trainer/files.h"

namespace minichilla {

/// While it exists, PATH leads to a sacct without accounting, a squeue that prints the file `queue`, an
/// sbatch that appends its tasks to it, an scancel, and an scontrol that prints the file `jobs` and a
/// MaxArraySize of 4. Every call of sbatch, scancel and `scontrol release` is a line of `calls`.
class FakeSlurm {
 public:
  FakeSlurm() {
    const char* path = std::getenv("PATH");
    path_before_ = path ? path : "";
    setenv("PATH", ((folder_ / "bin").string() + ":" + path_before_).c_str(), 1);
    for (const char* file : {"queue", "jobs", "calls"}) folder_.write(file, "");
    answer("sacct", "exit 1");
    answer("squeue", "cat " + file("queue"));
    answer("scancel", log("scancel"));
    answer(
        "scontrol",
        "if [ \"$2\" = config ]; then echo 'MaxArraySize            = 4'; elif [ \"$1\" = release ]; then " +
            log("scontrol") + "; else cat " + file("jobs") + "; fi");
    answer("sbatch", log("sbatch") + R"(
id=$((100 + $(grep -c ^sbatch )" +
                         file("calls") + R"()))
for script; do :; done
name=$(sed -n 's/^#SBATCH --job-name=//p' "$script")
last=0
for word; do case $word in --array=*) last=${word#--array=0-}; last=${last%\%*} ;; esac; done
for i in $(seq 0 $last); do echo "${id}_$i|$id$i|$id|PENDING|Priority|0:00|1:00:00||$name" >> )" +
                         file("queue") + R"(; done
echo $id)");
  }
  ~FakeSlurm() { setenv("PATH", path_before_.c_str(), 1); }
  FakeSlurm(const FakeSlurm&) = delete;
  FakeSlurm& operator=(const FakeSlurm&) = delete;

  /// Replaces one of the commands by lines of a shell script.
  void answer(const std::string& command, const std::string& script) {
    const auto program = folder_.write("bin/" + command, "#!/bin/bash\n" + script + "\n");
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  }
  void set_queue(const std::string& lines) { folder_.write("queue", lines); }
  void set_jobs(const std::string& lines) { folder_.write("jobs", lines); }
  std::string queue() const { return read_file(folder_ / "queue"); }
  std::vector<std::string> calls() const {
    std::istringstream text(read_file(folder_ / "calls"));
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
  }
  /// A PATH with the fake commands alone, without the named one.
  void hide(const std::string& command) {
    std::filesystem::remove(folder_ / "bin/" / command);
    setenv("PATH", (folder_ / "bin").c_str(), 1);
  }

 private:
  std::string file(const std::string& name) const { return "'" + (folder_ / name).string() + "'"; }
  std::string log(const std::string& command) const {
    return "words=; for word; do words=\"$words ${word##*/}\"; done; echo \"" + command + "$words\" >> " +
           file("calls");
  }

  TemporaryFolder folder_;
  std::string path_before_;
};

}  // namespace minichilla
