#include "sweeps/bench_operations.h"

#include <algorithm>
#include <deque>

#include "kernels/ops.h"
#include "model/parameters.h"
#include "sweeps/random_arrays.h"
#include "trainer/optimizer.h"

namespace minichilla {
namespace {

constexpr float kSmallWeight = 0.05f;
constexpr int kSlots = 2;
/// Where a band saves much: one sequence, whatever the shape's context. On the CPU, whose shapes are short.
constexpr int kLongContext = 1024, kLongWindow = 128;

}  // namespace

struct BenchOperations::Implementation {
  Implementation(Device& on, const BenchShape& shape);

  /// What one lane works on.
  struct LaneArrays {
    Buffer tokens, targets;                          ///< (M)
    Buffer x, branch, sum, normed, d_normed, d_sum;  ///< (M,C)
    Buffer out;                                      ///< (M,C)
    Buffer qkv, d_qkv;                               ///< (M,3C)
    Buffer wide, gelu_state, d_wide;                 ///< (M,F)
    Buffer mean, rstd, log_sum_exp;                  ///< (M), (M), (B,H,T)
    Buffer d_matrix, d_vector;  ///< gradients of the largest matrix and of the longest vector
    Buffer loss, scratch;
  };

  void allocate_lane(RandomArrays& random);
  std::size_t scratch_bytes() const;
  struct NamedAttention {
    const char* name;
    AttentionShape shape;
  };
  std::vector<NamedAttention> attentions() const {
    const int D = C / H;
    std::vector<NamedAttention> named = {{"attention dense", {B, T, H, D, AttentionPattern::dense()}},
                                         {"attention banded", {B, T, H, D, AttentionPattern::banded(T / 4)}}};
    if (device.name() == "cpu") {
      named.push_back({"attention T=1024", {1, kLongContext, H, D, AttentionPattern::dense()}});
      named.push_back(
          {"attention T=1024 W=128", {1, kLongContext, H, D, AttentionPattern::banded(kLongWindow)}});
    }
    return named;
  }

  using Work = std::function<void(Lane&, const LaneArrays&)>;
  /// On every lane, with arrays of its own.
  void add(const char* name, const char* pass, double flops, double bytes, Work work);
  void add_embed();
  void add_norm();
  void add_linear(const char* name, int in, int out, Buffer LaneArrays::*x, Buffer LaneArrays::*y,
                  Buffer LaneArrays::*d_x, Buffer LaneArrays::*d_y, bool gelu_after, bool gelu_before);
  void add_attention(const char* name, const AttentionShape& shape);
  void add_classifier();
  /// On ranges of the flat arrays.
  void add_flat(const char* name, double bytes_each, std::function<void(Lane&, ElementRange)> work);
  void add_optimizer(RandomArrays& random);

  Device& device;
  const Operations& ops;
  const int B, T, C, H, F, V, M;
  const double a;               ///< bytes of an activation
  const std::int64_t elements;  ///< of the model's flat arrays
  std::deque<LaneArrays> lanes;
  Buffer matrix, positions, vector;  ///< weights: the largest matrix, (T,C), the longest vector
  std::vector<Buffer> flat;          ///< K slots, weights, both moments, rounded weights
  std::vector<float*> slots;
  Buffer partials, state, decayed;
  std::vector<BenchOperation> all;
};

BenchOperations::Implementation::Implementation(Device& on, const BenchShape& shape)
    : device(on),
      ops(on.operations()),
      B(shape.micro_batch(on)),
      T(shape.context),
      C(shape.width),
      H(shape.heads),
      F(shape.model().mlp_width()),
      V(shape.vocabulary),
      M(B * T),
      a(static_cast<double>(ops.activation_bytes())),
      elements(ParameterTable(shape.model(), V).flat_size()) {
  RandomArrays random(device);
  matrix = random.activations(std::max<std::int64_t>(V, F) * C, kSmallWeight);
  positions = random.activations(std::int64_t{T} * C, kSmallWeight);
  vector = random.floats(std::max(F, 3 * C));
  for (int lane = 0; lane < device.lanes(); ++lane) allocate_lane(random);
  add_embed();
  add_norm();
  add_linear("linear qkv", C, 3 * C, &LaneArrays::x, &LaneArrays::qkv, &LaneArrays::out, &LaneArrays::d_qkv,
             false, false);
  for (const auto& [name, attention] : attentions()) add_attention(name, attention);
  add_linear("linear projection", C, C, &LaneArrays::x, &LaneArrays::out, &LaneArrays::d_sum,
             &LaneArrays::d_normed, false, false);
  add_linear("linear expand, GELU", C, F, &LaneArrays::x, &LaneArrays::wide, &LaneArrays::out,
             &LaneArrays::d_wide, true, false);
  add_linear("linear contract, GELU", F, C, &LaneArrays::wide, &LaneArrays::out, &LaneArrays::d_wide,
             &LaneArrays::d_normed, false, true);
  add_classifier();
  add_optimizer(random);
}

void BenchOperations::Implementation::allocate_lane(RandomArrays& random) {
  const std::int64_t rows = device.name() == "cpu" ? std::max(M, kLongContext) : M, narrow = rows * C,
                     wide = std::int64_t{M} * F;
  LaneArrays& lane = lanes.emplace_back();
  lane.tokens = random.ids(M, V);
  lane.targets = random.ids(M, V);
  for (Buffer* const array :
       {&lane.x, &lane.branch, &lane.sum, &lane.normed, &lane.d_normed, &lane.d_sum, &lane.out}) {
    *array = random.activations(narrow);
  }
  for (Buffer* const array : {&lane.qkv, &lane.d_qkv}) *array = random.activations(3 * narrow);
  for (Buffer* const array : {&lane.wide, &lane.gelu_state, &lane.d_wide}) *array = random.activations(wide);
  lane.mean = random.floats(M);
  lane.rstd = random.floats(M);
  lane.log_sum_exp = random.floats(rows * H);
  lane.d_matrix = random.floats(std::max<std::int64_t>({V, F, T}) * C);
  lane.d_vector = random.floats(2 * std::max(F, std::max(3 * C, T * C)));
  lane.loss = device.allocate(sizeof(double));
  lane.scratch = device.allocate(scratch_bytes());
}

std::size_t BenchOperations::Implementation::scratch_bytes() const {
  std::size_t most = std::max({ops.embed_backward_scratch(B, T, C, V), ops.add_norm_backward_scratch(M, C),
                               ops.classifier_scratch({M, C, V})});
  for (const NamedAttention& attention : attentions()) {
    most = std::max(most, ops.attention_scratch(attention.shape));
  }
  for (const LinearShape& shape : {LinearShape{M, C, 3 * C}, {M, C, C}, {M, C, F}, {M, F, C}}) {
    most = std::max(most, ops.linear_backward_scratch(shape));
  }
  return most;
}

void BenchOperations::Implementation::add(const char* name, const char* pass, double flops, double bytes,
                                          Work work) {
  const double count = static_cast<double>(lanes.size());
  all.push_back({name, pass, count * flops, count * bytes, static_cast<int>(lanes.size()), false,
                 [this, work = std::move(work)](Lane& lane, int) {
                   work(lane, lanes[static_cast<std::size_t>(lane.index())]);
                 }});
}

void BenchOperations::Implementation::add_embed() {
  const double table = std::min(M, V) + T, ids = 4.0 * M;
  add("embed", "forward", 0, ids + (table + M) * C * a, [this](Lane& lane, const LaneArrays& of) {
    ops.embed(lane, B, T, C, of.tokens.as<std::int32_t>(), matrix.as<Activation>(),
              positions.as<Activation>(), of.x.as<Activation>());
  });
  add("embed", "backward", 0, ids + M * C * a + 2 * table * C * 4, [this](Lane& lane, const LaneArrays& of) {
    ops.embed_backward(lane, B, T, C, V, of.tokens.as<std::int32_t>(), of.d_sum.as<Activation>(),
                       of.d_matrix.as<float>(), of.d_vector.as<float>(), of.scratch.as<void>());
  });
}

void BenchOperations::Implementation::add_norm() {
  const double rows = 4.0 * M * C * a + 2.0 * M * 4;
  add("add_norm", "forward", 0, rows + 2.0 * C * 4, [this](Lane& lane, const LaneArrays& of) {
    ops.add_norm(lane, M, C, of.x.as<Activation>(), of.branch.as<Activation>(), vector.as<float>(),
                 vector.as<float>() + C, of.sum.as<Activation>(), of.normed.as<Activation>(),
                 of.mean.as<float>(), of.rstd.as<float>());
  });
  add("add_norm", "backward", 0, rows + 5.0 * C * 4, [this](Lane& lane, const LaneArrays& of) {
    ops.add_norm_backward(lane, M, C, of.d_normed.as<Activation>(), of.d_sum.as<Activation>(),
                          of.sum.as<Activation>(), of.mean.as<float>(), of.rstd.as<float>(),
                          vector.as<float>(), of.out.as<Activation>(), of.d_vector.as<float>(),
                          of.d_vector.as<float>() + C, of.scratch.as<void>());
  });
}

void BenchOperations::Implementation::add_linear(const char* name, int in, int out, Buffer LaneArrays::*x,
                                                 Buffer LaneArrays::*y, Buffer LaneArrays::*d_x,
                                                 Buffer LaneArrays::*d_y, bool gelu_after, bool gelu_before) {
  const LinearShape shape{M, in, out};
  const double weights = static_cast<double>(in) * out, flops = 2.0 * M * weights;
  const double forward = (1.0 * M * in + weights + (gelu_after ? 2.0 : 1.0) * M * out) * a + 4.0 * out;
  const double backward =
      ((gelu_before ? 3.0 : 2.0) * M * in + weights + 1.0 * M * out) * a + 2 * 4 * (weights + out);
  add(name, "forward", flops, forward, [=, this](Lane& lane, const LaneArrays& of) {
    ops.linear(lane, shape, (of.*x).as<Activation>(), matrix.as<Activation>(), vector.as<float>(),
               (of.*y).as<Activation>(), gelu_after ? of.gelu_state.as<Activation>() : nullptr);
  });
  add(name, "backward", 2 * flops, backward, [=, this](Lane& lane, const LaneArrays& of) {
    ops.linear_backward(lane, shape, (of.*x).as<Activation>(), matrix.as<Activation>(),
                        (of.*d_y).as<Activation>(), gelu_before ? of.gelu_state.as<Activation>() : nullptr,
                        (of.*d_x).as<Activation>(), of.d_matrix.as<float>(), of.d_vector.as<float>(),
                        of.scratch.as<void>());
  });
}

void BenchOperations::Implementation::add_attention(const char* name, const AttentionShape& shape) {
  const double flops = 2.0 * 2 * shape.B * C * static_cast<double>(shape.pattern.pairs(shape.T));
  const double rows = 1.0 * shape.B * shape.T, row = rows * C * a, statistic = 4 * rows * H;
  add(name, "forward", flops, 4 * row + statistic, [=, this](Lane& lane, const LaneArrays& of) {
    ops.attention(lane, shape, of.qkv.as<Activation>(), of.out.as<Activation>(), of.log_sum_exp.as<float>(),
                  of.scratch.as<void>());
  });
  add(name, "backward", 2 * flops, 8 * row + statistic, [=, this](Lane& lane, const LaneArrays& of) {
    ops.attention_backward(lane, shape, of.qkv.as<Activation>(), of.out.as<Activation>(),
                           of.log_sum_exp.as<float>(), of.d_normed.as<Activation>(),
                           of.d_qkv.as<Activation>(), of.scratch.as<void>());
  });
}

void BenchOperations::Implementation::add_classifier() {
  const double weights = 1.0 * V * C, flops = 2.0 * M * weights;
  const double forward = (1.0 * M * C + weights) * a + 4.0 * M;
  const auto work = [this](bool gradients) {
    return [=, this](Lane& lane, const LaneArrays& of) {
      ops.classifier(lane, {M, C, V}, of.normed.as<Activation>(), matrix.as<Activation>(),
                     of.targets.as<std::int32_t>(), 1.0f / static_cast<float>(M), of.loss.as<double>(),
                     gradients ? of.d_normed.as<Activation>() : nullptr,
                     gradients ? of.d_matrix.as<float>() : nullptr, of.scratch.as<void>());
    };
  };
  add("classifier", "forward", flops, forward, work(false));
  add("classifier", "both", 3 * flops, forward + M * C * a + 2 * 4 * weights, work(true));
}

void BenchOperations::Implementation::add_flat(const char* name, double bytes_each,
                                               std::function<void(Lane&, ElementRange)> work) {
  const std::vector<ElementRange> ranges = chunks(elements, device.elements_per_task());
  const double bytes = static_cast<double>(elements) * bytes_each;
  all.push_back({name, "", 0, bytes, static_cast<int>(ranges.size()), true,
                 [ranges, work = std::move(work)](Lane& lane, int task) {
                   work(lane, ranges[static_cast<std::size_t>(task)]);
                 }});
}

void BenchOperations::Implementation::add_optimizer(RandomArrays& random) {
  for (int array = 0; array < kSlots + 3; ++array) flat.push_back(random.floats(elements));
  // The second moment is never negative.
  flat[kSlots + 2] = device.allocate(static_cast<std::size_t>(elements) * sizeof(float));
  const bool rounds = ops.activation_bytes() != sizeof(float);
  flat.push_back(device.allocate(rounds ? static_cast<std::size_t>(elements) * ops.activation_bytes() : 0));
  for (std::size_t slot = 0; slot < kSlots; ++slot) slots.push_back(flat[slot].as<float>());
  const std::int64_t blocks = (elements + Operations::kNormBlock - 1) / Operations::kNormBlock;
  partials = device.allocate(static_cast<std::size_t>(blocks) * sizeof(double));
  state = device.allocate(sizeof(StepState));
  const StepState first{.learning_rate = 0, .step = 1};
  device.upload(state.as<void>(), &first, sizeof first);
  const std::vector<std::uint8_t> all_decayed(static_cast<std::size_t>(elements / Operations::kDecayBlock),
                                              1);
  decayed = device.allocate(all_decayed.size());
  device.upload(decayed.as<void>(), all_decayed.data(), all_decayed.size());

  add_flat("sum_slots", 4 * (kSlots + 1),
           [this](Lane& lane, ElementRange range) { ops.sum_slots(lane, slots, range); });
  add_flat("square_sums", 4, [this](Lane& lane, ElementRange range) {
    ops.square_sums(lane, slots[0], range, partials.as<double>());
  });
  add_flat("adamw", 4 * 7 + (rounds ? a : 0), [this](Lane& lane, ElementRange range) {
    ops.adamw(lane, {0.9f, 0.95f, 1e-8f, 0.1f}, range, state.as<StepState>(), decayed.as<std::uint8_t>(),
              slots[1], flat[kSlots].as<float>(), flat[kSlots + 1].as<float>(), flat[kSlots + 2].as<float>(),
              flat[kSlots + 3].as<Activation>());
  });
}

BenchOperations::BenchOperations(Device& device, const BenchShape& shape)
    : implementation_(std::make_unique<Implementation>(device, shape)) {}

BenchOperations::~BenchOperations() = default;

const std::vector<BenchOperation>& BenchOperations::all() const {
  return implementation_->all;
}

}  // namespace minichilla
