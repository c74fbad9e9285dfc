// Forward: pack the weights, multiply. Backward: transpose their bits, multiply; then the outer product of dy and
// x, tile by tile, each of which becomes dw while it is in the cache.
#include "layer.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "products.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kRows = 128;  // rows of an outer product whose inputs stay in the first-level cache
// Below this many numbers, waking another thread costs more than it saves.
constexpr int64_t kParallel = 32768;

std::vector<float> alpha_of(const LayerSizes& sizes, Scale scale, const float* w) {
  std::vector<float> alpha(sizes.units, 1.0f);
  if (scale.per_unit) {
    sign_scale<float>(w, sizes.units, sizes.inputs, scale.scaled, nullptr, alpha.data());
  } else if (scale.scaled) {
    sign_scale<float>(w, 1, sizes.units * sizes.inputs, true, nullptr, alpha.data());
    std::fill(alpha.begin() + 1, alpha.end(), alpha[0]);
  }
  return alpha;
}

// The bits of w as weights of `units` units, and of its transpose.
std::vector<uint32_t> pack_weights(const LayerSizes& sizes, const float* w) {
  const int64_t words = ceil_div(sizes.inputs, kWord), blocks = ceil_div(sizes.units, kBlock);
  std::vector<uint32_t> bits(blocks * words * kBlock);
#pragma omp parallel for schedule(static) if (sizes.units * sizes.inputs >= kParallel)
  for (int64_t block = 0; block < blocks; ++block) {
    std::vector<uint32_t> row(words);
    for (int64_t l = 0; l < std::min(kBlock, sizes.units - block * kBlock); ++l) {
      kernels().pack(w + (block * kBlock + l) * sizes.inputs, sizes.inputs, row.data());
      for (int64_t word = 0; word < words; ++word) bits[(block * words + word) * kBlock + l] = row[word];
    }
  }
  return bits;
}

// Bit t of word i becomes bit i of word t: squares off the diagonal change places, 16 x 16 first, 1 x 1 last.
void transpose(uint32_t words[32]) {
  uint32_t mask = 0x0000ffffu;
  for (int size = 16; size != 0; size >>= 1, mask ^= mask << size) {
    for (int i = 0; i < 32; i = (i + size + 1) & ~size) {
      const uint32_t differ = ((words[i] >> size) ^ words[i + size]) & mask;
      words[i] ^= differ << size;
      words[i + size] ^= differ;
    }
  }
}

// The bits of the transposed weights, from those of `units` units.
std::vector<uint32_t> transposed(const LayerSizes& sizes, const std::vector<uint32_t>& bits) {
  const int64_t words = ceil_div(sizes.inputs, kWord), blocks = ceil_div(sizes.units, kBlock);
  const int64_t unit_words = ceil_div(sizes.units, kWord), input_blocks = ceil_div(sizes.inputs, kBlock);
  std::vector<uint32_t> to(input_blocks * unit_words * kBlock);
#pragma omp parallel for schedule(static) if (sizes.units * sizes.inputs >= 32 * kParallel)
  for (int64_t word = 0; word < words; ++word) {
    for (int64_t unit_word = 0; unit_word < unit_words; ++unit_word) {
      uint32_t square[2 * kBlock] = {};
      for (int64_t half = 0; half < 2 && 2 * unit_word + half < blocks; ++half) {
        std::memcpy(square + half * kBlock, &bits[((2 * unit_word + half) * words + word) * kBlock],
                    kBlock * sizeof(uint32_t));
      }
      transpose(square);
      for (int64_t half = 0; half < 2 && 2 * word + half < input_blocks; ++half) {
        std::memcpy(&to[((2 * word + half) * unit_words + unit_word) * kBlock], square + half * kBlock,
                    kBlock * sizeof(uint32_t));
      }
    }
  }
  return to;
}

bool all_signs(const float* x, int64_t size) {
  int64_t other = 0;
  for (int64_t i = 0; i < size; ++i) other += std::fabs(x[i]) != 1.0f;
  return other == 0;
}

// The rule for one row of weights, from g = dL/d(alpha s): see training.cc; `n` weights share an alpha.
template <Gradient kGradient>
void rule_row(float clip, float alpha, float n, const float* g, const float* w, int64_t size,
              float* __restrict dw) {
  const float share = 1.0f / n, factor = alpha / n;
  for (int64_t k = 0; k < size; ++k) {
    if (kGradient == Gradient::kSte) {
      dw[k] = g[k] * (std::fabs(w[k]) <= clip ? 1.0f : 0.0f);
    } else if (kGradient == Gradient::kXnor) {
      dw[k] = g[k] * (share + (std::fabs(w[k]) <= clip ? alpha : 0.0f));
    } else {
      dw[k] = g[k] * (share + (std::fabs(w[k]) <= 5.0f ? w[k] * factor : 0.0f));
    }
  }
}

// The same, also where all weights of the group are zero: no gradient, by definition.
template <Gradient kGradient>
void rule_or_zero(float clip, float alpha, float n, const float* g, const float* w, int64_t size, float* dw) {
  if (alpha == 0) {
    std::fill(dw, dw + size, 0.0f);
  } else {
    rule_row<kGradient>(clip, alpha, n, g, w, size, dw);
  }
}

// Columns begin .. begin + width of `rows` rows, zeros up to `tile` columns, one row after the other.
void copy_panel(const float* from, int64_t stride, int64_t rows, int64_t width, int64_t tile, float* to) {
  for (int64_t m = 0; m < rows; ++m, from += stride, to += tile) {
    std::memcpy(to, from, width * sizeof(float));
    std::fill(to + width, to + tile, 0.0f);
  }
}

// g = dy^T . x where x is -1 and 1: the product of a binary layer whose inputs are the columns of dy and whose
// weights are the columns of x.
void outer_of_signs(const LayerSizes& sizes, const float* dy, const float* x, float* g) {
  std::vector<float> columns(sizes.units * sizes.rows);
#pragma omp parallel for schedule(static) if (sizes.units * sizes.rows >= kParallel)
  for (int64_t u = 0; u < sizes.units; ++u) {
    for (int64_t m = 0; m < sizes.rows; ++m) columns[u * sizes.rows + m] = dy[m * sizes.units + u];
  }
  const LayerSizes rows_as_units = {0, sizes.rows, sizes.inputs};
  const std::vector<uint32_t> bits = transposed(rows_as_units, pack_weights(rows_as_units, x));
  const std::vector<float> one(sizes.inputs, 1.0f), none(sizes.inputs, -0.0f);
  const Affine plain = {one.data(), none.data(), nullptr, nullptr, nullptr, nullptr};
  binary_dense(columns.data(), bits.data(), plain, sizes.units, sizes.inputs, sizes.rows, g, nullptr);
}

template <Gradient kGradient>
void weight_gradient_of_signs(const LayerSizes& sizes, float n, float clip, const float* alpha, const float* dy,
                              const float* x, const float* w, float* dw) {
  constexpr int64_t kStrip = 512;
  outer_of_signs(sizes, dy, x, dw);
#pragma omp parallel for schedule(static) if (sizes.units * sizes.inputs >= kParallel)
  for (int64_t u = 0; u < sizes.units; ++u) {
    for (int64_t k = 0; k < sizes.inputs; k += kStrip) {
      const int64_t at = u * sizes.inputs + k, size = std::min(kStrip, sizes.inputs - k);
      float g[kStrip];
      std::memcpy(g, dw + at, size * sizeof(float));
      rule_or_zero<kGradient>(clip, alpha[u], n, g, w + at, size, dw + at);
    }
  }
}

template <Gradient kGradient>
void weight_gradient(const LayerSizes& sizes, float n, float clip, const float* alpha, const float* dy,
                     const float* x, const float* w, float* dw) {
  if (all_signs(x, sizes.rows * sizes.inputs)) {
    return weight_gradient_of_signs<kGradient>(sizes, n, clip, alpha, dy, x, w, dw);
  }
  const Kernels& k = kernels();
  const int64_t tile_units = k.outer_units, tile_inputs = k.outer_inputs;
  const int64_t unit_tiles = ceil_div(sizes.units, tile_units);
  const int64_t input_tiles = ceil_div(sizes.inputs, tile_inputs);
  // All of x in panels of a tile's inputs; of dy the panel of the tile's units. dw is written row by row.
  std::vector<float> panels(input_tiles * sizes.rows * tile_inputs);
#pragma omp parallel if (sizes.rows * sizes.units * sizes.inputs >= 16 * kParallel)
  {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < input_tiles; ++i) {
      copy_panel(x + i * tile_inputs, sizes.inputs, sizes.rows,
                 std::min(tile_inputs, sizes.inputs - i * tile_inputs), tile_inputs,
                 panels.data() + i * sizes.rows * tile_inputs);
    }
    std::vector<float> panel(sizes.rows * tile_units), sums(tile_units * tile_inputs);
#pragma omp for schedule(static)
    for (int64_t t = 0; t < unit_tiles; ++t) {
      const int64_t first = t * tile_units, units = std::min(tile_units, sizes.units - first);
      copy_panel(dy + first, sizes.units, sizes.rows, units, tile_units, panel.data());
      for (int64_t i = 0; i < input_tiles; ++i) {
        const int64_t input = i * tile_inputs, width = std::min(tile_inputs, sizes.inputs - input);
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (int64_t row = 0; row < sizes.rows; row += kRows) {
          k.outer(panel.data() + row * tile_units, panels.data() + (i * sizes.rows + row) * tile_inputs,
                  std::min(kRows, sizes.rows - row), sums.data());
        }
        for (int64_t u = 0; u < units; ++u) {
          const int64_t at = (first + u) * sizes.inputs + input;
          rule_or_zero<kGradient>(clip, alpha[first + u], n, sums.data() + u * tile_inputs, w + at, width,
                                  dw + at);
        }
      }
    }
  }
}

}  // namespace

void layer_forward(const LayerSizes& sizes, Scale scale, const float* x, const float* w, const float* bias,
                   float* y) {
  const std::vector<float> alpha = alpha_of(sizes, scale, w);
  const std::vector<float> none(bias == nullptr ? sizes.units : 0, -0.0f);  // v + -0.0 is v for every v
  const Affine affine = {alpha.data(), bias == nullptr ? none.data() : bias, nullptr, nullptr, nullptr, nullptr};
  const std::vector<uint32_t> bits = pack_weights(sizes, w);
  if (all_signs(x, sizes.rows * sizes.inputs)) {
    std::vector<uint32_t> input_bits(sizes.rows * ceil_div(sizes.inputs, kWord));
    pack_inputs(x, sizes.rows, sizes.inputs, input_bits.data());
    xnor_dense(input_bits.data(), bits.data(), affine, sizes.rows, sizes.units, sizes.inputs, y);
  } else {
    binary_dense(x, bits.data(), affine, sizes.rows, sizes.units, sizes.inputs, y, nullptr);
  }
}

void layer_backward(const LayerSizes& sizes, Scale scale, Gradient gradient, float clip, const float* dy,
                    const float* x, const float* w, float* dx, float* dw, float* dbias) {
  const std::vector<float> alpha = alpha_of(sizes, scale, w);
  std::vector<float> ddot(sizes.rows * sizes.units);
  std::vector<double> columns(sizes.units);
  for (int64_t m = 0; m < sizes.rows; ++m) {
    const float* from = dy + m * sizes.units;
    float* to = ddot.data() + m * sizes.units;
    for (int64_t u = 0; u < sizes.units; ++u) {
      to[u] = alpha[u] * from[u];
      columns[u] += from[u];
    }
  }
  for (int64_t u = 0; dbias != nullptr && u < sizes.units; ++u) dbias[u] = static_cast<float>(columns[u]);
  if (dx != nullptr) {
    const std::vector<float> one(sizes.inputs, 1.0f), none(sizes.inputs, -0.0f);
    const Affine plain = {one.data(), none.data(), nullptr, nullptr, nullptr, nullptr};
    binary_dense(ddot.data(), transposed(sizes, pack_weights(sizes, w)).data(), plain, sizes.rows, sizes.inputs, sizes.units, dx,
                 nullptr);
  }
  const float n = static_cast<float>(scale.per_unit ? sizes.inputs : sizes.units * sizes.inputs);
  if (gradient == Gradient::kSte) {
    weight_gradient<Gradient::kSte>(sizes, n, clip, alpha.data(), dy, x, w, dw);
  } else if (gradient == Gradient::kXnor) {
    weight_gradient<Gradient::kXnor>(sizes, n, clip, alpha.data(), dy, x, w, dw);
  } else {
    weight_gradient<Gradient::kNotebook>(sizes, n, clip, alpha.data(), dy, x, w, dw);
  }
}

}  // namespace gluon_bnn
