#include "kernels/cuda/cublaslt_gemm.h"

#include <charconv>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <type_traits>

#include "kernels/cuda/cublaslt_plan.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/separate_epilogue.h"
#include "kernels/error.h"

namespace minichilla::cuda {
namespace {

/// At the head of the workspace: a rounded bias, or row sums before they are added.
constexpr std::size_t kVectorBytes = 256 << 10;

/// What a product is followed by.
template <class Output>
struct Task {
  Epilogue<Output> epilogue;
  bool accumulate = false;
  float* row_sums = nullptr;
};

template <class Real>
constexpr cudaDataType_t kType = sizeof(Real) == 2 ? CUDA_R_16BF : CUDA_R_32F;

template <class Output>
cublasLtEpilogue_t library_epilogue(const Task<Output>& task) {
  using Kind = typename Epilogue<Output>::Kind;
  if (task.row_sums != nullptr) return CUBLASLT_EPILOGUE_BGRADB;  // the library's B is our A
  switch (task.epilogue.kind) {
    case Kind::kBias:
      return CUBLASLT_EPILOGUE_BIAS;
    case Kind::kBiasGelu:
      return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    case Kind::kGeluDerivative:
      return CUBLASLT_EPILOGUE_DGELU;
    case Kind::kNone:
      break;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

/// "cuBLASLt 130100"
std::string version_line() {
  return "cuBLASLt " + std::to_string(cublasLtGetVersion());
}

constexpr const char* kBetween = " : ";
constexpr const char* kSeparate = "separate";

/// nullopt: the library does not offer this product with its epilogue.
using Choice = std::optional<AlgorithmWords>;

std::string choice_text(const Choice& choice) {
  if (!choice) return kSeparate;
  std::string text;
  for (const std::uint64_t word : *choice) {
    char digits[17];
    const auto end = std::to_chars(digits, digits + 16, word, 16);
    text += (text.empty() ? "" : " ") + std::string(digits, end.ptr);
  }
  return text;
}

/// Throws InputError that quotes the line.
Choice parse_choice(const std::string& text, const std::string& line) {
  if (text == kSeparate) return std::nullopt;
  AlgorithmWords words;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (std::uint64_t& word : words) {
    const auto [next, error] = std::from_chars(at, end, word, 16);
    const bool last = &word == &words.back();
    if (error != std::errc() || (last ? next != end : next == end || *next != ' ')) {
      throw InputError("cuBLASLt algorithms: expected 'separate' or 8 hexadecimal words at the end of '" +
                       line + "'");
    }
    at = last ? next : next + 1;
  }
  return words;
}

}  // namespace

class CublasLtGemm::Implementation {
 public:
  Implementation(void* workspace, Fp32Inputs fp32_inputs)
      : vector_(workspace),
        workspace_(static_cast<char*>(workspace) + kVectorBytes),
        fp32_compute_(fp32_inputs == Fp32Inputs::kTf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F) {
    cublas_succeeds("cublasLtCreate", cublasLtCreate(&handle_));
  }
  ~Implementation() { cublasLtDestroy(handle_); }
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;

  template <class Real, class Output>
  void multiply(cudaStream_t stream, const Product& product, Matrix<const Real> a, Matrix<const Real> b,
                Matrix<Output> c, const Task<Output>& task);
  std::string algorithms() const;
  void pin(const std::string& text);

 private:
  /// What the library computes with: nullptr plan where it cannot do the task in one.
  ProductPlan* plan_for(const ProductKey& key, EpiloguePointers pointers);
  template <class Output>
  bool fits(const Product& product, Matrix<Output> c, const Task<Output>& task) const;
  template <class Output>
  EpiloguePointers pointers_for(const Task<Output>& task) const;

  cublasLtHandle_t handle_ = nullptr;
  void* vector_;
  void* workspace_;
  static constexpr std::size_t kSpace = kWorkspaceBytes - kVectorBytes;
  cublasComputeType_t fp32_compute_;
  std::map<ProductKey, std::unique_ptr<ProductPlan>> plans_;
  std::map<std::string, Choice> choices_;  ///< by the key's text: those made, and those pinned
};

/// The library's own conditions for what follows a product.
template <class Output>
bool CublasLtGemm::Implementation::fits(const Product& product, Matrix<Output> c,
                                        const Task<Output>& task) const {
  const std::size_t length =
      static_cast<std::size_t>(task.row_sums != nullptr ? product.rows : product.columns);
  if (length * sizeof(float) > kVectorBytes) return false;
  return task.epilogue.gelu_input == nullptr ||
         (c.leading_dimension % 8 == 0 && alignment_of({task.epilogue.gelu_input}) >= 16);
}

template <class Output>
EpiloguePointers CublasLtGemm::Implementation::pointers_for(const Task<Output>& task) const {
  // The library takes a bias of C's type and writes row sums instead of adding them.
  const bool in_scratch =
      task.row_sums != nullptr || (task.epilogue.bias != nullptr && !std::is_same_v<Output, float>);
  return {in_scratch ? vector_ : const_cast<float*>(task.epilogue.bias), task.epilogue.gelu_input};
}

template <class Real, class Output>
void CublasLtGemm::Implementation::multiply(cudaStream_t stream, const Product& product, Matrix<const Real> a,
                                            Matrix<const Real> b, Matrix<Output> c,
                                            const Task<Output>& task) {
  if (task.row_sums != nullptr && !product.transpose_a) {
    throw std::invalid_argument("cublaslt_gemm: row sums need a transposed first operand");
  }
  if (product.rows == 0 || product.columns == 0) return;
  if (product.depth == 0) {
    if (!task.accumulate) {
      cudaMemset2DAsync(c.data, static_cast<std::size_t>(c.leading_dimension) * sizeof(Output), 0,
                        static_cast<std::size_t>(product.columns) * sizeof(Output),
                        static_cast<std::size_t>(product.rows), stream);
      launched("clear");
    }
    return apply_epilogue(stream, product.rows, product.columns, c, task.epilogue);
  }
  const EpiloguePointers pointers = pointers_for(task);
  ProductKey key{std::is_same_v<Real, float> ? fp32_compute_ : CUBLAS_COMPUTE_32F,
                 kType<Real>,
                 kType<Output>,
                 product.rows,
                 product.columns,
                 product.depth,
                 product.transpose_a,
                 product.transpose_b,
                 a.leading_dimension,
                 b.leading_dimension,
                 c.leading_dimension,
                 library_epilogue(task),
                 task.accumulate,
                 alignment_of({a.data, b.data, c.data, pointers.aux}),
                 pointers.vector == nullptr ? 0 : alignment_of({pointers.vector})};
  ProductPlan* plan = fits(product, c, task) ? plan_for(key, pointers) : nullptr;
  if (plan != nullptr) {
    if constexpr (!std::is_same_v<Output, float>) {
      if (task.epilogue.bias != nullptr) {
        cast_to_bf16(stream, product.columns, task.epilogue.bias, static_cast<Output*>(vector_));
      }
    }
    plan->run(stream, handle_, a.data, b.data, c.data, pointers, workspace_, kSpace);
    if (task.row_sums != nullptr)
      add_floats(stream, product.rows, static_cast<float*>(vector_), task.row_sums);
    return;
  }
  key.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  key.matrix_alignment = alignment_of({a.data, b.data, c.data});
  key.vector_alignment = 0;
  plan = plan_for(key, {});
  if (plan == nullptr) throw std::runtime_error("cuBLASLt has no algorithm for the product " + key.text());
  plan->run(stream, handle_, a.data, b.data, c.data, {}, workspace_, kSpace);
  apply_epilogue(stream, product.rows, product.columns, c, task.epilogue);
  if (task.row_sums != nullptr) add_column_sums(stream, product.depth, product.rows, a, task.row_sums);
}

ProductPlan* CublasLtGemm::Implementation::plan_for(const ProductKey& key, EpiloguePointers pointers) {
  const auto found = plans_.find(key);
  if (found != plans_.end()) return found->second.get();
  const std::string text = key.text();
  auto plan = std::make_unique<ProductPlan>(key, pointers);
  const auto chosen = choices_.find(text);
  if (chosen == choices_.end()) {
    if (!plan->search(handle_, kSpace)) plan = nullptr;
    choices_[text] = plan == nullptr ? Choice() : Choice(plan->algorithm());
  } else if (chosen->second) {
    plan->use(handle_, *chosen->second, kSpace);
  } else {
    plan = nullptr;
  }
  return (plans_[key] = std::move(plan)).get();
}

std::string CublasLtGemm::Implementation::algorithms() const {
  std::string text = version_line() + "\n";
  for (const auto& [key, choice] : choices_) text += key + kBetween + choice_text(choice) + "\n";
  return text;
}

void CublasLtGemm::Implementation::pin(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  if (line != version_line()) {
    throw InputError("cuBLASLt algorithms: found those of '" + line + "', expected '" + version_line() + "'");
  }
  std::map<std::string, Choice> pinned;
  while (std::getline(lines, line)) {
    const std::size_t between = line.find(kBetween);
    if (between == std::string::npos) {
      throw InputError("cuBLASLt algorithms: expected 'PRODUCT : ALGORITHM', found '" + line + "'");
    }
    pinned[line.substr(0, between)] = parse_choice(line.substr(between + std::string(kBetween).size()), line);
  }
  for (const auto& [key, choice] : pinned) choices_[key] = choice;
  plans_.clear();
}

CublasLtGemm::CublasLtGemm(void* workspace, Fp32Inputs fp32_inputs)
    : implementation_(std::make_unique<Implementation>(workspace, fp32_inputs)) {}
CublasLtGemm::~CublasLtGemm() = default;

void CublasLtGemm::multiply(cudaStream_t stream, const Product& product, Matrix<const float> a,
                            Matrix<const float> b, Matrix<float> c, const Epilogue<float>& epilogue) {
  implementation_->multiply(stream, product, a, b, c, Task<float>{epilogue});
}
void CublasLtGemm::multiply(cudaStream_t stream, const Product& product, Matrix<const __nv_bfloat16> a,
                            Matrix<const __nv_bfloat16> b, Matrix<__nv_bfloat16> c,
                            const Epilogue<__nv_bfloat16>& epilogue) {
  implementation_->multiply(stream, product, a, b, c, Task<__nv_bfloat16>{epilogue});
}
void CublasLtGemm::multiply_fp32(cudaStream_t stream, const Product& product, Matrix<const float> a,
                                 Matrix<const float> b, Matrix<float> c, bool accumulate, float* row_sums) {
  implementation_->multiply(stream, product, a, b, c, Task<float>{{}, accumulate, row_sums});
}
void CublasLtGemm::multiply_fp32(cudaStream_t stream, const Product& product, Matrix<const __nv_bfloat16> a,
                                 Matrix<const __nv_bfloat16> b, Matrix<float> c, bool accumulate,
                                 float* row_sums) {
  implementation_->multiply(stream, product, a, b, c, Task<float>{{}, accumulate, row_sums});
}

std::string CublasLtGemm::algorithms() const {
  return implementation_->algorithms();
}
void CublasLtGemm::pin(const std::string& text) {
  implementation_->pin(text);
}

}  // namespace minichilla::cuda
