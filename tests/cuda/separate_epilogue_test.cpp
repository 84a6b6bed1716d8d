#include "kernels/cuda/separate_epilogue.h"

#include "tests/cuda/product_case.h"
#include "tests/cuda/real_types.h"

namespace minichilla {
namespace {

std::size_t elements(const ProductCase& shape) {
  return static_cast<std::size_t>(shape.rows * shape.columns);
}

template <class Real>
class CudaSeparateEpilogue : public testing::Test {
 protected:
  using Kind = typename cuda::Epilogue<Real>::Kind;

  static PaddedMatrix<Real> padded(const ProductCase& shape, const FloatArray& values) {
    return {shape.rows, shape.columns, shape, values};
  }

  template <class Value>
  static Value applied(Kind kind, Value sum, Value gelu_input) {
    if (kind == Kind::kGeluDerivative) return sum * reference::gelu_derivative(gelu_input);
    return kind == Kind::kBiasGelu ? reference::gelu(sum) : sum;
  }

  static void expect_epilogue(const ProductCase& shape, Kind kind) {
    const FloatArray sums = rounded<Real>(random_array(elements(shape), 1)),
                     stored = rounded<Real>(random_array(elements(shape), 2, 2)),
                     bias = random_array(static_cast<std::size_t>(shape.columns), 3);
    const PaddedMatrix<Real> c = padded(shape, sums), gelu_input = padded(shape, stored);
    const DeviceArray<float> device_bias(bias);
    const bool with_bias = kind != Kind::kGeluDerivative, with_gelu = kind != Kind::kBias;
    cuda::apply_epilogue<Real>(
        nullptr, shape.rows, shape.columns, c.matrix(),
        {kind, with_bias ? device_bias.data() : nullptr, with_gelu ? gelu_input.matrix().data : nullptr});
    DoubleArray exact_sums, exact;
    FloatArray naive_sums, naive;
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const float added = with_bias ? bias[i % bias.size()] : 0;
      naive_sums.push_back(sums[i] + added);
      exact_sums.push_back(static_cast<double>(sums[i]) + static_cast<double>(added));
      naive.push_back(applied(kind, naive_sums.back(), stored[i]));
      exact.push_back(applied(kind, exact_sums.back(), static_cast<double>(stored[i])));
    }
    expect_accurate("c", c.values(), exact, rounded<Real>(naive), kEps<Real>);
    if (kind == Kind::kBiasGelu) {
      expect_accurate("gelu_input", gelu_input.values(), exact_sums, rounded<Real>(naive_sums), kEps<Real>);
    } else {
      EXPECT_EQ(gelu_input.values(), stored);
    }
  }
};
TYPED_TEST_SUITE(CudaSeparateEpilogue, RealTypes, RealNames);

// Rows, columns, (no depth), elements between rows, elements before the first.
constexpr ProductCase kShapes[] = {{5, 40, 0},         {3, 37, 0},        {19, 1, 0},        {2, 16, 0, 8, 8},
                                   {33, 264, 0, 0, 1}, {17, 16, 0, 3, 0}, {2, 4104, 0, 8, 0}};

TYPED_TEST(CudaSeparateEpilogue, AgreesWithTheReferenceAtAnyShapeAndAddress) {
  using Kinds = typename TestFixture::Kind;
  for (const ProductCase& shape : kShapes) {
    for (const Kinds kind : {Kinds::kBias, Kinds::kBiasGelu, Kinds::kGeluDerivative}) {
      SCOPED_TRACE(testing::Message()
                   << shape.rows << " x " << shape.columns << ", padding " << shape.padding << ", offset "
                   << shape.offset << ", epilogue " << static_cast<int>(kind));
      this->expect_epilogue(shape, kind);
    }
  }
}

TYPED_TEST(CudaSeparateEpilogue, ColumnSumsAgreeWithTheReferenceAndTheirBitsDoNotDependOnTheAddress) {
  for (const ProductCase& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << shape.rows << " x " << shape.columns);
    const FloatArray values = rounded<TypeParam>(random_array(elements(shape), 1)),
                     before = random_array(static_cast<std::size_t>(shape.columns), 2);
    DoubleArray exact(before.begin(), before.end());
    FloatArray naive = before;
    for (std::size_t i = 0; i < values.size(); ++i) {
      exact[i % before.size()] += static_cast<double>(values[i]);
      naive[i % before.size()] += values[i];
    }
    const auto sums = [&](const ProductCase& at) {
      const DeviceArray<float> device(before);
      cuda::add_column_sums<TypeParam>(nullptr, at.rows, at.columns, this->padded(at, values).input(),
                                       device.data());
      return device.floats();
    };
    const FloatArray actual = sums(shape);
    expect_accurate("sums", actual, exact, naive);
    EXPECT_EQ(sums({shape.rows, shape.columns, 0, 8, 1}), actual);
  }
}

TEST(CudaAddFloats, AddsAtAnyLengthAndAddress) {
  for (const std::size_t offset : {0, 1}) {
    for (const std::size_t count : {1, 4, 7, 1031}) {
      const FloatArray from = random_array(count + offset, 1), before = random_array(count + offset, 2);
      const DeviceArray<float> device_from(from), to(before);
      cuda::add_floats(nullptr, static_cast<int>(count), device_from.data() + offset, to.data() + offset);
      FloatArray expected = before;
      for (std::size_t i = offset; i < expected.size(); ++i) expected[i] += from[i];
      EXPECT_EQ(to.floats(), expected) << count << " from " << offset;
    }
  }
}

}  // namespace
}  // namespace minichilla
