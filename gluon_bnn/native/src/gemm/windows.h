// Copies the windows of a convolution to a buffer, where they are the rows of a product.
#ifndef GLUON_BNN_GEMM_WINDOWS_H_
#define GLUON_BNN_GEMM_WINDOWS_H_

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "gemm/conv.h"

namespace gluon_bnn {

// What a window has outside of the image: `fill` in all elements of a pixel but the last, which has `last`.
template <typename T>
struct Outside {
  T fill, last;
};

// A copy of `size` elements for runs of a few dozen bytes, where a call of memcpy takes longer than the copy. The last
// of the pieces that it is made in may overlap the one before.
template <typename T>
inline void copy_run(const T* from, T* to, int64_t size) {
  const int64_t bytes = size * static_cast<int64_t>(sizeof(T));
  const char* const source = reinterpret_cast<const char*>(from);
  char* const target = reinterpret_cast<char*>(to);
  const auto piece = [=](int64_t at, auto width) { std::memcpy(target + at, source + at, width); };
  constexpr std::integral_constant<int64_t, 16> k16;
  constexpr std::integral_constant<int64_t, 8> k8;
  constexpr std::integral_constant<int64_t, 4> k4;
  if (bytes > 256) {
    std::memcpy(target, source, bytes);
  } else if (bytes >= 16) {
    for (int64_t at = 0; at < bytes - 16; at += 16) piece(at, k16);
    piece(bytes - 16, k16);
  } else if (bytes >= 8) {
    piece(0, k8);
    piece(bytes - 8, k8);
  } else if (bytes >= 4) {
    piece(0, k4);
    piece(bytes - 4, k4);
  } else {
    for (int64_t at = 0; at < bytes; ++at) target[at] = source[at];
  }
}

// Copies windows of an image (rows, height, width, pixel).
template <typename T>
class Windows {
 public:
  Windows(const ConvSizes& sizes, const T* x, int64_t pixel, const Outside<T>& outside)
      : sizes_(sizes),
        vertical_(sizes.vertical()),
        horizontal_(sizes.horizontal()),
        x_(x),
        pixel_(pixel),
        kernel_row_(sizes.kernel_w * pixel),
        outside_(outside),
        out_height_(sizes.out_height()),
        out_width_(sizes.out_width()),
        whole_(sizes.dilation_w == 1 ? horizontal_.whole() : Range{0, 0}) {}

  // The elements of a window.
  int64_t size() const { return sizes_.kernel_h * kernel_row_; }

  // The windows are what lies in `x`, pixel by pixel.
  const T* without_copy() const {
    const bool same = sizes_.taps() == 1 && sizes_.stride_h == 1 && sizes_.stride_w == 1;
    return same && sizes_.pad_h == 0 && sizes_.pad_w == 0 ? x_ : nullptr;
  }

  // The windows of `count` places of the result from `place` on, counted over all rows, `to_stride` elements apart.
  void copy(int64_t place, int64_t count, T* to, int64_t to_stride) const {
    int64_t out_x = place % out_width_, line = place / out_width_;
    for (; count > 0; ++line, out_x = 0) {
      const int64_t end = smaller(out_width_, out_x + count);
      copy_line(line / out_height_, line % out_height_, out_x, end, to, to_stride);
      to += (end - out_x) * to_stride;
      count -= end - out_x;
    }
  }

 private:
  // Those of places [begin, end) of line out_y of the result.
  void copy_line(int64_t row, int64_t out_y, int64_t begin, int64_t end, T* to, int64_t to_stride) const {
    const Range down = vertical_.taps(out_y);
    const int64_t kernel_row = kernel_row_, stride = sizes_.stride_w * pixel_;
    const int64_t step = sizes_.dilation_h * sizes_.width * pixel_;  // from a kernel row to the next
    // Where the first tap inside of the line with out_x = 0 would lie; only what lies inside of the image is read.
    const int64_t line = row * sizes_.height + vertical_.start(out_y) + down.begin * sizes_.dilation_h;
    int64_t from = (line * sizes_.width + horizontal_.start(begin)) * pixel_;
    for (int64_t out_x = begin; out_x < end; ++out_x, to += to_stride, from += stride) {
      if (down.begin > 0) fill(0, down.begin * sizes_.kernel_w, to);
      const T* x = x_ + from;
      T* next = to + down.begin * kernel_row;
      if (out_x >= whole_.begin && out_x < whole_.end) {
        for (int64_t i = down.begin; i < down.end; ++i, x += step, next += kernel_row) copy_run(x, next, kernel_row);
      } else {
        const Range across = horizontal_.taps(out_x);
        for (int64_t i = down.begin; i < down.end; ++i, x += step, next += kernel_row) copy_taps(x, across, next);
      }
      if (down.end < sizes_.kernel_h) fill(down.end * sizes_.kernel_w, sizes_.taps(), to);
    }
  }

  void copy_taps(const T* from, const Range& across, T* to) const {
    fill(0, across.begin, to);
    for (int64_t j = across.begin; j < across.end; ++j) {
      copy_run(from + j * sizes_.dilation_w * pixel_, to + j * pixel_, pixel_);
    }
    fill(across.end, sizes_.kernel_w, to);
  }

  // Pixels [begin, end) get what is outside.
  void fill(int64_t begin, int64_t end, T* to) const {
    std::fill(to + begin * pixel_, to + end * pixel_, outside_.fill);
    if (outside_.last == outside_.fill) return;
    for (int64_t pixel = begin + 1; pixel <= end; ++pixel) to[pixel * pixel_ - 1] = outside_.last;
  }

  ConvSizes sizes_;
  WindowAxis vertical_, horizontal_;
  const T* x_;
  int64_t pixel_, kernel_row_;
  Outside<T> outside_;
  int64_t out_height_, out_width_;
  Range whole_;  // the places of a line whose kernel rows are copied in one piece
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_WINDOWS_H_
