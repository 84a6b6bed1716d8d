#include "model/flops.h"

#include <gtest/gtest.h>

#include "model/parameters.h"

namespace minichilla::flops_test {
namespace {

ModelConfig model(int L, int C, int H, int D, int F, int T, std::vector<std::string> pattern, int window) {
  ModelConfig config;
  config.n_layers = L;
  config.d_model = C;
  config.n_heads = H;
  config.d_head = D;
  config.d_ff = F;
  config.context_length = T;
  config.attention = {std::move(pattern), window};
  return resolved(config);
}

/// Goes through the products of one sequence and counts every multiply-add.
std::int64_t count_multiply_adds(const ModelConfig& config, int V) {
  const int T = config.context_length, C = config.d_model, F = config.d_ff, H = config.n_heads,
            D = config.d_head;
  std::int64_t count = 0;
  const auto matrix_vector = [&](int rows, int columns) {
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column < columns; ++column) ++count;
    }
  };
  for (int t = 0; t < T; ++t) {
    for (int layer = 0; layer < config.n_layers; ++layer) {
      for (int matrix = 0; matrix < 3; ++matrix) matrix_vector(H * D, C);
      const AttentionPattern pattern = config.layer_pattern(layer);
      for (int key = 0; key < T; ++key) {
        if (pattern.allows(t, key)) count += 2 * H * D;  // its score, and its share of the weighted sum
      }
      matrix_vector(C, H * D);
      matrix_vector(F, C);
      matrix_vector(C, F);
    }
    matrix_vector(V, C);
  }
  return count;
}

TEST(Flops, AgreeWithCountingEveryMultiplyAdd) {
  const ModelConfig configs[] = {
      model(1, 16, 2, 0, 0, 64, {"dense"}, 0),
      model(3, 12, 3, 5, 7, 31, {"dense", "banded"}, 9),
      model(2, 8, 1, 0, 0, 13, {"banded"}, 1),
      model(2, 8, 1, 0, 0, 13, {"banded"}, 100),
      model(4, 6, 2, 0, 0, 1, {"banded", "dense"}, 1),
      model(5, 4, 2, 0, 0, 10, {"dense", "banded", "banded"}, 9),
  };
  for (const ModelConfig& config : configs) {
    const auto forward = static_cast<double>(2 * count_multiply_adds(config, 23));
    EXPECT_DOUBLE_EQ(flops_per_token(config, 23).flops * config.context_length, 3 * forward);
  }
}

// L = 2 (one dense, one banded), C = 32, H = 2, F = 128, T = 64, W = 16, V = 257:
// weights in products 2·12·32² + 257·32 = 32800; pairs 64·65/2 = 2080 and 16·17/2 + 48·16 = 904, of 2·32
// multiply-adds.
TEST(Flops, AgreeWithAHandCount) {
  const FlopsPerToken flops = flops_per_token(model(2, 32, 2, 0, 0, 64, {"dense", "banded"}, 16), 257);
  EXPECT_DOUBLE_EQ(flops.flops, 6 * (32800.0 + (2080 + 904) * 64 / 64.0));
  EXPECT_DOUBLE_EQ(flops.flops_6nd, 6 * 35744.0);
  // Per token: embedding 2·257·32; each layer 6·32² + 2·64·32 + 3·2·64 + 2·64·32 + 2·32² + 4·32·128; logits
  // 2·32·257.
  EXPECT_DOUBLE_EQ(flops.flops_hoffmann,
                   3 * (16448.0 + 2 * (6144 + 4096 + 384 + 4096 + 2048 + 16384) + 16448));
}

TEST(Flops, BandBeyondTheContextCostsWhatDenseCosts) {
  const double dense = flops_per_token(model(3, 16, 2, 0, 0, 33, {"dense"}, 0), 50).flops;
  EXPECT_EQ(flops_per_token(model(3, 16, 2, 0, 0, 33, {"banded"}, 33), 50).flops, dense);
  EXPECT_LT(flops_per_token(model(3, 16, 2, 0, 0, 33, {"banded"}, 32), 50).flops, dense);
}

TEST(Flops, HoffmannIgnoresTheBand) {
  EXPECT_EQ(flops_per_token(model(3, 16, 2, 0, 0, 33, {"banded"}, 1), 50).flops_hoffmann,
            flops_per_token(model(3, 16, 2, 0, 0, 33, {"dense"}, 0), 50).flops_hoffmann);
}

}  // namespace
}  // namespace minichilla::flops_test
