// How the CPU device multiplies numbers that are rounded to bf16.
#pragma once

#include <string>

namespace minichilla {

enum class Bf16Products {
  fp32_arithmetic,  ///< slower than fp32
  dot_products,     ///< AVX512_BF16's instruction
  tiles,            ///< AMX's
};

/// The fastest way that this processor, the system and the instruction-set path that the kernels take have.
/// The first call asks the system for tiles, before threads that use them: Linux gives them on demand.
Bf16Products cpu_bf16_products();

/// In words, for instance "bf16 dot products".
std::string name_of(Bf16Products products);

}  // namespace minichilla
