/* Windows over images: where their taps lie, what lies there, and pools. */
#include <stdint.h>

/* The windows of a convolution or a pool. step: what a place of the image has, in words, floats or pixels. */
typedef struct {
  int32_t height, width, step, columns; /* columns: the windows side by side */
  int32_t kernel[2], strides[2], padding[2], dilation[2];
} net_windows;

/* Where each tap of a window begins, -1 where it lies outside of the image. */
static void net_taps(const net_windows* of, int32_t window, int32_t* at) {
  const int32_t top = window / of->columns * of->strides[0] - of->padding[0];
  const int32_t left = window % of->columns * of->strides[1] - of->padding[1];
  int32_t i, j;
  for (i = 0; i < of->kernel[0]; ++i) {
    for (j = 0; j < of->kernel[1]; ++j) {
      const int32_t row = top + i * of->dilation[0], column = left + j * of->dilation[1];
      const int inside = row >= 0 && row < of->height && column >= 0 && column < of->width;
      *at++ = inside ? (row * of->width + column) * of->step : -1;
    }
  }
}

/* The floats of a window, channels from `begin` on, with `outside` outside of the image. */
static void net_window(const float* x, const int32_t* at, int32_t taps, int32_t begin, int32_t channels, float outside,
                       float* y) {
  int32_t i, c;
  for (i = 0; i < taps; ++i) {
    for (c = 0; c < channels; ++c) *y++ = at[i] < 0 ? outside : x[at[i] + begin + c];
  }
}

/* The pixels of a window, 0 outside of the image. */
static void net_window_pixels(const uint8_t* x, const int32_t* at, int32_t taps, int32_t channels, uint8_t* y) {
  int32_t i, c;
  for (i = 0; i < taps; ++i) {
    for (c = 0; c < channels; ++c) *y++ = (uint8_t)(at[i] < 0 ? 0 : x[at[i] + c]);
  }
}

/* The words of a window; outside of the image are the bits of +1, or with `minus` those of -1. */
static void net_window_bits(const uint32_t* x, const int32_t* at, int32_t taps, int32_t channels, int minus,
                            uint32_t* y) {
  const int32_t words = (channels + 31) / 32;
  int32_t i, w;
  for (i = 0; i < taps; ++i) {
    for (w = 0; w < words; ++w) {
      const uint32_t ones = 0xffffffffu >> (w + 1 < words ? 0 : 32 * words - channels);
      *y++ = at[i] >= 0 ? x[at[i] + w] : minus ? ones : 0;
    }
  }
}

/* The largest of each channel of a window. NaN is ignored, and nothing is below the lowest float. */
static void net_max_pool(const float* x, const int32_t* at, int32_t taps, int32_t channels, float* y) {
  int32_t i, c;
  for (c = 0; c < channels; ++c) {
    float most = -3.4028234663852886e+38f;
    for (i = 0; i < taps; ++i) {
      if (at[i] >= 0 && x[at[i] + c] > most) most = x[at[i] + c];
    }
    y[c] = most;
  }
}

/* The bits of the largest of each channel. */
static void net_bit_pool(const uint32_t* x, const int32_t* at, int32_t taps, int32_t words, uint32_t* y) {
  int32_t i, w;
  for (w = 0; w < words; ++w) {
    uint32_t all = 0xffffffffu;
    for (i = 0; i < taps; ++i) all &= at[i] >= 0 ? x[at[i] + w] : 0xffffffffu;
    y[w] = all;
  }
}

/* The bits of the largest of each channel, of the smallest where the channel falls. */
static void net_falling_pool(const uint32_t* x, const int32_t* at, int32_t taps, int32_t words, const uint32_t* falls,
                             uint32_t* y) {
  int32_t i, w;
  for (w = 0; w < words; ++w) {
    uint32_t all = 0xffffffffu, any = 0;
    for (i = 0; i < taps; ++i) {
      if (at[i] >= 0) {
        all &= x[at[i] + w];
        any |= x[at[i] + w];
      }
    }
    y[w] = (all & ~falls[w]) | (any & falls[w]);
  }
}

/* How many places of a window along an axis count: those in the image, or with `all` in the padded image. */
static int32_t net_count(int32_t begin, int32_t kernel, int32_t size, int32_t padding, int all) {
  const int32_t end = all ? size + padding : size;
  return (begin + kernel < end ? begin + kernel : end) - (all || begin > 0 ? begin : 0);
}

/* The mean of each channel of a window: the sum is divided, or with `each` every element before it is added. */
static void net_average_pool(const float* x, const net_windows* of, int32_t window, const int32_t* at, int32_t channels,
                             int all, int each, float* y) {
  const int32_t top = window / of->columns * of->strides[0] - of->padding[0];
  const int32_t left = window % of->columns * of->strides[1] - of->padding[1];
  const float count = (float)(net_count(top, of->kernel[0], of->height, of->padding[0], all) *
                              net_count(left, of->kernel[1], of->width, of->padding[1], all));
  const int32_t taps = of->kernel[0] * of->kernel[1];
  int32_t i, c;
  for (c = 0; c < channels; ++c) {
    float sum = 0.0f;
    for (i = 0; i < taps; ++i) {
      if (at[i] >= 0) sum = (float)(sum + (each ? (float)(x[at[i] + c] / count) : x[at[i] + c]));
    }
    y[c] = each ? sum : (float)(sum / count);
  }
}
