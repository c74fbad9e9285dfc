// g (units, taps, channels) is added up from the windows of a chunk of places at a time, whose arrays have a bounded
// size. The rule turns it into dw at the end.
#include "training/conv_weight_gradient.h"

#include <cstring>
#include <vector>

#include "gemm/pack.h"
#include "gemm/tiles.h"
#include "parallel.h"
#include "training/conv_bits.h"
#include "training/images.h"
#include "training/rule_on_tiles.h"

namespace gluon_bnn {
namespace {

constexpr double kConvMultiply = kTouch / 16;  // nanoseconds per product
constexpr int64_t kChunkSize = 1 << 21;        // numbers or words of a chunk: 8 MB
constexpr int64_t kPanels = 1 << 18;           // numbers of the panels of a chunk, which stay in the L2 cache
constexpr int64_t kPartPlaces = 512;           // places whose tables stay in the L1 cache

// `count` numbers of a unit of dy from place `begin` on, counted through all images, with zeros up to `size`.
void copy_places(const ConvSizes& sizes, const float* dy, int64_t unit, int64_t begin, int64_t count, int64_t size,
                 float* to) {
  const int64_t places = sizes.places();
  for (int64_t p = 0, part; p < count; p += part) {
    const int64_t row = (begin + p) / places, place = (begin + p) % places;
    part = smaller(count - p, places - place);
    std::memcpy(to + p, dy + (row * sizes.units + unit) * places + place, part * sizeof(float));
  }
  std::fill(to + count, to + size, 0.0f);
}

// The inputs as bits of places: packed weights with a unit for each tap and channel, whose inputs are `count` places.
void load_columns(const ConvSizes& sizes, Pad pad, const uint32_t* x, int64_t begin, int64_t count, uint32_t* to) {
  const int64_t words = ceil_div(count, kWord), blocks = ceil_div(sizes.inputs(), kBlock);
  const int threads = threads_for(kTouch / 4 * count * sizes.inputs());
  const Scratch<uint32_t> scratch(threads, 2 * sizes.words() * kBlock);
  std::fill_n(to + (blocks - 1) * words * kBlock, words * kBlock, 0u);
  parallel_for<Schedule::kDynamic>(threads, words, [&](int64_t word, int thread) {
    uint32_t* windows = scratch[thread];
    const int64_t first = word * kWord, lanes = smaller(kWord, count - first);
    if (lanes < kWord) std::fill_n(windows, 2 * sizes.words() * kBlock, 0u);
    load_windows(sizes, pad, x, begin + first, lanes, windows);
    for (int64_t tap = 0; tap < sizes.taps(); ++tap) {
      for (int64_t w = 0; w < sizes.pixel_words(); ++w, windows += kBlock) {
        uint32_t square[kWord];
        std::memcpy(square, windows, kBlock * sizeof(uint32_t));
        std::memcpy(square + kBlock, windows + sizes.words() * kBlock, kBlock * sizeof(uint32_t));
        transpose_bits(square);
        const int64_t channel = w * kWord, column = tap * sizes.channels + channel;
        for (int64_t c = 0; c < smaller(kWord, sizes.channels - channel); ++c) {
          to[((column + c) / kBlock * words + word) * kBlock + (column + c) % kBlock] = square[c];
        }
      }
    }
  });
}

// Whether tap i along an axis lies inside of the image for any output.
bool reaches(const WindowAxis& axis, int64_t i) {
  for (int64_t output = 0; output < axis.outputs(); ++output) {
    const Range taps = axis.taps(output);
    if (i >= taps.begin && i < taps.end) return true;
  }
  return false;
}

// The sum of dy over all places where a tap lies outside of the image: (units, taps). There load_columns has +1 for 0.
std::vector<double> sums_outside(const ConvSizes& sizes, const float* dy) {
  std::vector<double> sums(sizes.units * sizes.taps());
  const int64_t places = sizes.places(), width = sizes.out_width();
  std::vector<Range> columns;
  std::vector<int64_t> all(width), edges;  // columns; those that have taps outside
  for (int64_t x = 0; x < width; ++x) {
    columns.push_back(sizes.horizontal().taps(x));
    all[x] = x;
    if (columns[x].size() < sizes.kernel_w) edges.push_back(x);
  }
  const int threads = threads_for(kTouch * sizes.rows * sizes.units * places);
  parallel_for<Schedule::kStatic>(threads, sizes.units, [&](int64_t unit, int) {
    double* const to = &sums[unit * sizes.taps()];
    for (int64_t y = 0; y < sizes.out_height(); ++y) {
      const Range down = sizes.vertical().taps(y);
      for (int64_t x : down.size() < sizes.kernel_h ? all : edges) {
        const Range across = columns[x];
        double sum = 0;
        for (int64_t row = 0; row < sizes.rows; ++row) sum += dy[(row * sizes.units + unit) * places + y * width + x];
        for (int64_t h = 0; h < sizes.kernel_h; ++h) {
          const bool inside = h >= down.begin && h < down.end;
          for (int64_t v = 0; v < sizes.kernel_w; ++v) {
            if (!inside || v < across.begin || v >= across.end) to[h * sizes.kernel_w + v] += sum;
          }
        }
      }
    }
  });
  return sums;
}

// Floats and bits by tables of a few rows of dy, as in weight_gradient.cc.
void add_from_signs(const ConvSizes& sizes, Pad pad, const float* dy, const uint32_t* signs, int64_t stride, float* g) {
  const Kernels& k = kernels();
  const int64_t all = sizes.rows * sizes.places(), columns = sizes.inputs(), blocks = ceil_div(columns, kBlock);
  const int64_t most = std::max<int64_t>(1, kChunkSize / (blocks * kBlock) / (kPartPlaces / kWord)) * kPartPlaces;
  const int64_t chunk = smaller(most, ceil_div(all, kPartPlaces) * kPartPlaces);
  const Scratch<uint32_t> bits(1, packed_size(columns, chunk));
  const int threads = threads_for(kConvMultiply * all * sizes.units * columns);
  const int64_t table_stride = kPartPlaces / kGroup * k.lut_entries;
  const Scratch<float> scratch(threads, kPartPlaces + k.lut_rows * table_stride);
  // All units of a few rows, or parts of them where the threads are many.
  const int64_t strips = ceil_div(sizes.units, k.lut_rows), parts = smaller(blocks, ceil_div(2 * threads, strips));
  const int64_t part_blocks = ceil_div(blocks, parts);
  for (int64_t begin = 0; begin < all; begin += chunk) {
    const int64_t count = smaller(chunk, all - begin);
    load_columns(sizes, pad, signs, begin, count, bits[0]);
    const PackedWeights weights(bits[0], count);
    parallel_for<Schedule::kDynamic>(threads, strips * parts, [&](int64_t i, int thread) {
      float* numbers = scratch[thread];
      float* tables = numbers + kPartPlaces;
      const int64_t unit = i / parts * k.lut_rows, units = smaller(k.lut_rows, sizes.units - unit);
      const int64_t block = i % parts * part_blocks, some = smaller(part_blocks, blocks - block);
      if (some <= 0) return;
      for (int64_t first = 0; first < count; first += kPartPlaces) {
        const int64_t places = smaller(kPartPlaces, count - first), size = ceil_div(places, kWord) * kWord;
        for (int64_t u = 0; u < units; ++u) {
          copy_places(sizes, dy, unit + u, begin + first, places, size, numbers);
          k.lut_build(numbers, size / kGroup, tables + u * table_stride);
        }
        k.lut_gemm(tables, table_stride, units, weights.at(block * kBlock, first / kWord), weights.block_stride(), some,
                   ceil_div(places, kGroup), g + unit * stride + block * kBlock, stride);
      }
    });
  }
}

// Floats and floats, in tiles as in weight_gradient.cc.
void add_from_reals(const ConvSizes& sizes, float pad, const float* dy, const float* x, int64_t stride, float* g) {
  constexpr int64_t kRows = 256;  // rows of panels that stay in the L1 cache; their products are added up by themselves
  constexpr int64_t kTiles = 8;
  constexpr int64_t kLineFloats = 16;
  constexpr int64_t kRegionSize = 1 << 16;
  const Kernels& k = kernels();
  const int64_t tile_units = k.dw_units, tile_inputs = k.dw_inputs, places = sizes.places();
  const int64_t unit_tiles = ceil_div(sizes.units, tile_units), input_tiles = ceil_div(sizes.inputs(), tile_inputs);
  const int64_t row_size = unit_tiles * tile_units + input_tiles * tile_inputs;
  const int64_t most = smaller(kRegionSize / (sizes.channels * sizes.stride_h * sizes.stride_w), kPanels / row_size);
  const Regions regions(sizes.rows, sizes.out_height(), sizes.out_width(), most);
  const int64_t some = smaller(regions.count(), std::max<int64_t>(1, kPanels / row_size / regions.most_places()));
  const int64_t length = some * regions.most_places();  // of a panel
  const int threads = threads_for(kConvMultiply * sizes.rows * places * sizes.units * sizes.inputs());
  const int64_t covered_size = Covered(sizes, regions[0]).size(), window_size = input_tiles * tile_inputs;
  // Panels are a cache line longer than their rows: those of a row would else share a set of the cache.
  const int64_t x_size = length * tile_inputs + kLineFloats, dy_size = length * tile_units + kLineFloats;
  const Scratch<float> panels(1, input_tiles * x_size + unit_tiles * dy_size);
  const Scratch<float> scratch(threads, covered_size + window_size + tile_units * tile_inputs);
  float* const x_panels = panels[0];
  float* const dy_panels = x_panels + input_tiles * x_size;
  const int64_t image = sizes.channels * sizes.height * sizes.width;
  const int64_t tiles = std::clamp<int64_t>(unit_tiles * input_tiles / (4 * threads), 1, kTiles);
  const int64_t strips = ceil_div(unit_tiles, tiles);
  std::vector<int64_t> begins(some + 1);
  for (int64_t begin = 0; begin < regions.count(); begin += some) {
    const int64_t count = smaller(some, regions.count() - begin);
    for (int64_t i = 0; i < count; ++i) begins[i + 1] = begins[i] + regions[begin + i].places();
    parallel_for<Schedule::kDynamic>(threads, count, [&](int64_t i, int thread) {
      const Region region = regions[begin + i];
      const Covered covered(sizes, region);
      float* const inputs = scratch[thread];
      float* const window = inputs + covered_size;
      std::fill_n(window, window_size, 0.0f);
      load_covered(sizes, covered, x + region.image * image, pad, inputs);
      int64_t row = begins[i];
      for (int64_t t = 0; t < unit_tiles; ++t) {
        const int64_t units = smaller(tile_units, sizes.units - t * tile_units);
        const float* d = dy + (region.image * sizes.units + t * tile_units) * places + region.y * sizes.out_width();
        float* to = dy_panels + t * dy_size + row * tile_units;
        if (units < tile_units) std::fill_n(to, region.places() * tile_units, 0.0f);
        for (int64_t y = 0; y < region.height; ++y, d += sizes.out_width(), to += region.width * tile_units) {
          transpose(d + region.x, places, units, region.width, to, tile_units);
        }
      }
      for (int64_t down = 0; down < region.height; ++down) {
        for (int64_t across = 0; across < region.width; ++across, ++row) {
          const int64_t at = covered.at(down * sizes.stride_h, across * sizes.stride_w);
          copy_window(sizes, covered, inputs + at, window);
          for (int64_t t = 0; t < input_tiles; ++t) {
            copy_numbers(window + t * tile_inputs, tile_inputs, x_panels + t * x_size + row * tile_inputs);
          }
        }
      }
    });
    const int64_t rows = begins[count];
    parallel_for<Schedule::kDynamic>(threads, input_tiles * strips, [&](int64_t i, int thread) {
      float* const sums = scratch[thread];
      const int64_t input = i / strips, first = i % strips * tiles, end = smaller(first + tiles, unit_tiles);
      for (int64_t row = 0; row < rows; row += kRows) {
        for (int64_t t = first; t < end; ++t) {
          k.dw_gemm(dy_panels + t * dy_size + row * tile_units, x_panels + input * x_size + row * tile_inputs,
                    smaller(kRows, rows - row), true, sums, tile_inputs);
          for (int64_t u = 0; u < smaller(tile_units, sizes.units - t * tile_units); ++u) {
            float* __restrict to = g + (t * tile_units + u) * stride + input * tile_inputs;
            for (int64_t j = 0; j < tile_inputs; ++j) to[j] += sums[u * tile_inputs + j];
          }
        }
      }
    });
  }
}

}  // namespace

void conv_weight_gradient(const ConvSizes& sizes, Pad pad, Scale scale, Gradient gradient, float clip, const float* dy,
                          const float* x, const uint32_t* signs, const float* w, const float* alpha, float* dw) {
  const int64_t inputs = sizes.inputs(), taps = sizes.taps();
  const int64_t tile = std::max(kBlock, kernels().dw_inputs), stride = ceil_div(inputs, tile) * tile;
  const Scratch<float> g(1, sizes.units * stride);
  std::fill_n(g[0], sizes.units * stride, 0.0f);
  std::vector<double> outside;
  if (signs != nullptr) {
    add_from_signs(sizes, pad, dy, signs, stride, g[0]);
    if (pad == Pad::kZero && (sizes.pad_h > 0 || sizes.pad_w > 0)) outside = sums_outside(sizes, dy);
  } else {
    add_from_reals(sizes, value_of(pad), dy, x, stride, g[0]);
  }
  RuleOnTiles rule({sizes.rows, sizes.units, inputs}, scale, gradient, clip, w, alpha, dw);
  const int threads = threads_for(kTouch * sizes.units * inputs);
  const Scratch<float> scratch(threads, inputs);
  parallel_for<Schedule::kStatic>(threads, sizes.units, [&](int64_t unit, int thread) {
    float* from = g[0] + unit * stride;
    for (int64_t tap = 0; tap < taps && !outside.empty(); ++tap) {
      const float sum = static_cast<float>(outside[unit * taps + tap]);
      const bool inside =
          reaches(sizes.vertical(), tap / sizes.kernel_w) && reaches(sizes.horizontal(), tap % sizes.kernel_w);
      for (int64_t c = 0; c < sizes.channels; ++c, ++from) *from = inside ? *from - sum : 0.0f;
    }
    transpose(g[0] + unit * stride, sizes.channels, taps, sizes.channels, scratch[thread], taps);
    rule.apply({unit, 1, 0, inputs}, scratch[thread], inputs);
  });
  rule.add_cross();
}

}  // namespace gluon_bnn
