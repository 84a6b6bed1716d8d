// cuBLASLt's functions, found in its library when the first of them is called: loading half a gigabyte would
// cost every process 0.1 s, also those that never see a GPU.
#include <cublasLt.h>
#include <dlfcn.h>

#include <stdexcept>
#include <string>

namespace {

void* open_library() {
  const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  for (const std::string& file : {name, MINICHILLA_CUDA_LIBRARIES "/" + name}) {
    if (void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  }
  throw std::runtime_error(
      name + ": not found where the system looks for libraries nor in " MINICHILLA_CUDA_LIBRARIES
             "; it belongs to the CUDA toolkit");
}

template <class Function>
Function* find(const char* name) {
  static void* const library = open_library();
  void* const symbol = dlsym(library, name);
  if (symbol == nullptr) throw std::runtime_error(std::string("cuBLASLt: no function ") + name);
  return reinterpret_cast<Function*>(symbol);
}

}  // namespace

#define MINICHILLA_FOUND(name)                          \
  static const auto call = find<decltype(name)>(#name); \
  return call

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  MINICHILLA_FOUND(cublasLtCreate)(handle);
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  MINICHILLA_FOUND(cublasLtDestroy)(handle);
}
const char* cublasLtGetStatusString(cublasStatus_t status) {
  MINICHILLA_FOUND(cublasLtGetStatusString)(status);
}
size_t cublasLtGetVersion() {
  MINICHILLA_FOUND(cublasLtGetVersion)();
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product, const void* alpha,
                              const void* A, cublasLtMatrixLayout_t A_layout, const void* B,
                              cublasLtMatrixLayout_t B_layout, const void* beta, const void* C,
                              cublasLtMatrixLayout_t C_layout, void* D, cublasLtMatrixLayout_t D_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
  MINICHILLA_FOUND(cublasLtMatmul)
  (handle, product, alpha, A, A_layout, B, B_layout, beta, C, C_layout, D, D_layout, algorithm, workspace,
   workspace_bytes, stream);
}
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                       cublasLtMatrixLayout_t A, cublasLtMatrixLayout_t B,
                                       cublasLtMatrixLayout_t C, cublasLtMatrixLayout_t D,
                                       const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  MINICHILLA_FOUND(cublasLtMatmulAlgoCheck)(handle, product, A, B, C, D, algorithm, result);
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t A, cublasLtMatrixLayout_t B,
                                              cublasLtMatrixLayout_t C, cublasLtMatrixLayout_t D,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int* found) {
  MINICHILLA_FOUND(cublasLtMatmulAlgoGetHeuristic)
  (handle, product, A, B, C, D, preference, wanted, results, found);
}
cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t product, size_t size,
                                               cublasComputeType_t compute, cudaDataType_t scale) {
  MINICHILLA_FOUND(cublasLtMatmulDescInit_internal)(product, size, compute, scale);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
  MINICHILLA_FOUND(cublasLtMatmulDescSetAttribute)(product, attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference, size_t size) {
  MINICHILLA_FOUND(cublasLtMatmulPreferenceInit_internal)(preference, size);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  MINICHILLA_FOUND(cublasLtMatmulPreferenceSetAttribute)(preference, attribute, value, bytes);
}
cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t size,
                                                 cudaDataType type, uint64_t rows, uint64_t columns,
                                                 int64_t leading_dimension) {
  MINICHILLA_FOUND(cublasLtMatrixLayoutInit_internal)(layout, size, type, rows, columns, leading_dimension);
}
