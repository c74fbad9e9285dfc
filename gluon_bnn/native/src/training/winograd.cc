// kernels/winograd.h says what the filtering is. Tiles are the rows of 16 products, whose panels hold a chunk of tiles
// at a time; what the products add up to becomes g at the end.
#include "training/winograd.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "training/images.h"
#include "training/panels.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kTaps = 3, kTile = 2, kSide = kTaps + kTile - 1;  // along an axis: of g, dy and x
constexpr int64_t kProducts = kSide * kSide;
constexpr int64_t kTileRegion = 1 << 16;  // numbers of a region of x, which stay in the L2 cache
constexpr int64_t kTilePanels = 1 << 19;  // numbers of the panels of a chunk, but of no fewer tiles than
constexpr int64_t kLeastTiles = 64;       // these: for each chunk, all sums are read and written

Regions regions_of_tiles(const ConvSizes& sizes) {
  return Regions(sizes.rows, ceil_div(sizes.out_height(), kTile), ceil_div(sizes.out_width(), kTile),
                 kTileRegion / (kTile * kTile * sizes.channels));
}

// The places of dy that a region of tiles has. The last ones of an odd number lie outside.
Region places_of(const Region& tiles) {
  return {tiles.image, kTile * tiles.y, kTile * tiles.x, kTile * tiles.height, kTile * tiles.width};
}

// Two rows of dy (units, out_height, out_width) that begin at a place, as (kTile, columns, units), with zeros outside.
void load_rows(const ConvSizes& sizes, const float* dy, int64_t y, int64_t x, int64_t columns, float* to) {
  const int64_t height = smaller(kTile, sizes.out_height() - y), width = smaller(columns, sizes.out_width() - x);
  if (height < kTile || width < columns) std::fill_n(to, kTile * columns * sizes.units, 0.0f);
  for (int64_t i = 0; i < height; ++i) {
    transpose(dy + (y + i) * sizes.out_width() + x, sizes.places(), sizes.units, width, to + i * columns * sizes.units,
              sizes.units);
  }
}

// Along one axis: the sums of kTaps taps from those of kSide products, `size` numbers of each.
void sums_of_taps(const float* products, int64_t product, int64_t size, float* sums, int64_t tap) {
  const float *m0 = products, *m1 = m0 + product, *m2 = m1 + product, *m3 = m2 + product;
  float* __restrict first = sums;
  float* __restrict second = first + tap;
  float* __restrict third = second + tap;
  for (int64_t i = 0; i < size; ++i) {
    const float half = (m1[i] + m2[i]) * 0.5f;
    first[i] = m0[i] + half;
    second[i] = (m1[i] - m2[i]) * 0.5f;
    third[i] = m3[i] + half;
  }
}

}  // namespace

bool winograd_pays(const ConvSizes& sizes) {
  constexpr int64_t kLeast = 16;  // channels and units: tiles of the micro-kernel are not filled by fewer
  constexpr int64_t kSums = 192;  // as many tiles take as long as to clear and read the sums of the products
  if (sizes.kernel_h != kTaps || sizes.kernel_w != kTaps || sizes.stride_h != 1 || sizes.stride_w != 1 ||
      sizes.dilation_h != 1 || sizes.dilation_w != 1 || smaller(sizes.channels, sizes.units) < kLeast) {
    return false;
  }
  const int64_t tiles = sizes.rows * ceil_div(sizes.out_height(), kTile) * ceil_div(sizes.out_width(), kTile);
  return kProducts * (tiles + kSums) < sizes.taps() * sizes.rows * sizes.places();
}

bool winograd_gradient(const ConvSizes& sizes, float pad, const float* dy, const float* x, int64_t stride, float* g) {
  const Kernels& k = kernels();
  const int64_t units = sizes.units, channels = sizes.channels;
  const Regions regions = regions_of_tiles(sizes);
  const int64_t chunk = std::max(kLeastTiles, kTilePanels / (kProducts * Panels::row_size(units, channels)));
  const int64_t some = std::clamp<int64_t>(chunk / regions.most_places(), 1, regions.count());
  const Panels panels(kProducts, units, channels, some * regions.most_places());
  const int64_t dy_part = panels.dy(1, 0, 0) - panels.dy(0, 0, 0), x_part = panels.x(1, 0, 0) - panels.x(0, 0, 0);
  const int64_t sums_stride = panels.input_tiles() * k.dw_inputs;
  const int64_t product = panels.unit_tiles() * k.dw_units * sums_stride;
  const Scratch<float> sums(1, kProducts * product);
  std::fill_n(sums[0], kProducts * product, 0.0f);
  const Region first = places_of(regions[0]);
  const int64_t x_size = Covered(sizes, first).size() + kLanes, rows_size = kTile * first.width * units + kLanes;
  // A place of dy and a channel take as long as about four elements of a loop over memory.
  const int threads = threads_for(kTouch / 4 * sizes.rows * sizes.places() * units * channels);
  const Scratch<float> scratch(threads, x_size + rows_size);
  for (int thread = 0; thread < threads; ++thread) std::fill_n(scratch[thread], x_size + rows_size, 0.0f);
  std::vector<int64_t> begins(some + 1);
  for (int64_t begin = 0; begin < regions.count(); begin += some) {
    const int64_t count = smaller(some, regions.count() - begin);
    for (int64_t i = 0; i < count; ++i) begins[i + 1] = begins[i] + regions[begin + i].places();
    parallel_for<Schedule::kDynamic>(threads, count, [&](int64_t i, int thread) {
      const Region tiles = regions[begin + i], places = places_of(tiles);
      const Covered covered(sizes, places);
      const int64_t x_row = covered.at(1, 0), dy_row = places.width * units;
      float* const inputs = scratch[thread];
      float* const rows = inputs + x_size;
      load_covered(sizes, covered, x + tiles.image * channels * sizes.height * sizes.width, pad, inputs);
      for (int64_t y = 0; y < tiles.height; ++y) {
        const int64_t row = begins[i] + y * tiles.width;
        load_rows(sizes, dy + tiles.image * units * sizes.places(), places.y + kTile * y, places.x, places.width, rows);
        for (int64_t t = 0; t < panels.unit_tiles(); ++t) {
          k.winograd_dy(rows + t * k.dw_units, units, dy_row, tiles.width, panels.dy(0, t, row), dy_part);
        }
        for (int64_t t = 0; t < panels.input_tiles(); ++t) {
          k.winograd_x(inputs + kTile * y * x_row + t * k.dw_inputs, channels, x_row, tiles.width, panels.x(0, t, row),
                       x_part);
        }
      }
    });
    panels.add_products(threads, begins[count], sums_stride, sums[0]);
  }
  const Scratch<float> halves(threads, kTaps * kSide * channels);  // sums of taps down, of products across
  std::vector<char> finite(units);
  parallel_for<Schedule::kStatic>(threads, units, [&](int64_t unit, int thread) {
    float* const half = halves[thread];
    float* const to = g + unit * stride;
    for (int64_t i = 0; i < kSide; ++i) {
      sums_of_taps(sums[0] + i * product + unit * sums_stride, kSide * product, channels, half + i * channels,
                   kSide * channels);
    }
    for (int64_t tap = 0; tap < kTaps; ++tap) {
      sums_of_taps(half + tap * kSide * channels, channels, channels, to + tap * kTaps * channels, channels);
    }
    finite[unit] = all_finite(to, kTaps * kTaps * channels);
  });
  return std::count(finite.begin(), finite.end(), 0) == 0;
}

}  // namespace gluon_bnn
