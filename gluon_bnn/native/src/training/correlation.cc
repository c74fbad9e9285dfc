// A task has some of the images and some of the channels. It copies a few images at a time, x with what stands outside
// and dy with zeros up to whole vectors, and adds their sums to those of its part of the images, in a cache of its own.
// The parts do not depend on the number of threads; they are added up at the end.
#include "training/correlation.h"

#include <algorithm>
#include <vector>

#include "kernels/table.h"
#include "parallel.h"
#include "training/images.h"

namespace gluon_bnn {
namespace {

constexpr double kCorrelate = kTouch / 16;  // nanoseconds per product
constexpr int64_t kPlaces = 1024;           // places of a unit at a time: those of a tile stay in the L1 cache
constexpr int64_t kNumbers = 1 << 16;       // numbers of x at a time, which stay in the L2 cache
constexpr int64_t kSums = 1 << 19;          // numbers of the sums of all parts
constexpr int64_t kMostParts = 16;

// The vectors that places of dy are put in: rows of outputs, each with zeros up to whole vectors, or all rows as one,
// with zeros where Grids has inputs between them. Whichever takes fewer vectors.
struct Vectors {
  int64_t rows, size, row;  // rows of `size` numbers; a row of outputs begins `row` numbers after the one before

  Vectors(const Region& outputs, int64_t across) {
    const int64_t lanes = kernels().vector_lanes, apart = ceil_div(outputs.width, lanes) * lanes;
    const int64_t all = ceil_div((outputs.height - 1) * across + outputs.width, lanes) * lanes;
    *this = outputs.height * apart <= all ? Vectors{outputs.height, apart, apart} : Vectors{1, all, across};
  }
  int64_t numbers() const { return rows * size; }

 private:
  Vectors(int64_t rows, int64_t size, int64_t row) : rows(rows), size(size), row(row) {}
};

// The images, or parts of one, that are copied at a time.
class Pieces {
 public:
  explicit Pieces(const ConvSizes& sizes)
      : regions_(1, sizes.out_height(), sizes.out_width(),
                 smaller(kPlaces, kNumbers / (sizes.stride_h * sizes.stride_w))),
        images_(regions_.count() > 1 ? 1 : std::clamp<int64_t>(kPlaces / sizes.places(), 1, sizes.rows)) {}

  int64_t images() const { return images_; }
  const Regions& regions() const { return regions_; }

 private:
  Regions regions_;
  int64_t images_;
};

// kCorrelatedUnits units of a region of `images` images of dy, from `unit` on. Where there are fewer units, the rest is
// left as it is.
void load_units(const ConvSizes& sizes, const Region& region, const Vectors& vectors, int64_t images, int64_t unit,
                const float* dy, float* to) {
  const int64_t out_width = sizes.out_width(), units = smaller(kCorrelatedUnits, sizes.units - unit);
  const int64_t numbers = vectors.numbers(), stride = images * numbers;
  const bool as_they_are = vectors.row == region.width && region.width == out_width;  // nothing between rows
  const int64_t height = as_they_are ? 1 : region.height, width = as_they_are ? region.places() : region.width;
  for (int64_t image = 0; image < images; ++image) {
    for (int64_t u = 0; u < units; ++u) {
      const float* from = dy + ((region.image + image) * sizes.units + unit + u) * sizes.places();
      from += region.y * out_width + region.x;
      float* at = to + u * stride + image * numbers;
      for (int64_t y = 0; y < height; ++y, from += out_width) {
        const int64_t end = y + 1 < height ? vectors.row : numbers - y * vectors.row;
        copy_numbers(from, width, at);
        std::fill(at + width, at + end, 0.0f);
        at += end;
      }
    }
  }
}

// Where the inputs of a channel begin for the first output of a region, channel by channel.
void find_inputs(const ConvSizes& sizes, const Grids& grids, int64_t* offsets) {
  for (int64_t c = 0; c < sizes.channels; ++c) {
    for (int64_t tap = 0; tap < sizes.taps(); ++tap) {
      *offsets++ = grids.at(c, tap / sizes.kernel_w * sizes.dilation_h, tap % sizes.kernel_w * sizes.dilation_w);
    }
  }
}

}  // namespace

// In units of a product, with what was measured: copies of numbers, and places that are only there to fill vectors.
bool correlation_pays(const ConvSizes& sizes) {
  constexpr double kOurProduct = 1.5, kOurCopy = 30, kCopy = 46;
  const Kernels& k = kernels();
  const auto whole = [](int64_t size, int64_t tile) { return static_cast<double>(ceil_div(size, tile) * tile); };
  const Region region = Pieces(sizes).regions()[0];
  const Vectors vectors(region, Grids(sizes, 1, Covered(sizes, region)).across);
  const double places = static_cast<double>(vectors.numbers()) / region.places();
  const double units = whole(sizes.units, k.dw_units), inputs = whole(sizes.inputs(), k.dw_inputs);
  const double our_units = whole(sizes.units, kCorrelatedUnits);
  return kOurProduct * places * our_units * sizes.inputs() + kOurCopy * (our_units + sizes.channels) <
         units * inputs + kCopy * (units + inputs);
}

bool correlated_gradient(const ConvSizes& sizes, float pad, const float* dy, const float* x, int64_t stride, float* g) {
  const Kernels& k = kernels();
  const int64_t inputs = sizes.inputs(), taps = sizes.taps(), plane = sizes.height * sizes.width;
  const Pieces pieces(sizes);
  const Region first = pieces.regions()[0];
  const int threads = threads_for(kCorrelate * sizes.rows * sizes.places() * sizes.units * inputs);
  const int64_t units = ceil_div(sizes.units, kCorrelatedUnits) * kCorrelatedUnits, part_size = units * inputs;
  const int64_t parts = std::clamp<int64_t>(kSums / part_size, 1, smaller(kMostParts, sizes.rows));
  // Sums do not depend on how many channels a task has.
  ConvSizes one = sizes;
  one.channels = 1;
  const int64_t channel_size = pieces.images() * Grids(one, 1, Covered(one, first)).size();
  const int64_t blocks = smaller(
      sizes.channels, std::max(ceil_div(sizes.channels * channel_size, kNumbers), ceil_div(2 * threads, parts)));
  ConvSizes some = sizes;
  some.channels = ceil_div(sizes.channels, blocks);
  const Grids largest(some, 1, Covered(some, first));
  const int64_t x_size = pieces.images() * largest.size();
  const int64_t dy_size = kCorrelatedUnits * pieces.images() * Vectors(first, largest.across).numbers();
  const Scratch<float> sums(1, parts * part_size);
  const Scratch<float> scratch(threads, x_size + dy_size);
  const Scratch<int64_t> offsets(threads, some.inputs());
  parallel_for<Schedule::kDynamic>(threads, parts * blocks, [&](int64_t i, int thread) {
    const int64_t part = i / blocks, channel = i % blocks * some.channels;
    ConvSizes ours = some;
    ours.channels = smaller(some.channels, sizes.channels - channel);
    if (ours.channels <= 0) return;
    float* const numbers = scratch[thread];
    float* const lanes = numbers + x_size;
    float* const to = sums[0] + part * part_size + channel * taps;
    for (int64_t unit = 0; unit < units; ++unit) std::fill_n(to + unit * inputs, ours.inputs(), 0.0f);
    std::fill_n(numbers, x_size + dy_size, 0.0f);  // what lies between is multiplied by 0, and must be finite
    const int64_t end = (part + 1) * sizes.rows / parts;
    for (int64_t image = part * sizes.rows / parts; image < end; image += pieces.images()) {
      const int64_t images = smaller(pieces.images(), end - image);
      for (int64_t r = 0; r < pieces.regions().count(); ++r) {
        Region region = pieces.regions()[r];
        region.image = image;
        const Covered covered(ours, region);
        const Grids grids(ours, 1, covered);
        const Vectors vectors(region, grids.across);
        for (int64_t j = 0; j < images; ++j) {
          load_grids(ours, covered, grids, x + ((image + j) * sizes.channels + channel) * plane, pad,
                     numbers + j * grids.size());
        }
        find_inputs(ours, grids, offsets[thread]);
        const CorrelatedPlaces places = {images, vectors.rows, vectors.size, grids.size(),
                                         vectors.rows > 1 ? grids.across : 0};
        for (int64_t unit = 0; unit < units; unit += kCorrelatedUnits) {
          load_units(sizes, region, vectors, images, unit, dy, lanes);
          k.correlate(places, lanes, images * vectors.numbers(), numbers, offsets[thread], ours.inputs(),
                      to + unit * inputs, inputs);
        }
      }
    }
  });
  const Scratch<float> rows(threads, inputs);
  std::vector<char> finite(sizes.units);
  parallel_for<Schedule::kStatic>(threads, sizes.units, [&](int64_t unit, int thread) {
    float* __restrict row = rows[thread];
    std::fill_n(row, inputs, 0.0f);
    for (int64_t part = 0; part < parts; ++part) {
      const float* from = sums[0] + part * part_size + unit * inputs;
      for (int64_t j = 0; j < inputs; ++j) row[j] += from[j];
    }
    finite[unit] = all_finite(row, inputs);
    transpose(row, taps, sizes.channels, taps, g + unit * stride, sizes.channels);
  });
  return std::count(finite.begin(), finite.end(), 0) == 0;
}

}  // namespace gluon_bnn
