// The CPU device with Precision::bf16: what its operations multiply is rounded, and nothing else.
#include "kernels/cpu/simd_target.h"
#include "tests/kernels/comparison.h"

namespace minichilla::cpu_bf16_test {
namespace {

class CpuBf16 : public EveryTarget {
 protected:
  /// Calls work(operations, lane) of the fp32 and of the bf16 device.
  template <class Work>
  void on_both(const Work& work) {
    for (Device* device : {device_.get(), bf16_.get()}) {
      device->for_each_task(1, [&](Lane& lane, int) {
        work(dynamic_cast<const Float32Operations&>(device->operations()), lane, device == bf16_.get());
      });
    }
  }

  std::unique_ptr<Device> bf16_ = make_cpu_device(1, Precision::bf16);
};

/// As two devices may differ that add the same numbers in other orders.
void expect_close(const char* what, const FloatArray& actual, const FloatArray& expected,
                  double eps = static_cast<double>(std::numeric_limits<float>::epsilon())) {
  expect_accurate(what, actual, widen(expected), expected, eps);
}

TEST_P(CpuBf16, LinearLayersMultiplyRoundedNumbers) {
  const LinearShape shape{67, 40, 96};
  const std::size_t rows = 67, in = 40, out = 96;
  const FloatArray x = random_array(rows * in, 1), weight = random_array(out * in, 2),
                   bias = random_array(out, 3);
  FloatArray y[2];
  on_both([&](const Float32Operations& ops, Lane& lane, bool bf16) {
    y[bf16].resize(rows * out);
    const FloatArray x_read = bf16 ? x : rounded_to_bf16(x), w_read = bf16 ? weight : rounded_to_bf16(weight);
    ops.linear(lane, shape, x_read.data(), w_read.data(), bias.data(), y[bf16].data(), nullptr);
  });
  expect_close("y", y[1], y[0]);
}

TEST_P(CpuBf16, LinearGradientsMultiplyRoundedNumbersAndAddTheOthers) {
  const LinearShape shape{67, 40, 96};
  const std::size_t rows = 67, in = 40, out = 96;
  const FloatArray x = random_array(rows * in, 1), weight = random_array(out * in, 2),
                   d_y = random_array(rows * out, 3);
  FloatArray d_x[2], d_weight[2], d_bias[2], unused(rows * in), unused_weight(out * in);
  on_both([&](const Float32Operations& ops, Lane& lane, bool bf16) {
    d_x[bf16].resize(rows * in), d_weight[bf16].resize(out * in), d_bias[bf16].resize(out);
    if (bf16) {
      ops.linear_backward(lane, shape, x.data(), weight.data(), d_y.data(), x.data(), d_x[1].data(),
                          d_weight[1].data(), d_bias[1].data());
      return;
    }
    FloatArray rounded_bias(out);
    ops.linear_backward(lane, shape, rounded_to_bf16(x).data(), rounded_to_bf16(weight).data(),
                        rounded_to_bf16(d_y).data(), x.data(), d_x[0].data(), d_weight[0].data(),
                        rounded_bias.data());
    ops.linear_backward(lane, shape, x.data(), weight.data(), d_y.data(), nullptr, unused.data(),
                        unused_weight.data(), d_bias[0].data());
  });
  expect_close("d_x", d_x[1], d_x[0]);
  expect_close("d_weight", d_weight[1], d_weight[0]);
  EXPECT_EQ(d_bias[1], d_bias[0]);
}

/// The logits' gradient is rounded too, which the fp32 device cannot be made to do.
TEST_P(CpuBf16, TheClassifierMultipliesRoundedNumbers) {
  const ClassifierShape shape{70, 24, 300};
  const std::size_t rows = 70, width = 24, vocabulary = 300;
  const FloatArray hidden = random_array(rows * width, 1), weight = random_array(vocabulary * width, 2);
  const std::vector<std::int32_t> targets = random_tokens(rows, shape.V, 3);
  double loss[2] = {};
  FloatArray d_hidden[2], d_weight[2];
  on_both([&](const Float32Operations& ops, Lane& lane, bool bf16) {
    d_hidden[bf16].resize(rows * width), d_weight[bf16].resize(vocabulary * width);
    const FloatArray x = bf16 ? hidden : rounded_to_bf16(hidden), w = bf16 ? weight : rounded_to_bf16(weight);
    FloatArray scratch(ops.classifier_scratch(shape) / sizeof(float));
    ops.classifier(lane, shape, x.data(), w.data(), targets.data(), 0.01f, &loss[bf16], d_hidden[bf16].data(),
                   d_weight[bf16].data(), scratch.data());
  });
  EXPECT_NEAR(loss[1], loss[0], 1e-5 * loss[0]);
  expect_close("d_hidden", d_hidden[1], d_hidden[0], 0x1p-10);
  expect_close("d_weight", d_weight[1], d_weight[0], 0x1p-10);
}

TEST_P(CpuBf16, SaysSoInItsNumerics) {
  EXPECT_NE(bf16_->numerics(), device_->numerics());
  EXPECT_NE(bf16_->numerics().find("bf16"), std::string::npos) << bf16_->numerics();
  EXPECT_EQ(bf16_->operations().activation_bytes(), sizeof(float));
}

MINICHILLA_ON_EVERY_TARGET(CpuBf16);

}  // namespace
}  // namespace minichilla::cpu_bf16_test
