#include "sweeps/analysis/linear_algebra.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace minichilla {
namespace {

constexpr int kMost = static_cast<int>(SymmetricSystem::kLargest);
// Never larger: on the stack.
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor, kMost, kMost>;
using Column = Eigen::Matrix<double, Eigen::Dynamic, 1, Eigen::ColMajor, kMost, 1>;

Matrix matrix_of(const SymmetricSystem& system) {
  const auto size = static_cast<Eigen::Index>(system.size());
  Matrix matrix(size, size);
  for (Eigen::Index i = 0; i < size; ++i) {
    for (Eigen::Index j = 0; j < size; ++j) {
      matrix(i, j) = system.matrix(static_cast<std::size_t>(i), static_cast<std::size_t>(j));
    }
  }
  return matrix;
}

Column right_of(const SymmetricSystem& system) {
  Column right(static_cast<Eigen::Index>(system.size()));
  for (Eigen::Index i = 0; i < right.size(); ++i) right[i] = system.right(static_cast<std::size_t>(i));
  return right;
}

SymmetricSystem::Vector vector_of(const Column& column) {
  SymmetricSystem::Vector vector{};
  std::copy(column.begin(), column.end(), vector.begin());
  return vector;
}

}  // namespace

SymmetricSystem::SymmetricSystem(std::size_t size) : size_(size) {
  if (size > kLargest) throw std::logic_error("a system of more unknowns than SymmetricSystem::kLargest");
}

double SymmetricSystem::trace() const {
  double sum = 0;
  for (std::size_t i = 0; i < size_; ++i) sum += matrix(i, i);
  return sum;
}

void SymmetricSystem::add(std::span<const double> row, double value, double weight) {
  for (std::size_t i = 0; i < size_; ++i) {
    const double weighted = weight * row[i];
    for (std::size_t j = 0; j < size_; ++j) matrix(i, j) += weighted * row[j];
    right_[i] += weighted * value;
  }
}

SymmetricSystem::Vector SymmetricSystem::solve() const {
  return vector_of(matrix_of(*this).ldlt().solve(right_of(*this)));
}

std::optional<SymmetricSystem::Vector> SymmetricSystem::solve_positive_definite() const {
  const Eigen::LLT<Matrix> factor(matrix_of(*this));
  if (factor.info() != Eigen::Success) return std::nullopt;
  return vector_of(factor.solve(right_of(*this)));
}

double SymmetricSystem::condition() const {
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(matrix_of(*this), Eigen::EigenvaluesOnly);
  const auto& values = solver.eigenvalues();
  return values[0] > 0 ? values[values.size() - 1] / values[0] : std::numeric_limits<double>::infinity();
}

LeastSquares solve_least_squares(std::span<const double> rows, std::size_t columns,
                                 std::span<const double> value) {
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::MatrixXd matrix =
      RowMajor::Map(rows.data(), std::ssize(value), static_cast<Eigen::Index>(columns));
  const Eigen::ColPivHouseholderQR<Eigen::MatrixXd> factor(matrix);
  const Eigen::VectorXd solution = factor.solve(Eigen::VectorXd::Map(value.data(), std::ssize(value)));
  return {{solution.begin(), solution.end()}, static_cast<std::size_t>(factor.rank())};
}

double largest_size(std::span<const double> values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::fabs(value));
  return largest;
}

bool all_finite(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
}

}  // namespace minichilla
