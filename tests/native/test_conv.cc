// Convolutions, pools and changes of layout of the room gemm on every instruction set, against plain loops. Arrays have
// just the size they need, so that a sanitizer sees every step beyond. Built and run by run.sh; prints "ok" and the
// instruction sets, or what differed.
#include <cfloat>
#include <cstring>
#include <vector>

#include "common.h"
#include "gemm/conv.h"
#include "gemm/image.h"
#include "gemm/pack.h"
#include "gemm/pool.h"

namespace {

using namespace gluon_bnn;

int64_t whole(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(generator); }

template <typename T, typename Make>
std::vector<T> filled(int64_t size, const Make& make) {
  std::vector<T> values(size);
  for (T& value : values) value = make();
  return values;
}

template <typename T>
void same(const std::vector<T>& found, const std::vector<T>& expected, const char* what, const ConvSizes& s) {
  if (found.size() == expected.size() && std::memcmp(found.data(), expected.data(), sizeof(T) * found.size()) == 0) {
    return;
  }
  std::ostringstream text;
  text << what << " of " << s.rows << " images " << s.height << "x" << s.width << "x" << s.channels << ", kernel "
       << s.kernel_h << "x" << s.kernel_w << ", strides " << s.stride_h << "x" << s.stride_w << ", padding " << s.pad_h
       << "x" << s.pad_w << ", dilation " << s.dilation_h << "x" << s.dilation_w << ", units " << s.units;
  fail(text.str());
}

ConvSizes random_sizes() {
  for (;;) {
    ConvSizes s = {whole(1, 3), whole(1, 9), whole(1, 9), whole(1, 70), whole(1, 70), whole(1, 4), whole(1, 4)};
    s.stride_h = whole(1, 3);
    s.stride_w = whole(1, 3);
    s.pad_h = whole(0, 4);
    s.pad_w = whole(0, 4);
    s.dilation_h = whole(1, 3);
    s.dilation_w = whole(1, 3);
    const auto fits = [](const WindowAxis& axis) { return axis.extent() <= axis.size + 2 * axis.pad; };
    if (fits(s.vertical()) && fits(s.horizontal())) return s;
  }
}

// The words of rows of `size` signs, each row from a word of its own.
std::vector<uint32_t> packed(const std::vector<float>& signs, int64_t size) {
  const int64_t words = ceil_div(size, kWord);
  std::vector<uint32_t> bits(signs.size() / size * words);
  for (int64_t i = 0; i < static_cast<int64_t>(signs.size()); ++i) {
    if (signs[i] < 0) bits[i / size * words + i % size / kWord] |= 1u << (i % size % kWord);
  }
  return bits;
}

// The weights (units, runs, size) in the packed layout.
std::vector<uint32_t> packed_weights(const std::vector<float>& w, int64_t units, int64_t runs, int64_t size) {
  const std::vector<uint32_t> rows = packed(w, size);
  const int64_t words = runs * ceil_div(size, kWord);
  std::vector<uint32_t> bits(ceil_div(units, kBlock) * kBlock * words);
  for (int64_t unit = 0; unit < units; ++unit) {
    for (int64_t word = 0; word < words; ++word) {
      bits[(unit / kBlock * words + word) * kBlock + unit % kBlock] = rows[unit * words + word];
    }
  }
  return bits;
}

// dot (rows, places, units) of x (rows, height, width, channels) and w (units, taps, channels).
template <typename T>
std::vector<int32_t> dots(const ConvSizes& s, const std::vector<T>& x, int outside, const std::vector<float>& w) {
  std::vector<int32_t> result;
  for (int64_t i = 0; i < s.rows * s.places(); ++i) {
    const int64_t row = i / s.places(), out_y = i % s.places() / s.out_width(), out_x = i % s.out_width();
    for (int64_t unit = 0; unit < s.units; ++unit) {
      int32_t dot = 0;
      const float* sign = &w[unit * s.inputs()];
      for (int64_t tap = 0; tap < s.taps(); ++tap) {
        const int64_t at_y = out_y * s.stride_h - s.pad_h + tap / s.kernel_w * s.dilation_h;
        const int64_t at_x = out_x * s.stride_w - s.pad_w + tap % s.kernel_w * s.dilation_w;
        const bool inside = at_y >= 0 && at_y < s.height && at_x >= 0 && at_x < s.width;
        const T* pixel = inside ? &x[((row * s.height + at_y) * s.width + at_x) * s.channels] : nullptr;
        for (int64_t c = 0; c < s.channels; ++c) {
          const int value = inside ? static_cast<int>(pixel[c]) : outside;
          dot += *sign++ < 0 ? -value : value;
        }
      }
      result.push_back(dot);
    }
  }
  return result;
}

// The bits dot < threshold.
std::vector<uint32_t> below(const std::vector<int32_t>& dot, const std::vector<int32_t>& threshold) {
  const int64_t units = static_cast<int64_t>(threshold.size());
  std::vector<float> signs(dot.size());
  for (size_t i = 0; i < dot.size(); ++i) signs[i] = dot[i] < threshold[i % units] ? -1.0f : 1.0f;
  return packed(signs, units);
}

std::vector<float> times(const std::vector<int32_t>& dot, const std::vector<float>& alpha,
                         const std::vector<float>& bias) {
  std::vector<float> y(dot.size());
  for (size_t i = 0; i < dot.size(); ++i) {
    const float product = alpha[i % alpha.size()] * static_cast<float>(dot[i]);
    y[i] = product + bias[i % alpha.size()];
  }
  return y;
}

void check(const ConvSizes& s) {
  const auto sign = [] { return whole(0, 1) == 0 ? -1.0f : 1.0f; };
  const auto x = filled<float>(s.rows * s.height * s.width * s.channels, sign);
  const auto w = filled<float>(s.units * s.inputs(), sign);
  const int64_t spread = std::max<int64_t>(2, s.inputs() / 4);
  const auto threshold = filled<int32_t>(s.units, [&] { return static_cast<int32_t>(whole(-spread, spread)); });
  const auto alpha = filled<float>(s.units, real), bias = filled<float>(s.units, real);
  Epilogue epilogue;
  epilogue.alpha = alpha.data();
  epilogue.bias = bias.data();
  const int64_t results = s.rows * s.places() * s.units, out_words = s.rows * s.places() * ceil_div(s.units, kWord);
  const auto words = packed(x, s.channels), bits_of_taps = packed_weights(w, s.units, s.taps(), s.channels);
  const auto bits_of_window = packed_weights(w, s.units, 1, s.inputs());

  for (const Pad pad : {Pad::kZero, Pad::kPlus, Pad::kMinus}) {
    const auto dot = dots(s, x, pad == Pad::kZero ? 0 : pad == Pad::kPlus ? 1 : -1, w);
    const Border border(s, pad, bits_of_taps.data());
    std::vector<float> y(results);
    xnor_conv(s, border, words.data(), bits_of_taps.data(), epilogue, y.data());
    same(y, times(dot, alpha, bias), "xnor_conv", s);
    std::vector<uint32_t> bits(out_words);
    xnor_conv_bits(s, border, words.data(), bits_of_taps.data(), threshold.data(), bits.data());
    same(bits, below(dot, threshold), "xnor_conv_bits", s);
    // Sums of +1, -1 and 0 are exact in any order.
    lut_conv(s, pad, x.data(), bits_of_window.data(), epilogue, {y.data(), nullptr});
    same(y, times(dot, alpha, bias), "lut_conv", s);
  }

  const auto pixels =
      filled<uint8_t>(static_cast<int64_t>(x.size()), [] { return static_cast<uint8_t>(whole(0, 255)); });
  const auto dot = dots(s, pixels, 0, w);
  std::vector<float> y(results);
  u8_conv(s, pixels.data(), bits_of_window.data(), epilogue, y.data());
  same(y, times(dot, alpha, bias), "u8_conv", s);
  std::vector<int32_t> pixel_threshold(threshold);
  for (int32_t& value : pixel_threshold) value *= 200;
  std::vector<uint32_t> bits(out_words);
  u8_conv_bits(s, pixels.data(), bits_of_window.data(), pixel_threshold.data(), bits.data());
  same(bits, below(dot, pixel_threshold), "u8_conv_bits", s);

  std::vector<float> transposed(w.size()), no_bias = std::vector<float>(s.units, 0.0f), ones(s.units, 1.0f);
  for (int64_t i = 0; i < static_cast<int64_t>(w.size()); ++i) {
    transposed[i % s.inputs() * s.units + i / s.inputs()] = w[i];
  }
  conv(s, 1, x.data(), transposed.data(), bias.data(), y.data());
  same(y, times(dots(s, x, 0, w), ones, bias), "conv", s);
}

// The largest sums that lanes have to hold: all inputs of one sign, or all 255, and all weights of either sign.
void check_largest(const ConvSizes& s) {
  const std::vector<float> x(s.rows * s.height * s.width * s.channels, -1.0f);
  const std::vector<uint8_t> pixels(x.size(), 255);
  const std::vector<float> ones(s.units, 1.0f), zeros(s.units, 0.0f);
  Epilogue epilogue;
  epilogue.alpha = ones.data();
  epilogue.bias = zeros.data();
  for (const float sign : {-1.0f, 1.0f}) {
    const std::vector<float> w(s.units * s.inputs(), sign);
    const auto words = packed(x, s.channels), bits_of_taps = packed_weights(w, s.units, s.taps(), s.channels);
    const auto bits_of_window = packed_weights(w, s.units, 1, s.inputs());
    std::vector<float> y(s.rows * s.places() * s.units);
    xnor_conv(s, Border(s, Pad::kZero, bits_of_taps.data()), words.data(), bits_of_taps.data(), epilogue, y.data());
    same(y, times(dots(s, x, 0, w), ones, zeros), "xnor_conv of equal signs", s);
    u8_conv(s, pixels.data(), bits_of_window.data(), epilogue, y.data());
    same(y, times(dots(s, pixels, 0, w), ones, zeros), "u8_conv of equal signs", s);
  }
}

// Layouts and pools of images of `s`.
void check_image(const ConvSizes& s) {
  const int64_t places = s.height * s.width, size = s.rows * places * s.channels;
  const auto x = filled<float>(size, real);
  std::vector<float> first(size), found(size);
  for (int64_t i = 0; i < size; ++i) {
    const int64_t c = i % s.channels, place = i / s.channels % places, row = i / s.channels / places;
    first[(row * s.channels + c) * places + place] = x[i];
  }
  channels_first(x.data(), s.rows, s.channels, places, found.data());
  same(found, first, "channels_first", s);
  channels_last(first.data(), s.rows, s.channels, places, found.data());
  same(found, x, "channels_last", s);
  std::vector<uint32_t> bits(s.rows * places * s.pixel_words());
  pack_image(first.data(), s.rows, s.channels, places, bits.data());
  same(bits, packed(x, s.channels), "pack_image", s);
  std::vector<uint32_t> flat(s.rows * ceil_div(places * s.channels, kWord));
  flatten_bits(bits.data(), s.rows, places, s.channels, flat.data());
  same(flat, packed(x, places * s.channels), "flatten_bits", s);

  PoolSizes pool = {s.rows, s.height, s.width, s.channels, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w};
  pool.pad_h = std::min(s.pad_h, s.kernel_h - 1);
  pool.pad_w = std::min(s.pad_w, s.kernel_w - 1);
  pool.kernel_h = std::min(pool.kernel_h, s.height + 2 * pool.pad_h);
  pool.kernel_w = std::min(pool.kernel_w, s.width + 2 * pool.pad_w);
  const auto outputs = [](const WindowAxis& axis) {
    const int64_t up = ceil_div(axis.size + 2 * axis.pad - axis.kernel, axis.stride) + 1;
    return axis.start(up - 1) < axis.size ? up : up - 1;
  };
  pool.out_height = outputs(pool.vertical());
  pool.out_width = outputs(pool.horizontal());
  if (pool.vertical().start(pool.out_height - 1) >= s.height ||
      pool.horizontal().start(pool.out_width - 1) >= s.width || pool.pad_h >= pool.kernel_h ||
      pool.pad_w >= pool.kernel_w) {
    return;
  }
  const auto falls = packed(filled<float>(s.channels, real), s.channels);
  std::vector<float> largest, signs, sums;
  for (int64_t i = 0; i < s.rows * pool.out_height * pool.out_width * s.channels; ++i) {
    const int64_t c = i % s.channels, place = i / s.channels;
    const int64_t out_x = place % pool.out_width, out_y = place / pool.out_width % pool.out_height;
    float most = -FLT_MAX, least = FLT_MAX;
    for (int64_t tap = 0; tap < pool.kernel_h * pool.kernel_w; ++tap) {
      const int64_t y = out_y * pool.stride_h - pool.pad_h + tap / pool.kernel_w;
      const int64_t across = out_x * pool.stride_w - pool.pad_w + tap % pool.kernel_w;
      if (y < 0 || y >= s.height || across < 0 || across >= s.width) continue;
      const int64_t row = place / pool.out_width / pool.out_height;
      const float value = x[((row * s.height + y) * s.width + across) * s.channels + c];
      most = std::max(most, value);
      least = std::min(least, value);
    }
    largest.push_back(most);
    signs.push_back(falls[c / kWord] >> c % kWord & 1 ? least : most);
  }
  std::vector<float> y(largest.size());
  max_pool(pool, x.data(), y.data());
  same(y, largest, "max_pool", s);
  std::vector<uint32_t> pooled(packed(signs, s.channels).size());
  max_pool_bits(pool, bits.data(), falls.data(), pooled.data());
  same(pooled, packed(signs, s.channels), "max_pool_bits", s);
  average_pool(pool, true, x.data(), y.data());
  average_pool(pool, false, x.data(), y.data());
}

}  // namespace

// Any argument makes images fewer and smaller, for sanitizers and emulators.
int main(int argc, char**) {
  const bool small = argc > 1;
  const std::string names = on_every_instruction_set([small] {
    for (int i = 0; i < (small ? 15 : 150); ++i) {
      const ConvSizes sizes = random_sizes();
      check(sizes);
      check_image(sizes);
    }
    ConvSizes wide = {1, 3, 5, 480, small ? 33 : 100, 3, 3};  // more words than a tile's weights have at a time
    wide.pad_h = wide.pad_w = 1;
    check(wide);
    const int64_t side = small ? 5 : 12;
    ConvSizes many = {2, side, side, 35, 300, 3, 3};  // shared among threads: the units, then the places
    many.pad_h = many.pad_w = 1;
    check(many);
    many.rows = 9;
    many.units = 20;
    check(many);
    ConvSizes deep = {1, 4, 4, 300, 33, 3, 3};
    deep.pad_h = deep.pad_w = 1;
    check_largest(deep);
    ConvSizes lines = {small ? 1 : 2, 20, 20, 160, 16, 3, 3};  // more than are laid out at a time
    lines.pad_h = 1;
    check(lines);
    ConvSizes striped = {2, 2, 1100, 33, 17, 2, 22};  // cut into stripes, with several blocks of weights
    striped.pad_h = striped.pad_w = 1;
    striped.stride_w = small ? 1 : 2;
    striped.width *= striped.stride_w;
    check(striped);
    ConvSizes sparse = {2, 3, 5, 7, 5, 1, 1};  // one window inside of the image, the others far away
    sparse.pad_h = sparse.pad_w = 1 << 20;
    sparse.stride_h = sparse.stride_w = 1 << 20;
    check(sparse);
    ConvSizes single = {3, 9, 7, 65, 40, 1, 1};  // read where it lies
    check(single);
    check_image(many);
  });
  std::printf("ok: %s\n", names.c_str());
  return 0;
}
