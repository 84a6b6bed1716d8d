// What the transformer hands to one operation never overlaps, apart from what kernels/ops.h allows.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/float32_operations.h"
#include "model/transformer.h"
#include "model_case.h"
#include "tests/kernels/forwarding_device.h"

namespace minichilla::aliasing_test {
namespace {

std::int64_t floats_in(std::size_t bytes) {
  return static_cast<std::int64_t>(bytes / sizeof(float));
}

/// Passes every operation on to a real device's, after a look at its arguments.
class CheckedOperations final : public Float32Operations {
 public:
  explicit CheckedOperations(const Float32Operations& real) : real_(real) {}

  void clear(Lane& lane, void* data, std::size_t bytes) const override { real_.clear(lane, data, bytes); }

  void embed(Lane& lane, int B, int T, int C, const std::int32_t* tokens, const float* token_embedding,
             const float* position_embedding, float* out) const override {
    check("embed", {{token_embedding, C}, {position_embedding, T * C}, {out, B * T * C}});
    real_.embed(lane, B, T, C, tokens, token_embedding, position_embedding, out);
  }
  void embed_backward(Lane& lane, int B, int T, int C, const std::int32_t* tokens, const float* d_out,
                      float* d_token_embedding, float* d_position_embedding) const override {
    check("embed_backward", {{d_out, B * T * C}, {d_token_embedding, C}, {d_position_embedding, T * C}});
    real_.embed_backward(lane, B, T, C, tokens, d_out, d_token_embedding, d_position_embedding);
  }
  void add_norm(Lane& lane, int M, int C, const float* residual, const float* branch, const float* weight,
                const float* bias, float* sum, float* normed, float* mean, float* rstd) const override {
    check("add_norm", {{residual, M * C},
                       {branch, M * C},
                       {weight, C},
                       {bias, C},
                       {normed, M * C},
                       {mean, M},
                       {rstd, M},
                       {sum == residual ? nullptr : sum, M * C}});
    real_.add_norm(lane, M, C, residual, branch, weight, bias, sum, normed, mean, rstd);
  }
  void add_norm_backward(Lane& lane, int M, int C, const float* d_normed, const float* d_sum_in,
                         const float* sum, const float* mean, const float* rstd, const float* weight,
                         float* d_sum_out, float* d_weight, float* d_bias) const override {
    check("add_norm_backward", {{d_normed, M * C},
                                {d_sum_in == d_sum_out ? nullptr : d_sum_in, M * C},
                                {sum, M * C},
                                {mean, M},
                                {rstd, M},
                                {weight, C},
                                {d_sum_out, M * C},
                                {d_weight, C},
                                {d_bias, C}});
    real_.add_norm_backward(lane, M, C, d_normed, d_sum_in, sum, mean, rstd, weight, d_sum_out, d_weight,
                            d_bias);
  }
  void linear(Lane& lane, LinearShape shape, const float* x, const float* weight, const float* bias, float* y,
              float* gelu_state) const override {
    const int M = shape.M, in = shape.in, out = shape.out;
    check("linear", {{x, M * in}, {weight, out * in}, {bias, out}, {y, M * out}, {gelu_state, M * out}});
    real_.linear(lane, shape, x, weight, bias, y, gelu_state);
  }
  void linear_backward(Lane& lane, LinearShape shape, const float* x, const float* weight, const float* d_y,
                       const float* gelu_state, float* d_x, float* d_weight, float* d_bias) const override {
    const int M = shape.M, in = shape.in, out = shape.out;
    check("linear_backward", {{x, M * in},
                              {weight, out * in},
                              {d_y, M * out},
                              {gelu_state, M * in},
                              {d_x, M * in},
                              {d_weight, out * in},
                              {d_bias, out}});
    real_.linear_backward(lane, shape, x, weight, d_y, gelu_state, d_x, d_weight, d_bias);
  }
  std::size_t attention_scratch(const AttentionShape& shape) const override {
    return real_.attention_scratch(shape);
  }
  void attention(Lane& lane, const AttentionShape& s, const float* qkv, float* out, float* log_sum_exp,
                 float* scratch) const override {
    check("attention", {{qkv, 3 * s.B * s.T * s.H * s.D},
                        {out, s.B * s.T * s.H * s.D},
                        {log_sum_exp, s.B * s.H * s.T},
                        {scratch, floats_in(attention_scratch(s))}});
    real_.attention(lane, s, qkv, out, log_sum_exp, scratch);
  }
  void attention_backward(Lane& lane, const AttentionShape& s, const float* qkv, const float* out,
                          const float* log_sum_exp, const float* d_out, float* d_qkv,
                          float* scratch) const override {
    const int width = s.B * s.T * s.H * s.D;
    check("attention_backward", {{qkv, 3 * width},
                                 {out, width},
                                 {log_sum_exp, s.B * s.H * s.T},
                                 {d_out, width},
                                 {d_qkv, 3 * width},
                                 {scratch, floats_in(attention_scratch(s))}});
    real_.attention_backward(lane, s, qkv, out, log_sum_exp, d_out, d_qkv, scratch);
  }
  std::size_t classifier_scratch(ClassifierShape shape) const override {
    return real_.classifier_scratch(shape);
  }
  void classifier(Lane& lane, ClassifierShape s, const float* hidden, const float* weight,
                  const std::int32_t* targets, float loss_scale, double* loss_sum, float* d_hidden,
                  float* d_weight, float* scratch) const override {
    check("classifier", {{hidden, s.M * s.C},
                         {weight, s.V * s.C},
                         {d_hidden, s.M * s.C},
                         {d_weight, s.V * s.C},
                         {scratch, floats_in(classifier_scratch(s))}});
    real_.classifier(lane, s, hidden, weight, targets, loss_scale, loss_sum, d_hidden, d_weight, scratch);
  }
  void sum_slots(Lane& lane, std::span<float* const> slots, ElementRange range) const override {
    real_.sum_slots(lane, slots, range);
  }
  void square_sums(Lane& lane, const float* gradient, ElementRange range, double* partials) const override {
    real_.square_sums(lane, gradient, range, partials);
  }
  void finish_gradient(Lane& lane, std::span<const double> partials, std::span<const double> slot_loss_sums,
                       float clip, StepState* state) const override {
    real_.finish_gradient(lane, partials, slot_loss_sums, clip, state);
  }
  void adamw(Lane& lane, AdamWSettings settings, ElementRange range, const StepState* state,
             const std::uint8_t* decayed, const float* gradient, float* weights, float* first_moment,
             float* second_moment) const override {
    real_.adamw(lane, settings, range, state, decayed, gradient, weights, first_moment, second_moment);
  }

  int calls() const { return calls_; }

 private:
  struct Argument {
    const float* data;  ///< nullptr: absent
    std::int64_t floats;
  };

  void check(const char* operation, std::vector<Argument> arguments) const {
    ++calls_;
    std::erase_if(arguments, [](const Argument& a) { return a.data == nullptr || a.floats == 0; });
    std::sort(arguments.begin(), arguments.end(),
              [](const Argument& a, const Argument& b) { return a.data < b.data; });
    for (std::size_t i = 1; i < arguments.size(); ++i) {
      EXPECT_LE(arguments[i - 1].data + arguments[i - 1].floats, arguments[i].data) << operation;
    }
  }

  const Float32Operations& real_;
  mutable int calls_ = 0;
};

class CheckedDevice final : public ForwardingDevice {
 public:
  const CheckedOperations& operations() const override { return operations_; }

 private:
  CheckedOperations operations_{dynamic_cast<const Float32Operations&>(ForwardingDevice::operations())};
};

TEST(Aliasing, NoOperationGetsOverlappingArguments) {
  const ModelCase cases[] = {
      {"alternating", 3, 24, 3, 0, 0, 31, 57, 2, {"dense", "banded"}, 8},
      {"head_width_given", 2, 18, 4, 7, 29, 23, 45, 2, {"banded", "dense"}, 6},
      {"narrow_mlp", 2, 64, 1, 2, 3, 8, 3, 2, {"dense"}, 0},
      {"wide_vocabulary", 1, 4, 1, 0, 0, 5, 999, 1, {"dense"}, 0},
  };
  const Recompute recomputations[] = {{}, {.norms = true}, {.mlp = true}, {.norms = true, .mlp = true}};
  for (int i = 0; i < 16; ++i) {
    const ModelCase& model = cases[i / 4];
    const Recompute again = recomputations[i % 4];
    SCOPED_TRACE(model.name);
    CheckedDevice device;
    Transformer transformer(model.config(), model.V, model.B, 1, device, again);
    const std::vector<std::int32_t> ids = random_tokens(model.B * model.T, model.V, 1);
    const Buffer tokens = device.allocate(ids.size() * sizeof(std::int32_t)),
                 loss = device.allocate(sizeof(double));
    device.upload(tokens.as<void>(), ids.data(), tokens.bytes());
    device.for_each_task(1, [&](Lane& lane, int) {
      transformer.forward_backward(lane, 0, tokens.as<std::int32_t>(), tokens.as<std::int32_t>(), 1);
      transformer.evaluate(lane, tokens.as<std::int32_t>(), tokens.as<std::int32_t>(), loss.as<double>());
    });
    const int more = (again.norms ? 2 : 0) + (again.mlp ? 1 : 0);
    const int forward = 3 + 7 * model.L, backward = 2 + (7 + more) * model.L;
    EXPECT_EQ(device.operations().calls(), 2 * forward + backward);
  }
}

}  // namespace
}  // namespace minichilla::aliasing_test
