#include "kernels/cpu/simd_target.h"
#include "tests/kernels/comparison.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla::embed_test {
namespace {

class Embed : public EveryTarget {};

TEST_P(Embed, AgreesWithTheReferenceAndGradientsAddUp) {
  struct Shape {
    int B, T, C, V;
  };
  for (const auto& [B, T, C, V] : {Shape{1, 1, 1, 1}, {2, 13, 5, 3}, {3, 64, 16, 257}, {1, 31, 33, 257}}) {
    SCOPED_TRACE(testing::Message() << "B=" << B << " T=" << T << " C=" << C);
    const std::size_t out_size = static_cast<std::size_t>(B * T * C);
    const std::size_t table = static_cast<std::size_t>(V * C), positions = static_cast<std::size_t>(T * C);
    const auto tokens = random_tokens(static_cast<std::size_t>(B * T), V, 1);
    const FloatArray token = random_array(table, 2), position = random_array(positions, 3);
    const FloatArray d_out = random_array(out_size, 4);
    FloatArray out(out_size), d_token(table, 1.0f), d_position(positions, -1.0f);
    on_lane([&](Lane& lane) {
      ops().embed(lane, B, T, C, tokens.data(), token.data(), position.data(), out.data());
      ops().embed_backward(lane, B, T, C, tokens.data(), d_out.data(), d_token.data(), d_position.data());
    });
    EXPECT_EQ(out, reference::embed(B, T, C, tokens, token, position));
    auto exact = reference::embed_backward(B, T, C, V, tokens, widen(d_out));
    auto naive = reference::embed_backward(B, T, C, V, tokens, d_out);
    for (double& d : exact.token_embedding) d += 1;
    for (double& d : exact.position_embedding) d -= 1;
    for (float& d : naive.token_embedding) d += 1;
    for (float& d : naive.position_embedding) d -= 1;
    expect_accurate("d_token_embedding", d_token, exact.token_embedding, naive.token_embedding);
    expect_accurate("d_position_embedding", d_position, exact.position_embedding, naive.position_embedding);
  }
}

TEST_P(Embed, ClearZeroesExactlyItsBytes) {
  FloatArray data(7, 3.0f);
  on_lane([&](Lane& lane) {
    ops().clear(lane, data.data() + 1, 5 * sizeof(float));
    ops().clear(lane, nullptr, 0);
  });
  EXPECT_EQ(data, (FloatArray{3, 0, 0, 0, 0, 0, 3}));
}

MINICHILLA_ON_EVERY_TARGET(Embed);

}  // namespace
}  // namespace minichilla::embed_test
