#include <sys/mman.h>

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

#include "kernels/cpu/cpu_lane.h"
#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd_target.h"
#include "kernels/cpu_bf16.h"
#include "kernels/device.h"
#include "kernels/host_memory.h"

namespace minichilla {
namespace {

constexpr std::size_t kAlignment = 64, kHugePage = std::size_t{1} << 21;

template <std::size_t kBoundary>
Buffer zeroed(std::size_t bytes) {
  constexpr std::align_val_t boundary{kBoundary};
  void* data = ::operator new(bytes, boundary);
#ifdef MADV_HUGEPAGE
  // Advice: a kernel that does not follow it is slower, no more. Before the first write, and only for pages
  // that are ours altogether.
  if (kBoundary == kHugePage) madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  std::memset(data, 0, bytes);
  return Buffer(data, bytes, [](void* p) { ::operator delete(p, boundary); });
}

class CpuDevice final : public Device {
 public:
  CpuDevice(int lanes, Precision precision);
  ~CpuDevice() override;

  std::string name() const override { return "cpu"; }
  int lanes() const override { return static_cast<int>(lanes_.size()); }
  const Operations& operations() const override { return operations_; }

  Buffer allocate(std::size_t bytes) override;
  std::size_t workspace_bytes() const override { return lanes_.size() * kGemmWorkspace * sizeof(float); }
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
  /// The body of lanes 1 and up: runs every round until told to stop.
  void serve(CpuLane& lane);
  /// Runs the lane's tasks of the current round.
  void run_tasks(CpuLane& lane);
  void stop_threads();

  Precision precision_;
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

CpuDevice::CpuDevice(int lanes, Precision precision) : precision_(precision), operations_(precision) {
  if (lanes < 1)
    throw std::invalid_argument("a CPU device needs at least one lane, got " + std::to_string(lanes));
  for (int i = 0; i < lanes; ++i) lanes_.emplace_back(i, allocate(kGemmWorkspace * sizeof(float)));
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
  return bytes < kHugePage ? zeroed<kAlignment>(bytes) : zeroed<kHugePage>(bytes);
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
  run_tasks(lanes_[0]);
  for (int left; (left = running_.load(std::memory_order_acquire)) != 0;) running_.wait(left);
  in_round_.store(false);
  for (const CpuLane& lane : lanes_) {
    if (lane.failure) std::rethrow_exception(lane.failure);
  }
}

void CpuDevice::serve(CpuLane& lane) {
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

std::string CpuDevice::numerics() const {
#ifdef __clang__
  const std::string compiler = "Clang " __clang_version__;
#else
  const std::string compiler = "GCC " __VERSION__;
#endif
  const std::string bf16 = precision_ == Precision::bf16 ? ", " + name_of(cpu_bf16_products()) : "";
  return "cpu, " + simd_target_name() + bf16 + ", " + compiler;
}

}  // namespace

std::unique_ptr<Device> make_cpu_device(int lanes, Precision precision) {
  return std::make_unique<CpuDevice>(lanes, precision);
}

}  // namespace minichilla
