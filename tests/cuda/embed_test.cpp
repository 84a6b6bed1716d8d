#include "kernels/cuda/embed.h"

#include <numeric>

#include "kernels/cuda/sort_rows.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/real_types.h"
#include "tests/kernels/random_arrays.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla {
namespace {

using Tokens = std::vector<std::int32_t>;

Tokens sorted_rows(const Tokens& tokens, int V) {
  const int M = static_cast<int>(tokens.size());
  const DeviceArray<std::int32_t> device(tokens),
      scratch(static_cast<std::size_t>(cuda::sort_rows_scratch(M)));
  const std::int32_t* rows = cuda::sort_rows(nullptr, M, V, device.data(), scratch.data());
  const Tokens all = scratch.values();
  const auto begin = all.begin() + (rows - scratch.data());
  return Tokens(begin, begin + M);
}

TEST(CudaSortRows, SortsStably) {
  struct Case {
    int M, V;
  };
  for (const auto& [M, V] : {Case{1, 1},
                             {31, 2},
                             {1000, 7},
                             {1024, 256},
                             {1025, 257},
                             {3000, 50000},
                             {2500, 70000},
                             {100, 1 << 30}}) {
    SCOPED_TRACE(testing::Message() << "M=" << M << " V=" << V);
    Tokens tokens = random_tokens(static_cast<std::size_t>(M), V, 1);
    tokens.back() = V - 1;
    Tokens expected(tokens.size());
    std::iota(expected.begin(), expected.end(), 0);
    std::stable_sort(expected.begin(), expected.end(), [&](std::int32_t a, std::int32_t b) {
      return tokens[static_cast<std::size_t>(a)] < tokens[static_cast<std::size_t>(b)];
    });
    EXPECT_EQ(sorted_rows(tokens, V), expected);
  }
}

struct Gradients {
  FloatArray token, position;
};

/// Those of tokens start at 1 and those of positions at −1: both are added to. All arrays but the tokens
/// start `offset` elements behind an aligned address.
template <class Real>
Gradients backward(int B, int T, int C, int V, const Tokens& tokens, const FloatArray& d_out,
                   std::size_t offset = 0) {
  const auto shifted = [&](const FloatArray& values) {
    FloatArray longer(offset);
    longer.insert(longer.end(), values.begin(), values.end());
    return longer;
  };
  const std::size_t width = static_cast<std::size_t>(C);
  const DeviceArray<Real> device_d_out(shifted(d_out));
  const DeviceArray<std::int32_t> device_tokens(tokens),
      scratch(static_cast<std::size_t>(cuda::embed_backward_scratch_bytes(B, T, C)) / sizeof(std::int32_t));
  const DeviceArray<float> token(shifted(FloatArray(static_cast<std::size_t>(V) * width, 1.0f))),
      position(shifted(FloatArray(static_cast<std::size_t>(T) * width, -1.0f)));
  cuda::embed_backward<Real>(nullptr, B, T, C, V, device_tokens.data(), device_d_out.data() + offset,
                             token.data() + offset, position.data() + offset, scratch.data());
  const auto result = [&](const DeviceArray<float>& array) {
    const FloatArray values = array.floats();
    return FloatArray(values.begin() + static_cast<std::ptrdiff_t>(offset), values.end());
  };
  return {result(token), result(position)};
}

template <class Real>
void check_backward(int B, int T, int C, int V, const Tokens& tokens, std::size_t offset = 0) {
  SCOPED_TRACE(testing::Message() << "B=" << B << " T=" << T << " C=" << C << " V=" << V);
  const std::size_t size = tokens.size() * static_cast<std::size_t>(C);
  const FloatArray d_out = rounded<Real>(random_array(size, 4));
  const Gradients actual = backward<Real>(B, T, C, V, tokens, d_out, offset);
  auto exact = reference::embed_backward(B, T, C, V, tokens, widen(d_out));
  auto naive = reference::embed_backward(B, T, C, V, tokens, d_out);
  for (double& d : exact.token_embedding) d += 1;
  for (double& d : exact.position_embedding) d -= 1;
  for (float& d : naive.token_embedding) d += 1;
  for (float& d : naive.position_embedding) d -= 1;
  expect_accurate("d_token_embedding", actual.token, exact.token_embedding, naive.token_embedding);
  expect_accurate("d_position_embedding", actual.position, exact.position_embedding,
                  naive.position_embedding);
}

template <class Real>
class CudaEmbed : public testing::Test {};
TYPED_TEST_SUITE(CudaEmbed, RealTypes, RealNames);

TYPED_TEST(CudaEmbed, AddsTokenAndPosition) {
  struct Shape {
    int B, T, C, V;
  };
  for (const auto& [B, T, C, V] : {Shape{1, 1, 1, 1},
                                   {2, 13, 3, 3},
                                   {3, 11, 17, 257},
                                   {2, 9, 100, 50},
                                   {2, 5, 257, 5},
                                   {1, 3, 768, 4}}) {
    SCOPED_TRACE(testing::Message() << "B=" << B << " T=" << T << " C=" << C);
    const std::size_t rows = static_cast<std::size_t>(B * T), width = static_cast<std::size_t>(C);
    const Tokens tokens = random_tokens(rows, V, 1);
    const FloatArray token = rounded<TypeParam>(random_array(static_cast<std::size_t>(V) * width, 2)),
                     position = rounded<TypeParam>(random_array(static_cast<std::size_t>(T) * width, 3));
    const DeviceArray<std::int32_t> device_tokens(tokens);
    const DeviceArray<TypeParam> device_token(token), device_position(position), out(rows * width);
    cuda::embed<TypeParam>(nullptr, B, T, C, device_tokens.data(), device_token.data(),
                           device_position.data(), out.data());
    EXPECT_EQ(out.floats(), rounded<TypeParam>(reference::embed(B, T, C, tokens, token, position)));
  }
}

TYPED_TEST(CudaEmbed, GradientsAgreeWithTheReference) {
  for (const int C : {1, 3, 17, 100, 257, 768}) {
    check_backward<TypeParam>(2, 13, C, 3, random_tokens(26, 3, 1));
  }
  check_backward<TypeParam>(3, 70, 8, 50, random_tokens(210, 50, 1));
  check_backward<TypeParam>(2, 700, 3, 50000, random_tokens(1400, 50000, 1));
  check_backward<TypeParam>(2, 33, 40, 5, random_tokens(66, 5, 1), 1);
}

TYPED_TEST(CudaEmbed, GradientsOfFrequentTokensAgreeWithTheReference) {
  check_backward<TypeParam>(1, 2300, 5, 2, Tokens(2300, 1));  // more than 32 chunks
  check_backward<TypeParam>(2, 64, 8, 1, Tokens(128, 0));
  Tokens tokens;  // runs that begin and end at chunks' borders, next to them, and inside
  for (const auto& [token, count] :
       {std::pair{0, 64}, {1, 63}, {2, 66}, {3, 128}, {5, 1}, {6, 126}, {7, 7}}) {
    tokens.insert(tokens.end(), static_cast<std::size_t>(count), token);
  }
  check_backward<TypeParam>(1, static_cast<int>(tokens.size()), 16, 9, tokens);
}

}  // namespace
}  // namespace minichilla
