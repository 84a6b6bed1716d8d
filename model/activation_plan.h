// Plans one arena for all activations of a micro-batch: tensors with first and last use get offsets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace minichilla {

/// Tensors are declared in any order with the first and last moment (a step number of the caller's) at which
/// they hold data; two tensors share bytes only when their [first, last] do not meet.
class ActivationPlan {
 public:
  using Id = int;
  Id declare(std::string name, std::size_t bytes, int first_use, int last_use);
  /// Assigns 64-byte aligned offsets, largest tensors first, each at the lowest place that is free during its
  /// life.
  void assign();
  std::size_t offset(Id id) const { return tensors_[static_cast<std::size_t>(id)].offset; }
  /// Arena size; valid after assign().
  std::size_t bytes() const { return bytes_; }
  /// Σ of all tensors: what it would take without sharing.
  std::size_t bytes_without_sharing() const;

  struct Tensor {
    std::string name;
    std::size_t bytes;
    int first_use, last_use;
    std::size_t offset;
  };
  const std::vector<Tensor>& tensors() const { return tensors_; }

 private:
  std::vector<Tensor> tensors_;
  std::size_t bytes_ = 0;
};

}  // namespace minichilla
