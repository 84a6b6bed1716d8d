// One matrix product with its epilogue, checked against float64: for every implementation of cuda::Matmul.
#pragma once

#include <limits>
#include <string>

#include "kernels/cuda/matmul.h"
#include "tests/cuda/device_array.h"
#include "tests/kernels/random_arrays.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla {

enum class Layout { kForward, kInputGradient, kWeightGradient };  // x·Wᵀ, d_y·W, d_yᵀ·x

struct ProductCase {
  int rows, columns, depth;
  int padding = 0;  ///< elements between the rows of each matrix
  int offset = 0;   ///< elements before each matrix in its memory

  cuda::Product product(Layout layout) const {
    return {rows, columns, depth, layout == Layout::kWeightGradient, layout == Layout::kForward};
  }
};

inline std::string describe(const cuda::Product& product) {
  return std::to_string(product.rows) + " x " + std::to_string(product.columns) + " x " +
         std::to_string(product.depth) + (product.transpose_a ? " A transposed" : "") +
         (product.transpose_b ? " B transposed" : "");
}

/// eps of the tolerance rule.
template <class Real>
constexpr double kEps = sizeof(Real) == 2 ? 0.0078125
                                          : static_cast<double>(std::numeric_limits<float>::epsilon());

/// A row-major matrix on the device, with elements of NaN before it and between its rows.
template <class Real>
class PaddedMatrix {
 public:
  PaddedMatrix(int rows, int columns, const ProductCase& shape, const FloatArray& values)
      : rows_(rows),
        columns_(columns),
        stride_(columns + shape.padding),
        offset_(static_cast<std::size_t>(shape.offset)),
        device_(padded(values)) {}

  cuda::Matrix<Real> matrix() const { return {device_.data() + offset_, stride_}; }
  cuda::Matrix<const Real> input() const { return {device_.data() + offset_, stride_}; }

  /// The values; the padding must be as it was.
  FloatArray values() const {
    const FloatArray all = device_.floats();
    FloatArray result;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (is_value(i)) {
        result.push_back(all[i]);
      } else {
        EXPECT_TRUE(std::isnan(all[i])) << "padding was written at " << i;
      }
    }
    return result;
  }

 private:
  bool is_value(std::size_t i) const {
    return i >= offset_ &&
           (i - offset_) % static_cast<std::size_t>(stride_) < static_cast<std::size_t>(columns_);
  }
  FloatArray padded(const FloatArray& values) const {
    FloatArray all(offset_ + static_cast<std::size_t>(rows_) * static_cast<std::size_t>(stride_),
                   std::numeric_limits<float>::quiet_NaN());
    std::size_t next = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (is_value(i)) all[i] = values[next++];
    }
    return all;
  }

  int rows_, columns_, stride_;
  std::size_t offset_;
  DeviceArray<Real> device_;
};

/// Operands of a product: as the device has them, and dense on the host.
template <class Real>
struct ProductOperands {
  ProductCase shape;
  cuda::Product product;
  FloatArray a, b;
  PaddedMatrix<Real> device_a, device_b;

  ProductOperands(const ProductCase& product_case, Layout layout)
      : shape(product_case),
        product(shape.product(layout)),
        a(rounded<Real>(random_array(static_cast<std::size_t>(shape.rows * shape.depth), 1))),
        b(rounded<Real>(random_array(static_cast<std::size_t>(shape.depth * shape.columns), 2))),
        device_a(product.transpose_a ? shape.depth : shape.rows,
                 product.transpose_a ? shape.rows : shape.depth, shape, a),
        device_b(product.transpose_b ? shape.columns : shape.depth,
                 product.transpose_b ? shape.depth : shape.columns, shape, b) {}

  std::size_t size() const { return static_cast<std::size_t>(product.rows * product.columns); }
  PaddedMatrix<Real> output(const FloatArray& values) const {
    return {product.rows, product.columns, shape, values};
  }
  float a_at(int row, int k) const {
    return a[static_cast<std::size_t>(product.transpose_a ? k * product.rows + row
                                                          : row * product.depth + k)];
  }
  float b_at(int k, int column) const {
    return b[static_cast<std::size_t>(product.transpose_b ? column * product.depth + k
                                                          : k * product.columns + column)];
  }

  template <class Value>
  std::vector<Value> sums() const {
    std::vector<Value> result;
    for (int row = 0; row < product.rows; ++row) {
      for (int column = 0; column < product.columns; ++column) {
        Value sum = 0;
        for (int k = 0; k < product.depth; ++k) {
          sum += static_cast<Value>(a_at(row, k)) * static_cast<Value>(b_at(k, column));
        }
        result.push_back(sum);
      }
    }
    return result;
  }
  template <class Value>
  std::vector<Value> row_sums() const {
    std::vector<Value> result(static_cast<std::size_t>(product.rows));
    for (int row = 0; row < product.rows; ++row) {
      for (int k = 0; k < product.depth; ++k)
        result[static_cast<std::size_t>(row)] += static_cast<Value>(a_at(row, k));
    }
    return result;
  }
};

template <class Real>
void expect_product(cuda::Matmul<Real>& matmul, const ProductCase& shape, Layout layout,
                    typename cuda::Epilogue<Real>::Kind kind) {
  using Kind = typename cuda::Epilogue<Real>::Kind;
  const ProductOperands<Real> operands(shape, layout);
  SCOPED_TRACE(testing::Message() << describe(operands.product) << ", padding " << shape.padding
                                  << ", offset " << shape.offset << ", epilogue " << static_cast<int>(kind));
  const bool with_bias = kind == Kind::kBias || kind == Kind::kBiasGelu;
  const FloatArray bias = random_array(static_cast<std::size_t>(shape.columns), 3);
  const FloatArray stored = rounded<Real>(random_array(operands.size(), 4, 2));
  const DeviceArray<float> device_bias(bias);
  const PaddedMatrix<Real> gelu_input = operands.output(stored), c = operands.output(stored);
  matmul.multiply(
      nullptr, operands.product, operands.device_a.input(), operands.device_b.input(), c.matrix(),
      {kind, with_bias ? device_bias.data() : nullptr,
       kind == Kind::kBiasGelu || kind == Kind::kGeluDerivative ? gelu_input.matrix().data : nullptr});

  auto exact = operands.template sums<double>();
  auto naive = operands.template sums<float>();
  const auto for_each = [&](auto change) {
    for (std::size_t i = 0; i < exact.size(); ++i) {
      change(exact[i], i);
      change(naive[i], i);
    }
  };
  if (with_bias) {
    for_each([&](auto& value, std::size_t i) { value += bias[i % bias.size()]; });
  }
  if (kind == Kind::kBiasGelu) {
    expect_accurate("gelu_input", gelu_input.values(), exact, rounded<Real>(naive), kEps<Real>);
    for_each([](auto& value, std::size_t) { value = reference::gelu(value); });
  } else {
    EXPECT_EQ(gelu_input.values(), stored);
  }
  if (kind == Kind::kGeluDerivative) {
    for_each([&](auto& value, std::size_t i) {
      value *= reference::gelu_derivative(static_cast<std::remove_reference_t<decltype(value)>>(stored[i]));
    });
  }
  expect_accurate("c", c.values(), exact, rounded<Real>(naive), kEps<Real>);
}

/// With row sums where the layout allows them.
template <class Real>
void expect_fp32_product(cuda::Matmul<Real>& matmul, const ProductCase& shape, Layout layout,
                         bool accumulate) {
  const ProductOperands<Real> operands(shape, layout);
  SCOPED_TRACE(testing::Message() << describe(operands.product) << ", padding " << shape.padding
                                  << ", offset " << shape.offset << " to fp32, accumulate " << accumulate);
  const FloatArray before = random_array(operands.size(), 3, 5),
                   sums_before = random_array(static_cast<std::size_t>(shape.rows), 4, 5);
  const PaddedMatrix<float> c(shape.rows, shape.columns, shape, before);
  const DeviceArray<float> row_sums(sums_before);
  matmul.multiply_fp32(nullptr, operands.product, operands.device_a.input(), operands.device_b.input(),
                       c.matrix(), accumulate, operands.product.transpose_a ? row_sums.data() : nullptr);

  auto exact = operands.template sums<double>();
  auto naive = operands.template sums<float>();
  auto exact_sums = operands.template row_sums<double>();
  auto naive_sums = operands.template row_sums<float>();
  for (std::size_t i = 0; accumulate && i < exact.size(); ++i) {
    exact[i] += static_cast<double>(before[i]);
    naive[i] += before[i];
  }
  for (std::size_t i = 0; i < exact_sums.size(); ++i) {
    exact_sums[i] += static_cast<double>(sums_before[i]);
    naive_sums[i] += sums_before[i];
  }
  expect_accurate("c", c.values(), exact, naive);
  if (operands.product.transpose_a) expect_accurate("row_sums", row_sums.floats(), exact_sums, naive_sums);
}

}  // namespace minichilla
