// In what numbers a device computes.
#pragma once

#include <string>

namespace minichilla {

/// Weights, moments, gradients of parameters, statistics and losses are fp32 (or double) in each of them.
enum class Precision {
  fp32,  ///< all else too
  tf32,  ///< matrix products round their inputs to 10 bits of mantissa: NVIDIA's TensorFloat-32
  bf16,  ///< a GPU: activations, their gradients, and weights as matrix products read them; the CPU: what
         ///< linear layers and the classifier multiply
};

inline std::string name_of(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return "fp32";
    case Precision::tf32:
      return "tf32";
    case Precision::bf16:
      return "bf16";
  }
  return "";
}

/// Of a name as name_of gives it; fp32 for any other.
inline Precision precision_of(const std::string& name) {
  return name == "tf32" ? Precision::tf32 : name == "bf16" ? Precision::bf16 : Precision::fp32;
}

}  // namespace minichilla
