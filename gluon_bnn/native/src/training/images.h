// Parts of images for convolutions that train: MXNet's arrays have channels before places, (images, channels, height,
// width), and what a thread works on has the channels innermost.
#ifndef GLUON_BNN_TRAINING_IMAGES_H_
#define GLUON_BNN_TRAINING_IMAGES_H_

#include <algorithm>
#include <array>
#include <cstring>

#include "gemm/conv.h"

namespace gluon_bnn {

inline float value_of(Pad pad) { return pad == Pad::kZero ? 0.0f : pad == Pad::kPlus ? 1.0f : -1.0f; }

// to[c][r] = from[r][c]. What follows the last column in each row is prefetched, as the next call will read it.
void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride);

// Whether none of the numbers is infinite or NaN.
bool all_finite(const float* numbers, int64_t size);

// Places of one image.
struct Region {
  int64_t image, y, x, height, width;

  int64_t places() const { return height * width; }
};

// Cuts images into regions of at most `most` places: whole rows, or parts of a row. There is at least one place in
// each.
class Regions {
 public:
  Regions(int64_t images, int64_t height, int64_t width, int64_t most)
      : images_(images),
        height_(height),
        width_(width),
        rows_(std::clamp<int64_t>(most / width, 1, height)),
        columns_(std::clamp<int64_t>(most, 1, width)),
        down_(ceil_div(height, rows_)),
        across_(ceil_div(width, columns_)) {}

  int64_t count() const { return images_ * down_ * across_; }
  int64_t most_places() const { return rows_ * columns_; }

  Region operator[](int64_t i) const {
    const int64_t y = i / across_ % down_ * rows_, x = i % across_ * columns_;
    return {i / across_ / down_, y, x, smaller(rows_, height_ - y), smaller(columns_, width_ - x)};
  }

 private:
  int64_t images_, height_, width_, rows_, columns_, down_, across_;
};

// The places of the padded image that the windows of a region of outputs cover. Its numbers are kept as (height, width,
// channels).
struct Covered {
  int64_t y, x, height, width, channels;

  Covered(const ConvSizes& sizes, const Region& outputs)
      : y(sizes.vertical().start(outputs.y)),
        x(sizes.horizontal().start(outputs.x)),
        height((outputs.height - 1) * sizes.stride_h + sizes.vertical().extent()),
        width((outputs.width - 1) * sizes.stride_w + sizes.horizontal().extent()),
        channels(sizes.channels) {}

  int64_t size() const { return height * width * channels; }
  // Where place (down, across) begins.
  int64_t at(int64_t down, int64_t across) const { return (down * width + across) * channels; }
};

// The numbers of covered places with the channels first, and the places of a channel whose distance is a multiple of
// the strides next to each other. So what a tap meets for outputs one after the other is one after the other too, also
// from the end of a row on: `across` places are a row of outputs and some more. A place has the numbers of `images`
// images next to each other, 1 or kLanes, a lane for each; the `image` of a region then counts groups of them.
struct Grids {
  int64_t rows, images, channels, stride_h, stride_w, down, across;

  Grids(const ConvSizes& sizes, int64_t images, const Covered& covered)
      : rows(sizes.rows),
        images(images),
        channels(sizes.channels),
        stride_h(sizes.stride_h),
        stride_w(sizes.stride_w),
        down(ceil_div(covered.height, stride_h)),
        across(ceil_div(covered.width, stride_w)) {}

  // Lanes after the last output may reach beyond the last place, those of rows of outputs without gaps by some rows.
  int64_t size() const { return at(channels, 0, 0) + kLanes + (kLanes / kQuad + 1) * across; }
  int64_t at(int64_t channel, int64_t y, int64_t x) const {
    const int64_t grid = (channel * stride_h + y % stride_h) * stride_w + x % stride_w;
    return ((grid * down + y / stride_h) * across + x / stride_w) * images;
  }
  // Whether the lanes leave the places between two rows of outputs out: where rows are whole vectors.
  bool skips(const Region& outputs) const { return images == 1 && outputs.width % kernels().vector_lanes == 0; }
  // Lanes from one row of a region of outputs to the next, and of all of it.
  int64_t row_of_lanes(const Region& outputs) const { return (skips(outputs) ? outputs.width : across) * images; }
  int64_t lanes(const Region& outputs) const {
    return (outputs.height - 1) * row_of_lanes(outputs) + outputs.width * images;
  }
  // The places of the quads of lanes [begin, begin + kLanes).
  void find_quads(const Region& outputs, int64_t begin, int64_t* places) const {
    const int64_t row = row_of_lanes(outputs);
    for (int64_t lane = begin; lane < begin + kLanes; lane += kQuad) {
      *places++ = skips(outputs) ? lane / row * across + lane % row : lane;
    }
  }
  // How many of the lanes [begin, begin + kLanes) are of use.
  int64_t used(const Region& outputs, int64_t begin) const {
    if (images == 1) return smaller(kLanes, lanes(outputs) - begin);
    return begin / kLanes % across < outputs.width ? smaller(kLanes, rows - outputs.image * kLanes) : 0;
  }
};

// How many images Grids should have next to each other: kLanes where they fill lanes better than the places of a result
// do, as these are few.
int64_t images_in_lanes(const ConvSizes& sizes);

// x (rows, size) as (groups of kLanes rows, size, kLanes), with zeros for rows that are not there.
void load_lanes(const float* x, int64_t rows, int64_t size, float* lanes);

// The way back.
void store_lanes(const float* lanes, int64_t rows, int64_t size, float* x);

// What each tap and channel, in this order, meets for the first output of a region.
inline void find_taps(const ConvSizes& sizes, const Grids& grids, int64_t* offsets) {
  for (int64_t y = 0; y < sizes.kernel_h; ++y) {
    for (int64_t x = 0; x < sizes.kernel_w; ++x) {
      for (int64_t c = 0; c < sizes.channels; ++c) *offsets++ = grids.at(c, y * sizes.dilation_h, x * sizes.dilation_w);
    }
  }
}

// Calls body(at, lane, size) for the outputs of a region that lanes [begin, begin + kLanes) have, row by row: `size`
// numbers from `at` of a plane of results on, the first of them the lane `lane`, counted from `begin`.
template <typename Body>
void for_each_row_of_lanes(const ConvSizes& sizes, const Region& outputs, const Grids& grids, int64_t begin,
                           const Body& body) {
  const int64_t end = begin + kLanes, across = grids.row_of_lanes(outputs), width = outputs.width * grids.images;
  if (across == width && width == sizes.out_width() * grids.images) {  // rows follow each other
    const int64_t at = (outputs.y * sizes.out_width() + outputs.x) * grids.images + begin;
    return body(at, 0, smaller(kLanes, grids.lanes(outputs) - begin));
  }
  for (int64_t row = begin / across; row < smaller(outputs.height, ceil_div(end, across)); ++row) {
    const int64_t first = std::max(begin, row * across), last = smaller(end, row * across + width);
    const int64_t at = ((outputs.y + row) * sizes.out_width() + outputs.x) * grids.images;
    if (first < last) body(at + first - row * across, first - begin, last - first);
  }
}

// kWord rows of kLanes numbers, one after the other.
inline std::array<const float*, kWord> rows_at(const float* lanes) {
  std::array<const float*, kWord> rows;
  for (int64_t i = 0; i < kWord; ++i) rows[i] = lanes + i * kLanes;
  return rows;
}

// Covered places of x (channels, height, width, images) in grids, with `pad` outside of the images.
void load_grids(const ConvSizes& sizes, const Covered& covered, const Grids& grids, const float* x, float pad,
                float* to);

// Covered places of an image x (channels, height, width), with `pad` outside of it.
void load_covered(const ConvSizes& sizes, const Covered& covered, const float* x, float pad, float* to);

// A call of memcpy would take longer than the copy of a few numbers.
inline void copy_numbers(const float* from, int64_t size, float* to) {
  if (size >= 64) {
    std::memcpy(to, from, size * sizeof(float));
    return;
  }
  for (; size >= 4; size -= 4, from += 4, to += 4) std::memcpy(to, from, 4 * sizeof(float));
  if (size & 2) {
    std::memcpy(to, from, 2 * sizeof(float));
    from += 2;
    to += 2;
  }
  if (size & 1) *to = *from;
}

// The window that begins at `from`, as (kernel_h, kernel_w, channels).
inline void copy_window(const ConvSizes& sizes, const Covered& covered, const float* from, float* to) {
  const bool whole_rows = sizes.dilation_w == 1;
  const int64_t size = sizes.channels * (whole_rows ? sizes.kernel_w : 1), pieces = whole_rows ? 1 : sizes.kernel_w;
  for (int64_t h = 0; h < sizes.kernel_h; ++h) {
    const float* row = from + covered.at(h * sizes.dilation_h, 0);
    for (int64_t i = 0; i < pieces; ++i, to += size) {
      copy_numbers(row + covered.at(0, i * sizes.dilation_w), size, to);
    }
  }
}

// A run of places of the results, within one row of one image: y, x, and which of the places asked for it begins with.
struct Run {
  int64_t image, y, x, first, size;
};

// Calls body(run) for `count` places from `begin` on, counted through all rows of all images; no run goes across a
// multiple of `most`, counted from `begin`.
template <typename Body>
void for_each_run(const ConvSizes& sizes, int64_t begin, int64_t count, int64_t most, const Body& body) {
  const int64_t width = sizes.out_width(), places = sizes.places();
  Run run = {begin / places, begin % places / width, begin % width, 0, 0};
  for (; run.first < count; run.first += run.size) {
    run.size = smaller(smaller(width - run.x, count - run.first), most - run.first % most);
    body(run);
    run.x += run.size;
    if (run.x < width) continue;
    run.x = 0;
    if (++run.y == sizes.out_height()) {
      run.y = 0;
      ++run.image;
    }
  }
}

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_IMAGES_H_
