// g (units, taps, channels) is added up from the windows of a chunk of places at a time, whose arrays have a bounded
// size. The rule turns it into dw at the end.
#include "training/conv_weight_gradient.h"

#include <cstring>
#include <vector>

#include "gemm/pack.h"
#include "gemm/tiles.h"
#include "parallel.h"
#include "training/conv_bits.h"
#include "training/correlation.h"
#include "training/images.h"
#include "training/panels.h"
#include "training/rule_on_tiles.h"
#include "training/winograd.h"

namespace gluon_bnn {
namespace {

constexpr double kConvMultiply = kTouch / 16;  // nanoseconds per product
constexpr int64_t kChunkSize = 1 << 21;        // numbers or words of a chunk: 8 MB
constexpr int64_t kPanels = 1 << 18;           // numbers of the panels of a chunk, which stay in the L2 cache
constexpr int64_t kPartPlaces = 1024;          // places that are added up before their sum goes to the total

// The signs of padded images as bits of places: bit t of a word is place 32 word + t of those of a row that are
// `stride_w` apart, and words of all channels are next to each other. So the bits of a tap for places one after the
// other are a shift away. Outside of the images is +1, with kMinus -1.
class RowsOfBits {
 public:
  // For at most `images` images.
  RowsOfBits(const ConvSizes& sizes, Pad pad, int64_t images)
      : sizes_(sizes),
        covered_(sizes, {0, 0, 0, sizes.out_height(), sizes.out_width()}),
        outside_(pad == Pad::kMinus ? ~0u : 0u),
        lanes_(sizes.pixel_words() * kWord),
        words_(ceil_div(ceil_div(covered_.width, sizes.stride_w), kWord) + 1),  // a shift reads the next word too
        bits_(1, images * image_size()) {}

  // Words of an image.
  static int64_t image_size(const ConvSizes& sizes) { return RowsOfBits(sizes, Pad::kZero, 0).image_size(); }

  // x (images, pixel_words, height, width).
  void load(const uint32_t* x, int64_t images) {
    const int64_t rows = images * covered_.height;
    const int threads = threads_for(kTouch * rows * covered_.width * lanes_ / kWord);
    parallel_for<Schedule::kStatic>(threads, rows, [=](int64_t i, int) {
      const int64_t image = i / covered_.height, y = covered_.y + i % covered_.height;
      uint32_t* to = bits_[0] + i * row_size();
      if (y < 0 || y >= sizes_.height) {
        std::fill_n(to, row_size(), outside_);
        return;
      }
      for (int64_t phase = 0; phase < sizes_.stride_w; ++phase) {
        for (int64_t word = 0; word < words_; ++word) {
          for (int64_t w = 0; w < sizes_.pixel_words(); ++w, to += kWord) {
            const uint32_t* from = x + ((image * sizes_.pixel_words() + w) * sizes_.height + y) * sizes_.width;
            const int64_t left = covered_.x + word * kWord * sizes_.stride_w + phase;
            if (left >= sizes_.width) {  // as in the last word of most rows
              std::fill_n(to, kWord, outside_);
              continue;
            }
            for (int64_t t = 0, at = left; t < kWord; ++t, at += sizes_.stride_w) {
              to[t] = at >= 0 && at < sizes_.width ? from[at] : outside_;
            }
            transpose_bits(to);
          }
        }
      }
    });
  }

  // to[i][channel] gets the bits of tap i of `taps`, at `count` places of the results, at most kWord, from `begin` on,
  // counted through all loaded images.
  void find(int64_t begin, int64_t count, const Range& taps, uint32_t* to) const {
    std::fill_n(to, taps.size() * sizes_.channels, 0u);
    for_each_run(sizes_, begin, count, kWord, [&](const Run& run) {
      const uint32_t mask = ~0u >> (kWord - run.size);
      uint32_t* __restrict bits = to;
      for (int64_t tap = taps.begin; tap < taps.end; ++tap, bits += sizes_.channels) {
        const int64_t y = run.y * sizes_.stride_h + tap / sizes_.kernel_w * sizes_.dilation_h;
        const int64_t across = tap % sizes_.kernel_w * sizes_.dilation_w, at = run.x + across / sizes_.stride_w;
        const int64_t row = (run.image * covered_.height + y) * row_size();
        const uint32_t* low = bits_[0] + row + (across % sizes_.stride_w * words_ + at / kWord) * lanes_;
        const uint32_t* high = low + lanes_;
        const int shift = at % kWord, left = kWord - 1 - shift, place = run.first;
        for (int64_t c = 0; c < sizes_.channels; ++c) {
          bits[c] |= ((low[c] >> shift | high[c] << 1 << left) & mask) << place;
        }
      }
    });
  }

 private:
  int64_t row_size() const { return sizes_.stride_w * words_ * lanes_; }
  int64_t image_size() const { return covered_.height * row_size(); }

  ConvSizes sizes_;
  Covered covered_;
  uint32_t outside_;
  int64_t lanes_, words_;
  Scratch<uint32_t> bits_;
};

// `units` units of dy at `count` places from `begin` on, counted through all images, as rows of kLanes; zeros after
// them.
void load_places(const ConvSizes& sizes, const float* dy, int64_t unit, int64_t units, int64_t begin, int64_t count,
                 float* to) {
  const int64_t places = sizes.places();
  if (count < kWord || units < kLanes) std::fill_n(to, kWord * kLanes, 0.0f);
  for (int64_t p = 0, part; p < count; p += part) {
    const int64_t row = (begin + p) / places, place = (begin + p) % places;
    part = smaller(count - p, places - place);
    transpose(dy + (row * sizes.units + unit) * places + place, places, units, part, to + p * kLanes, kLanes);
  }
}

// Whether tap i along an axis lies inside of the image for any output.
bool reaches(const WindowAxis& axis, int64_t i) {
  for (int64_t output = 0; output < axis.outputs(); ++output) {
    const Range taps = axis.taps(output);
    if (i >= taps.begin && i < taps.end) return true;
  }
  return false;
}

// The sum of dy over all places where a tap lies outside of the image: (units, taps). There RowsOfBits has +1 for 0.
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

// Floats and bits by signed sums, whose lanes are units. g is (units, stride).
void add_from_signs(const ConvSizes& sizes, Pad pad, const float* dy, const uint32_t* signs, int64_t stride, float* g) {
  const Kernels& k = kernels();
  const int64_t places = sizes.places(), inputs = sizes.inputs();
  const int64_t chunk = std::clamp<int64_t>(kChunkSize / RowsOfBits::image_size(sizes), 1, sizes.rows);
  const int64_t blocks = ceil_div(sizes.units, kLanes);
  RowsOfBits rows(sizes, pad, chunk);
  const int threads = threads_for(kConvMultiply * sizes.rows * places * sizes.units * inputs);
  // A thread has a block of units and, where the threads are many, some of the taps.
  const int64_t parts = smaller(sizes.taps(), ceil_div(2 * threads, blocks)), part = ceil_div(sizes.taps(), parts);
  const int64_t most = part * sizes.channels;
  const Scratch<float> scratch(threads, kSignedSums + kWord * kLanes + most * kLanes);
  const Scratch<float> totals(1, blocks * inputs * kLanes);
  const Scratch<uint32_t> bits(threads, most);
  std::fill_n(totals[0], blocks * inputs * kLanes, 0.0f);
  std::vector<int64_t> offsets(most);
  for (int64_t i = 0; i < most; ++i) offsets[i] = i * kLanes;
  for (int64_t image = 0; image < sizes.rows; image += chunk) {
    const int64_t images = smaller(chunk, sizes.rows - image), all = images * places;
    rows.load(signs + image * sizes.pixel_words() * sizes.height * sizes.width, images);
    parallel_for<Schedule::kDynamic>(threads, blocks * parts, [&](int64_t i, int thread) {
      const int64_t unit = i / parts * kLanes, tap = i % parts * part;
      const Range taps = {tap, smaller(tap + part, sizes.taps())};
      if (taps.size() <= 0) return;
      const int64_t units = smaller(kLanes, sizes.units - unit);
      float* const sums = scratch[thread];
      float* const lanes = sums + kSignedSums;
      float* const products = lanes + kWord * kLanes;
      const std::array<const float*, kWord> rows_of_lanes = rows_at(lanes);
      float* const total = totals[0] + (i / parts * inputs + tap * sizes.channels) * kLanes;
      const int64_t outputs = taps.size() * sizes.channels;
      for (int64_t begin = 0; begin < all; begin += kPartPlaces) {
        const int64_t end = smaller(all, begin + kPartPlaces);
        std::fill_n(products, outputs * kLanes, 0.0f);
        for (int64_t p = begin; p < end; p += kWord) {
          const int64_t count = smaller(kWord, end - p);
          rows.find(p, count, taps, bits[thread]);
          load_places(sizes, dy, unit, units, image * places + p, count, lanes);
          k.signed_sums(rows_of_lanes.data(), kInOrder, units, sums);
          k.add_signed_sums(sums, units, bits[thread], offsets.data(), outputs, kInOrder, products);
        }
        for (int64_t j = 0; j < outputs * kLanes; ++j) total[j] += products[j];
      }
    });
  }
  for (int64_t unit = 0; unit < sizes.units; unit += kLanes) {
    transpose(totals[0] + unit * inputs, kLanes, inputs, smaller(kLanes, sizes.units - unit), g + unit * stride,
              stride);
  }
}

// Floats and floats, in tiles as in weight_gradient.cc.
void add_from_reals(const ConvSizes& sizes, float pad, const float* dy, const float* x, int64_t stride, float* g) {
  constexpr int64_t kRegionSize = 1 << 16;
  const Kernels& k = kernels();
  const int64_t tile_units = k.dw_units, tile_inputs = k.dw_inputs, places = sizes.places();
  const int64_t row_size = Panels::row_size(sizes.units, sizes.inputs());
  const int64_t most = smaller(kRegionSize / (sizes.channels * sizes.stride_h * sizes.stride_w), kPanels / row_size);
  const Regions regions(sizes.rows, sizes.out_height(), sizes.out_width(), most);
  const int64_t some = smaller(regions.count(), std::max<int64_t>(1, kPanels / row_size / regions.most_places()));
  const Panels panels(1, sizes.units, sizes.inputs(), some * regions.most_places());
  const int threads = threads_for(kConvMultiply * sizes.rows * places * sizes.units * sizes.inputs());
  const int64_t covered_size = Covered(sizes, regions[0]).size(), window_size = panels.input_tiles() * tile_inputs;
  const Scratch<float> scratch(threads, covered_size + window_size);
  const int64_t image = sizes.channels * sizes.height * sizes.width;
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
      for (int64_t t = 0; t < panels.unit_tiles(); ++t) {
        const int64_t units = smaller(tile_units, sizes.units - t * tile_units);
        const float* d = dy + (region.image * sizes.units + t * tile_units) * places + region.y * sizes.out_width();
        float* to = panels.dy(0, t, row);
        if (units < tile_units) std::fill_n(to, region.places() * tile_units, 0.0f);
        for (int64_t y = 0; y < region.height; ++y, d += sizes.out_width(), to += region.width * tile_units) {
          transpose(d + region.x, places, units, region.width, to, tile_units);
        }
      }
      for (int64_t down = 0; down < region.height; ++down) {
        for (int64_t across = 0; across < region.width; ++across, ++row) {
          const int64_t at = covered.at(down * sizes.stride_h, across * sizes.stride_w);
          copy_window(sizes, covered, inputs + at, window);
          for (int64_t t = 0; t < panels.input_tiles(); ++t) {
            copy_numbers(window + t * tile_inputs, tile_inputs, panels.x(0, t, row));
          }
        }
      }
    });
    panels.add_products(threads, begins[count], stride, g);
  }
}

// False where windows have to be multiplied: that takes less time, or some numbers are not finite.
bool fast_gradient(const ConvSizes& sizes, float pad, const float* dy, const float* x, int64_t stride, float* g) {
  if (winograd_pays(sizes)) return winograd_gradient(sizes, pad, dy, x, stride, g);
  return correlation_pays(sizes) && correlated_gradient(sizes, pad, dy, x, stride, g);
}

}  // namespace

void conv_weight_gradient(const ConvSizes& sizes, Pad pad, Scale scale, Gradient gradient, float clip, const float* dy,
                          const float* x, const uint32_t* signs, const float* w, const float* alpha, float* dw) {
  const int64_t inputs = sizes.inputs(), taps = sizes.taps();
  const int64_t tile = std::max(kBlock, kernels().dw_inputs), stride = ceil_div(inputs, tile) * tile;
  const int64_t size = ceil_div(sizes.units, kernels().dw_units) * kernels().dw_units * stride;
  const Scratch<float> g(1, size);
  std::fill_n(g[0], size, 0.0f);
  std::vector<double> outside;
  if (signs != nullptr) {
    add_from_signs(sizes, pad, dy, signs, stride, g[0]);
    if (pad == Pad::kZero && (sizes.pad_h > 0 || sizes.pad_w > 0)) outside = sums_outside(sizes, dy);
  } else if (!fast_gradient(sizes, value_of(pad), dy, x, stride, g[0])) {
    std::fill_n(g[0], size, 0.0f);
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
