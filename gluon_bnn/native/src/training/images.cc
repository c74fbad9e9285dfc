#include "training/images.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace gluon_bnn {
namespace {

void transpose_square(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
#if defined(__SSE__)
  __m128 rows[4];
  for (int i = 0; i < 4; ++i) rows[i] = _mm_loadu_ps(from + i * from_stride);
  _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]);
  for (int i = 0; i < 4; ++i) _mm_storeu_ps(to + i * to_stride, rows[i]);
#else
  for (int r = 0; r < 4; ++r) {
    for (int c = 0; c < 4; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
#endif
}

}  // namespace

void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4, from += 4 * from_stride, to += 4) {
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4) transpose_square(from + c, from_stride, to + c * to_stride, to_stride);
    for (; c < columns; ++c) {
      for (int64_t i = 0; i < 4; ++i) to[c * to_stride + i] = from[i * from_stride + c];
    }
  }
  for (; r < rows; ++r, from += from_stride, ++to) {
    for (int64_t c = 0; c < columns; ++c) to[c * to_stride] = from[c];
  }
}

void load_grids(const ConvSizes& sizes, const Covered& covered, const Grids& grids, const float* x, float pad,
                float* to) {
  const int64_t begin = std::clamp<int64_t>(-covered.x, 0, covered.width);
  const int64_t end = std::clamp(sizes.width - covered.x, begin, covered.width);
  for (int64_t c = 0; c < sizes.channels; ++c) {
    for (int64_t row = 0; row < covered.height; ++row) {
      const int64_t y = covered.y + row;
      const bool inside = y >= 0 && y < sizes.height;
      const float* from = x + (c * sizes.height + (inside ? y : 0)) * sizes.width + covered.x;
      if (grids.stride_w == 1) {
        float* at = to + grids.at(c, row, 0);
        std::fill_n(at, inside ? begin : covered.width, pad);
        if (!inside) continue;
        std::copy(from + begin, from + end, at + begin);
        std::fill(at + end, at + covered.width, pad);
        continue;
      }
      for (int64_t grid = 0; grid < smaller(grids.stride_w, covered.width); ++grid) {
        float* at = to + grids.at(c, row, grid);
        for (int64_t i = grid; i < covered.width; i += grids.stride_w) {
          *at++ = inside && i >= begin && i < end ? from[i] : pad;
        }
      }
    }
  }
}

void load_covered(const ConvSizes& sizes, const Covered& covered, const float* x, float pad, float* to) {
  const int64_t row_size = covered.at(1, 0);
  const int64_t begin = std::clamp<int64_t>(-covered.x, 0, covered.width);
  const int64_t end = std::clamp(sizes.width - covered.x, begin, covered.width);
  for (int64_t row = 0; row < covered.height; ++row, to += row_size) {
    const int64_t y = covered.y + row;
    if (y < 0 || y >= sizes.height || begin == end) {
      std::fill_n(to, row_size, pad);
      continue;
    }
    std::fill_n(to, covered.at(0, begin), pad);
    transpose(x + y * sizes.width + covered.x + begin, sizes.height * sizes.width, sizes.channels, end - begin,
              to + covered.at(0, begin), sizes.channels);
    std::fill(to + covered.at(0, end), to + row_size, pad);
  }
}

}  // namespace gluon_bnn
