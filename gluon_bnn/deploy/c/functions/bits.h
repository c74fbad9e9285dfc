/* Bits: bit t of a word is element t, 1 where a number is below 0; each place begins in a word of its own. */
#include <stdint.h>

/* The number of ones among the bits. */
static int32_t net_ones(uint32_t v) {
  v = v - ((v >> 1) & 0x55555555u);
  v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
  v = (v + (v >> 4)) & 0x0f0f0f0fu;
  return (int32_t)((uint32_t)(v * 0x01010101u) >> 24);
}

/* Products of n bits with the signs of each unit: n - 2 * the number of bits that differ. */
static void net_dots(const uint32_t* x, int32_t words, int32_t n, const uint32_t* weights, int32_t units,
                     int32_t* dots) {
  int32_t unit, i;
  for (unit = 0; unit < units; ++unit) {
    int32_t differ = 0;
    for (i = 0; i < words; ++i) differ += net_ones(x[i] ^ *weights++);
    dots[unit] = n - 2 * differ;
  }
}

/* Takes what +1 outside of the image added to the products of a window, where a place outside counts 0. */
static void net_zero_outside(const int32_t* at, int32_t taps, int32_t channels, const uint32_t* weights, int32_t units,
                             int32_t* dots) {
  const int32_t words = (channels + 31) / 32;
  int32_t unit, i, w;
  for (i = 0; i < taps; ++i) {
    if (at[i] >= 0) continue;
    for (unit = 0; unit < units; ++unit) {
      const uint32_t* tap = weights + (unit * taps + i) * words;
      int32_t ones = 0;
      for (w = 0; w < words; ++w) ones += net_ones(tap[w]);
      dots[unit] -= channels - 2 * ones;
    }
  }
}

/* Products of pixels with the signs of each unit. For each four pixels all 16 sums of theirs with some signs are formed
 * once; four bits of a unit's weights choose one. */
static void net_pixel_dots(const uint8_t* x, int32_t n, const uint32_t* weights, int32_t units, int32_t* dots) {
  const int32_t words = (n + 31) / 32;
  int32_t unit, word;
  for (unit = 0; unit < units; ++unit) dots[unit] = 0;
  for (word = 0; word < words; ++word) {
    int16_t sums[8][16];
    const int32_t left = n - 32 * word, groups = left < 32 ? (left + 3) / 4 : 8;
    int32_t group, i, code;
    for (group = 0; group < groups; ++group) {
      int16_t* of = sums[group];
      of[0] = 0;
      for (i = 0; i < 4; ++i) {
        const int pixel = 4 * group + i < left ? x[32 * word + 4 * group + i] : 0;
        for (code = 0; code < 1 << i; ++code) {
          of[code + (1 << i)] = (int16_t)(of[code] - pixel);
          of[code] = (int16_t)(of[code] + pixel);
        }
      }
    }
    for (unit = 0; unit < units; ++unit) {
      uint32_t bits = weights[unit * words + word];
      int32_t dot = 0;
      for (group = 0; group < groups; ++group, bits >>= 4) dot += sums[group][bits & 15u];
      dots[unit] += dot;
    }
  }
}

/* Bits of a row: 1 where a product is below the unit's threshold. */
static void net_below(const int32_t* dots, const int32_t* threshold, int32_t n, uint32_t* y) {
  int32_t i;
  for (i = 0; i < n; ++i) {
    if (i % 32 == 0) y[i / 32] = 0;
    y[i / 32] |= (uint32_t)(dots[i] < threshold[i]) << i % 32;
  }
}

/* The signs of floats, each place from a word of its own. */
static void net_pack(const float* x, int32_t places, int32_t channels, uint32_t* y) {
  int32_t i, c;
  for (i = 0; i < places; ++i, y += (channels + 31) / 32) {
    for (c = 0; c < channels; ++c) {
      if (c % 32 == 0) y[c / 32] = 0;
      y[c / 32] |= (uint32_t)(*x++ < 0.0f) << c % 32;
    }
  }
}

/* The signs of what pixels stand for. */
static void net_pack_pixels(const uint8_t* x, int32_t places, int32_t channels, const int16_t* threshold, uint32_t* y) {
  int32_t i, c;
  for (i = 0; i < places; ++i, y += (channels + 31) / 32) {
    for (c = 0; c < channels; ++c) {
      if (c % 32 == 0) y[c / 32] = 0;
      y[c / 32] |= (uint32_t)(*x++ < *threshold++) << c % 32;
    }
  }
}

/* Bits of an image as those of one row, without gaps. */
static void net_flatten(const uint32_t* x, int32_t places, int32_t channels, uint32_t* y) {
  int32_t i, c, to = 0;
  for (i = 0; i < places; ++i, x += (channels + 31) / 32) {
    for (c = 0; c < channels; ++c, ++to) {
      if (to % 32 == 0) y[to / 32] = 0;
      y[to / 32] |= (x[c / 32] >> c % 32 & 1u) << to % 32;
    }
  }
}
