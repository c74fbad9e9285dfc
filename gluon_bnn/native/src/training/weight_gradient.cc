// g = dy^T . x is computed tile by tile, and the rule turns each tile of g into dw while it is in the cache. So g is
// never stored as a whole.
#include "training/weight_gradient.h"

#include <cstring>

#include "gemm/pack.h"
#include "gemm/tiles.h"
#include "training/rule_on_tiles.h"

namespace gluon_bnn {
namespace {

constexpr double kMultiply = kTouch / 16;  // nanoseconds per product

// Columns begin .. begin + units of dy, transposed, with zeros up to `length` rows.
void copy_columns(const DenseSizes& sizes, const float* dy, int64_t begin, int64_t units, int64_t length, float* to) {
  for (int64_t m = 0; m < sizes.rows; ++m) {
    for (int64_t u = 0; u < units; ++u) to[u * length + m] = dy[m * sizes.units + begin + u];
  }
  for (int64_t u = 0; u < units; ++u) std::fill(to + u * length + sizes.rows, to + (u + 1) * length, 0.0f);
}

// `width` columns of `rows` rows, with zeros up to `tile` columns, one row after the other.
void copy_panel(const float* from, int64_t stride, int64_t rows, int64_t width, int64_t tile, float* to) {
  for (int64_t m = 0; m < rows; ++m, from += stride, to += tile) {
    std::memcpy(to, from, width * sizeof(float));
    std::fill(to + width, to + tile, 0.0f);
  }
}

// Where x is -1 and 1, given as bits, g is itself a product of floats and bits: its inputs are the columns of dy, its
// weights the columns of x. The tables of a few columns of dy serve all of x, a strip of it at a time.
void from_signs(const DenseSizes& sizes, const float* dy, const uint32_t* bits, RuleOnTiles* rule) {
  constexpr int64_t kStrip = 512, kColumns = 16;
  const Kernels& k = kernels();
  const Scratch<uint32_t> column_bits(1, packed_size(sizes.inputs, sizes.rows));
  transpose_inputs(bits, sizes.rows, sizes.inputs, column_bits[0]);
  const PackedWeights columns_of_x(column_bits[0], sizes.rows);
  const int64_t words = columns_of_x.words, groups = ceil_div(sizes.rows, kGroup);
  const int64_t length = words * kWord, table_stride = words * kWordGroups * k.lut_entries;
  const int threads = threads_for(kMultiply * sizes.rows * sizes.units * sizes.inputs);
  const Scratch<float> scratch(threads, kColumns * length + k.lut_rows * (table_stride + kStrip));
  parallel_for<Schedule::kDynamic>(threads, ceil_div(sizes.units, kColumns), [&](int64_t block, int thread) {
    float* columns = scratch[thread];
    float* tables = columns + kColumns * length;
    float* sums = tables + k.lut_rows * table_stride;
    const int64_t first = block * kColumns, end = smaller(first + kColumns, sizes.units);
    copy_columns(sizes, dy, first, end - first, length, columns);
    for (int64_t unit = first; unit < end; unit += k.lut_rows) {
      const int64_t units = smaller(k.lut_rows, end - unit);
      for (int64_t u = 0; u < units; ++u) {
        k.lut_build(columns + (unit - first + u) * length, words * kWordGroups, tables + u * table_stride);
      }
      for (int64_t input = 0; input < sizes.inputs; input += kStrip) {
        const Part part = {unit, units, input, smaller(kStrip, sizes.inputs - input)};
        rule->prefetch(part);
        // The kernel writes whole blocks.
        float* const direct = part.inputs % kBlock == 0 ? rule->direct(part) : nullptr;
        float* const g = direct != nullptr ? direct : sums;
        const int64_t stride = direct != nullptr ? sizes.inputs : kStrip, blocks = ceil_div(part.inputs, kBlock);
        for (int64_t u = 0; u < units; ++u) std::fill_n(g + u * stride, blocks * kBlock, 0.0f);
        k.lut_gemm(tables, table_stride, units, columns_of_x.at(input, 0), columns_of_x.block_stride(), blocks, groups,
                   g, stride);
        if (direct == nullptr) rule->apply(part, g, stride);
      }
    }
  });
}

// The panels of dy for a few tiles of units and that of x for one tile of inputs stay in the L1 cache while these tiles
// are computed.
void from_reals(const DenseSizes& sizes, const float* dy, const float* x, RuleOnTiles* rule) {
  constexpr int64_t kTiles = 8;
  constexpr int64_t kRows = 128;  // rows of a panel of x that stay in the L1 cache
  const Kernels& k = kernels();
  const int64_t rows = sizes.rows, tile_units = k.dw_units, tile_inputs = k.dw_inputs;
  const int64_t input_tiles = ceil_div(sizes.inputs, tile_inputs), strip = kTiles * tile_units;
  const int threads = threads_for(kMultiply * rows * sizes.units * sizes.inputs);
  const Scratch<float> x_panels(static_cast<int>(input_tiles), rows * tile_inputs);
  const Scratch<float> scratch(threads, tile_units * tile_inputs + strip * rows);
  parallel_for<Schedule::kDynamic>(threads, input_tiles, [&](int64_t i, int) {
    const int64_t input = i * tile_inputs;
    copy_panel(x + input, sizes.inputs, rows, smaller(tile_inputs, sizes.inputs - input), tile_inputs, x_panels[i]);
  });
  parallel_for<Schedule::kDynamic>(threads, ceil_div(sizes.units, strip), [&](int64_t s, int thread) {
    float* sums = scratch[thread];
    const int64_t first = s * strip, end = smaller(first + strip, sizes.units);
    const auto dy_panel = [=](int64_t unit) { return sums + tile_units * tile_inputs + (unit - first) * rows; };
    for (int64_t unit = first; unit < end; unit += tile_units) {
      copy_panel(dy + unit, sizes.units, rows, smaller(tile_units, end - unit), tile_units, dy_panel(unit));
    }
    for (int64_t i = 0; i < input_tiles; ++i) {
      const int64_t input = i * tile_inputs, inputs = smaller(tile_inputs, sizes.inputs - input);
      for (int64_t unit = first; unit < end; unit += tile_units) {
        const Part part = {unit, smaller(tile_units, end - unit), input, inputs};
        rule->prefetch(part);
        const bool whole = part.units == tile_units && inputs == tile_inputs;  // the kernel writes whole tiles
        float* const direct = whole ? rule->direct(part) : nullptr;
        float* const g = direct != nullptr ? direct : sums;
        const int64_t stride = direct != nullptr ? sizes.inputs : tile_inputs;
        for (int64_t row = 0; row < rows; row += kRows) {
          k.dw_gemm(dy_panel(unit) + row * tile_units, x_panels[i] + row * tile_inputs, smaller(kRows, rows - row),
                    row == 0, g, stride);
        }
        if (direct == nullptr) rule->apply(part, g, stride);
      }
    }
  });
}

}  // namespace

void weight_gradient(const DenseSizes& sizes, Scale scale, Gradient gradient, float clip, const float* dy,
                     const float* x, const uint32_t* signs, const float* w, const float* alpha, float* dw) {
  RuleOnTiles rule(sizes, scale, gradient, clip, w, alpha, dw);
  if (signs != nullptr) {
    from_signs(sizes, dy, signs, &rule);
  } else {
    from_reals(sizes, dy, x, &rule);
  }
  rule.add_cross();
}

}  // namespace gluon_bnn
