// Bytes that every kernel moves, counted, against the least that it must. What these tests record (gtest's
// --gtest_output=json) is the table that scripts/kernel_traffic.py writes into docs/kernels.md.
#include <ptxrun_counters.h>

#include <iomanip>
#include <set>
#include <sstream>

#include "kernels/cuda/add_norm.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/separate_epilogue.h"
#include "kernels/cuda/softmax_cross_entropy.h"
#include "kernels/cuda/sort_rows.h"
#include "kernels/cuda/square_sums.h"
#include "kernels/cuda/tensor_core_gemm.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/real_types.h"
#include "tests/kernels/random_arrays.h"

namespace minichilla {
namespace {

constexpr double kFloat = sizeof(float);

std::size_t size(std::int64_t elements) {
  return static_cast<std::size_t>(elements);
}

/// What a kernel, or all kernels of an operation, must move; in bytes.
struct Traffic {
  std::vector<const char*> kernels;
  std::string shape;
  double reads, writes;  ///< every input and every output once
  double read_back = 0;  ///< output that the same launch reads again, from a cache
  double tiled = 0;      ///< what blocks must load that share nothing; 0: not a question of tiles
};

class CountedTraffic : public testing::Test {
 protected:
  void SetUp() override {
    if (!ptxrun::counters_available()) GTEST_SKIP() << "counts memory accesses under ptxrun";
  }

  static void count(const auto& enqueue) {
    cuda_succeeds(cudaDeviceSynchronize());
    ptxrun::reset_counters();
    enqueue();
    cuda_succeeds(cudaDeviceSynchronize());
  }

  /// Of what was counted last: behind a perfect cache, at most `most` times the least; from the caches, with
  /// `tiled`, at most 1.05 times that. Fewer bytes than the least would be a wrong formula.
  void expect(const Traffic& traffic, double most = 1.1) {
    double moved = -traffic.read_back, loaded = 0;
    std::string name;
    for (const char* kernel : traffic.kernels) {
      const ptxrun::Counters counted = ptxrun::read_counters(kernel);
      EXPECT_GT(counted.launches, 0u) << kernel;
      EXPECT_EQ(counted.local_load_bytes + counted.local_store_bytes, 0u) << kernel;
      EXPECT_EQ(counted.global_atomic.requests, 0u) << kernel;
      moved += bytes(counted.global_load.unique_sectors + counted.global_store.unique_sectors);
      loaded += bytes(counted.global_load.sectors);
      name += (name.empty() ? "" : " + ") + std::string(kernel);
    }
    const double least = traffic.reads + traffic.writes;
    EXPECT_GE(moved, least) << name << ", " << traffic.shape;
    EXPECT_LE(moved, most * least) << name << ", " << traffic.shape;
    if (traffic.tiled > 0) {
      EXPECT_GE(loaded, traffic.tiled) << name << ", " << traffic.shape;
      EXPECT_LE(loaded, 1.05 * traffic.tiled) << name << ", " << traffic.shape;
    }
    record(name, traffic, moved, loaded);
  }

 private:
  static double bytes(std::uint64_t sectors) { return static_cast<double>(sectors * ptxrun::SECTOR_BYTES); }

  void record(const std::string& name, const Traffic& traffic, double moved, double loaded) {
    std::ostringstream line;
    line << std::fixed << std::setprecision(0) << name << ';' << traffic.shape << ';'
         << traffic.reads + traffic.writes << ';' << moved << ';' << traffic.reads << ';' << loaded << ';'
         << traffic.tiled;
    RecordProperty("traffic_" + std::to_string(++recorded_), line.str());
  }

  int recorded_ = 0;
};

template <class Real>
class CudaTraffic : public CountedTraffic {
 protected:
  static constexpr double kReal = sizeof(Real);

  static std::string shape(std::initializer_list<std::pair<const char*, int>> sizes) {
    std::string text;
    for (const auto& [name, value] : sizes) text += std::string(name) + " " + std::to_string(value) + ", ";
    return text + RealNames::GetName<Real>(0);
  }
};
TYPED_TEST_SUITE(CudaTraffic, RealTypes, RealNames);

template <class Real>
void add_norm_and_its_gradient(int M, int C) {
  const std::size_t elements = size(M) * size(C);
  const DeviceArray<Real> residual(random_array(elements, 1)), branch(random_array(elements, 2)),
      d_normed(random_array(elements, 3)), d_sum(random_array(elements, 4)), sum(elements), normed(elements),
      d_sum_out(elements);
  const DeviceArray<float> weight(random_array(size(C), 5)), bias(random_array(size(C), 6)), mean(size(M)),
      rstd(size(M)), d_weight(FloatArray(size(C))), d_bias(FloatArray(size(C))),
      scratch(size(cuda::add_norm_backward_scratch(M, C)));
  cuda::add_norm<Real>(nullptr, M, C, residual.data(), branch.data(), weight.data(), bias.data(), sum.data(),
                       normed.data(), mean.data(), rstd.data());
  cuda::add_norm_backward<Real>(nullptr, M, C, d_normed.data(), d_sum.data(), sum.data(), mean.data(),
                                rstd.data(), weight.data(), d_sum_out.data(), d_weight.data(), d_bias.data(),
                                scratch.data());
  cuda_succeeds(cudaDeviceSynchronize());
}

TYPED_TEST(CudaTraffic, AddNorm) {
  const int M = 128, C = 768;
  const double matrix = M * C * this->kReal, row = C * kFloat, column = M * kFloat, parts = M / 32;
  const std::string shape = this->shape({{"M", M}, {"C", C}});
  this->count([] { add_norm_and_its_gradient<TypeParam>(M, C); });
  this->expect({{"add_norm_kernel"}, shape, 2 * matrix + 2 * row, 2 * matrix + 2 * column});
  EXPECT_EQ(static_cast<double>(ptxrun::read_counters("add_norm_kernel").global_load.bytes),
            2 * matrix + M * 2 * row)
      << "a value is loaded once, weight and bias for every row";
  this->expect(
      {{"add_norm_backward_kernel"}, shape, 3 * matrix + 2 * column + row, matrix + 2 * parts * row});
  this->expect({{"add_partial_sums_kernel"}, shape, (2 * parts + 2) * row, 2 * row});
  this->expect({{"add_norm_backward_kernel", "add_partial_sums_kernel"},
                shape,
                3 * matrix + 2 * column + 3 * row,
                matrix + 2 * row});
}

TYPED_TEST(CudaTraffic, WideAddNorm) {
  const int M = 32;
  for (const int C : {12288, 16384}) {  // the widest that a block keeps, and wider
    const double matrix = M * C * this->kReal, row = C * kFloat, column = M * kFloat;
    const std::string shape = this->shape({{"M", M}, {"C", C}});
    this->count([&] { add_norm_and_its_gradient<TypeParam>(M, C); });
    this->expect({{"wide_add_norm_kernel"}, shape, 2 * matrix + 2 * row, 2 * matrix + 2 * column});
    this->expect({{"wide_add_norm_backward_kernel"}, shape, 3 * matrix + 2 * column + row, matrix + 2 * row});
    this->expect({{"wide_add_norm_backward_kernel", "add_partial_sums_kernel"},
                  shape,
                  3 * matrix + 2 * column + 3 * row,
                  matrix + 2 * row});
    if (C > 12288) continue;
    const double threads = 512;
    EXPECT_EQ(static_cast<double>(ptxrun::read_counters("wide_add_norm_kernel").global_load.bytes),
              2 * matrix + M * 2 * row)
        << "a value is loaded once, weight and bias for every row";
    EXPECT_EQ(static_cast<double>(ptxrun::read_counters("wide_add_norm_backward_kernel").global_load.bytes),
              3 * matrix + M * 2 * row + threads * 2 * column)
        << "a value is loaded once, weights twice for every row, its statistics by every thread";
  }
}

TYPED_TEST(CudaTraffic, SoftmaxCrossEntropy) {
  const int rows = 24, V = 1001, leading_dimension = 1008;
  const DeviceArray<TypeParam> logits(random_array(size(rows * leading_dimension), 1));
  const DeviceArray<std::int32_t> targets(random_tokens(size(rows), V, 2));
  const DeviceArray<float> losses(size(rows));
  const double matrix = rows * leading_dimension * this->kReal, row_floats = rows * kFloat;
  const std::string shape = this->shape({{"M", rows}, {"V", V}});
  for (const bool with_gradient : {false, true}) {
    this->count([&] {
      cuda::softmax_cross_entropy<TypeParam>(nullptr, rows, V, leading_dimension, logits.data(),
                                             targets.data(), 1, losses.data(), with_gradient);
    });
    this->expect({{"softmax_cross_entropy_kernel"},
                  shape + (with_gradient ? ", with gradient" : ""),
                  // Without the gradient nothing is read of the seven columns that fill a row up to 1008.
                  (with_gradient ? matrix : rows * V * this->kReal) + row_floats,
                  (with_gradient ? matrix : 0) + row_floats,
                  0,
                  with_gradient ? 2 * matrix : matrix});
  }
}

/// Of sorted tokens in chunks of 64: runs inside a chunk, runs that cross borders, and such borders.
struct Runs {
  int inside = 0, crossing = 0, borders = 0;
};

Runs count_runs(std::vector<std::int32_t> tokens) {
  std::sort(tokens.begin(), tokens.end());
  Runs runs;
  for (std::size_t begin = 0, end = 0; begin < tokens.size(); begin = end) {
    while (end < tokens.size() && tokens[end] == tokens[begin]) ++end;
    const int borders = static_cast<int>((end - 1) / 64 - begin / 64);
    runs.borders += borders;
    ++(borders == 0 ? runs.inside : runs.crossing);
  }
  return runs;
}

TYPED_TEST(CudaTraffic, Embed) {
  const int B = 4, T = 128, M = B * T, C = 768, V = 50;
  const std::vector<std::int32_t> values = random_tokens(size(M), V, 1);
  const double distinct = static_cast<double>(std::set(values.begin(), values.end()).size());
  const DeviceArray<std::int32_t> tokens(values),
      scratch(size(cuda::embed_backward_scratch_bytes(B, T, C)) / 4);
  const DeviceArray<TypeParam> table(random_array(size(V * C), 2)), positions(random_array(size(T * C), 3)),
      rows(size(M * C)), d_out(random_array(size(M * C), 4));
  const DeviceArray<float> d_table(FloatArray(size(V * C))), d_positions(FloatArray(size(T * C)));
  this->count([&] {
    cuda::embed<TypeParam>(nullptr, B, T, C, tokens.data(), table.data(), positions.data(), rows.data());
    cuda::embed_backward<TypeParam>(nullptr, B, T, C, V, tokens.data(), d_out.data(), d_table.data(),
                                    d_positions.data(), scratch.data());
  });
  const double matrix = M * C * this->kReal, row = C * this->kReal, fp32_row = C * kFloat, ids = M * kFloat;
  const Runs runs = count_runs(values);
  const double joined = runs.borders + runs.crossing;  // heads and tails
  const std::string shape = this->shape({{"B", B}, {"T", T}, {"C", C}, {"V", V}});
  this->expect({{"embed_kernel"}, shape, ids + (distinct + T) * row, matrix});
  this->expect({{"position_gradient_kernel"}, shape, matrix + T * fp32_row, T * fp32_row});
  this->expect({{"sum_runs_kernel"},
                shape,
                matrix + 2 * ids + runs.inside * fp32_row,
                (runs.inside + joined) * fp32_row});
  this->expect({{"join_runs_kernel"}, shape, (joined + runs.crossing) * fp32_row, runs.crossing * fp32_row});
  // The gradient is read for the positions and for the tokens.
  this->expect({{"position_gradient_kernel", "sum_runs_kernel", "join_runs_kernel", "count_digits_kernel",
                 "move_rows_kernel"},
                shape,
                matrix + ids + (T + distinct) * fp32_row,
                (T + distinct) * fp32_row},
               2);
}

class CudaTrafficOfNumbers : public CountedTraffic {};

TEST_F(CudaTrafficOfNumbers, SortRows) {
  const int M = 4096, V = 50000, passes = 2, tiles = M / 1024;
  const DeviceArray<std::int32_t> tokens(random_tokens(size(M), V, 1)),
      scratch(size(cuda::sort_rows_scratch(M)));
  count([&] { cuda::sort_rows(nullptr, M, V, tokens.data(), scratch.data()); });
  const double ids = M * kFloat, counts = tiles * 256 * kFloat;
  const std::string shape = "M 4096, V 50000";
  // The first pass takes the rows as they are, the second in the first one's order.
  expect({{"count_digits_kernel"}, shape, 3 * ids, passes * counts});
  expect({{"move_rows_kernel"}, shape, 3 * ids + passes * counts, passes * ids});
  expect({{"count_digits_kernel", "move_rows_kernel"}, shape, ids, ids}, 5.5);
}

/// Attention's blocks of rows at head width 64, forward and backward.
template <class Real>
constexpr int kRows = cuda::kAttentionQueries<Real>;

/// Σ over tiles of rows of visit(rows of the tile, columns that they see or are seen by).
template <class Columns>
double over_tiles(int T, int tile, const Columns& columns, double per_row, double per_column) {
  double sum = 0;
  for (int begin = 0; begin < T; begin += tile) {
    const int end = std::min(begin + tile, T);
    const KeyRange range = columns(begin, end);
    sum += (end - begin) * per_row + (range.end - range.begin) * per_column;
  }
  return sum;
}

TYPED_TEST(CudaTraffic, Attention) {
  const auto dense = AttentionPattern::dense(), banded = AttentionPattern::banded(64);
  for (const AttentionShape& of : {AttentionShape{1, 256, 1, 64, dense}, {1, 512, 1, 64, banded}}) {
    const std::int64_t elements = of.B * of.T * of.H * of.D, tokens = of.B * of.H * of.T;
    const DeviceArray<TypeParam> qkv(random_array(size(3 * elements), 1)), out(size(elements)),
        d_out(random_array(size(elements), 2)), d_qkv(size(3 * elements));
    const DeviceArray<float> log_sum_exp(size(tokens)), deltas(size(cuda::attention_backward_scratch(of)));
    this->count([&] {
      cuda::attention<TypeParam>(nullptr, of, qkv.data(), out.data(), log_sum_exp.data());
      cuda::attention_backward<TypeParam>(nullptr, of, qkv.data(), out.data(), log_sum_exp.data(),
                                          d_out.data(), d_qkv.data(), deltas.data());
    });
    const double matrix = static_cast<double>(elements) * this->kReal,
                 column = static_cast<double>(tokens) * kFloat, row = of.D * this->kReal;
    const std::string shape =
        this->shape({{"T", of.T}, {"D", of.D}}) +
        (of.pattern.is_dense(of.T) ? ", dense" : ", W " + std::to_string(of.pattern.window()));
    const auto keys = [&](int begin, int end) { return of.pattern.key_range(begin, end); };
    const auto queries = [&](int begin, int end) { return of.pattern.query_range(begin, end, of.T); };
    const auto tiled = [&](const auto& columns, double per_row, double per_column) {
      return over_tiles(of.T, kRows<TypeParam>, columns, per_row, per_column);
    };
    const std::string type = RealNames::GetName<TypeParam>(0);
    const std::string forward = "attention_forward_" + type, d_queries = "attention_d_queries_" + type,
                      d_keys = "attention_d_keys_" + type;
    this->expect({{forward.c_str()}, shape, 3 * matrix, matrix + column, 0, tiled(keys, row, 2 * row)});
    // Its rows: a query and its statistic; d_out for δ with the output, and again for the products.
    this->expect({{d_queries.c_str()},
                  shape,
                  5 * matrix + column,
                  matrix + column,
                  0,
                  tiled(keys, 4 * row + kFloat, 2 * row)});
    this->expect({{d_keys.c_str()},
                  shape,
                  4 * matrix + 2 * column,
                  2 * matrix,
                  0,
                  tiled(queries, 2 * row, 2 * row + 2 * kFloat)});
    this->expect({{d_queries.c_str(), d_keys.c_str()}, shape, 5 * matrix + column, 3 * matrix}, 1.55);
  }
}

TEST_F(CudaTrafficOfNumbers, TensorCoreGemm) {
  using Bf16 = __nv_bfloat16;
  const int M = 256, N = 256, K = 128, tile = 128;
  const DeviceArray<Bf16> a(random_array(size(M * K), 1)), b(random_array(size(K * N), 2)), c(size(M * N)),
      gelu_input(random_array(size(M * N), 3));
  const DeviceArray<float> sums(FloatArray(size(M * N))), row_sums(FloatArray(size(M)));
  const double operands = (M + N) * K * 2.0, result = M * N * 2.0;
  const double tiled = M * N / (tile * tile) * (2.0 * tile * K * 2);
  const std::string shape = "M 256, N 256, K 128, bf16";
  cuda::TensorCoreGemm matmul(cuda::ProductTile::kLarge);
  count([&] {
    matmul.multiply(nullptr, {M, N, K, false, true}, {a.data(), K}, {b.data(), K}, {c.data(), N}, {});
  });
  expect({{"tensor_core_gemm_kernel"}, shape + ", as a layer's output", operands, result, 0, tiled});
  count([&] {
    matmul.multiply(nullptr, {M, N, K, false, false}, {a.data(), K}, {b.data(), N}, {c.data(), N},
                    cuda::Epilogue<Bf16>::times_gelu_derivative(gelu_input.data()));
  });
  expect({{"tensor_core_gemm_kernel"},
          shape + ", as its input's gradient, with GELU's derivative",
          operands + result,
          result,
          0,
          tiled + result});
  count([&] {
    matmul.multiply_fp32(nullptr, {M, N, K, true, false}, {a.data(), M}, {b.data(), N}, {sums.data(), N},
                         true, row_sums.data());
  });
  expect({{"tensor_core_gemm_kernel"},
          shape + ", as its weights' gradient, added to fp32, with row sums",
          operands + 2 * result + M * kFloat,
          2 * result + M * kFloat,
          0,
          tiled + 2 * result + M * kFloat});
}

TYPED_TEST(CudaTraffic, SeparateEpilogue) {
  using Epilogue = cuda::Epilogue<TypeParam>;
  const int M = 64, N = 768;
  const DeviceArray<TypeParam> c(random_array(size(M * N), 1)), gelu_input(random_array(size(M * N), 2));
  const DeviceArray<float> bias(random_array(size(N), 3)), sums(FloatArray(size(N)));
  const double matrix = M * N * this->kReal, row = N * kFloat;
  const std::string shape = this->shape({{"M", M}, {"N", N}});
  this->count([&] {
    cuda::apply_epilogue<TypeParam>(nullptr, M, N, {c.data(), N},
                                    Epilogue::add_bias_and_gelu(bias.data(), gelu_input.data()));
  });
  this->expect({{"apply_epilogue_kernel"}, shape + ", bias and GELU", matrix + row, 2 * matrix});
  this->count([&] {
    cuda::apply_epilogue<TypeParam>(nullptr, M, N, {c.data(), N},
                                    Epilogue::times_gelu_derivative(gelu_input.data()));
    cuda::add_column_sums<TypeParam>(nullptr, M, N, {c.data(), N}, sums.data());
  });
  this->expect({{"apply_epilogue_kernel"}, shape + ", GELU's derivative", 2 * matrix, matrix});
  this->expect({{"add_column_sums_kernel"}, shape, matrix + row, row});
}

TEST_F(CudaTrafficOfNumbers, FlatArrays) {
  const int N = 16384, K = 4;
  const double array = N * kFloat;
  const DeviceArray<StepState> state(std::vector<StepState>{StepState{0.01f, 3}});
  const DeviceArray<std::uint8_t> decayed(std::vector<std::uint8_t>(size(N / Operations::kDecayBlock), 1));
  const DeviceArray<float> slots(random_array(size(K * N), 1)), weights(random_array(size(N), 2)),
      first(FloatArray(size(N))), second(FloatArray(size(N)));
  const DeviceArray<__nv_bfloat16> rounded(size(N));
  const int partial_count = N / static_cast<int>(Operations::kNormBlock);
  const DeviceArray<double> partials(size(partial_count));
  std::vector<float*> slot_pointers;
  for (int k = 0; k < K; ++k) slot_pointers.push_back(slots.data() + k * N);
  count([&] {
    cuda::sum_slots(nullptr, slot_pointers, {0, N});
    cuda::square_sums(nullptr, slots.data(), {0, N}, partials.data());
    cuda::adamw(nullptr, {0.9f, 0.95f, 1e-8f, 0.1f}, {0, N}, state.data(), decayed.data(), slots.data(),
                weights.data(), first.data(), second.data(), rounded.data());
    cuda::cast_to_bf16(nullptr, N, weights.data(), rounded.data());
    cuda::add_floats(nullptr, N, weights.data(), first.data());
  });
  const std::string shape = "N 16384";
  expect({{"sum_slots_kernel"}, shape + ", K 4", K * array, array});
  expect({{"square_sums_kernel"}, shape, array, 8.0 * partial_count});
  expect({{"adamw_kernel"},
          shape + ", with bf16 copy",
          4 * array + N / Operations::kDecayBlock + sizeof(StepState),
          3.5 * array},
         1.01);
  EXPECT_EQ(ptxrun::read_counters("adamw_kernel").global_store.efficiency(), 1);
  expect({{"cast_to_bf16_kernel"}, shape, array, array / 2}, 1.01);
  expect({{"add_floats_kernel"}, shape, 2 * array, array}, 1.01);
}

TEST_F(CudaTrafficOfNumbers, SumsOfOneBlock) {
  const int N = 4096;
  const DeviceArray<StepState> state(std::vector<StepState>{StepState{}});
  const DeviceArray<double> partials(DoubleArray(size(N), 1.0)), loss(DoubleArray{0.0});
  const DeviceArray<float> losses(random_array(size(N), 1));
  count([&] {
    cuda::add_row_losses(nullptr, N, losses.data(), loss.data());
    cuda::finish_gradient(nullptr, {partials.data(), size(N)}, {loss.data(), 1}, 1, state.data());
  });
  expect({{"add_row_losses_kernel"}, "M 4096", N * kFloat + 8, 8}, 1.01);
  expect({{"finish_gradient_kernel"}, "4096 partial sums", 8.0 * N + 8, 20}, 1.01);
}

}  // namespace
}  // namespace minichilla
