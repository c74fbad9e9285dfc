// Floats times floats, for the layers of a net that are not binary.
#include "gemm/tiles.h"

namespace gluon_bnn {

void dense(const DenseSizes& sizes, const float* x, const float* w, const float* bias, float* y) {
  const Kernels& k = kernels();
  const int64_t inputs = sizes.inputs, units = sizes.units;
  const int threads = threads_for(kFloatProduct * sizes.rows * units * inputs);
  for_each_tile(threads, sizes, kTileUnits, [&](const Tile& tile, int) {
    for (int64_t row = tile.row; row < tile.row + tile.rows; ++row) {
      k.dense_f32(x + row * inputs, inputs, w + tile.unit, units, bias == nullptr ? nullptr : bias + tile.unit,
                  tile.units, y + row * units + tile.unit);
    }
  });
}

}  // namespace gluon_bnn
