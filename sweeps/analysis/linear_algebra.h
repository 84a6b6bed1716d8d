// The small dense systems that estimators solve. Eigen solves them, in linear_algebra.cpp alone: its
// templates take longer to compile than an estimator.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace minichilla {

/// matrix·x = right with a symmetric matrix of `size` rows and columns, which starts as zero.
class SymmetricSystem {
 public:
  static constexpr std::size_t kLargest = 8;
  using Vector = std::array<double, kLargest>;  ///< the first `size` values count

  /// `size` at most kLargest.
  explicit SymmetricSystem(std::size_t size);

  std::size_t size() const { return size_; }
  double& matrix(std::size_t row, std::size_t column) { return matrix_[row * kLargest + column]; }
  double matrix(std::size_t row, std::size_t column) const { return matrix_[row * kLargest + column]; }
  double& right(std::size_t row) { return right_[row]; }
  double right(std::size_t row) const { return right_[row]; }
  double trace() const;

  /// The normal equations of one more observation: weight·row·rowᵀ and weight·row·value are added.
  void add(std::span<const double> row, double value, double weight = 1);

  /// x by LDLᵀ with pivoting; what it holds for a singular matrix is not defined, and may be not finite.
  Vector solve() const;
  /// x by Cholesky's method, or nothing where the matrix is not positive definite.
  std::optional<Vector> solve_positive_definite() const;
  /// Largest over smallest eigenvalue; infinite where the smallest is not positive.
  double condition() const;

 private:
  std::size_t size_;
  std::array<double, kLargest * kLargest> matrix_{};
  Vector right_{};
};

struct LeastSquares {
  std::vector<double> solution;
  std::size_t rank = 0;
};
/// x that minimises |rows·x − value|² by QR with column pivoting. `rows` is row-major, value.size() ×
/// columns.
LeastSquares solve_least_squares(std::span<const double> rows, std::size_t columns,
                                 std::span<const double> value);

/// The largest |value|; 0 of none.
double largest_size(std::span<const double> values);
bool all_finite(std::span<const double> values);

}  // namespace minichilla
