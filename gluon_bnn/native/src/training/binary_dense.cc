// Forward: multiply with the bits of the weights. Backward: transpose these bits, multiply; then the dw_gemm product of
// dy and x, tile by tile, each of which becomes dw while it is in the cache.
#include "training/binary_dense.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "gemm/gemm.h"
#include "gemm/pack.h"
#include "kernels/portable.h"
#include "parallel.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kRows = 128;             // rows of an dw_gemm product whose inputs stay in the L1 cache
constexpr double kMultiply = kTouch / 16;  // nanoseconds per product of the weights' gradient

// The numbers of x other than -1 and 1.
int64_t count_others(const float* x, int64_t size) {
  int32_t others = 0;
  for (int64_t i = 0; i < size; ++i) others += std::fabs(x[i]) != 1.0f;
  return others;
}

bool all_signs(const float* x, int64_t size) {
  constexpr int64_t kStrip = 1024;  // nearly every array of real numbers fails in its first strip
  if (count_others(x, std::min(size, kStrip)) != 0) return false;
  std::atomic<bool> others{false};
  parallel_for<Schedule::kStatic>(threads_for(kTouch * size), ceil_div(size, kStrip), [&](int64_t strip, int) {
    if (others.load(std::memory_order_relaxed)) return;
    const int64_t begin = strip * kStrip;
    if (count_others(x + begin, std::min(size - begin, kStrip)) != 0) others.store(true, std::memory_order_relaxed);
  });
  return !others;
}

// What a rule needs to know besides g and w; `n` weights share an alpha.
struct Rule {
  Gradient gradient;
  float clip, n;
  const float* alpha;  // one a unit
  double* products;    // for kExact, one a unit: the sum of g s over what was seen of its row

  bool passes() const { return gradient == Gradient::kSte && std::isinf(clip); }  // dw = g
};

// No unit of these has weights that are all zero.
bool all_have_alpha(const Rule& rule, int64_t unit, int64_t units) {
  return std::count(rule.alpha + unit, rule.alpha + unit + units, 0.0f) == 0;
}

// dw of a row from g = dL/d(alpha s): see sign_scale.cc. g and dw do not overlap.
template <Gradient kGradient>
void rule_row(const Rule& rule, float alpha, const float* g, const float* w, int64_t size, float* __restrict dw) {
  const float share = 1.0f / rule.n, factor = alpha / rule.n, clip = rule.clip;
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

// As rule_row for kExact, but for s/n sum g s, whose sum is not known yet: returns this row's part of it.
double exact_row(const Rule& rule, float alpha, const float* g, const float* w, int64_t size, float* __restrict dw) {
  const float clip = rule.clip;
  for (int64_t k = 0; k < size; ++k) dw[k] = g[k] * (std::fabs(w[k]) <= clip ? alpha : 0.0f);
  return add_up(size, [=](int64_t k) { return w[k] < 0 ? -g[k] : g[k]; });
}

// The rest of kExact: dw += s/n sum over the group of g s.
void add_products(const DenseSizes& sizes, Scale scale, const Rule& rule, const float* w, float* dw) {
  double all = 0;
  for (int64_t unit = 0; unit < sizes.units; ++unit) all += rule.products[unit];
  const int threads = threads_for(kTouch * sizes.units * sizes.inputs);
  parallel_for<Schedule::kStatic>(threads, sizes.units, [&](int64_t unit, int) {
    if (rule.alpha[unit] == 0) return;
    const float share = static_cast<float>((scale == Scale::kChannel ? rule.products[unit] : all) / rule.n);
    const float* from = w + unit * sizes.inputs;
    float* __restrict to = dw + unit * sizes.inputs;
    for (int64_t k = 0; k < sizes.inputs; ++k) to[k] += from[k] < 0 ? -share : share;
  });
}

// Asks for what the rule will touch, which is far apart in memory: it comes while g is computed.
void fetch(const Rule& rule, int64_t rows, int64_t width, const float* w, int64_t stride, float* dw) {
  constexpr int64_t kLine = 16;
  for (int64_t r = 0; r < rows; ++r, w += stride, dw += stride) {
    for (int64_t k = 0; k < width; k += kLine) {
      __builtin_prefetch(dw + k, 1);
      if (!rule.passes()) __builtin_prefetch(w + k);
    }
  }
}

// `rows` rows of dw from as many of g, at unit `unit` and on, `width` inputs; g has `g_stride` numbers a row.
void apply(const Rule& rule, int64_t unit, int64_t rows, int64_t width, const float* g, int64_t g_stride,
           const float* w, int64_t stride, float* dw) {
  for (int64_t r = 0; r < rows; ++r, g += g_stride, w += stride, dw += stride) {
    const float alpha = rule.alpha[unit + r];
    if (alpha == 0) {  // all weights of the group are zero: no gradient, by definition
      std::fill(dw, dw + width, 0.0f);
    } else if (rule.passes()) {
      std::memcpy(dw, g, width * sizeof(float));
    } else if (rule.gradient == Gradient::kSte) {
      rule_row<Gradient::kSte>(rule, alpha, g, w, width, dw);
    } else if (rule.gradient == Gradient::kXnor) {
      rule_row<Gradient::kXnor>(rule, alpha, g, w, width, dw);
    } else if (rule.gradient == Gradient::kExact) {
      rule.products[unit + r] += exact_row(rule, alpha, g, w, width, dw);
    } else {
      rule_row<Gradient::kNotebook>(rule, alpha, g, w, width, dw);
    }
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
// weights are the columns of x. The tables of a few columns serve all of x, a strip of it at a time.
void weight_gradient_of_signs(const DenseSizes& sizes, const Rule& rule, const float* dy, const float* x,
                              const float* w, float* dw) {
  constexpr int64_t kStrip = 512, kColumns = 16;
  const Kernels& k = kernels();
  const Scratch<uint32_t> row_bits(1, packed_size(sizes.rows, sizes.inputs));
  const Scratch<uint32_t> column_bits(1, packed_size(sizes.inputs, sizes.rows));
  pack_weights(x, sizes.rows, sizes.inputs, row_bits[0], [](int64_t) {});
  transpose_weights(row_bits[0], sizes.rows, sizes.inputs, column_bits[0]);
  const uint32_t* bits = column_bits[0];
  const int64_t words = ceil_div(sizes.rows, kWord), groups = ceil_div(sizes.rows, kGroup);
  const int64_t column = words * kWord, table_stride = words * kWordGroups * k.lut_entries;
  const int threads = threads_for(kMultiply * sizes.rows * sizes.units * sizes.inputs);
  const Scratch<float> scratch(threads, kColumns * column + k.lut_rows * (table_stride + kStrip));
  parallel_for<Schedule::kDynamic>(threads, ceil_div(sizes.units, kColumns), [&](int64_t block, int thread) {
    float* columns = scratch[thread];
    float* tables = columns + kColumns * column;
    float* sums = tables + k.lut_rows * table_stride;
    const int64_t first = block * kColumns, end = std::min(first + kColumns, sizes.units);
    for (int64_t m = 0; m < sizes.rows; ++m) {
      for (int64_t u = first; u < end; ++u) columns[(u - first) * column + m] = dy[m * sizes.units + u];
    }
    for (int64_t u = first; u < end; ++u) {
      std::fill(columns + (u - first) * column + sizes.rows, columns + (u - first + 1) * column, 0.0f);
    }
    for (int64_t unit = first; unit < end; unit += k.lut_rows) {
      const int64_t size = std::min(k.lut_rows, end - unit);
      for (int64_t r = 0; r < size; ++r) {
        k.lut_build(columns + (unit - first + r) * column, words * kWordGroups, tables + r * table_stride);
      }
      for (int64_t input = 0; input < sizes.inputs; input += kStrip) {
        const int64_t width = std::min(kStrip, sizes.inputs - input), at = unit * sizes.inputs + input;
        fetch(rule, size, width, w + at, sizes.inputs, dw + at);
        // Sums come in whole blocks.
        const bool direct = rule.passes() && width % kBlock == 0 && all_have_alpha(rule, unit, size);
        float* g = direct ? dw + at : sums;
        const int64_t stride = direct ? sizes.inputs : kStrip;
        const int64_t blocks = ceil_div(width, kBlock);
        for (int64_t r = 0; r < size; ++r) std::fill(g + r * stride, g + r * stride + blocks * kBlock, 0.0f);
        k.lut_gemm(tables, table_stride, size, &bits[input / kBlock * words * kBlock], words * kBlock, blocks, groups,
                   g, stride);
        if (!direct) apply(rule, unit, size, width, g, stride, w + at, sizes.inputs, dw + at);
      }
    }
  });
}

// g = dy^T . x in tiles. The panels of dy for a few tiles of units and that of x for one tile of inputs stay in the L1
// cache while these tiles pass by.
void weight_gradient_of_reals(const DenseSizes& sizes, const Rule& rule, const float* dy, const float* x,
                              const float* w, float* dw) {
  constexpr int64_t kTiles = 8;
  const Kernels& k = kernels();
  const int64_t tile_units = k.dw_units, tile_inputs = k.dw_inputs;
  const int64_t input_tiles = ceil_div(sizes.inputs, tile_inputs), strip = kTiles * tile_units;
  const int threads = threads_for(kMultiply * sizes.rows * sizes.units * sizes.inputs);
  const Scratch<float> all_panels(1, input_tiles * sizes.rows * tile_inputs);
  const Scratch<float> scratch(threads, tile_units * tile_inputs + strip * sizes.rows);
  float* panels = all_panels[0];
  parallel_for<Schedule::kDynamic>(threads, input_tiles, [&](int64_t i, int) {
    copy_panel(x + i * tile_inputs, sizes.inputs, sizes.rows, std::min(tile_inputs, sizes.inputs - i * tile_inputs),
               tile_inputs, panels + i * sizes.rows * tile_inputs);
  });
  parallel_for<Schedule::kDynamic>(threads, ceil_div(sizes.units, strip), [&](int64_t s, int thread) {
    float* sums = scratch[thread];
    float* unit_panels = sums + tile_units * tile_inputs;
    const int64_t end = std::min((s + 1) * strip, sizes.units);
    for (int64_t unit = s * strip; unit < end; unit += tile_units) {
      copy_panel(dy + unit, sizes.units, sizes.rows, std::min(tile_units, end - unit), tile_units,
                 unit_panels + (unit - s * strip) * sizes.rows);
    }
    for (int64_t i = 0; i < input_tiles; ++i) {
      const int64_t input = i * tile_inputs, width = std::min(tile_inputs, sizes.inputs - input);
      const float* panel = panels + i * sizes.rows * tile_inputs;
      for (int64_t unit = s * strip; unit < end; unit += tile_units) {
        const float* unit_panel = unit_panels + (unit - s * strip) * sizes.rows;
        const int64_t units = std::min(tile_units, end - unit), at = unit * sizes.inputs + input;
        fetch(rule, units, width, w + at, sizes.inputs, dw + at);
        const bool direct = rule.passes() && units == tile_units && width == tile_inputs &&
                            all_have_alpha(rule, unit, units);
        float* g = direct ? dw + at : sums;
        const int64_t stride = direct ? sizes.inputs : tile_inputs;
        for (int64_t row = 0; row < sizes.rows; row += kRows) {
          k.dw_gemm(unit_panel + row * tile_units, panel + row * tile_inputs, std::min(kRows, sizes.rows - row),
                    row == 0, g, stride);
        }
        if (!direct) apply(rule, unit, units, width, g, stride, w + at, sizes.inputs, dw + at);
      }
    }
  });
}

}  // namespace

void binary_dense_weights(const DenseSizes& sizes, Scale scale, const float* w, const float* curvature, uint32_t* bits,
                          float* alpha) {
  std::vector<double> sums(2 * sizes.units);  // of each row, whichever thread it comes to
  pack_weights(w, sizes.units, sizes.inputs, bits, [&](int64_t unit) {
    const int64_t at = unit * sizes.inputs;
    if (scale == Scale::kNone) return;
    kernels().magnitudes(w + at, scale == Scale::kLoss ? curvature + at : nullptr, sizes.inputs, &sums[2 * unit]);
  });
  alpha_of(scale, sums.data(), sizes.units, alpha);
  if (scale != Scale::kChannel) std::fill(alpha + 1, alpha + sizes.units, alpha[0]);
}

void binary_dense_forward(const DenseSizes& sizes, const uint32_t* bits, const float* alpha, const float* x,
                          const float* bias, float* y) {
  const std::vector<float> none(bias == nullptr ? sizes.units : 0, -0.0f);  // v + -0.0 is v for every v
  const Epilogue epilogue = {alpha, bias == nullptr ? none.data() : bias};
  if (all_signs(x, sizes.rows * sizes.inputs)) {
    std::vector<uint32_t> input_bits(sizes.rows * ceil_div(sizes.inputs, kWord));
    pack_inputs(x, sizes.rows, sizes.inputs, input_bits.data());
    xnor_dense(sizes, input_bits.data(), bits, epilogue, y);
  } else {
    lut_dense(sizes, x, bits, epilogue, {y});
  }
}

void binary_dense_backward(const DenseSizes& sizes, Scale scale, Gradient gradient, float clip, const float* dy,
                           const float* x, const float* w, const uint32_t* bits, const float* alpha, float* dx,
                           float* dw, float* dbias) {
  const Scratch<float> scaled(1, sizes.rows * sizes.units), none(1, sizes.units);
  const float* ddot = scaled[0];
  if (dbias != nullptr) {
    scale_bias_backward<float>(dy, dy, alpha, true, false, sizes.rows, sizes.units, scaled[0], none[0], dbias);
  } else if (scale != Scale::kNone) {
    scale_bias<float>(dy, alpha, true, nullptr, sizes.rows, sizes.units, scaled[0]);
  } else {
    ddot = dy;
  }
  const std::vector<float> one(sizes.inputs, 1.0f), zero(sizes.inputs, -0.0f);
  const Scratch<uint32_t> transposed(1, packed_size(sizes.inputs, sizes.units));
  transpose_weights(bits, sizes.units, sizes.inputs, transposed[0]);
  lut_dense({sizes.rows, sizes.inputs, sizes.units}, ddot, transposed[0], {one.data(), zero.data()}, {dx});
  const int64_t n = scale == Scale::kChannel ? sizes.inputs : sizes.units * sizes.inputs;
  std::vector<double> products(gradient == Gradient::kExact ? sizes.units : 0);
  const Rule rule = {gradient, clip, static_cast<float>(n), alpha, products.data()};
  const bool signs = all_signs(x, sizes.rows * sizes.inputs);
  (signs ? weight_gradient_of_signs : weight_gradient_of_reals)(sizes, rule, dy, x, w, dw);
  if (gradient == Gradient::kExact) add_products(sizes, scale, rule, w, dw);
}

}  // namespace gluon_bnn
