// Forward, and the gradient to the inputs; dw is in conv_weight_gradient.cc.
//
// The lanes of vectors are places of the result, as MXNet has them next to each other, and the rows are units or
// inputs. So nothing is transposed: tiles of counts and of sums are parts of y, or are added to parts of dx. Only where
// places are few, products of floats and bits have images as their lanes, from arrays laid out for it and back.
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

constexpr double kXnorWord = 0.03, kSumsWord = 0.25;  // nanoseconds for a word of bits
constexpr int64_t kRegionSize = 1 << 16;              // numbers of a region of an image that stay in the L2 cache

// The bits of the weights (units, channels, taps) as (words of inputs, units), with inputs in the order tap, channel.
std::vector<uint32_t> bits_of_inputs(const ConvSizes& sizes, const float* w) {
  const int64_t inputs = sizes.inputs(), words = ceil_div(inputs, kWord);
  std::vector<uint32_t> bits(words * sizes.units);
  const int threads = threads_for(kTouch * sizes.units * inputs);
  const Scratch<float> by_tap(threads, inputs);
  const Scratch<uint32_t> row(threads, words);
  parallel_for<Schedule::kStatic>(threads, sizes.units, [&](int64_t unit, int thread) {
    transpose(w + unit * inputs, sizes.taps(), sizes.channels, sizes.taps(), by_tap[thread], sizes.channels);
    kernels().pack(by_tap[thread], inputs, row[thread]);
    for (int64_t word = 0; word < words; ++word) bits[word * sizes.units + unit] = row[thread][word];
  });
  return bits;
}

// lanes = alpha (lanes + more) + bias, kLanes numbers. Loops over rows of images would be too short to be fast.
void finish_lanes(const float* __restrict more, float alpha, float bias, float* __restrict lanes) {
  for (int64_t i = 0; i < kLanes; ++i) lanes[i] = alpha * (more[i] + lanes[i]) + bias;
}

// Where lanes are places, regions have at most `most` places, whatever the number of threads is: sums depend on them.
// Where lanes are images, regions are as large as they may be for all threads to have one.
Regions regions_of(const ConvSizes& sizes, int64_t images, int64_t height, int64_t width, int64_t most, int threads) {
  if (images == 1) return Regions(sizes.rows, height, width, most);
  const int64_t groups = ceil_div(sizes.rows, images);
  return Regions(groups, height, width, std::max(width, height * width * groups / threads));
}

// x and y are (groups of images, channels or units, places, images). Sums have the order of lut_dense: a frozen layer
// gives the same bits.
void from_lanes(const ConvSizes& sizes, int64_t images, float pad, const float* x, const float* w, const float* alpha,
                const float* bias, float* y) {
  const Kernels& k = kernels();
  const int64_t places = sizes.places(), image = sizes.channels * sizes.height * sizes.width * images;
  const int64_t inputs = sizes.inputs(), words = ceil_div(inputs, kWord), tile = sizes.units * kLanes;
  const std::vector<uint32_t> bits = bits_of_inputs(sizes, w);
  const int64_t most = kRegionSize / (sizes.channels * sizes.stride_h * sizes.stride_w);
  const int threads = threads_for(kSumsWord * sizes.rows * places * sizes.units * words);
  const Regions regions = regions_of(sizes, images, sizes.out_height(), sizes.out_width(), most, threads);
  const Grids largest(sizes, images, Covered(sizes, regions[0]));
  const int64_t size = largest.size(), plane = size - largest.at(sizes.channels - 1, 0, 0);
  const Scratch<float> scratch(threads, kSignedSums + plane + 2 * tile + size);
  const Scratch<int64_t> offsets(threads, inputs);
  std::vector<int64_t> of_units(sizes.units);
  for (int64_t u = 0; u < sizes.units; ++u) of_units[u] = u * kLanes;
  parallel_for<Schedule::kDynamic>(threads, regions.count(), [&](int64_t i, int thread) {
    const Region region = regions[i];
    const Covered covered(sizes, region);
    const Grids grids(sizes, images, covered);
    float* const sums = scratch[thread];
    float* const zeros = sums + kSignedSums;
    float* const parts = zeros + plane;
    float* const totals = parts + tile;
    float* const numbers = totals + tile;
    std::fill_n(zeros, plane, 0.0f);
    load_grids(sizes, covered, grids, x + region.image * image, pad, numbers);
    std::fill(numbers + grids.at(sizes.channels, 0, 0), numbers + grids.size(), 0.0f);
    find_taps(sizes, grids, offsets[thread]);
    for (int64_t begin = 0; begin < grids.lanes(region); begin += kLanes) {
      const int64_t used = grids.used(region, begin);
      if (used == 0) continue;
      int64_t quads[kLanes / kQuad];
      grids.find_quads(region, begin, quads);
      std::fill_n(totals, tile, 0.0f);
      std::fill_n(parts, tile, 0.0f);
      for (int64_t word = 0; word < words; ++word) {
        if (word > 0 && word % kSumWords == 0) {
          for (int64_t j = 0; j < tile; ++j) {
            totals[j] += parts[j];
            parts[j] = 0;
          }
        }
        const float* rows[kWord];
        for (int64_t t = 0; t < kWord; ++t) {
          const int64_t input = word * kWord + t;
          rows[t] = input < inputs ? numbers + offsets[thread][input] : zeros;
        }
        k.signed_sums(rows, quads, used, sums);
        k.add_signed_sums(sums, used, &bits[word * sizes.units], of_units.data(), sizes.units, kInOrder, parts);
      }
      for (int64_t u = 0; u < sizes.units; ++u) {
        finish_lanes(totals + u * kLanes, alpha[u], bias[u], parts + u * kLanes);
      }
      for_each_row_of_lanes(sizes, region, grids, begin, [&](int64_t at, int64_t lane, int64_t size) {
        float* to = y + region.image * sizes.units * places * images + at;
        for (int64_t u = 0; u < sizes.units; ++u, to += places * images) {
          prefetch(to + size, size);
          copy_numbers(parts + u * kLanes + lane, size, to);
        }
      });
    }
  });
}

// An array (rows, size) laid out for so many images in lanes: itself for one.
class Lanes {
 public:
  Lanes(int64_t images, int64_t rows, int64_t size)
      : rows_(rows),
        size_(size),
        lanes_(1, images == 1 ? 0 : ceil_div(rows, images) * images * size),
        images_(images) {}

  const float* load(const float* array) const {
    if (images_ == 1) return array;
    load_lanes(array, rows_, size_, lanes_[0]);
    return lanes_[0];
  }
  // Where results go that store() then brings to the array.
  float* to(float* array) const { return images_ == 1 ? array : lanes_[0]; }
  void store(float* array) const {
    if (images_ > 1) store_lanes(lanes_[0], rows_, size_, array);
  }

 private:
  int64_t rows_, size_;
  Scratch<float> lanes_;
  int64_t images_;
};

void from_floats(const ConvSizes& sizes, float pad, const float* x, const float* w, const float* alpha,
                 const float* bias, float* y) {
  const int64_t images = images_in_lanes(sizes);
  const Lanes from(images, sizes.rows, sizes.channels * sizes.height * sizes.width);
  const Lanes to(images, sizes.rows, sizes.units * sizes.places());
  from_lanes(sizes, images, pad, from.load(x), w, alpha, bias, to.to(y));
  to.store(y);
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
          for (int64_t i = 0; i < blocks * kBlock; ++i) to[i] = (inputs - to[i]) - to[i];
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
            prefetch(to + size, size);
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

// The bits of the weights (units, channels, taps) as (words of units, taps, channels): neighbours in this order add to
// different channels. Taps one after the other would add to almost the same numbers, and each would wait for the other.
std::vector<uint32_t> bits_of_units(const ConvSizes& sizes, const float* w) {
  const int64_t inputs = sizes.inputs(), taps = sizes.taps(), words = ceil_div(sizes.units, kWord);
  std::vector<uint32_t> packed(words * inputs), bits(words * inputs);
  pack_planes(w, 1, sizes.units, inputs, packed.data());
  for (int64_t i = 0; i < words * inputs; ++i) {
    const int64_t word = i / inputs, input = i % inputs;
    bits[word * inputs + input % taps * sizes.channels + input / taps] = packed[i];
  }
  return bits;
}

// Every place of dy is multiplied with all weights of all units, which gives its part in the inputs of its window;
// these parts are added up in the grids of a region of inputs.
void gradient_to_inputs(const ConvSizes& sizes, const float* dy, const float* alpha, const float* x, float clip,
                        const float* w, float* dx) {
  const Kernels& k = kernels();
  const int64_t inputs = sizes.inputs(), words = ceil_div(sizes.units, kWord), places = sizes.places();
  const int64_t images = images_in_lanes(sizes), image = sizes.channels * sizes.height * sizes.width;
  const Lanes from(images, sizes.rows, sizes.units * places), to(images, sizes.rows, image);
  const float* const dy_lanes = from.load(dy);
  float* const dx_lanes = to.to(dx);
  const std::vector<uint32_t> bits = bits_of_units(sizes, w);
  const int threads = threads_for(kSumsWord * sizes.rows * places * inputs * words);
  const Regions regions = regions_of(sizes, images, sizes.height, sizes.width, kRegionSize / sizes.channels, threads);
  int64_t most = 0;
  for (int64_t i = 0; i < regions.count() && regions[i].image == 0; ++i) {
    const Region outputs = outputs_of(sizes, regions[i]);
    if (outputs.places() > 0) most = std::max(most, Grids(sizes, images, Covered(sizes, outputs)).size());
  }
  const Scratch<float> scratch(threads, kSignedSums + kWord * kLanes + most);
  const Scratch<int64_t> offsets(threads, inputs);
  parallel_for<Schedule::kDynamic>(threads, regions.count(), [&](int64_t i, int thread) {
    const Region region = regions[i], outputs = outputs_of(sizes, region);
    const Covered covered(sizes, outputs);
    const Grids grids(sizes, images, covered);
    const bool any = outputs.places() > 0;
    float* const sums = scratch[thread];
    float* const lanes = sums + kSignedSums;
    float* const gradients = lanes + kWord * kLanes;
    const std::array<const float*, kWord> rows = rows_at(lanes);
    if (any) {
      std::fill_n(gradients, grids.size(), 0.0f);
      find_taps(sizes, grids, offsets[thread]);
    }
    for (int64_t begin = 0; any && begin < grids.lanes(outputs); begin += kLanes) {
      const int64_t used = grids.used(outputs, begin);
      if (used == 0) continue;
      int64_t quads[kLanes / kQuad];
      grids.find_quads(outputs, begin, quads);
      for (int64_t unit = 0; unit < sizes.units; unit += kWord) {
        const int64_t units = smaller(kWord, sizes.units - unit);
        std::fill_n(lanes, kWord * kLanes, 0.0f);
        for_each_row_of_lanes(sizes, outputs, grids, begin, [&](int64_t at, int64_t lane, int64_t size) {
          const float* d = dy_lanes + (outputs.image * sizes.units + unit) * places * images + at;
          for (int64_t u = 0; u < units; ++u, d += places * images) {
            prefetch(d + kLanes, kLanes);
            for (int64_t j = 0; j < size; ++j) lanes[u * kLanes + lane + j] = d[j] * alpha[unit + u];
          }
        });
        k.signed_sums(rows.data(), kInOrder, used, sums);
        k.add_signed_sums(sums, used, &bits[unit / kWord * inputs], offsets[thread], inputs, quads, gradients);
      }
    }
    float* const result = dx_lanes + region.image * image * images;
    for (int64_t c = 0; c < sizes.channels; ++c) {
      for (int64_t y = region.y; y < region.y + region.height; ++y) {
        float* const row = result + (c * sizes.height + y) * sizes.width * images;
        const int64_t down = y - covered.y;
        const bool reached = any && down >= 0 && down < covered.height;
        const int64_t end = region.x + region.width, first = reached ? std::clamp(covered.x, region.x, end) : end;
        const int64_t last = reached ? std::clamp(covered.x + covered.width, first, end) : end;
        std::fill(row + region.x * images, row + first * images, 0.0f);
        const int64_t step = sizes.stride_w == 1 ? std::max<int64_t>(1, last - first) : 1;  // places next to each other
        for (int64_t p = first; p < last; p += step) {
          copy_numbers(gradients + grids.at(c, down, p - covered.x), step * images, row + p * images);
        }
        std::fill(row + last * images, row + end * images, 0.0f);
      }
    }
    if (images == 1 && std::isfinite(clip)) mask(sizes, region, clip, x + region.image * image, result);
  });
  to.store(dx);
  if (images > 1 && std::isfinite(clip)) {
    parallel_for<Schedule::kStatic>(threads, sizes.rows, [&](int64_t i, int) {
      mask(sizes, {i, 0, 0, sizes.height, sizes.width}, clip, x + i * image, dx + i * image);
    });
  }
}

// Calls plane(unit, at) for each plane of dy, which begins at `at`. dbias, if not null, gets the sums of each unit's.
template <typename Plane>
void gradient_to_bias(const ConvSizes& sizes, const float* dy, float* dbias, const Plane& plane) {
  const int64_t places = sizes.places(), step = sizes.units * places;
  const int threads = threads_for(kTouch * sizes.rows * step);
  parallel_for<Schedule::kStatic>(threads, sizes.units, [&](int64_t unit, int) {
    double sum = 0;
    for (int64_t at = unit * places; at < sizes.rows * step; at += step) {
      const float* d = dy + at;
      prefetch(d + step, smaller(places, kForeseen));
      if (dbias != nullptr) sum += add_up(places, [=](int64_t p) { return d[p]; });
      plane(unit, at);
    }
    if (dbias != nullptr) dbias[unit] = static_cast<float>(sum);
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
  if (dbias != nullptr) gradient_to_bias(sizes, dy, dbias, [](int64_t, int64_t) {});
}

void binary_conv_ddot(const ConvSizes& sizes, const float* dy, const float* alpha, float* ddot, float* dbias) {
  const int64_t places = sizes.places();
  gradient_to_bias(sizes, dy, dbias, [=](int64_t unit, int64_t at) {
    const float scale = alpha[unit];
    for (int64_t i = at; i < at + places; ++i) ddot[i] = scale * dy[i];
  });
}

void binary_conv_dx(const ConvSizes& sizes, const float* ddot, const float* x, float sign_clip, const float* w,
                    float* dx) {
  const std::vector<float> one(sizes.units, 1.0f);
  gradient_to_inputs(sizes, ddot, one.data(), x, sign_clip, w, dx);
}

}  // namespace gluon_bnn
