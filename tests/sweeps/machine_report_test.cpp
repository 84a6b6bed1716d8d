#include "sweeps/machine_report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/sweeps/run_command.h"

namespace minichilla::machine_report_test {
namespace {

using testing::HasSubstr;
using testing::Not;

MachineReport with_gpu(const std::string& problem) {
  return {.version = "1.2",
          .cores = 8,
          .memory_available = std::uint64_t{16} << 30,
          .cpu_numerics = "cpu, AVX2",
          .cuda = {.compiled_in = true,
                   .architectures = "80 90",
                   .toolkit_version = 13000,
                   .driver_version = 12080,
                   .gpus = {{"NVIDIA A100", 8, 0, std::size_t{80} << 30, std::size_t{70} << 30, problem}},
                   .problem = problem}};
}

TEST(MachineReport, SaysOnWhatItTrains) {
  const std::string text = machine_text(with_gpu(""));
  EXPECT_THAT(text, HasSubstr("8 cores, "));
  EXPECT_THAT(text, HasSubstr("built with 13.0 for compute capabilities 80 90; the driver serves 12.8"));
  EXPECT_THAT(text, HasSubstr("gpu 0        NVIDIA A100, sm_80, "));
  EXPECT_THAT(text, HasSubstr("trains on    a GPU (--device cuda)"));
}

TEST(MachineReport, SaysWhatPreventsARun) {
  const MachineReport report = with_gpu("it is an sm_70");
  EXPECT_THAT(machine_text(report), HasSubstr("cannot train: it is an sm_70"));
  EXPECT_THAT(machine_text(report), HasSubstr("trains on    the CPU; no GPU: it is an sm_70"));
  const nlohmann::ordered_json json = machine_json(report);
  EXPECT_EQ(json["cuda"]["problem"], "it is an sm_70");
  EXPECT_EQ(json["cuda"]["gpus"][0]["compute_capability"], "8.0");
}

TEST(MachineReport, ABuildWithoutCudaSaysSo) {
  MachineReport report = with_gpu("this minichilla was built without CUDA");
  report.cuda.compiled_in = false;
  report.cuda.gpus.clear();
  EXPECT_THAT(machine_text(report), HasSubstr("cuda         not built in"));
  EXPECT_THAT(machine_text(report), Not(HasSubstr("gpu 0")));
}

TEST(MachineReport, IsWhatDoctorPrintsWithoutARun) {
  const CommandResult result = run_command(add_doctor_command, {"doctor"});
  EXPECT_EQ(result.status, kDone);
  EXPECT_THAT(result.output, HasSubstr("trains on    "));
  EXPECT_THAT(result.output, HasSubstr("cpu, "));
}

}  // namespace
}  // namespace minichilla::machine_report_test
