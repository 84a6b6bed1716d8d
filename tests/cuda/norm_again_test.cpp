// The norm of a stored sum has the bits of the norm that was made together with the sum: what recomputation
// in the backward pass rests on.
#include <cstring>

#include "kernels/cuda/add_norm.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/real_types.h"
#include "tests/kernels/random_arrays.h"

namespace minichilla {
namespace {

template <class Value>
bool same_bits(const DeviceArray<Value>& a, const DeviceArray<Value>& b) {
  const std::vector<Value> left = a.values(), right = b.values();
  return std::memcmp(left.data(), right.data(), left.size() * sizeof(Value)) == 0;
}

template <class Real>
class NormAgain : public testing::Test {};
TYPED_TEST_SUITE(NormAgain, RealTypes, RealNames);

TYPED_TEST(NormAgain, HasTheSameBits) {
  const std::size_t rows = 5;
  for (const std::size_t columns : {1, 37, 40, 256, 1000, 4099, 8200, 20000}) {
    const std::size_t size = rows * columns;
    const DeviceArray<TypeParam> residual(random_array(size, 1)), branch(random_array(size, 2)), sum(size),
        normed(size), again(size);
    const DeviceArray<float> weight(random_array(columns, 3)), bias(random_array(columns, 4)), mean(rows),
        rstd(rows), mean_again(rows), rstd_again(rows);
    const int M = static_cast<int>(rows), C = static_cast<int>(columns);
    cuda::add_norm<TypeParam>(nullptr, M, C, residual.data(), branch.data(), weight.data(), bias.data(),
                              sum.data(), normed.data(), mean.data(), rstd.data());
    cuda::add_norm<TypeParam>(nullptr, M, C, sum.data(), nullptr, weight.data(), bias.data(), nullptr,
                              again.data(), mean_again.data(), rstd_again.data());
    EXPECT_TRUE(same_bits(normed, again)) << columns;
    EXPECT_TRUE(same_bits(mean, mean_again)) << columns;
    EXPECT_TRUE(same_bits(rstd, rstd_again)) << columns;
  }
}

}  // namespace
}  // namespace minichilla
