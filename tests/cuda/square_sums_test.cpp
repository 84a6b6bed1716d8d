#include "kernels/cuda/square_sums.h"

#include "tests/cuda/device_array.h"
#include "tests/kernels/random_arrays.h"

namespace minichilla {
namespace {

TEST(CudaSquareSums, EachBlockHasItsOwnSum) {
  const std::vector<float> gradient = random_array(3 * 4096 + 77, 1);
  const DeviceArray<float> device(gradient);
  for (const ElementRange range :
       {ElementRange{0, 3 * 4096 + 77}, {4096, 8192}, {8192, 8193}, {4096, 4096}}) {
    const DeviceArray<double> partials(std::vector<double>(4, -1.0));
    cuda::square_sums(nullptr, device.data(), range, partials.data());
    const std::vector<double> found = partials.values();
    for (std::int64_t block = 0; block < 4; ++block) {
      const std::int64_t begin = std::max(block * 4096, range.begin);
      const std::int64_t end = std::min((block + 1) * 4096, range.end);
      double expected = begin < end ? 0 : -1;
      for (std::int64_t i = begin; i < end; ++i) {
        const double value = gradient[static_cast<std::size_t>(i)];
        expected += value * value;
      }
      EXPECT_NEAR(found[static_cast<std::size_t>(block)], expected, 1e-12 * std::abs(expected)) << block;
    }
  }
}

TEST(CudaSquareSums, AnyAddressGivesTheSameBits) {
  const std::size_t size = 4096 + 77;
  const std::vector<float> gradient = random_array(size, 1);
  std::vector<float> later(1);
  later.insert(later.end(), gradient.begin(), gradient.end());
  const DeviceArray<float> aligned(gradient), shifted(later);
  const DeviceArray<double> expected(2), found(2);
  const ElementRange range{0, static_cast<std::int64_t>(size)};
  cuda::square_sums(nullptr, aligned.data(), range, expected.data());
  cuda::square_sums(nullptr, shifted.data() + 1, range, found.data());
  EXPECT_EQ(found.values(), expected.values());
}

}  // namespace
}  // namespace minichilla
