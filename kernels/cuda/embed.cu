#include "kernels/cuda/embed.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/sort_rows.h"
#include "kernels/cuda/vectors.cuh"

namespace minichilla::cuda {
namespace {

constexpr int kRows = 8;  ///< of a block, a warp each

/// The first of this lane's kWidth columns, which are beyond C in some lanes. blockIdx.y counts groups of
/// columns.
template <int kWidth>
__device__ int first_column() {
  return static_cast<int>(blockIdx.y * kWarp + threadIdx.x) * kWidth;
}
__device__ int first_row() {
  return static_cast<int>(blockIdx.x * kRows + threadIdx.y);
}

/// A grid for `rows` rows of C columns, kWidth columns to a lane.
template <int kWidth>
dim3 row_grid(int rows, int C) {
  return dim3(static_cast<unsigned>(ceil_div(rows, kRows)),
              static_cast<unsigned>(ceil_div(C, kWarp * kWidth)));
}

template <class Real, int kWidth>
__global__ void __launch_bounds__(kWarp* kRows)
    embed_kernel(int M, int T, int C, const std::int32_t* __restrict__ tokens,
                 const Real* __restrict__ token_embedding, const Real* __restrict__ position_embedding,
                 Real* __restrict__ out) {
  const int row = first_row(), c = first_column<kWidth>();
  if (row >= M || c >= C) return;
  float token[kWidth], position[kWidth];
  load(token_embedding + static_cast<std::int64_t>(tokens[row]) * C + c, token);
  load(position_embedding + static_cast<std::int64_t>(row % T) * C + c, position);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) token[j] += position[j];
  store(token, out + static_cast<std::int64_t>(row) * C + c);
}

template <int kWidth>
__device__ void add_to(const float (&addend)[kWidth], float* place) {
  float sum[kWidth];
  load(place, sum);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) sum[j] += addend[j];
  store(sum, place);
}

template <class Real, int kWidth>
__global__ void __launch_bounds__(kWarp* kRows)
    position_gradient_kernel(int B, int T, int C, const Real* __restrict__ d_out,
                             float* __restrict__ d_position_embedding) {
  const int t = first_row(), c = first_column<kWidth>();
  if (t >= T || c >= C) return;
  float sum[kWidth] = {};
#pragma unroll 4
  for (int b = 0; b < B; ++b) {
    float d[kWidth];
    load(d_out + (static_cast<std::int64_t>(b) * T + t) * C + c, d);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum[j] += d[j];
  }
  add_to(sum, d_position_embedding + static_cast<std::int64_t>(t) * C + c);
}

constexpr int kChunk = 64;  ///< sorted rows that a warp adds

/// Rows sorted by their tokens, and the sums (chunks, C) of runs of one token that cross a chunk's borders:
/// heads began in an earlier chunk, tails begin here and go on in the next.
struct SortedRows {
  int M;
  const std::int32_t *tokens, *rows;
  float *heads, *tails;

  __device__ int token(int i) const { return tokens[rows[i]]; }
  /// Of sorted rows before and after a chunk; −1, which no token is, beyond the ends.
  __device__ int token_before(int begin) const { return begin > 0 ? token(begin - 1) : -1; }
  __device__ int token_after(int end) const { return end < M ? token(end) : -1; }
};

/// A warp's columns of the sums over one chunk's runs.
template <int kWidth>
struct RunSum {
  int token;  ///< of the current run, −1 before the first
  float sum[kWidth];

  /// Puts the run's sum where it belongs.
  __device__ void finish(const SortedRows& sorted, int chunk, int before, int after, int C, int c,
                         float* d_token_embedding) const {
    if (token < 0 || c >= C) return;
    const std::int64_t partial = static_cast<std::int64_t>(chunk) * C + c;
    if (token == before) {
      store(sum, sorted.heads + partial);
    } else if (token == after) {
      store(sum, sorted.tails + partial);
    } else {
      add_to(sum, d_token_embedding + static_cast<std::int64_t>(token) * C + c);
    }
  }
};

template <class Real, int kWidth>
__global__ void __launch_bounds__(kWarp* kRows)
    sum_runs_kernel(SortedRows sorted, int C, const Real* __restrict__ d_out,
                    float* __restrict__ d_token_embedding) {
  constexpr int kAhead = 8;  // loads in flight
  const int chunk = first_row(), begin = chunk * kChunk, end = min(begin + kChunk, sorted.M);
  if (begin >= sorted.M) return;
  const int before = sorted.token_before(begin), after = sorted.token_after(end);
  const int c = first_column<kWidth>();
  RunSum<kWidth> run{-1, {}};
  for (int batch = begin; batch < end; batch += kWarp) {
    const int lane_row = sorted.rows[min(batch + static_cast<int>(threadIdx.x), end - 1)];
    const int lane_token = sorted.tokens[lane_row];
    const int count = min(end - batch, kWarp);
    for (int first = 0; first < count; first += kAhead) {
      float d[kAhead][kWidth];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        const std::int64_t row = __shfl_sync(~0u, lane_row, first + k);
        if (c < C) load(d_out + row * C + c, d[k]);  // beyond the last row: that one again
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        const int token = __shfl_sync(~0u, lane_token, first + k);
        if (first + k >= count) break;
        const bool next_run = token != run.token;
        if (next_run) run.finish(sorted, chunk, before, after, C, c, d_token_embedding);
        run.token = token;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) run.sum[j] = (next_run ? 0 : run.sum[j]) + d[k][j];
      }
    }
  }
  run.finish(sorted, chunk, before, after, C, c, d_token_embedding);
}

/// Adds the tail of each chunk that has one, and the heads that continue it.
template <int kWidth>
__global__ void __launch_bounds__(kWarp* kRows)
    join_runs_kernel(SortedRows sorted, int C, float* __restrict__ d_token_embedding) {
  const int chunk = first_row(), begin = chunk * kChunk, end = begin + kChunk;
  if (end >= sorted.M) return;
  const int token = sorted.token(end - 1);
  if (sorted.token(end) != token || sorted.token_before(begin) == token) return;
  int heads = 0;
  for (bool more = true; more; more = heads % kWarp == 0) {
    const std::int64_t start = end + (heads + static_cast<std::int64_t>(threadIdx.x)) * kChunk;
    const bool continued = start < sorted.M && sorted.token(static_cast<int>(start)) == token;
    const int found = __popc(__ballot_sync(~0u, continued));
    if (found == 0) break;
    heads += found;
  }
  const int c = first_column<kWidth>();
  if (c >= C) return;
  float sum[kWidth];
  load(sorted.tails + static_cast<std::int64_t>(chunk) * C + c, sum);
#pragma unroll 4
  for (int head = chunk + 1; head <= chunk + heads; ++head) {
    float d[kWidth];
    load(sorted.heads + static_cast<std::int64_t>(head) * C + c, d);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum[j] += d[j];
  }
  add_to(sum, d_token_embedding + static_cast<std::int64_t>(token) * C + c);
}

constexpr dim3 kThreads(kWarp, kRows);

}  // namespace

template <class Real>
void embed(cudaStream_t stream, int B, int T, int C, const std::int32_t* tokens, const Real* token_embedding,
           const Real* position_embedding, Real* out) {
  with_vector_width<Real>(C, all_aligned({token_embedding, position_embedding, out}), [&](auto width) {
    embed_kernel<Real, width.value><<<row_grid<width.value>(B * T, C), kThreads, 0, stream>>>(
        B * T, T, C, tokens, token_embedding, position_embedding, out);
    launched("embed");
  });
}

std::int64_t embed_backward_scratch_bytes(int B, int T, int C) {
  const std::int64_t partials = 2 * static_cast<std::int64_t>(ceil_div(B * T, kChunk)) * C;
  return partials * static_cast<std::int64_t>(sizeof(float)) +
         sort_rows_scratch(B * T) * static_cast<std::int64_t>(sizeof(std::int32_t));
}

template <class Real>
void embed_backward(cudaStream_t stream, int B, int T, int C, int V, const std::int32_t* tokens,
                    const Real* d_out, float* d_token_embedding, float* d_position_embedding,
                    std::int32_t* scratch) {
  const int M = B * T, chunks = ceil_div(M, kChunk);
  const std::int64_t partials = static_cast<std::int64_t>(chunks) * C;
  float* heads = reinterpret_cast<float*>(scratch);
  const std::int32_t* rows = sort_rows(stream, M, V, tokens, scratch + 2 * partials);
  const SortedRows sorted{M, tokens, rows, heads, heads + partials};
  const bool aligned = all_aligned({d_out, d_token_embedding, d_position_embedding, scratch});
  with_vector_width<Real>(C, aligned, [&](auto width) {
    constexpr int kWidth = width.value;
    position_gradient_kernel<Real, kWidth>
        <<<row_grid<kWidth>(T, C), kThreads, 0, stream>>>(B, T, C, d_out, d_position_embedding);
    launched("position_gradient");
    sum_runs_kernel<Real, kWidth>
        <<<row_grid<kWidth>(chunks, C), kThreads, 0, stream>>>(sorted, C, d_out, d_token_embedding);
    launched("sum_runs");
    join_runs_kernel<kWidth>
        <<<row_grid<kWidth>(chunks, C), kThreads, 0, stream>>>(sorted, C, d_token_embedding);
    launched("join_runs");
  });
}

#define MINICHILLA_EMBED(Real)                                                                             \
  template void embed(cudaStream_t, int, int, int, const std::int32_t*, const Real*, const Real*, Real*);  \
  template void embed_backward(cudaStream_t, int, int, int, int, const std::int32_t*, const Real*, float*, \
                               float*, std::int32_t*)
MINICHILLA_EMBED(float);
MINICHILLA_EMBED(__nv_bfloat16);

}  // namespace minichilla::cuda
