// Bits of images and kernels for convolutions that train. A window is `words` words of bits, in the order kernel row,
// kernel column, word of channels; the bits past the last channel are 0.
#ifndef GLUON_BNN_TRAINING_CONV_BITS_H_
#define GLUON_BNN_TRAINING_CONV_BITS_H_

#include <vector>

#include "gemm/conv.h"

namespace gluon_bnn {

// The signs of x (rows, channels, places) as bits (rows, pixel_words, places).
void pack_planes(const float* x, int64_t rows, int64_t channels, int64_t places, uint32_t* bits);

// The bits of w (units, channels, kernel_h, kernel_w) as (units, words).
void pack_kernel_rows(const ConvSizes& sizes, const float* w, uint32_t* bits);

// The windows of `count` places of the results from `begin` on, counted through all images, in blocks of 16 places: x
// (rows, pixel_words, height, width) gives (ceil(count / 16), words, 16). Outside of the images are zeros, with kMinus
// ones. Lanes past the last place are left as they are.
void load_windows(const ConvSizes& sizes, Pad pad, const uint32_t* x, int64_t begin, int64_t count, uint32_t* to);

// Words outside of an image count as +1. Where they stand for 0, dots are too large by the sum of the unit's signs that
// lie outside. These sums are the same for all places where the same taps lie outside, a class of places.
class OutsideSums {
 public:
  // `bits` are those of pack_kernel_rows.
  OutsideSums(const ConvSizes& sizes, Pad pad, const uint32_t* bits);

  // A place outside of which taps lie, and the sums (units,) for it.
  struct Place {
    int64_t place;
    const int32_t* sums;
  };
  // Finds those among `count` places, counted as above. Returns how many they are.
  int64_t find(const ConvSizes& sizes, int64_t begin, int64_t count, Place* found) const;

 private:
  bool empty_;
  std::vector<int64_t> rows_, columns_;  // the class of each row and column; 0 where all taps lie inside
  int64_t column_classes_ = 0;
  std::vector<int32_t> sums_;  // (classes of rows, of columns, units)
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_CONV_BITS_H_
