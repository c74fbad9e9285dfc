// Calls a tile that is compiled for each shape: run(r, b) with rows and blocks as compile-time constants.
#ifndef GLUON_BNN_KERNELS_TILE_DISPATCH_H_
#define GLUON_BNN_KERNELS_TILE_DISPATCH_H_

#include <cstdint>
#include <type_traits>

namespace gluon_bnn {
namespace {

template <int kRows, int kBlocks, typename Run>
inline void by_shape(int64_t rows, int64_t blocks, const Run& run) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return by_shape<kRows - 1, kBlocks>(rows, blocks, run);
  }
  if constexpr (kBlocks > 1) {
    if (blocks < kBlocks) return by_shape<kRows, kBlocks - 1>(rows, blocks, run);
  }
  run(std::integral_constant<int, kRows>(), std::integral_constant<int, kBlocks>());
}

}  // namespace
}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_TILE_DISPATCH_H_
