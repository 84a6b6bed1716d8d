// Names of shapes: how configs, sweeps and the command line say a size, and what runs are called by.
#pragma once

#include <string>
#include <vector>

#include "model/config.h"

namespace minichilla {

/// Name of a shape for run ids and tables: "gpt3-125M" where the family is one of the published ones and has
/// this shape, otherwise "2x32" (layers × width), with the heads unless they are those of the ladder's rung
/// ("3x48x6"), and with d_head and d_ff where they are not the default ("24x2048x24h128f4096").
std::string shape_name(const ModelConfig& config);

/// The shapes of a `sizes` list: "gpt3-125M" and "2x32" are shapes of a family by name, "ladder[0:5]" is a
/// slice of a family (Python's rule), "ladder[3]" one of its shapes, "3x48x6" layers × width × heads. In the
/// order of the list, each shape once (by its widths: gopher-117M and chinchilla-117M are one). Only the
/// shape is set, as in FamilyShape. InputError, "sizes: found …, expected …", for anything else.
std::vector<ModelConfig> parse_sizes(const std::vector<std::string>& sizes);

/// The one shape that `size` names, as in parse_sizes. Throws std::invalid_argument, saying what was
/// expected, for anything else.
ModelConfig parse_size(const std::string& size);

/// `config` in another shape: family, n_layers, d_model, n_heads are the shape's, and so are d_head and d_ff
/// where the shape gives them (published shapes do).
ModelConfig with_shape(ModelConfig config, const ModelConfig& shape);

}  // namespace minichilla
