#include "kernels/cuda/cublaslt_plan.h"

#include <cstring>
#include <stdexcept>

namespace minichilla::cuda {
namespace {

/// What an arena promises. More would let the place that a tensor happens to get decide the algorithm, and so
/// the bits.
constexpr std::uintptr_t kLargestAlignment = 64;

static_assert(sizeof(cublasLtMatmulAlgo_t) == sizeof(AlgorithmWords));

const char* type_name(cudaDataType_t type) {
  return type == CUDA_R_32F ? "fp32" : "bf16";
}

const char* epilogue_name(cublasLtEpilogue_t epilogue) {
  switch (epilogue) {
    case CUBLASLT_EPILOGUE_BIAS:
      return "bias";
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
      return "bias_gelu";
    case CUBLASLT_EPILOGUE_DGELU:
      return "gelu_derivative";
    case CUBLASLT_EPILOGUE_BGRADB:
      return "row_sums";
    default:
      return "plain";
  }
}

/// A row-major matrix, which the library sees transposed.
void describe(cublasLtMatrixLayoutOpaque_t& layout, cudaDataType_t type, int rows, int columns,
              std::int64_t leading_dimension) {
  cublas_succeeds("cublasLtMatrixLayoutInit",
                  cublasLtMatrixLayoutInit(&layout, type, static_cast<std::uint64_t>(columns),
                                           static_cast<std::uint64_t>(rows), leading_dimension));
}

template <class Value>
void set(cublasLtMatmulDescOpaque_t& operation, cublasLtMatmulDescAttributes_t attribute,
         const Value& value) {
  cublas_succeeds("cublasLtMatmulDescSetAttribute",
                  cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof value));
}

template <class Value>
void set(cublasLtMatmulPreferenceOpaque_t& preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const Value& value) {
  cublas_succeeds("cublasLtMatmulPreferenceSetAttribute",
                  cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value));
}

}  // namespace

void cublas_succeeds(const char* function, cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw std::runtime_error(std::string(function) + ": " + cublasLtGetStatusString(status));
  }
}

std::string ProductKey::text() const {
  const std::string inputs = compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? "tf32" : type_name(input);
  std::string line = inputs + " to " + type_name(output);
  for (const std::int64_t size : {std::int64_t{rows}, std::int64_t{columns}, std::int64_t{depth}}) {
    line += " " + std::to_string(size);
  }
  line += std::string(" ") + (transpose_a ? "T" : "N") + (transpose_b ? "T" : "N");
  for (const std::int64_t leading : {leading_a, leading_b, leading_c}) line += " " + std::to_string(leading);
  line += std::string(" ") + epilogue_name(epilogue) + (accumulate ? " add" : " replace");
  return line + " " + std::to_string(matrix_alignment) + " " + std::to_string(vector_alignment);
}

unsigned alignment_of(std::initializer_list<const void*> addresses) {
  std::uintptr_t bits = kLargestAlignment;
  for (const void* address : addresses) bits |= reinterpret_cast<std::uintptr_t>(address);
  return static_cast<unsigned>(bits & -bits);
}

ProductPlan::ProductPlan(const ProductKey& key, EpiloguePointers pointers) : key_(key), algorithm_{} {
  describe(a_, key.input, key.transpose_a ? key.depth : key.rows, key.transpose_a ? key.rows : key.depth,
           key.leading_a);
  describe(b_, key.input, key.transpose_b ? key.columns : key.depth,
           key.transpose_b ? key.depth : key.columns, key.leading_b);
  describe(c_, key.output, key.rows, key.columns, key.leading_c);
  cublas_succeeds("cublasLtMatmulDescInit", cublasLtMatmulDescInit(&operation_, key.compute, CUDA_R_32F));
  set(operation_, CUBLASLT_MATMUL_DESC_TRANSA, key.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(operation_, CUBLASLT_MATMUL_DESC_TRANSB, key.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, key.epilogue);
  if (pointers.aux != nullptr) set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, key.leading_c);
  set_pointers(pointers);
}

void ProductPlan::set_pointers(EpiloguePointers pointers) {
  if (pointers.vector != nullptr) set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, pointers.vector);
  if (pointers.aux != nullptr) set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, pointers.aux);
}

bool ProductPlan::search(cublasLtHandle_t handle, std::size_t workspace_bytes) {
  cublasLtMatmulPreferenceOpaque_t preference;
  cublas_succeeds("cublasLtMatmulPreferenceInit", cublasLtMatmulPreferenceInit(&preference));
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{workspace_bytes});
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(preference, attribute, std::uint32_t{key_.matrix_alignment});
  }
  cublasLtMatmulHeuristicResult_t result;
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, &operation_, &b_, &a_, &c_, &c_,
                                                               &preference, 1, &result, &found);
  // Both are answers to what the library does not offer, by its kind.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return false;
  cublas_succeeds("cublasLtMatmulAlgoGetHeuristic", status);
  if (found == 0 || result.state != CUBLAS_STATUS_SUCCESS) return false;
  algorithm_ = result.algo;
  return true;
}

void ProductPlan::use(cublasLtHandle_t handle, const AlgorithmWords& words, std::size_t workspace_bytes) {
  std::memcpy(&algorithm_, words.data(), sizeof algorithm_);
  cublasLtMatmulHeuristicResult_t result;
  const cublasStatus_t status =
      cublasLtMatmulAlgoCheck(handle, &operation_, &b_, &a_, &c_, &c_, &algorithm_, &result);
  if (status != CUBLAS_STATUS_SUCCESS || result.workspaceSize > workspace_bytes) {
    throw std::runtime_error("cuBLASLt: the algorithm recorded for '" + key_.text() +
                             "' does not run on this device: " + cublasLtGetStatusString(status));
  }
}

AlgorithmWords ProductPlan::algorithm() const {
  AlgorithmWords words;
  std::memcpy(words.data(), &algorithm_, sizeof algorithm_);
  return words;
}

void ProductPlan::run(cudaStream_t stream, cublasLtHandle_t handle, const void* a, const void* b, void* c,
                      EpiloguePointers pointers, void* workspace, std::size_t workspace_bytes) {
  set_pointers(pointers);
  const float one = 1, add = key_.accumulate ? 1 : 0;
  cublas_succeeds("cublasLtMatmul", cublasLtMatmul(handle, &operation_, &one, b, &b_, a, &a_, &add, c, &c_, c,
                                                   &c_, &algorithm_, workspace, workspace_bytes, stream));
}

}  // namespace minichilla::cuda
