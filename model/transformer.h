// The decoder: flat weights and gradient slots on a device, forward and backward of a micro-batch on a lane.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/device.h"
#include "model/config.h"
#include "model/parameters.h"
#include "model/recompute.h"

namespace minichilla {

/// Bytes that a Transformer allocates.
struct ModelMemory {
  std::size_t weights, gradients;  ///< gradients: all K slots
  std::size_t compute_weights;     ///< rounded weights for matrix products; 0 with fp32
  std::size_t activations;         ///< the arenas of all lanes
  std::size_t losses;              ///< a sum per slot
  std::size_t total() const { return weights + gradients + compute_weights + activations + losses; }
};

/// The plan without the model: `lanes` arenas, K gradient slots.
ModelMemory model_memory(const ModelConfig& config, int vocabulary, int micro_batch, int gradient_slots,
                         int lanes, const Device& device, Recompute recompute = {});

class Transformer {
 public:
  /// Called with finished ranges of the flat gradient, from the last layer to the first; a gradient slot is
  /// complete in a range once it was announced (for overlapping communication with the rest of the backward
  /// pass). Ranges are whole blocks of ParameterTable::kFlatAlignment elements, meet end to start, and end
  /// with the tied embeddings.
  using OnReady = std::function<void(ElementRange)>;

  /// `config` is resolved(); B = micro_batch sequences per call; K = gradient_slots.
  Transformer(const ModelConfig& config, int vocabulary, int micro_batch, int gradient_slots, Device& device,
              Recompute recompute = {});
  ~Transformer();

  const ModelConfig& config() const;
  const ParameterTable& parameters() const;
  int micro_batch() const;

  /// Flat device arrays of parameters().flat_size() floats.
  float* weights();
  /// The weights as embeddings and matrix products read them, where Operations::activation_bytes() is not 4;
  /// else nullptr, and weights() serves. Whoever changes weights() brings these up to date: adamw or
  /// round_weights.
  Activation* compute_weights();
  float* gradient_slot(int slot);
  /// One double per slot: Σ loss in nats over the slot's tokens.
  double* slot_loss(int slot);
  /// Enqueues zeros into a slot's gradient and loss.
  void clear_slot(Lane& lane, int slot);

  /// Adds one micro-batch into gradient slot `slot`: tokens and targets (B,T) are device pointers to token
  /// ids in [0, V); gradients are those of loss_scale · Σ loss.
  void forward_backward(Lane& lane, int slot, const std::int32_t* tokens, const std::int32_t* targets,
                        float loss_scale, const OnReady& on_ready = {});

  /// *loss_sum (device) += Σ loss in nats over the (B,T) targets; no gradients.
  void evaluate(Lane& lane, const std::int32_t* tokens, const std::int32_t* targets, double* loss_sum);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace minichilla
