#include "training/panels.h"

#include <algorithm>

namespace gluon_bnn {
namespace {

constexpr int64_t kLineFloats = 16;

}  // namespace

// Panels are a cache line longer than their rows: those of a row would else share a set of the cache.
Panels::Panels(int64_t products, int64_t units, int64_t inputs, int64_t length)
    : products_(products),
      unit_tiles_(ceil_div(units, kernels().dw_units)),
      input_tiles_(ceil_div(inputs, kernels().dw_inputs)),
      dy_size_(length * kernels().dw_units + kLineFloats),
      x_size_(length * kernels().dw_inputs + kLineFloats),
      numbers_(1, products * (unit_tiles_ * dy_size_ + input_tiles_ * x_size_)) {}

int64_t Panels::row_size(int64_t units, int64_t inputs) {
  const Kernels& k = kernels();
  return ceil_div(units, k.dw_units) * k.dw_units + ceil_div(inputs, k.dw_inputs) * k.dw_inputs;
}

void Panels::add_products(int threads, int64_t rows, int64_t stride, float* g) const {
  constexpr int64_t kRows = 256;  // rows of panels that stay in the L1 cache; their products are added up by themselves
  constexpr int64_t kTiles = 8;
  const Kernels& k = kernels();
  const int64_t tile_units = k.dw_units, tile_inputs = k.dw_inputs;
  const int64_t tiles = std::clamp<int64_t>(products_ * unit_tiles_ * input_tiles_ / (4 * threads), 1, kTiles);
  const int64_t strips = ceil_div(unit_tiles_, tiles);
  parallel_for<Schedule::kDynamic>(threads, products_ * input_tiles_ * strips, [&](int64_t i, int) {
    const int64_t product = i / strips / input_tiles_, input = i / strips % input_tiles_;
    const int64_t first = i % strips * tiles, end = smaller(first + tiles, unit_tiles_);
    for (int64_t row = 0; row < rows; row += kRows) {
      for (int64_t t = first; t < end; ++t) {
        k.dw_gemm(dy(product, t, row), x(product, input, row), smaller(kRows, rows - row), false,
                  g + (product * unit_tiles_ + t) * tile_units * stride + input * tile_inputs, stride);
      }
    }
  });
}

}  // namespace gluon_bnn
