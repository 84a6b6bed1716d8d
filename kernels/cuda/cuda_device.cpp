#include "kernels/cuda_device.h"

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <new>
#include <stdexcept>
#include <string>

#include "kernels/cuda/cuda_operations.h"
#include "kernels/cuda/square_sums.h"
#include "kernels/error.h"

namespace minichilla {
namespace {

void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // so that the next call does not report it again
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(error));
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// One GPU and one stream; everything is enqueued there in the order of the calls.
class CudaDevice final : public Device {
 public:
  CudaDevice(int ordinal, Precision precision)
      : ordinal_(ordinal), precision_(precision), lane_(make_stream(ordinal)) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
    model_name_ = std::string(properties.name) + " sm_" + std::to_string(properties.major) +
                  std::to_string(properties.minor);
    operations_ = cuda::make_operations(precision);
  }
  ~CudaDevice() override {
    operations_.reset();
    cudaStreamDestroy(lane_.stream);
  }

  std::string name() const override { return "cuda"; }
  int lanes() const override { return 1; }
  const Operations& operations() const override { return *operations_; }
  std::int64_t elements_per_task() const override { return std::int64_t{1} << 40; }  // one launch does all

  Buffer allocate(std::size_t bytes) override {
    if (bytes == 0) return Buffer();
    use();
    void* data = nullptr;
    check(cudaMalloc(&data, bytes), "cudaMalloc");
    Buffer buffer(data, bytes, [](void* p) { cudaFree(p); });
    check(cudaMemsetAsync(data, 0, bytes, lane_.stream), "cudaMemsetAsync");
    return buffer;
  }
  std::size_t workspace_bytes() const override { return cuda::workspace_bytes(); }
  std::optional<std::uint64_t> free_memory() const override {
    use();
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return free;
  }
  void upload(void* device, const void* host, std::size_t bytes) override {
    copy(device, host, bytes, cudaMemcpyHostToDevice);
  }
  void download(void* host, const void* device, std::size_t bytes) override {
    copy(host, device, bytes, cudaMemcpyDeviceToHost);
  }

  void for_each_task(int tasks, const std::function<void(Lane&, int)>& work) override {
    use();
    for (int task = 0; task < tasks; ++task) work(lane_, task);
  }
  void synchronize() override {
    use();
    check(cudaStreamSynchronize(lane_.stream), "cudaStreamSynchronize");
  }

  std::string numerics() const override {
    int runtime = 0;
    cudaRuntimeGetVersion(&runtime);
    return "cuda, " + model_name_ + ", CUDA " + version_text(runtime) + ", cuBLASLt " +
           std::to_string(cublasLtGetVersion()) + ", " + name_of(precision_);
  }

 private:
  static cudaStream_t make_stream(int ordinal) {
    check(cudaSetDevice(ordinal), "cudaSetDevice");
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    return stream;
  }
  /// Several devices may live in one process, and threads have a current one each.
  void use() const { check(cudaSetDevice(ordinal_), "cudaSetDevice"); }
  void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) return;
    use();
    check(cudaMemcpyAsync(to, from, bytes, kind, lane_.stream), "cudaMemcpyAsync");
    check(cudaStreamSynchronize(lane_.stream), "cudaStreamSynchronize");
  }

  int ordinal_;
  Precision precision_;
  cuda::CudaLane lane_;
  std::string model_name_;
  std::unique_ptr<Operations> operations_;
};

GpuInfo gpu_info(int ordinal) {
  GpuInfo gpu{};
  cudaDeviceProp properties{};
  cudaError_t error = cudaGetDeviceProperties(&properties, ordinal);
  if (error == cudaSuccess) {
    gpu.name = properties.name;
    gpu.major = properties.major;
    gpu.minor = properties.minor;
    gpu.memory_bytes = properties.totalGlobalMem;
    error = cudaSetDevice(ordinal);
  }
  std::size_t total = 0;
  if (error == cudaSuccess) error = cudaMemGetInfo(&gpu.free_bytes, &total);
  if (error != cudaSuccess) {
    gpu.problem = cudaGetErrorString(error);
  } else if (!cuda::runs_here()) {
    gpu.problem = "it is an sm_" + std::to_string(gpu.major) + std::to_string(gpu.minor) +
                  ", and this minichilla was built for " + MINICHILLA_CUDA_ARCHITECTURES;
  }
  cudaGetLastError();
  return gpu;
}

std::string problem_of(const CudaSupport& support, cudaError_t counted) {
  if (support.driver_version == 0) return "no NVIDIA driver is loaded";
  if (counted == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver serves CUDA " + version_text(support.driver_version) +
           " at most, and this minichilla needs " + version_text(support.toolkit_version);
  }
  if (counted != cudaSuccess) return cudaGetErrorString(counted);
  if (support.gpus.empty()) return "no GPU is visible (CUDA_VISIBLE_DEVICES?)";
  for (const GpuInfo& gpu : support.gpus) {
    if (gpu.problem.empty()) return "";
  }
  return "no GPU can run it: " + support.gpus.front().name + ": " + support.gpus.front().problem;
}

}  // namespace

CudaSupport cuda_support() {
  CudaSupport support{.compiled_in = true,
                      .architectures = MINICHILLA_CUDA_ARCHITECTURES,
                      .toolkit_version = CUDART_VERSION,
                      .driver_version = 0,
                      .gpus = {},
                      .problem = ""};
  cudaDriverGetVersion(&support.driver_version);
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (counted == cudaSuccess) {
    for (int ordinal = 0; ordinal < count; ++ordinal) support.gpus.push_back(gpu_info(ordinal));
  }
  support.problem = problem_of(support, counted);
  return support;
}

std::unique_ptr<Device> make_cuda_device(int ordinal, Precision precision) {
  const CudaSupport support = cuda_support();
  if (support.gpus.empty()) throw InputError(support.problem);
  if (ordinal < 0 || ordinal >= static_cast<int>(support.gpus.size())) {
    throw InputError("found no GPU " + std::to_string(ordinal) + ", expected 0 to " +
                     std::to_string(support.gpus.size() - 1));
  }
  const GpuInfo& gpu = support.gpus[static_cast<std::size_t>(ordinal)];
  if (!gpu.problem.empty())
    throw InputError("GPU " + std::to_string(ordinal) + " (" + gpu.name + "): " + gpu.problem);
  return std::make_unique<CudaDevice>(ordinal, precision);
}

}  // namespace minichilla
