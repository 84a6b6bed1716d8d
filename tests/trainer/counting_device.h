// A device that counts what it hands out, and has as much memory as a test says.
#pragma once

#include <limits>
#include <new>

#include "tests/kernels/forwarding_device.h"

namespace minichilla {

class CountingDevice final : public ForwardingDevice {
 public:
  using ForwardingDevice::ForwardingDevice;

  std::optional<std::uint64_t> free;                            ///< what free_memory() says
  std::size_t limit = std::numeric_limits<std::size_t>::max();  ///< what allocate() gives in all
  std::size_t allocated = 0;                                    ///< what it has given, freed or not
  std::size_t host_allocated = 0;                               ///< and allocate_host()

  Buffer allocate(std::size_t bytes) override {
    if (bytes > limit - allocated) throw std::bad_alloc();
    allocated += bytes;
    return ForwardingDevice::allocate(bytes);
  }
  Buffer allocate_host(std::size_t bytes) override {
    host_allocated += bytes;
    return ForwardingDevice::allocate_host(bytes);
  }
  std::optional<std::uint64_t> free_memory() const override { return free; }
};

}  // namespace minichilla
