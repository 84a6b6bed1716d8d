// A device: memory, lanes that run operations, and the operations themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "kernels/precision.h"

namespace minichilla {

class Operations;

/// Owned device memory, 64-byte aligned and zeroed. Move-only; freed with the owner.
class Buffer {
 public:
  using Deleter = void (*)(void*);
  Buffer() = default;
  Buffer(void* data, std::size_t bytes, Deleter deleter) : data_(data, deleter), bytes_(bytes) {}
  std::size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_.get());
  }

 private:
  std::unique_ptr<void, Deleter> data_{nullptr, [](void*) {}};
  std::size_t bytes_ = 0;
};

/// Where forward and backward of one micro-batch run: a stream on a GPU, a thread on a CPU. Operations on one
/// lane run in the order in which they were enqueued; operations on different lanes in any order.
class Lane {
 public:
  explicit Lane(int index) : index_(index) {}
  virtual ~Lane() = default;
  /// 0 … Device::lanes() − 1: which arena a lane's micro-batch uses.
  int index() const { return index_; }

 private:
  int index_;
};

/// A place in the order of what was enqueued. This one is of a device where enqueued work is done at once.
class Mark {
 public:
  virtual ~Mark() = default;
  /// Enqueues the mark, again after an earlier wait() for it.
  virtual void set() {}
  /// Returns when all work that was enqueued before the last set() is done; at once without a set().
  virtual void wait() {}
};

/// Work that is enqueued again and again with the same arguments.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void enqueue() = 0;
};

/// Reaches everything through itself: nothing is global, so several devices can live in one process.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;
  virtual int lanes() const = 0;
  virtual const Operations& operations() const = 0;
  /// Elements of a flat array that one task should work on at most, a multiple of Operations::kNormBlock:
  /// enough tasks for all lanes. A constant of the kind of device, so that bits depend on the array alone.
  virtual std::int64_t elements_per_task() const { return std::int64_t{1} << 15; }

  /// Throws std::bad_alloc when the device has no such memory left.
  virtual Buffer allocate(std::size_t bytes) = 0;
  /// Bytes of its memory that its operations hold beside what allocate() gives: a library's workspace.
  virtual std::size_t workspace_bytes() const { return 0; }
  /// Bytes that allocate() could still give now, as far as the system knows.
  virtual std::optional<std::uint64_t> free_memory() const { return std::nullopt; }
  /// Both wait for everything that was enqueued, and return when the copy is made.
  virtual void upload(void* device, const void* host, std::size_t bytes) = 0;
  virtual void download(void* host, const void* device, std::size_t bytes) = 0;
  /// Enqueues a copy inside the device's memory; the two do not overlap.
  virtual void copy(Lane& lane, void* to, const void* from, std::size_t bytes) = 0;

  /// Host memory, zeroed, that copies from and to the device need not wait for.
  virtual Buffer allocate_host(std::size_t bytes);
  /// Enqueue a copy from or to memory of allocate_host, whose bytes nobody touches until it is made.
  virtual void enqueue_upload(void* device, const void* host, std::size_t bytes) {
    upload(device, host, bytes);
  }
  virtual void enqueue_download(void* host, const void* device, std::size_t bytes) {
    download(host, device, bytes);
  }
  virtual std::unique_ptr<Mark> make_mark() { return std::make_unique<Mark>(); }
  /// Whether the host can go on while enqueued work is done.
  virtual bool asynchronous() const { return false; }
  /// `work` calls for_each_task alone, each time with the same arguments. A device may keep what it enqueues
  /// instead of calling it every time; the bits are the same.
  virtual std::unique_ptr<Recording> record(std::function<void()> work);

  /// Calls `work(lane, task)` for every task in [0, tasks); task i runs on lane i mod lanes(), tasks of a
  /// lane in ascending order. Returns when all are enqueued and ordered before whatever is enqueued next (on
  /// the CPU: done). An exception of a task is rethrown here after all lanes have stopped.
  virtual void for_each_task(int tasks, const std::function<void(Lane&, int)>& work) = 0;

  /// Waits for everything that was enqueued.
  virtual void synchronize() = 0;

  /// The algorithms that a library has chosen so far for this device, as text for pin_algorithms; empty where
  /// there are none to choose.
  virtual std::string algorithms() const { return ""; }
  /// From now on the library uses those algorithms, so that a run that is resumed has the same bits.
  /// InputError where the text is malformed or another version's.
  virtual void pin_algorithms(const std::string& text);

  /// What decides bits besides config and seed, in words: device model, instruction-set path, library
  /// versions.
  virtual std::string numerics() const = 0;
};

/// The CPU device with `lanes` threads (≥ 1, the caller's included). With Precision::bf16 linear layers and
/// the classifier multiply numbers that are rounded to bf16; all else, and all that is stored, is fp32. tf32
/// is not for it.
std::unique_ptr<Device> make_cpu_device(int lanes, Precision precision = Precision::fp32);

}  // namespace minichilla
