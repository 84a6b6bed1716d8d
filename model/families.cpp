#include "model/families.h"

#include "kernels/error.h"
#include "model/parameters.h"
#include "model/quote.h"

namespace minichilla {
namespace {

struct Rung {
  int n_layers, d_model, n_heads;
};

// Every width is at least its predecessor's and the layers' parameters grow from rung to rung, so the order
// holds for every vocabulary and context length. With 257 tokens and 64 positions neighbours differ by
// factors of 1.28 to 1.75. Heads are 8 to 16 wide up to half a million parameters and 24 to 32 beyond.
constexpr Rung kLadder[] = {
    {1, 12, 1},    // 5.8k parameters with V = 257, T = 64
    {1, 16, 2},    // 8.4k
    {2, 16, 2},    // 11.7k
    {1, 24, 3},    // 15.0k
    {2, 24, 3},    // 22.2k
    {2, 32, 2},    // 35.7k
    {2, 40, 5},    // 52.4k
    {3, 40, 5},    // 72.1k
    {3, 48, 3},    // 100k
    {3, 64, 4},    // 171k
    {3, 80, 5},    // 259k
    {4, 80, 5},    // 337k
    {4, 96, 6},    // 478k
    {4, 128, 4},   // 834k
    {5, 144, 6},   // 1.30M
    {6, 160, 5},   // 1.91M
    {6, 192, 6},   // 2.73M
    {7, 224, 7},   // 4.31M
    {8, 256, 8},   // 6.40M
    {8, 320, 10},  // 9.97M
    {8, 384, 12},  // 14.3M
};

struct PublishedShape {
  const char* size;            // the shape's name is FAMILY-SIZE
  const char* printed_params;  // nullptr: as the size
  int n_layers, d_model, n_heads, d_head;
  double batch_tokens, final_batch_tokens, learning_rate;  // 0: not published
};

// Brown et al. 2020 (arXiv:2005.14165), table 2.1: sizes, counts, shapes, batches in tokens, learning rates.
// Section 2.1: all have a context of 2048 tokens, F = 4·C and alternating dense and banded attention; the
// vocabulary is GPT-2's (Radford et al. 2019, section 2.2).
constexpr PublishedShape kGpt3[] = {
    {"125M", nullptr, 12, 768, 12, 64, 0.5e6, 0, 6.0e-4},
    {"350M", nullptr, 24, 1024, 16, 64, 0.5e6, 0, 3.0e-4},
    {"760M", nullptr, 24, 1536, 16, 96, 0.5e6, 0, 2.5e-4},
    // As printed. 16 heads, of a total width of d_model as in all others, would have the printed 1.3B.
    {"1.3B", nullptr, 24, 2048, 24, 128, 1e6, 0, 2.0e-4},
    {"2.7B", nullptr, 32, 2560, 32, 80, 1e6, 0, 1.6e-4},
    {"6.7B", nullptr, 32, 4096, 32, 128, 2e6, 0, 1.2e-4},
    // Printed as d_model 5140, taken for a misprint: 40 heads of 128 are 5120 wide.
    {"13B", "13.0B", 40, 5120, 40, 128, 2e6, 0, 1.0e-4},
    {"175B", "175.0B", 96, 12288, 96, 128, 3.2e6, 0, 0.6e-4},
};

// Hoffmann et al. 2022 (arXiv:2203.15556): table A9, all trained models; its ffw_size is 4·d_model in every
// row. The last row is Chinchilla itself, table 4, whose batch doubles midway. The vocabulary is 32 000 and
// the context 2048, as Gopher's (section 4.1).
constexpr PublishedShape kChinchilla[] = {
    {"44M", nullptr, 8, 512, 8, 64, 0, 0, 0},
    {"57M", nullptr, 9, 576, 9, 64, 0, 0, 0},
    {"74M", nullptr, 10, 640, 10, 64, 0, 0, 0},
    {"90M", nullptr, 13, 640, 10, 64, 0, 0, 0},
    {"106M", nullptr, 16, 640, 10, 64, 0, 0, 0},
    {"117M", nullptr, 12, 768, 12, 64, 0, 0, 0},
    {"140M", nullptr, 15, 768, 12, 64, 0, 0, 0},
    {"163M", nullptr, 18, 768, 12, 64, 0, 0, 0},
    {"175M", nullptr, 14, 896, 14, 64, 0, 0, 0},
    {"196M", nullptr, 16, 896, 14, 64, 0, 0, 0},
    {"217M", nullptr, 18, 896, 14, 64, 0, 0, 0},
    {"251M", nullptr, 16, 1024, 16, 64, 0, 0, 0},
    {"278M", nullptr, 18, 1024, 16, 64, 0, 0, 0},
    {"306M", nullptr, 20, 1024, 16, 64, 0, 0, 0},
    {"425M", nullptr, 18, 1280, 10, 128, 0, 0, 0},
    {"489M", nullptr, 21, 1280, 10, 128, 0, 0, 0},
    {"509M", nullptr, 18, 1408, 11, 128, 0, 0, 0},
    {"552M", nullptr, 24, 1280, 10, 128, 0, 0, 0},
    {"587M", nullptr, 21, 1408, 11, 128, 0, 0, 0},
    {"632M", nullptr, 19, 1536, 12, 128, 0, 0, 0},
    {"664M", nullptr, 24, 1408, 11, 128, 0, 0, 0},
    {"724M", nullptr, 22, 1536, 12, 128, 0, 0, 0},
    {"816M", nullptr, 25, 1536, 12, 128, 0, 0, 0},
    {"893M", nullptr, 20, 1792, 14, 128, 0, 0, 0},
    {"1018M", nullptr, 23, 1792, 14, 128, 0, 0, 0},
    {"1143M", nullptr, 26, 1792, 14, 128, 0, 0, 0},
    {"1266M", nullptr, 22, 2048, 16, 128, 0, 0, 0},
    {"1424M", nullptr, 22, 2176, 17, 128, 0, 0, 0},
    {"1429M", nullptr, 25, 2048, 16, 128, 0, 0, 0},
    {"1593M", nullptr, 28, 2048, 16, 128, 0, 0, 0},
    {"1609M", nullptr, 25, 2176, 17, 128, 0, 0, 0},
    {"1731M", nullptr, 24, 2304, 18, 128, 0, 0, 0},
    {"1794M", nullptr, 28, 2176, 17, 128, 0, 0, 0},
    {"2007M", nullptr, 28, 2304, 18, 128, 0, 0, 0},
    {"2283M", nullptr, 32, 2304, 18, 128, 0, 0, 0},
    {"2298M", nullptr, 26, 2560, 20, 128, 0, 0, 0},
    {"2639M", nullptr, 30, 2560, 20, 128, 0, 0, 0},
    {"2980M", nullptr, 34, 2560, 20, 128, 0, 0, 0},
    {"3530M", nullptr, 36, 2688, 22, 128, 0, 0, 0},
    {"3802M", nullptr, 36, 2816, 22, 128, 0, 0, 0},
    {"4084M", nullptr, 36, 2944, 22, 128, 0, 0, 0},
    {"4516M", nullptr, 36, 3072, 24, 128, 0, 0, 0},
    {"6796M", nullptr, 40, 3584, 28, 128, 0, 0, 0},
    {"9293M", nullptr, 42, 4096, 32, 128, 0, 0, 0},
    {"11452M", nullptr, 47, 4352, 32, 128, 0, 0, 0},
    {"12295M", nullptr, 44, 4608, 36, 128, 0, 0, 0},
    {"12569M", nullptr, 47, 4608, 32, 128, 0, 0, 0},
    {"13735M", nullptr, 47, 4864, 32, 128, 0, 0, 0},
    {"14940M", nullptr, 49, 4992, 32, 128, 0, 0, 0},
    {"16183M", nullptr, 47, 5120, 40, 128, 0, 0, 0},
    {"70B", nullptr, 80, 8192, 64, 128, 1.5e6, 3e6, 1e-4},
};

// Rae et al. 2021 (arXiv:2112.11446), table 1: sizes, shapes, learning rates, batches in tokens (Gopher's
// own, the last, doubles in mid-training); F = 4·C. Section 3.1: vocabulary 32 000, context 2048.
constexpr PublishedShape kGopher[] = {
    {"44M", nullptr, 8, 512, 16, 32, 0.25e6, 0, 6e-4},
    {"117M", nullptr, 12, 768, 12, 64, 0.25e6, 0, 6e-4},
    {"417M", nullptr, 12, 1536, 12, 128, 0.25e6, 0, 2e-4},
    {"1.4B", nullptr, 24, 2048, 16, 128, 0.25e6, 0, 2e-4},
    {"7.1B", nullptr, 32, 4096, 32, 128, 2e6, 0, 1.2e-4},
    {"280B", nullptr, 80, 16384, 128, 128, 3e6, 6e6, 4e-5},
};

std::vector<FamilyShape> ladder_shapes() {
  std::vector<FamilyShape> shapes;
  for (const Rung& rung : kLadder) {
    FamilyShape shape;
    shape.name = std::to_string(rung.n_layers) + "x" + std::to_string(rung.d_model);
    shape.model.family = "ladder";
    shape.model.n_layers = rung.n_layers;
    shape.model.d_model = rung.d_model;
    shape.model.n_heads = rung.n_heads;
    shapes.push_back(shape);
  }
  return shapes;
}

template <std::size_t count>
std::vector<FamilyShape> published_shapes(const std::string& family, const PublishedShape (&rows)[count]) {
  std::vector<FamilyShape> shapes;
  for (const PublishedShape& row : rows) {
    FamilyShape shape;
    shape.name = family + "-" + row.size;
    shape.model.family = family;
    shape.model.n_layers = row.n_layers;
    shape.model.d_model = row.d_model;
    shape.model.n_heads = row.n_heads;
    shape.model.d_head = row.d_head;
    shape.model.d_ff = 4 * row.d_model;
    shape.printed_params = row.printed_params ? row.printed_params : row.size;
    shape.batch_tokens = row.batch_tokens;
    shape.final_batch_tokens = row.final_batch_tokens;
    shape.learning_rate = row.learning_rate;
    shapes.push_back(shape);
  }
  return shapes;
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {"ladder", "The ladder", "tiny shapes of this program", 257, 64, {"dense"}, false, ladder_shapes()},
      {"gpt3",
       "GPT-3",
       "Brown et al. 2020, table 2.1",
       50257,
       2048,
       {"dense", "banded"},
       false,
       published_shapes("gpt3", kGpt3)},
      {"chinchilla",
       "Chinchilla",
       "Hoffmann et al. 2022, table A9; 70B: table 4",
       32000,
       2048,
       {"dense"},
       true,
       published_shapes("chinchilla", kChinchilla)},
      {"gopher",
       "Gopher",
       "Rae et al. 2021, table 1",
       32000,
       2048,
       {"dense"},
       true,
       published_shapes("gopher", kGopher)},
  };
  return all;
}

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const Family& family : families()) names.push_back(family.name);
  return names;
}

const Family& find_family(const std::string& name) {
  for (const Family& family : families()) {
    if (family.name == name) return family;
  }
  const std::vector<std::string> names = family_names();
  std::string valid;
  for (const std::string& known : names) valid += (valid.empty() ? "" : ", ") + known;
  const std::string near = nearest_name(name, names);
  throw InputError("family: found " + quote(name) + ", expected one of " + valid +
                   (near.empty() ? "" : "; did you mean " + near + "?"));
}

const FamilyShape* find_shape(const std::string& name) {
  for (const Family& family : families()) {
    for (const FamilyShape& shape : family.shapes) {
      if (shape.name == name) return &shape;
    }
  }
  return nullptr;
}

ModelConfig family_model(const Family& family, const FamilyShape& shape) {
  ModelConfig model = shape.model;
  model.context_length = family.context_length;
  model.attention.pattern = family.attention;
  return resolved(model);
}

std::int64_t published_architecture_params(const Family& family, const FamilyShape& shape) {
  const ModelConfig model = family_model(family, shape);
  if (!family.relative_positions) return ParameterTable(model, family.vocabulary).params();
  const std::int64_t C = model.d_model, F = model.d_ff, HD = std::int64_t{model.n_heads} * model.d_head;
  const std::int64_t layer = 5 * C * HD + 2 * C * F + 5 * HD + 2 * C + F;
  return family.vocabulary * C + model.n_layers * layer + C;
}

}  // namespace minichilla
