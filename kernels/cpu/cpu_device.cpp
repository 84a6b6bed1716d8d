#include <dnnl.h>
#include <omp.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/simd_target.h"
#include "kernels/device.h"
#include "kernels/host_memory.h"

namespace minichilla {
namespace {

constexpr std::align_val_t kAlignment{64};

/// While it lives, OpenMP (inside oneDNN) has one thread on the calling thread; OpenMP keeps that number per
/// thread.
class SingleThreadedOpenMp {
 public:
  SingleThreadedOpenMp() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~SingleThreadedOpenMp() { omp_set_num_threads(before_); }
  SingleThreadedOpenMp(const SingleThreadedOpenMp&) = delete;
  SingleThreadedOpenMp& operator=(const SingleThreadedOpenMp&) = delete;

 private:
  int before_;
};

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int lanes);
  ~CpuDevice() override;

  std::string name() const override { return "cpu"; }
  int lanes() const override { return static_cast<int>(lanes_.size()); }
  const Operations& operations() const override { return operations_; }

  Buffer allocate(std::size_t bytes) override;
  std::optional<std::uint64_t> free_memory() const override { return host_memory_available(); }
  void upload(void* device, const void* host, std::size_t bytes) override {
    std::memmove(device, host, bytes);
  }
  void download(void* host, const void* device, std::size_t bytes) override {
    std::memmove(host, device, bytes);
  }
  void copy(Lane&, void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }

  void for_each_task(int tasks, const std::function<void(Lane&, int)>& work) override;
  void synchronize() override {}
  std::string numerics() const override;

 private:
  struct CpuLane : Lane {
    using Lane::Lane;
    std::exception_ptr failure;
  };

  /// The body of lanes 1 and up: runs every round until told to stop.
  void serve(CpuLane& lane);
  /// Runs the lane's tasks of the current round.
  void run_tasks(CpuLane& lane);
  void stop_threads();

  CpuOperations operations_;
  std::deque<CpuLane> lanes_;
  std::vector<std::thread> threads_;

  // A round is one for_each_task. Its caller writes work_ and tasks_ before it raises round_, the threads
  // read them after; the threads lower running_ when they are done, and the caller waits for zero.
  std::atomic<std::uint32_t> round_ = 0;
  std::atomic<int> running_ = 0;
  std::atomic<bool> failed_ = false;
  std::atomic<bool> in_round_ = false;
  bool stopping_ = false;
  const std::function<void(Lane&, int)>* work_ = nullptr;
  int tasks_ = 0;
};

CpuDevice::CpuDevice(int lanes) {
  if (lanes < 1)
    throw std::invalid_argument("a CPU device needs at least one lane, got " + std::to_string(lanes));
  for (int i = 0; i < lanes; ++i) lanes_.emplace_back(i);
  try {
    for (std::size_t i = 1; i < lanes_.size(); ++i) threads_.emplace_back([this, i] { serve(lanes_[i]); });
  } catch (...) {
    stop_threads();
    throw;
  }
}

CpuDevice::~CpuDevice() {
  stop_threads();
}

void CpuDevice::stop_threads() {
  stopping_ = true;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Buffer CpuDevice::allocate(std::size_t bytes) {
  if (bytes == 0) return Buffer();
  void* data = ::operator new(bytes, kAlignment);
  std::memset(data, 0, bytes);
  return Buffer(data, bytes, [](void* p) { ::operator delete(p, kAlignment); });
}

void CpuDevice::for_each_task(int tasks, const std::function<void(Lane&, int)>& work) {
  if (in_round_.exchange(true)) throw std::logic_error("for_each_task was called from within for_each_task");
  work_ = &work;
  tasks_ = tasks;
  failed_.store(false, std::memory_order_relaxed);
  for (CpuLane& lane : lanes_) lane.failure = nullptr;
  running_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  {
    const SingleThreadedOpenMp single_threaded;
    run_tasks(lanes_[0]);
  }
  for (int left; (left = running_.load(std::memory_order_acquire)) != 0;) running_.wait(left);
  in_round_.store(false);
  for (const CpuLane& lane : lanes_) {
    if (lane.failure) std::rethrow_exception(lane.failure);
  }
}

void CpuDevice::serve(CpuLane& lane) {
  const SingleThreadedOpenMp single_threaded;
  for (std::uint32_t seen = 0;; ++seen) {
    round_.wait(seen, std::memory_order_acquire);
    if (stopping_) return;
    run_tasks(lane);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

void CpuDevice::run_tasks(CpuLane& lane) {
  try {
    for (int task = lane.index(); task < tasks_ && !failed_.load(std::memory_order_relaxed);
         task += lanes()) {
      (*work_)(lane, task);
    }
  } catch (...) {
    lane.failure = std::current_exception();
    failed_.store(true, std::memory_order_relaxed);
  }
}

/// The instruction set that oneDNN compiles its products for.
std::string onednn_isa() {
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
      return "sse41";
    case dnnl_cpu_isa_avx:
      return "avx";
    case dnnl_cpu_isa_avx2:
      return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
      return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core:
      return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx:
      return "avx512_core_amx";
    default:
      return "isa" + std::to_string(static_cast<int>(dnnl_get_effective_cpu_isa()));
  }
}

std::string CpuDevice::numerics() const {
#ifdef __clang__
  const std::string compiler = "Clang " __clang_version__;
#else
  const std::string compiler = "GCC " __VERSION__;
#endif
  const dnnl_version_t* version = dnnl_version();
  return "cpu, " + simd_target_name() + ", oneDNN " + std::to_string(version->major) + "." +
         std::to_string(version->minor) + "." + std::to_string(version->patch) + " " + onednn_isa() + ", " +
         compiler;
}

}  // namespace

std::unique_ptr<Device> make_cpu_device(int lanes) {
  return std::make_unique<CpuDevice>(lanes);
}

}  // namespace minichilla
