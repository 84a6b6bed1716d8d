// A device that counts what it hands out, and has as much memory as a test says.
#pragma once

#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "kernels/device.h"

namespace minichilla {

class CountingDevice final : public Device {
 public:
  explicit CountingDevice(std::unique_ptr<Device> real) : real_(std::move(real)) {}

  std::optional<std::uint64_t> free;                            ///< what free_memory() says
  std::size_t limit = std::numeric_limits<std::size_t>::max();  ///< what allocate() gives in all
  std::size_t allocated = 0;                                    ///< what it has given, freed or not

  std::string name() const override { return real_->name(); }
  int lanes() const override { return real_->lanes(); }
  const Operations& operations() const override { return real_->operations(); }
  std::int64_t elements_per_task() const override { return real_->elements_per_task(); }
  Buffer allocate(std::size_t bytes) override {
    if (bytes > limit - allocated) throw std::bad_alloc();
    allocated += bytes;
    return real_->allocate(bytes);
  }
  std::size_t workspace_bytes() const override { return real_->workspace_bytes(); }
  std::optional<std::uint64_t> free_memory() const override { return free; }
  void upload(void* device, const void* host, std::size_t bytes) override {
    real_->upload(device, host, bytes);
  }
  void download(void* host, const void* device, std::size_t bytes) override {
    real_->download(host, device, bytes);
  }
  void copy(Lane& lane, void* to, const void* from, std::size_t bytes) override {
    real_->copy(lane, to, from, bytes);
  }
  void for_each_task(int tasks, const std::function<void(Lane&, int)>& work) override {
    real_->for_each_task(tasks, work);
  }
  void synchronize() override { real_->synchronize(); }
  std::string numerics() const override { return real_->numerics(); }

 private:
  std::unique_ptr<Device> real_;
};

}  // namespace minichilla
