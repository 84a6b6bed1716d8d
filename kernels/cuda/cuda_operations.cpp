#include "kernels/cuda/cuda_operations.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "kernels/cuda/add_norm.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cublaslt_gemm.h"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/softmax_cross_entropy.h"
#include "kernels/cuda/square_sums.h"
#include "kernels/cuda/tensor_core_gemm.h"
#include "kernels/error.h"

namespace minichilla::cuda {
namespace {

constexpr std::size_t kAlignment = 256;

std::size_t aligned(std::size_t bytes) {
  return ceil_div(bytes, kAlignment) * kAlignment;
}

cudaStream_t stream_of(Lane& lane) {
  return static_cast<CudaLane&>(lane).stream;
}

/// Whose matrix products the operations use, with all that they need.
template <class Real>
class Products {
 public:
  virtual ~Products() = default;
  virtual Matmul<Real>& matmul() = 0;
  virtual std::size_t workspace_bytes() const { return 0; }
  virtual std::string algorithms() const { return ""; }
  virtual void pin_algorithms(const std::string&) {
    throw InputError("expected no algorithms: matrix products of our own have none to choose");
  }
};

/// cuBLASLt's, with its workspace and its plans: one lane uses them.
template <class Real>
class LibraryProducts final : public Products<Real> {
 public:
  explicit LibraryProducts(Fp32Inputs fp32_inputs)
      : workspace_(allocate_workspace(), [](void* memory) { cudaFree(memory); }),
        matmul_(workspace_.get(), fp32_inputs) {}
  Matmul<Real>& matmul() override { return matmul_; }
  std::size_t workspace_bytes() const override { return CublasLtGemm::kWorkspaceBytes; }
  std::string algorithms() const override { return matmul_.algorithms(); }
  void pin_algorithms(const std::string& text) override { matmul_.pin(text); }

 private:
  static void* allocate_workspace() {
    void* memory = nullptr;
    if (cudaMalloc(&memory, CublasLtGemm::kWorkspaceBytes) != cudaSuccess) {
      cudaGetLastError();
      throw std::bad_alloc();
    }
    return memory;
  }

  std::unique_ptr<void, void (*)(void*)> workspace_;
  CublasLtGemm matmul_;
};

class OwnProducts final : public Products<__nv_bfloat16> {
 public:
  Matmul<__nv_bfloat16>& matmul() override { return matmul_; }

 private:
  TensorCoreGemm matmul_;
};

/// Activations of type Real.
template <class Real>
class OperationsOn final : public CudaOperations {
 public:
  OperationsOn(std::unique_ptr<Products<Real>> products, std::int64_t logits_in_chunk)
      : products_(std::move(products)), logits_in_chunk_(logits_in_chunk) {}

  std::size_t workspace_bytes() const override { return products_->workspace_bytes(); }
  std::string algorithms() const override { return products_->algorithms(); }
  void pin_algorithms(const std::string& text) override { products_->pin_algorithms(text); }

  std::size_t activation_bytes() const override { return sizeof(Real); }
  void clear(Lane& lane, void* data, std::size_t bytes) const override {
    if (cudaMemsetAsync(data, 0, bytes, stream_of(lane)) != cudaSuccess) launched("clear");
  }

  void embed(Lane& lane, int B, int T, int C, const std::int32_t* tokens, const Activation* token_embedding,
             const Activation* position_embedding, Activation* out) const override {
    cuda::embed(stream_of(lane), B, T, C, tokens, real(token_embedding), real(position_embedding), real(out));
  }
  std::size_t embed_backward_scratch(int B, int T, int C, int) const override {
    return static_cast<std::size_t>(embed_backward_scratch_bytes(B, T, C));
  }
  void embed_backward(Lane& lane, int B, int T, int C, int V, const std::int32_t* tokens,
                      const Activation* d_out, float* d_token_embedding, float* d_position_embedding,
                      void* scratch) const override {
    cuda::embed_backward(stream_of(lane), B, T, C, V, tokens, real(d_out), d_token_embedding,
                         d_position_embedding, static_cast<std::int32_t*>(scratch));
  }

  void add_norm(Lane& lane, int M, int C, const Activation* residual, const Activation* branch,
                const float* weight, const float* bias, Activation* sum, Activation* normed, float* mean,
                float* rstd) const override {
    cuda::add_norm(stream_of(lane), M, C, real(residual), real(branch), weight, bias, real(sum), real(normed),
                   mean, rstd);
  }
  std::size_t add_norm_backward_scratch(int M, int C) const override {
    return static_cast<std::size_t>(cuda::add_norm_backward_scratch(M, C)) * sizeof(float);
  }
  void add_norm_backward(Lane& lane, int M, int C, const Activation* d_normed, const Activation* d_sum_in,
                         const Activation* sum, const float* mean, const float* rstd, const float* weight,
                         Activation* d_sum_out, float* d_weight, float* d_bias,
                         void* scratch) const override {
    cuda::add_norm_backward(stream_of(lane), M, C, real(d_normed), real(d_sum_in), real(sum), mean, rstd,
                            weight, real(d_sum_out), d_weight, d_bias, static_cast<float*>(scratch));
  }

  void linear(Lane& lane, LinearShape shape, const Activation* x, const Activation* weight, const float* bias,
              Activation* y, Activation* gelu_state) const override {
    using Then = Epilogue<Real>;
    matmul().multiply(stream_of(lane), {shape.M, shape.out, shape.in, false, true}, {real(x), shape.in},
                      {real(weight), shape.in}, {real(y), shape.out},
                      gelu_state ? Then::add_bias_and_gelu(bias, real(gelu_state)) : Then::add_bias(bias));
  }
  std::size_t linear_backward_scratch(LinearShape) const override { return 0; }
  void linear_backward(Lane& lane, LinearShape shape, const Activation* x, const Activation* weight,
                       const Activation* d_y, const Activation* gelu_state, Activation* d_x, float* d_weight,
                       float* d_bias, void*) const override {
    using Then = Epilogue<Real>;
    const cudaStream_t stream = stream_of(lane);
    matmul().multiply(stream, {shape.M, shape.in, shape.out, false, false}, {real(d_y), shape.out},
                      {real(weight), shape.in}, {real(d_x), shape.in},
                      gelu_state ? Then::times_gelu_derivative(real(gelu_state)) : Then());
    matmul().multiply_fp32(stream, {shape.out, shape.in, shape.M, true, false}, {real(d_y), shape.out},
                           {real(x), shape.in}, {d_weight, shape.in}, true, d_bias);
  }

  std::size_t attention_scratch(const AttentionShape& shape) const override {
    return static_cast<std::size_t>(attention_backward_scratch(shape)) * sizeof(float);
  }
  void attention(Lane& lane, const AttentionShape& shape, const Activation* qkv, Activation* out,
                 float* log_sum_exp, void*) const override {
    cuda::attention(stream_of(lane), shape, real(qkv), real(out), log_sum_exp);
  }
  void attention_backward(Lane& lane, const AttentionShape& shape, const Activation* qkv,
                          const Activation* out, const float* log_sum_exp, const Activation* d_out,
                          Activation* d_qkv, void* scratch) const override {
    cuda::attention_backward(stream_of(lane), shape, real(qkv), real(out), log_sum_exp, real(d_out),
                             real(d_qkv), static_cast<float*>(scratch));
  }

  std::size_t classifier_scratch(ClassifierShape shape) const override {
    return logits_bytes(shape) + static_cast<std::size_t>(chunk_rows(shape)) * sizeof(float);
  }
  void classifier(Lane& lane, ClassifierShape shape, const Activation* hidden, const Activation* weight,
                  const std::int32_t* targets, float loss_scale, double* loss_sum, Activation* d_hidden,
                  float* d_weight, void* scratch) const override;

  void sum_slots(Lane& lane, std::span<float* const> slots, ElementRange range) const override {
    cuda::sum_slots(stream_of(lane), slots, range);
  }
  void square_sums(Lane& lane, const float* gradient, ElementRange range, double* partials) const override {
    cuda::square_sums(stream_of(lane), gradient, range, partials);
  }
  void finish_gradient(Lane& lane, std::span<const double> partials, std::span<const double> slot_loss_sums,
                       float clip, StepState* state) const override {
    cuda::finish_gradient(stream_of(lane), partials, slot_loss_sums, clip, state);
  }
  void adamw(Lane& lane, AdamWSettings settings, ElementRange range, const StepState* state,
             const std::uint8_t* decayed, const float* gradient, float* weights, float* first_moment,
             float* second_moment, Activation* compute_weights) const override {
    cuda::adamw(stream_of(lane), settings, range, state, decayed, gradient, weights, first_moment,
                second_moment, reinterpret_cast<__nv_bfloat16*>(compute_weights));
  }
  void round_weights(Lane& lane, ElementRange range, const float* weights,
                     Activation* compute_weights) const override {
    cast_to_bf16(stream_of(lane), range.end - range.begin, weights + range.begin,
                 reinterpret_cast<__nv_bfloat16*>(compute_weights) + range.begin);
  }

 private:
  static Real* real(Activation* values) { return reinterpret_cast<Real*>(values); }
  static const Real* real(const Activation* values) { return reinterpret_cast<const Real*>(values); }

  /// Rows begin at multiples of 16 bytes.
  static std::int64_t logits_row(ClassifierShape shape) {
    return ceil_div(std::int64_t{shape.V}, std::int64_t{8}) * 8;
  }
  int chunk_rows(ClassifierShape shape) const {
    const std::int64_t rows = logits_in_chunk_ / logits_row(shape) / 128 * 128;
    return static_cast<int>(std::min<std::int64_t>(shape.M, std::max<std::int64_t>(rows, 128)));
  }
  std::size_t logits_bytes(ClassifierShape shape) const {
    return aligned(static_cast<std::size_t>(chunk_rows(shape) * logits_row(shape)) * sizeof(Real));
  }

  Matmul<Real>& matmul() const { return products_->matmul(); }

  std::unique_ptr<Products<Real>> products_;
  std::int64_t logits_in_chunk_;
};

template <class Real>
void OperationsOn<Real>::classifier(Lane& lane, ClassifierShape shape, const Activation* hidden,
                                    const Activation* weight, const std::int32_t* targets, float loss_scale,
                                    double* loss_sum, Activation* d_hidden, float* d_weight,
                                    void* scratch) const {
  const cudaStream_t stream = stream_of(lane);
  const int C = shape.C, V = shape.V, step = chunk_rows(shape);
  const std::int64_t row = logits_row(shape);
  Real* const logits = static_cast<Real*>(scratch);
  float* const row_losses = reinterpret_cast<float*>(static_cast<char*>(scratch) + logits_bytes(shape));
  const Matrix<const Real> words{real(weight), C};
  for (int begin = 0; begin < shape.M; begin += step) {
    const int rows = std::min(step, shape.M - begin);
    const std::int64_t first = std::int64_t{begin} * C;
    const Matrix<const Real> chunk{real(hidden) + first, C};
    matmul().multiply(stream, {rows, V, C, false, true}, chunk, words, {logits, row}, {});
    softmax_cross_entropy(stream, rows, V, row, logits, targets + begin, loss_scale, row_losses,
                          d_hidden != nullptr);
    add_row_losses(stream, rows, row_losses, loss_sum);
    if (d_hidden == nullptr) continue;
    const Matrix<const Real> d_logits{logits, row};
    matmul().multiply(stream, {rows, C, V, false, false}, d_logits, words, {real(d_hidden) + first, C}, {});
    matmul().multiply_fp32(stream, {V, C, rows, true, false}, d_logits, chunk, {d_weight, C}, true, nullptr);
  }
}

}  // namespace

std::unique_ptr<CudaOperations> make_operations(Precision precision, MatrixProducts products,
                                                std::int64_t logits_in_chunk) {
  if (precision != Precision::bf16) {
    if (products == MatrixProducts::own) {
      throw InputError("found precision " + name_of(precision) +
                       ", expected bf16 for matrix products of our own");
    }
    const Fp32Inputs inputs = precision == Precision::tf32 ? Fp32Inputs::kTf32 : Fp32Inputs::kExact;
    return std::make_unique<OperationsOn<float>>(std::make_unique<LibraryProducts<float>>(inputs),
                                                 logits_in_chunk);
  }
  using Real = __nv_bfloat16;
  std::unique_ptr<Products<Real>> made;
  if (products == MatrixProducts::own) {
    made = std::make_unique<OwnProducts>();
  } else {
    made = std::make_unique<LibraryProducts<Real>>(Fp32Inputs::kExact);
  }
  return std::make_unique<OperationsOn<Real>>(std::move(made), logits_in_chunk);
}

}  // namespace minichilla::cuda
