// Matrix products by cuBLASLt.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "kernels/cuda/matmul.h"

namespace minichilla::cuda {

/// What fp32 operands are rounded to before they are multiplied.
enum class Fp32Inputs {
  kExact,  ///< nothing
  kTf32,   ///< tf32, on tensor cores
};

/// Products of fp32 or bf16, always with fp32 sums. The library's GELU is the tanh form, as ours. What it
/// cannot do together with a product (an epilogue at these types, sizes or alignments) follows in a kernel of
/// ours; then C was rounded to Real in between. A bf16 product adds the bias rounded to bf16.
///
/// The first call for a shape, layout, epilogue, alignment and types asks the library for an algorithm; later
/// ones neither search nor allocate. Sums are never split by atomics or in C's own memory, so an algorithm
/// always gives the same bits. For the device that is current at construction, and one stream at a time: the
/// workspace is written.
class CublasLtGemm final : public Matmul<float>, public Matmul<__nv_bfloat16> {
 public:
  static constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

  /// `workspace` (device memory, 256-byte aligned, kWorkspaceBytes) must outlive this.
  CublasLtGemm(void* workspace, Fp32Inputs fp32_inputs);
  ~CublasLtGemm() override;
  CublasLtGemm(const CublasLtGemm&) = delete;
  CublasLtGemm& operator=(const CublasLtGemm&) = delete;

  void multiply(cudaStream_t stream, const Product& product, Matrix<const float> a, Matrix<const float> b,
                Matrix<float> c, const Epilogue<float>& epilogue) override;
  void multiply(cudaStream_t stream, const Product& product, Matrix<const __nv_bfloat16> a,
                Matrix<const __nv_bfloat16> b, Matrix<__nv_bfloat16> c,
                const Epilogue<__nv_bfloat16>& epilogue) override;
  void multiply_fp32(cudaStream_t stream, const Product& product, Matrix<const float> a,
                     Matrix<const float> b, Matrix<float> c, bool accumulate, float* row_sums) override;
  void multiply_fp32(cudaStream_t stream, const Product& product, Matrix<const __nv_bfloat16> a,
                     Matrix<const __nv_bfloat16> b, Matrix<float> c, bool accumulate,
                     float* row_sums) override;

  /// The algorithms of all products so far and of all that were pinned: the library's version, then one line
  /// for each product, in a fixed order.
  std::string algorithms() const;
  /// From now on products that `text`, which algorithms() wrote, names use the algorithms that it names, so
  /// that a resumed run has the same bits; others still ask the library. Throws InputError where the text is
  /// malformed or another version's. A product throws std::runtime_error if its pinned algorithm does not run
  /// on this device.
  void pin(const std::string& text);

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace minichilla::cuda
