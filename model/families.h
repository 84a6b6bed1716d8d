// The named families of shapes: a ladder of tiny ones, and those that GPT-3, Gopher and Chinchilla were
// trained in, with what their papers print about them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace minichilla {

/// One shape of a family. What a paper does not say about it is empty or 0.
struct FamilyShape {
  std::string name;  ///< of this shape alone among all families: "gpt3-125M", "2x32" (layers × width)
  /// Only the shape is set: family, n_layers, d_model, n_heads, and in published families d_head and d_ff.
  ModelConfig model;
  std::string printed_params;     ///< the published count as it is printed: "13.0B"
  double batch_tokens = 0;        ///< tokens of an optimizer step
  double final_batch_tokens = 0;  ///< where the paper raises the batch in mid-training: what it ends with
  double learning_rate = 0;       ///< peak
};

/// A family with the setting that its counts are given at.
struct Family {
  std::string name;    ///< "gpt3": the label in configs and the name in slices, "gpt3[0:4]"
  std::string title;   ///< "GPT-3"
  std::string source;  ///< "Brown et al. 2020, table 2.1"; of the ladder: what it is
  int vocabulary;
  int context_length;                  ///< tokens
  std::vector<std::string> attention;  ///< AttentionConfig::pattern; the window is this program's default
  /// The published models have relative positions (Dai et al. 2019) and RMSNorm, which this program has not:
  /// see published_architecture_params.
  bool relative_positions;
  std::vector<FamilyShape> shapes;  ///< in the order of the source, sizes ascending
};

/// ladder, gpt3, chinchilla, gopher.
const std::vector<Family>& families();

/// "ladder", "gpt3", …, in the order of families().
std::vector<std::string> family_names();

/// InputError, with the nearest name, for a family that there is not.
const Family& find_family(const std::string& name);

/// The shape of that name in any family; nullptr for none.
const FamilyShape* find_shape(const std::string& name);

/// A shape with its family's context length and attention pattern, resolved().
ModelConfig family_model(const Family& family, const FamilyShape& shape);

/// Parameters of the shape in the architecture that its paper describes, at the family's vocabulary and
/// context. Without relative positions this is ParameterTable's count. With them a layer has a projection of
/// the relative positions beside the four of attention, and there is no table of positions:
///
///     V·C + L·(5·C·H·D + 2·C·F + 5·H·D + 2·C + F) + C
///
/// The matrices follow from the papers, which vectors (biases, gains) a layer has they do not say. 5·H·D +
/// 2·C
/// + F are the biases of the three attention inputs, of the attention's output and of both MLP products, and
/// the two bias vectors of relative attention. With F = 4·C this is the one choice, among 0 to 7 times H·D
/// and 0 to 13 times C, under which all 50 counts of Hoffmann et al.'s table A9 round to the printed million.
std::int64_t published_architecture_params(const Family& family, const FamilyShape& shape);

}  // namespace minichilla
