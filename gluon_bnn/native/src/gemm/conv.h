// Convolutions of images with the channels innermost, (rows, height, width, channels): a few windows at a time are
// copied to a buffer of the thread, where they are the rows of a dense product. No array holds those of a whole image.
//
// Arguments are not checked here. Results do not depend on the number of threads.
#ifndef GLUON_BNN_GEMM_CONV_H_
#define GLUON_BNN_GEMM_CONV_H_

#include <vector>

#include "gemm/gemm.h"
#include "gemm/window.h"

namespace gluon_bnn {

// Padding is the same on both sides of an axis.
struct ConvSizes {
  int64_t rows, height, width, channels, units, kernel_h, kernel_w;
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1;

  WindowAxis vertical() const { return {height, kernel_h, stride_h, pad_h, dilation_h}; }
  WindowAxis horizontal() const { return {width, kernel_w, stride_w, pad_w, dilation_w}; }
  int64_t out_height() const { return vertical().outputs(); }
  int64_t out_width() const { return horizontal().outputs(); }
  int64_t places() const { return out_height() * out_width(); }  // of one row of the result
  int64_t taps() const { return kernel_h * kernel_w; }
  int64_t inputs() const { return taps() * channels; }               // of one product
  int64_t pixel_words() const { return ceil_div(channels, kWord); }  // of an input's pixel, packed
  int64_t words() const { return taps() * pixel_words(); }           // of a window of bits
};

// What stands outside of the image. Of bits that stand for 0 and 1, a 0 is kMinus.
enum class Pad { kZero, kPlus, kMinus };

// Padding of inputs that are bits. Where it is 0, the words outside of the image are 0, that is +1, and a product there
// is too large by o, the sum of the unit's signs that lie outside. dot = inputs - 2 count, so the counts of this place
// begin at o / 2. Where o is odd they begin at (o + 1) / 2, and `inputs` is larger by 1; it can be odd only where the
// number of channels is. No work is left inside of the image.
//
// o is the same for all places where the same taps lie outside. Of these classes of places there are few, 9 for a
// kernel of 3 x 3; o of each class and unit is found here, once, from the weights.
class Border {
 public:
  // `sizes.rows` does not matter. Nothing is kept of `w` but the sums.
  Border(const ConvSizes& sizes, Pad pad, const uint32_t* w);

  Pad pad() const { return pad_; }
  bool is_empty() const { return corrections_.empty(); }

  struct Place {
    const int32_t* begin;  // of the counts, for all units in whole blocks
    int64_t odd;           // 1 where `inputs` is larger by 1
    bool is_inside;        // the whole window: the counts begin at 0
  };
  // `count` places of the result from `place` on, counted over all rows. The border must not be empty.
  void find(int64_t place, int64_t count, Place* to) const;

 private:
  Place at(const Range& down, const Range& across) const;

  Pad pad_;
  WindowAxis vertical_, horizontal_;
  int64_t channels_;
  std::vector<int32_t> rows_, columns_;  // the classes along each axis, by the taps that lie inside
  int64_t column_classes_ = 0, units_ = 0;
  std::vector<int32_t> corrections_;  // zeros, then (classes of rows, of columns), each for all units in whole blocks
};

// ---- From bits (rows, height, width, pixel_words) ----
//
// w (ceil(units / 16), words, 16), words in the order kernel row, kernel column, word of channels. The product counts
// all bits, so those past the last channel must be 0 in x and in w.

// y (rows, out_height, out_width, units) from the product, by the epilogue; its `sums` for inputs 0 and 1.
void xnor_conv(const ConvSizes& sizes, const Border& border, const uint32_t* x, const uint32_t* w,
               const Epilogue& epilogue, float* y);
// bits (rows, out_height, out_width, ceil(units / 32)): dot < threshold.
void xnor_conv_bits(const ConvSizes& sizes, const Border& border, const uint32_t* x, const uint32_t* w,
                    const int32_t* threshold, uint32_t* bits);

// ---- From floats and uint8 (rows, height, width, channels) ----
//
// w (ceil(units / 16), ceil(inputs / 32), 16), inputs in the order kernel row, kernel column, channel. Floats are added
// in the order of lut_dense.

void lut_conv(const ConvSizes& sizes, Pad pad, const float* x, const uint32_t* w, const Epilogue& epilogue,
              const Result& result);
// Outside of the image are zeros. The result is y by the epilogue, or bits: dot < threshold.
void u8_conv(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const Epilogue& epilogue, float* y);
void u8_conv_bits(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const int32_t* threshold,
                  uint32_t* bits);

// Float weights w (taps, channels / groups, units), bias (units,) or null. Group g of units takes group g of channels.
// Outside of the image are zeros. Products are added in the order of `dense`.
void conv(const ConvSizes& sizes, int64_t groups, const float* x, const float* w, const float* bias, float* y);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_CONV_H_
