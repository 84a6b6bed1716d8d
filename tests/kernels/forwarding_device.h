// A device that does everything by another one: a test overrides what it wants otherwise.
#pragma once

#include <memory>
#include <utility>

#include "kernels/device.h"

namespace minichilla {

/// Where `real` is asynchronous this one is not, and its recordings are work done anew.
class ForwardingDevice : public Device {
 public:
  explicit ForwardingDevice(std::unique_ptr<Device> real = make_cpu_device(1)) : real_(std::move(real)) {}

  std::string name() const override { return real_->name(); }
  int lanes() const override { return real_->lanes(); }
  const Operations& operations() const override { return real_->operations(); }
  std::int64_t elements_per_task() const override { return real_->elements_per_task(); }
  Buffer allocate(std::size_t bytes) override { return real_->allocate(bytes); }
  std::size_t workspace_bytes() const override { return real_->workspace_bytes(); }
  std::optional<std::uint64_t> free_memory() const override { return real_->free_memory(); }
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
