// Forward, and the gradient to the inputs; dw is in conv_weight_gradient.cc.
//
// Bits times bits: here the lanes of vectors are places of the result, and the rows are units. So tiles of counts are
// parts of y as MXNet has it, and nothing is transposed. Floats times bits: the lanes are those of the bits, so that
// results have their channels innermost, and strips of them are transposed in the cache.
#include "training/binary_conv.h"

#include <cmath>
#include <vector>

#include "gemm/pack.h"
#include "gemm/tiles.h"
#include "kernels/portable.h"
#include "parallel.h"
#include "training/conv_bits.h"
#include "training/conv_weight_gradient.h"
#include "training/images.h"
#include "training/sign.h"

namespace gluon_bnn {
namespace {

constexpr double kXnorWord = 0.03, kLutWord = 0.4;  // nanoseconds for a word of bits
constexpr int64_t kTableWords = 16;                 // words whose tables stay in the L1 cache; a multiple of kSumWords
constexpr int64_t kStripPlaces = 32;                // places whose results are transposed together
constexpr int64_t kRegionSize = 1 << 16;            // numbers of a region of an image that stay in the L2 cache

// The packed weights (units, inputs), with inputs in the order kernel row, kernel column, channel.
void pack_kernels(const ConvSizes& sizes, const float* w, uint32_t* bits) {
  const Scratch<float> by_tap(1, sizes.units * sizes.inputs());
  parallel_for<Schedule::kStatic>(threads_for(kTouch * sizes.units * sizes.inputs()), sizes.units, [&](int64_t u, int) {
    const int64_t at = u * sizes.inputs();
    transpose(w + at, sizes.taps(), sizes.channels, sizes.taps(), by_tap[0] + at, sizes.channels);
  });
  pack_weights(by_tap[0], sizes.units, sizes.inputs(), bits, [](int64_t) {});
}

// Floats times bits for a few rows: sums (rows, sums_stride) of numbers (rows, whole words), which end in zeros.
class Products {
 public:
  Products(const uint32_t* bits, int64_t outputs, int64_t inputs)
      : weights_(bits, inputs), blocks_(ceil_div(outputs, kBlock)), inputs_(inputs) {}

  int64_t row_size() const { return weights_.words * kWord; }
  int64_t tables_size(int64_t words) const { return kernels().lut_rows * words * kWordGroups * kernels().lut_entries; }

  // The tables of `words` words of numbers from `word` on.
  void build(const float* numbers, int64_t rows, int64_t word, int64_t words, float* tables) const {
    const Kernels& k = kernels();
    for (int64_t r = 0; r < rows; ++r, numbers += row_size(), tables += words * kWordGroups * k.lut_entries) {
      k.lut_build(numbers + word * kWord, words * kWordGroups, tables);
    }
  }

  // Adds their products with `blocks` blocks of outputs from `block` on.
  void add(const float* tables, int64_t rows, int64_t word, int64_t words, int64_t block, int64_t blocks, float* sums,
           int64_t sums_stride) const {
    const Kernels& k = kernels();
    const int64_t groups = ceil_div(smaller(words * kWord, inputs_ - word * kWord), kGroup);
    k.lut_gemm(tables, words * kWordGroups * k.lut_entries, rows, weights_.at(block * kBlock, word),
               weights_.block_stride(), blocks, groups, sums, sums_stride);
  }

  int64_t words() const { return weights_.words; }
  int64_t blocks() const { return blocks_; }

 private:
  PackedWeights weights_;
  int64_t blocks_, inputs_;
};

void from_floats(const ConvSizes& sizes, float pad, const float* x, const float* w, const float* alpha,
                 const float* bias, float* y) {
  const Kernels& k = kernels();
  const int64_t places = sizes.places(), image = sizes.channels * sizes.height * sizes.width;
  const Scratch<uint32_t> bits(1, packed_size(sizes.units, sizes.inputs()));
  pack_kernels(sizes, w, bits[0]);
  const Products products(bits[0], sizes.units, sizes.inputs());
  const int64_t most = kRegionSize / (sizes.channels * sizes.stride_h * sizes.stride_w);
  const Regions regions(sizes.rows, sizes.out_height(), sizes.out_width(), most);
  const int threads = threads_for(kLutWord * sizes.rows * places * sizes.units * products.words());
  const int64_t covered_size = Covered(sizes, regions[0]).size(), width = products.blocks() * kBlock;
  const int64_t table_words = smaller(kTableWords, products.words()), row_size = products.row_size();
  const int64_t tables_size = products.tables_size(table_words), rows_size = k.lut_rows * row_size;
  const Scratch<float> scratch(threads, covered_size + tables_size + rows_size + 2 * kStripPlaces * width);
  parallel_for<Schedule::kDynamic>(threads, regions.count(), [&](int64_t i, int thread) {
    const Region region = regions[i];
    const Covered covered(sizes, region);
    float* const inputs = scratch[thread];
    float* const tables = inputs + covered_size;
    float* const rows = tables + tables_size;
    float* const sums = rows + rows_size;
    float* const results = sums + kStripPlaces * width;
    std::fill_n(rows, rows_size, 0.0f);
    load_covered(sizes, covered, x + region.image * image, pad, inputs);
    for (int64_t down = 0; down < region.height; ++down) {
      for (int64_t first = 0; first < region.width; first += kStripPlaces) {
        const int64_t strip = smaller(kStripPlaces, region.width - first);
        std::fill_n(sums, strip * width, 0.0f);
        for (int64_t p = 0, count; p < strip; p += count) {
          count = smaller(k.lut_rows, strip - p);
          for (int64_t r = 0; r < count; ++r) {
            const int64_t at = covered.at(down * sizes.stride_h, (first + p + r) * sizes.stride_w);
            copy_window(sizes, covered, inputs + at, rows + r * row_size);
          }
          for (int64_t word = 0; word < products.words(); word += kTableWords) {
            const int64_t words = smaller(kTableWords, products.words() - word);
            products.build(rows, count, word, words, tables);
            products.add(tables, count, word, words, 0, products.blocks(), sums + p * width, width);
          }
        }
        k.epilogue_lut(sums, width, strip, sizes.units, {alpha, bias}, results, width);
        transpose(results, width, strip, sizes.units,
                  y + region.image * sizes.units * places + (region.y + down) * sizes.out_width() + region.x + first,
                  places);
      }
    }
  });
}

void write_dots(const int32_t* dots, int64_t size, float alpha, float bias, float* __restrict y) {
  const auto write = [&](int64_t begin, int64_t count) {
    for (int64_t i = begin; i < begin + count; ++i) y[i] = alpha * static_cast<float>(dots[i]) + bias;
  };
  int64_t i = 0;
  for (; i + kBlock <= size; i += kBlock) write(i, kBlock);
  write(i, size - i);
}

void from_bits(const ConvSizes& sizes, Pad pad, const uint32_t* x, const float* w, const float* alpha,
               const float* bias, float* y) {
  const Kernels& k = kernels();
  const int64_t words = sizes.words(), places = sizes.places(), all = sizes.rows * places;
  const int64_t tile = k.xnor_blocks * kBlock, task = 8 * tile;
  const int32_t inputs = static_cast<int32_t>(sizes.inputs());
  const int threads = threads_for(kXnorWord * all * sizes.units * words);
  const Scratch<uint32_t> kernel_bits(1, sizes.units * words);
  pack_kernel_rows(sizes, w, kernel_bits[0]);
  const OutsideSums outside(sizes, pad, kernel_bits[0]);
  const Scratch<uint32_t> windows(threads, words * tile);
  const Scratch<int32_t> scratch(threads, k.xnor_rows * kTileUnits);
  parallel_for<Schedule::kDynamic>(threads, ceil_div(all, task), [&](int64_t i, int thread) {
    int32_t* const counts = scratch[thread];
    OutsideSums::Place corrected[kTileUnits];
    for (int64_t begin = i * task; begin < smaller(all, (i + 1) * task); begin += tile) {
      const int64_t count = smaller(tile, all - begin), blocks = ceil_div(count, kBlock);
      load_windows(sizes, pad, x, begin, count, windows[thread]);
      const int64_t corrections = outside.find(sizes, begin, count, corrected);
      for (int64_t unit = 0; unit < sizes.units; unit += k.xnor_rows) {
        const int64_t units = smaller(k.xnor_rows, sizes.units - unit);
        k.xnor_gemm(kernel_bits[0] + unit * words, words, units, windows[thread], words * kBlock, blocks, words, true,
                    counts);
        for (int64_t r = 0; r < units; ++r) {  // counts become dots
          int32_t* to = counts + r * kTileUnits;
          for (int64_t b = 0; b < blocks; ++b, to += kBlock) {
            for (int64_t lane = 0; lane < kBlock; ++lane) to[lane] = (inputs - to[lane]) - to[lane];
          }
        }
        for (int64_t c = 0; c < corrections; ++c) {
          for (int64_t r = 0; r < units; ++r) {
            counts[r * kTileUnits + corrected[c].place] -= corrected[c].sums[unit + r];
          }
        }
        for (int64_t p = 0, size; p < count; p += size) {  // the part of each image
          const int64_t row = (begin + p) / places, place = (begin + p) % places;
          size = smaller(count - p, places - place);
          float* to = y + (row * sizes.units + unit) * places + place;
          for (int64_t r = 0; r < units; ++r, to += places) {
            write_dots(counts + r * kTileUnits + p, size, alpha[unit + r], bias[unit + r], to);
          }
        }
      }
    }
  });
}

// 0 where |x| > clip. x and dx are (channels, height, width).
void mask(const ConvSizes& sizes, const Region& region, float clip, const float* x, float* dx) {
  for (int64_t c = 0; c < sizes.channels; ++c) {
    for (int64_t y = region.y; y < region.y + region.height; ++y) {
      const int64_t at = (c * sizes.height + y) * sizes.width + region.x;
      for (int64_t i = at; i < at + region.width; ++i) {
        const float d = dx[i];
        dx[i] = std::fabs(x[i]) <= clip ? d : 0.0f;
      }
    }
  }
}

// The outputs along an axis some of whose taps may lie within `size` places from `begin` on: the first, and how many.
std::pair<int64_t, int64_t> outputs_at(const WindowAxis& axis, int64_t begin, int64_t size) {
  const int64_t first =
      std::max<int64_t>(0, ceil_div(std::max<int64_t>(0, begin + axis.pad - axis.extent() + 1), axis.stride));
  const int64_t end = smaller(axis.outputs(), (begin + size - 1 + axis.pad) / axis.stride + 1);
  return {first, std::max<int64_t>(0, end - first)};
}

// The outputs that a region of inputs has a part in.
Region outputs_of(const ConvSizes& sizes, const Region& inputs) {
  const auto [y, height] = outputs_at(sizes.vertical(), inputs.y, inputs.height);
  const auto [x, width] = outputs_at(sizes.horizontal(), inputs.x, inputs.width);
  return {inputs.image, y, x, height, width};
}

// Every place of dy is multiplied with all weights of all units, which gives its part in the inputs of its window;
// these parts are added up, with the channels innermost. Where rows of the kernel are whole blocks, the product adds
// them to their places itself.
void gradient_to_inputs(const ConvSizes& sizes, const float* dy, const float* alpha, const float* x, float clip,
                        const float* w, float* dx) {
  const Kernels& k = kernels();
  const int64_t places = sizes.places(), image = sizes.channels * sizes.height * sizes.width;
  const Scratch<uint32_t> packed(1, packed_size(sizes.units, sizes.inputs()));
  const Scratch<uint32_t> transposed(1, packed_size(sizes.inputs(), sizes.units));
  pack_kernels(sizes, w, packed[0]);
  transpose_weights(packed[0], sizes.units, sizes.inputs(), transposed[0]);
  const Products products(transposed[0], sizes.inputs(), sizes.units);
  const int64_t row_lanes = sizes.kernel_w * sizes.channels;
  const bool in_place = row_lanes % kBlock == 0 && sizes.dilation_w == 1;
  const Regions regions(sizes.rows, sizes.height, sizes.width, kRegionSize / sizes.channels);
  int64_t covered_size = 0;
  for (int64_t i = 0; i < regions.count() / sizes.rows; ++i) {  // of one image
    const Region outputs = outputs_of(sizes, regions[i]);
    if (outputs.places() > 0) covered_size = std::max(covered_size, Covered(sizes, outputs).size());
  }
  const int threads = threads_for(kLutWord * sizes.rows * places * sizes.inputs() * products.words());
  const int64_t tables_size = products.tables_size(products.words()), width = products.blocks() * kBlock;
  const int64_t row_size = products.row_size(), rows_size = kStripPlaces * row_size;
  const Scratch<float> scratch(threads, covered_size + tables_size + rows_size + k.lut_rows * width);
  parallel_for<Schedule::kDynamic>(threads, regions.count(), [&](int64_t i, int thread) {
    const Region region = regions[i], outputs = outputs_of(sizes, region);
    const Covered covered(sizes, outputs);
    float* const gradients = scratch[thread];
    float* const tables = gradients + covered_size;
    float* const rows = tables + tables_size;
    float* const sums = rows + rows_size;
    if (outputs.places() > 0) std::fill_n(gradients, covered.size(), 0.0f);
    std::fill_n(rows, rows_size, 0.0f);
    for (int64_t down = 0; down < outputs.height; ++down) {
      const float* from =
          dy + outputs.image * sizes.units * places + (outputs.y + down) * sizes.out_width() + outputs.x;
      for (int64_t first = 0; first < outputs.width; first += kStripPlaces) {
        const int64_t strip = smaller(kStripPlaces, outputs.width - first);
        transpose(from + first, places, sizes.units, strip, rows, row_size);
        for (int64_t p = 0; p < strip; ++p) {
          float* row = rows + p * row_size;
          for (int64_t u = 0; u < sizes.units; ++u) row[u] *= alpha[u];
        }
        for (int64_t p = 0, count; p < strip; p += count) {
          count = smaller(k.lut_rows, strip - p);
          products.build(rows + p * row_size, count, 0, products.words(), tables);
          float* const to = gradients + covered.at(down * sizes.stride_h, (first + p) * sizes.stride_w);
          const int64_t stride = covered.at(0, sizes.stride_w);
          for (int64_t h = 0; in_place && h < sizes.kernel_h; ++h) {
            products.add(tables, count, 0, products.words(), h * row_lanes / kBlock, row_lanes / kBlock,
                         to + covered.at(h * sizes.dilation_h, 0), stride);
          }
          if (in_place) continue;
          std::fill_n(sums, count * width, 0.0f);
          products.add(tables, count, 0, products.words(), 0, products.blocks(), sums, width);
          for (int64_t r = 0; r < count; ++r) {
            const float* part = sums + r * width;
            for (int64_t h = 0; h < sizes.kernel_h; ++h) {
              for (int64_t v = 0; v < sizes.kernel_w; ++v, part += sizes.channels) {
                float* at = to + r * stride + covered.at(h * sizes.dilation_h, v * sizes.dilation_w);
                for (int64_t c = 0; c < sizes.channels; ++c) at[c] += part[c];
              }
            }
          }
        }
      }
    }
    float* const result = dx + region.image * image;
    const int64_t begin = std::clamp(covered.x, region.x, region.x + region.width);
    const int64_t end = std::clamp(covered.x + covered.width, begin, region.x + region.width);
    for (int64_t y = region.y; y < region.y + region.height; ++y) {
      float* row = result + y * sizes.width;
      const int64_t down = y - covered.y;
      const bool reached = outputs.places() > 0 && down >= 0 && down < covered.height && begin < end;
      for (int64_t c = 0; c < sizes.channels; ++c) {
        float* to = row + c * sizes.height * sizes.width;
        std::fill(to + region.x, to + (reached ? begin : region.x + region.width), 0.0f);
        if (reached) std::fill(to + end, to + region.x + region.width, 0.0f);
      }
      if (!reached) continue;
      transpose(gradients + covered.at(down, begin - covered.x), sizes.channels, end - begin, sizes.channels,
                row + begin, sizes.height * sizes.width);
    }
    if (std::isfinite(clip)) mask(sizes, region, clip, x + region.image * image, result);
  });
}

void gradient_to_bias(const ConvSizes& sizes, const float* dy, float* dbias) {
  const int64_t places = sizes.places();
  parallel_for<Schedule::kStatic>(threads_for(kTouch * sizes.rows * sizes.units * places), sizes.units,
                                  [=](int64_t unit, int) {
                                    double sum = 0;
                                    for (int64_t row = 0; row < sizes.rows; ++row) {
                                      const float* d = dy + (row * sizes.units + unit) * places;
                                      sum += add_up(places, [=](int64_t p) { return d[p]; });
                                    }
                                    dbias[unit] = static_cast<float>(sum);
                                  });
}

// The bits of x where all of it is -1 and 1.
class Found {
 public:
  Found(const ConvSizes& sizes, const float* x, const uint32_t* signs)
      : size_(sizes.height * sizes.width),
        found_(signs == nullptr && all_signs(x, sizes.rows * sizes.channels * size_)),
        packed_(1, found_ ? sizes.rows * sizes.pixel_words() * size_ : 0),
        signs_(found_ ? packed_[0] : signs) {
    if (found_) pack_planes(x, sizes.rows, sizes.channels, size_, packed_[0]);
  }

  // Null where x has other numbers.
  const uint32_t* signs() const { return signs_; }

 private:
  int64_t size_;
  bool found_;
  Scratch<uint32_t> packed_;
  const uint32_t* signs_;
};

}  // namespace

void binary_conv_alpha(const ConvSizes& sizes, Scale scale, const float* w, const float* curvature, float* alpha) {
  const int64_t inputs = sizes.inputs();
  std::vector<double> sums(2 * sizes.units);  // per unit, so that they do not depend on the threads
  if (scale != Scale::kNone) {
    parallel_for<Schedule::kStatic>(threads_for(kTouch * sizes.units * inputs), sizes.units, [&](int64_t unit, int) {
      const int64_t at = unit * inputs;
      kernels().magnitudes(w + at, scale == Scale::kLoss ? curvature + at : nullptr, inputs, &sums[2 * unit]);
    });
  }
  alpha_of(scale, sums.data(), sizes.units, alpha);
  if (scale != Scale::kChannel) std::fill(alpha + 1, alpha + sizes.units, alpha[0]);
}

void binary_conv_forward(const ConvSizes& sizes, Pad pad, const float* w, const float* alpha, const float* x,
                         const float* bias, uint32_t* signs, float* y) {
  const std::vector<float> none(bias == nullptr ? sizes.units : 0, -0.0f);  // v + -0.0 is v for every v
  if (bias == nullptr) bias = none.data();
  if (signs != nullptr) pack_planes(x, sizes.rows, sizes.channels, sizes.height * sizes.width, signs);
  const Found found(sizes, x, signs);
  if (found.signs() != nullptr) {
    from_bits(sizes, pad, found.signs(), w, alpha, bias, y);
  } else {
    from_floats(sizes, value_of(pad), x, w, alpha, bias, y);
  }
}

void binary_conv_backward(const ConvSizes& sizes, Pad pad, Scale scale, Gradient gradient, float clip, const float* dy,
                          const float* x, const uint32_t* signs, float sign_clip, const float* w, const float* alpha,
                          float* dx, float* dw, float* dbias) {
  if (dx != nullptr) {
    const float bound = signs == nullptr ? std::numeric_limits<float>::infinity() : sign_clip;
    gradient_to_inputs(sizes, dy, alpha, x, bound, w, dx);
  }
  if (dw != nullptr) {
    const Found found(sizes, x, signs);
    conv_weight_gradient(sizes, pad, scale, gradient, clip, dy, x, found.signs(), w, alpha, dw);
  }
  if (dbias != nullptr) gradient_to_bias(sizes, dy, dbias);
}

void binary_conv_ddot(const ConvSizes& sizes, const float* dy, const float* alpha, float* ddot) {
  const int64_t places = sizes.places(), planes = sizes.rows * sizes.units;
  parallel_for<Schedule::kStatic>(threads_for(kTouch * planes * places), planes, [=](int64_t plane, int) {
    const float scale = alpha[plane % sizes.units];
    for (int64_t i = plane * places; i < (plane + 1) * places; ++i) ddot[i] = scale * dy[i];
  });
}

void binary_conv_dx(const ConvSizes& sizes, const float* ddot, const float* w, float* dx) {
  const std::vector<float> one(sizes.units, 1.0f);
  gradient_to_inputs(sizes, ddot, one.data(), nullptr, std::numeric_limits<float>::infinity(), w, dx);
}

}  // namespace gluon_bnn
