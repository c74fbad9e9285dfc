#include "training/images.h"

#include "parallel.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace gluon_bnn {
namespace {

// Numbers of an image up to which kLanes images are laid out together, and up to which they stay in the L2 cache.
constexpr int64_t kImageSize = 1 << 15, kCachedImageSize = 1 << 12;

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

// Calls body(row, count, begin, columns) for blocks of at most kLanes rows and some columns of an array (rows, size).
template <typename Body>
void for_each_block_of_lanes(int64_t rows, int64_t size, const Body& body) {
  constexpr int64_t kColumns = 256;
  const int64_t parts = ceil_div(size, kColumns);
  const int threads = threads_for(kTouch * rows * size);
  parallel_for<Schedule::kStatic>(threads, ceil_div(rows, kLanes) * parts, [&](int64_t i, int) {
    const int64_t row = i / parts * kLanes, begin = i % parts * kColumns;
    body(row, smaller(kLanes, rows - row), begin, smaller(kColumns, size - begin));
  });
}

}  // namespace

void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4, from += 4 * from_stride, to += 4) {
    for (int64_t i = 0; i < 4; ++i) prefetch(from + i * from_stride + columns, kLanes);
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

bool all_finite(const float* numbers, int64_t size) {
  constexpr uint32_t kInfinity = 0x7f800000;
  uint32_t found = 0;
  for (int64_t i = 0; i < size; ++i) {
    uint32_t bits;
    std::memcpy(&bits, numbers + i, sizeof(bits));
    found |= (bits & kInfinity) == kInfinity;
  }
  return found == 0;
}

int64_t images_in_lanes(const ConvSizes& sizes) {
  const Region all = {0, 0, 0, sizes.out_height(), sizes.out_width()};
  const Grids grids(sizes, 1, Covered(sizes, all));
  const int64_t of_places = sizes.rows * ceil_div(grids.lanes(all), kLanes);  // blocks of lanes
  const int64_t of_images = ceil_div(sizes.rows, kLanes) * sizes.places();
  const int64_t image = std::max(grids.size(), sizes.channels * sizes.height * sizes.width);
  const int64_t cost = image <= kCachedImageSize ? 2 : 3;  // of a block of images, where one of places costs 2
  return image <= kImageSize && cost * of_images <= 2 * of_places ? kLanes : 1;
}

void load_lanes(const float* x, int64_t rows, int64_t size, float* lanes) {
  for_each_block_of_lanes(rows, size, [=](int64_t row, int64_t count, int64_t begin, int64_t columns) {
    float* to = lanes + row * size + begin * kLanes;
    if (count < kLanes) std::fill_n(to, columns * kLanes, 0.0f);
    transpose(x + row * size + begin, size, count, columns, to, kLanes);
  });
}

void store_lanes(const float* lanes, int64_t rows, int64_t size, float* x) {
  for_each_block_of_lanes(rows, size, [=](int64_t row, int64_t count, int64_t begin, int64_t columns) {
    transpose(lanes + row * size + begin * kLanes, kLanes, columns, count, x + row * size + begin, size);
  });
}

void load_grids(const ConvSizes& sizes, const Covered& covered, const Grids& grids, const float* x, float pad,
                float* to) {
  const int64_t images = grids.images, begin = std::clamp<int64_t>(-covered.x, 0, covered.width);
  const int64_t end = std::clamp(sizes.width - covered.x, begin, covered.width);
  for (int64_t c = 0; c < sizes.channels; ++c) {
    for (int64_t row = 0; row < covered.height; ++row) {
      const int64_t y = covered.y + row;
      const bool inside = y >= 0 && y < sizes.height;
      const float* from = x + ((c * sizes.height + (inside ? y : 0)) * sizes.width + covered.x) * images;
      if (grids.stride_w == 1) {
        float* at = to + grids.at(c, row, 0);
        std::fill_n(at, (inside ? begin : covered.width) * images, pad);
        if (!inside) continue;
        std::copy(from + begin * images, from + end * images, at + begin * images);
        std::fill(at + end * images, at + covered.width * images, pad);
        continue;
      }
      for (int64_t grid = 0; grid < smaller(grids.stride_w, covered.width); ++grid) {
        float* at = to + grids.at(c, row, grid);
        for (int64_t i = grid; i < covered.width; i += grids.stride_w) {
          const bool is_padding = !inside || i < begin || i >= end;
          for (int64_t image = 0; image < images; ++image) *at++ = is_padding ? pad : from[i * images + image];
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
