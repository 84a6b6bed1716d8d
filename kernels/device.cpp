#include "kernels/device.h"

#include <utility>

#include "kernels/error.h"

namespace minichilla {
namespace {

/// Does the work anew each time.
class Repetition final : public Recording {
 public:
  explicit Repetition(std::function<void()> work) : work_(std::move(work)) {}
  void enqueue() override { work_(); }

 private:
  std::function<void()> work_;
};

}  // namespace

Buffer Device::allocate_host(std::size_t bytes) {
  return Buffer(new char[bytes](), bytes, [](void* data) { delete[] static_cast<char*>(data); });
}

void Device::pin_algorithms(const std::string&) {
  throw InputError("expected no algorithms: the device " + name() + " has none to choose");
}

std::unique_ptr<Recording> Device::record(std::function<void()> work) {
  return std::make_unique<Repetition>(std::move(work));
}

}  // namespace minichilla
