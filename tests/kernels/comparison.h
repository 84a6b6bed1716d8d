// What the tests of the CPU device's operations share: every instruction-set path in turn.
#pragma once

#include "kernels/cpu/simd_target.h"
// It precedes Highway's headers.
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/device.h"
#include "kernels/float32_operations.h"
#include "tests/kernels/random_arrays.h"

namespace minichilla {

/// Runs its tests on each instruction-set path that this machine has, on the only lane of a CPU device.
class EveryTarget : public testing::TestWithParam<std::int64_t> {
 protected:
  EveryTarget() {
    hwy::SetSupportedTargetsForTest(GetParam());
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  ~EveryTarget() override {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }

  const Float32Operations& ops() const {
    return dynamic_cast<const Float32Operations&>(device_->operations());
  }

  /// Calls work(lane).
  template <class Work>
  void on_lane(const Work& work) {
    device_->for_each_task(1, [&](Lane& lane, int) { work(lane); });
  }

  std::unique_ptr<Device> device_ = make_cpu_device(1);
};

inline std::string target_name(const testing::TestParamInfo<std::int64_t>& info) {
  return hwy::TargetName(info.param);
}

#define MINICHILLA_ON_EVERY_TARGET(suite) \
  INSTANTIATE_TEST_SUITE_P(Paths, suite, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()), target_name)

}  // namespace minichilla
