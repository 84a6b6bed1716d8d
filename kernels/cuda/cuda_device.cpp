#include "kernels/cuda_device.h"

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstring>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

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

class CudaMark final : public Mark {
 public:
  explicit CudaMark(cudaStream_t stream) : stream_(stream) {
    // Blocking: a host thread that waits leaves its core to others.
    check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync),
          "cudaEventCreate");
  }
  ~CudaMark() override { cudaEventDestroy(event_); }
  CudaMark(const CudaMark&) = delete;
  CudaMark& operator=(const CudaMark&) = delete;
  void set() override { check(cudaEventRecord(event_, stream_), "cudaEventRecord"); }
  void wait() override { check(cudaEventSynchronize(event_), "cudaEventSynchronize"); }

 private:
  cudaStream_t stream_;
  cudaEvent_t event_ = nullptr;
};

/// The first time the work is enqueued as it is: libraries choose algorithms, kernels are loaded. The second
/// time it is captured as a graph, which is launched from then on.
class CudaRecording final : public Recording {
 public:
  CudaRecording(int ordinal, cudaStream_t stream, std::function<void()> work)
      : ordinal_(ordinal), stream_(stream), work_(std::move(work)) {}
  ~CudaRecording() override {
    if (graph_) cudaGraphExecDestroy(graph_);
  }
  CudaRecording(const CudaRecording&) = delete;
  CudaRecording& operator=(const CudaRecording&) = delete;

  void enqueue() override {
    if (!enqueued_before_) {
      work_();
      enqueued_before_ = true;
      return;
    }
    check(cudaSetDevice(ordinal_), "cudaSetDevice");
    if (!graph_) capture();
    check(cudaGraphLaunch(graph_, stream_), "cudaGraphLaunch");
  }

 private:
  void capture() {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t captured = nullptr;
    try {
      work_();
    } catch (...) {
      cudaStreamEndCapture(stream_, &captured);
      if (captured) cudaGraphDestroy(captured);
      throw;
    }
    check(cudaStreamEndCapture(stream_, &captured), "cudaStreamEndCapture");
    const cudaError_t instantiated = cudaGraphInstantiate(&graph_, captured, 0);
    cudaGraphDestroy(captured);
    check(instantiated, "cudaGraphInstantiate");
  }

  int ordinal_;
  cudaStream_t stream_;
  std::function<void()> work_;
  bool enqueued_before_ = false;
  cudaGraphExec_t graph_ = nullptr;
};

/// One GPU and one stream; everything is enqueued there in the order of the calls.
class CudaDevice final : public Device {
 public:
  CudaDevice(int ordinal, Precision precision, CudaOptions options)
      : ordinal_(ordinal), precision_(precision), options_(options), lane_(make_stream(ordinal)) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
    model_name_ = std::string(properties.name) + " sm_" + std::to_string(properties.major) +
                  std::to_string(properties.minor);
    operations_ = cuda::make_operations(precision, options.products);
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
  std::size_t workspace_bytes() const override { return operations_->workspace_bytes(); }
  std::optional<std::uint64_t> free_memory() const override {
    use();
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return free;
  }
  void upload(void* device, const void* host, std::size_t bytes) override {
    copy_and_wait(device, host, bytes, cudaMemcpyHostToDevice);
  }
  void download(void* host, const void* device, std::size_t bytes) override {
    copy_and_wait(host, device, bytes, cudaMemcpyDeviceToHost);
  }
  void copy(Lane&, void* to, const void* from, std::size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, lane_.stream), "cudaMemcpyAsync");
  }

  Buffer allocate_host(std::size_t bytes) override {
    if (bytes == 0) return Buffer();
    use();
    void* data = nullptr;
    check(cudaMallocHost(&data, bytes), "cudaMallocHost");
    std::memset(data, 0, bytes);
    return Buffer(data, bytes, [](void* p) { cudaFreeHost(p); });
  }
  void enqueue_upload(void* device, const void* host, std::size_t bytes) override {
    enqueue_copy(device, host, bytes, cudaMemcpyHostToDevice);
  }
  void enqueue_download(void* host, const void* device, std::size_t bytes) override {
    enqueue_copy(host, device, bytes, cudaMemcpyDeviceToHost);
  }
  std::unique_ptr<Mark> make_mark() override {
    use();
    return std::make_unique<CudaMark>(lane_.stream);
  }
  bool asynchronous() const override { return true; }
  std::unique_ptr<Recording> record(std::function<void()> work) override {
    if (!options_.graphs) return Device::record(std::move(work));
    return std::make_unique<CudaRecording>(ordinal_, lane_.stream, std::move(work));
  }

  void for_each_task(int tasks, const std::function<void(Lane&, int)>& work) override {
    use();
    for (int task = 0; task < tasks; ++task) work(lane_, task);
  }
  void synchronize() override {
    use();
    check(cudaStreamSynchronize(lane_.stream), "cudaStreamSynchronize");
  }

  std::string algorithms() const override { return operations_->algorithms(); }
  void pin_algorithms(const std::string& text) override { operations_->pin_algorithms(text); }

  std::string numerics() const override {
    int runtime = 0;
    cudaRuntimeGetVersion(&runtime);
    return "cuda, " + model_name_ + ", CUDA " + version_text(runtime) + ", " +
           (options_.products == MatrixProducts::own ? "own products"
                                                     : "cuBLASLt " + std::to_string(cublasLtGetVersion())) +
           ", " + name_of(precision_);
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
  void enqueue_copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) return;
    use();
    check(cudaMemcpyAsync(to, from, bytes, kind, lane_.stream), "cudaMemcpyAsync");
  }
  void copy_and_wait(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    enqueue_copy(to, from, bytes, kind);
    check(cudaStreamSynchronize(lane_.stream), "cudaStreamSynchronize");
  }

  int ordinal_;
  Precision precision_;
  CudaOptions options_;
  cuda::CudaLane lane_;
  std::string model_name_;
  std::unique_ptr<cuda::CudaOperations> operations_;
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

std::unique_ptr<Device> make_cuda_device(int ordinal, Precision precision, CudaOptions options) {
  const CudaSupport support = cuda_support();
  if (support.gpus.empty()) throw InputError(support.problem);
  if (ordinal < 0 || ordinal >= static_cast<int>(support.gpus.size())) {
    throw InputError("found no GPU " + std::to_string(ordinal) + ", expected 0 to " +
                     std::to_string(support.gpus.size() - 1));
  }
  const GpuInfo& gpu = support.gpus[static_cast<std::size_t>(ordinal)];
  if (!gpu.problem.empty())
    throw InputError("GPU " + std::to_string(ordinal) + " (" + gpu.name + "): " + gpu.problem);
  return std::make_unique<CudaDevice>(ordinal, precision, options);
}

}  // namespace minichilla
