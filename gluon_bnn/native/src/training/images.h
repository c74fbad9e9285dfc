// Parts of images for convolutions that train: MXNet's arrays have channels before places, (images, channels, height,
// width), and what a thread works on has the channels innermost.
#ifndef GLUON_BNN_TRAINING_IMAGES_H_
#define GLUON_BNN_TRAINING_IMAGES_H_

#include <algorithm>
#include <cstring>

#include "gemm/conv.h"

namespace gluon_bnn {

inline float value_of(Pad pad) { return pad == Pad::kZero ? 0.0f : pad == Pad::kPlus ? 1.0f : -1.0f; }

// to[c][r] = from[r][c]
void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride);

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
