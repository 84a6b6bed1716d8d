#include "kernels/error.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace minichilla {
namespace {

/// Insertions, deletions, substitutions and swaps of neighbours that make one of the other (the optimal
/// string alignment distance).
std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> above2, above(b.size() + 1), row(b.size() + 1);  // rows i − 1, i and i + 1
  std::iota(above.begin(), above.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      row[j + 1] = std::min({above[j] + (a[i] == b[j] ? 0 : 1), row[j] + 1, above[j + 1] + 1});
      if (i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j])
        row[j + 1] = std::min(row[j + 1], above2[j - 1] + 1);
    }
    above2 = std::exchange(above, row);
  }
  return above.back();
}

}  // namespace

std::string nearest_name(const std::string& name, std::span<const std::string> valid) {
  std::string best;
  std::size_t best_distance = 0;
  for (const std::string& candidate : valid) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance * 3 > std::max(name.size(), candidate.size())) continue;
    if (best.empty() || distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace minichilla
