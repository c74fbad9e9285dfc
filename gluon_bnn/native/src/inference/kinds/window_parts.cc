#include "inference/kinds/window_parts.h"

namespace gluon_bnn {
namespace {

struct Pair {
  int64_t vertical, horizontal;
};

Pair pair_of(const Parts& parts, const char* name, const Shape& numbers) {
  if (numbers.size() != 2)
    parts.refuse("%s must be two numbers, vertical and horizontal, got %zu", name, numbers.size());
  return {numbers[0], numbers[1]};
}

struct Windows2D {
  WindowAxis vertical, horizontal;
};

Windows2D take_axes(Parts& parts, const Value& x) {
  if (x.shape.size() != 3) parts.refuse("windows need an image, height x width x channels");
  const Pair kernel = pair_of(parts, "kernel", parts.sizes("kernel"));
  const Pair strides = pair_of(parts, "strides", parts.sizes("strides"));
  const Pair padding = pair_of(parts, "padding", parts.places("padding"));
  return {{x.shape[0], kernel.vertical, strides.vertical, padding.vertical},
          {x.shape[1], kernel.horizontal, strides.horizontal, padding.horizontal}};
}

void check_fit(const Parts& parts, const WindowAxis& axis) {
  if (axis.extent() <= axis.size + 2 * axis.pad) return;
  parts.refuse("a window must fit into the padded image: kernel %lld with dilation %lld covers %lld places, of %lld",
               static_cast<Long>(axis.kernel), static_cast<Long>(axis.dilation), static_cast<Long>(axis.extent()),
               static_cast<Long>(axis.size + 2 * axis.pad));
}

void check_size(const Parts& parts, int64_t height, int64_t width, int64_t channels) {
  if (height <= kMostElements && width <= kMostElements / height && channels <= kMostElements / (height * width))
    return;
  parts.refuse("a value must have at most %lld elements, got %lldx%lldx%lld", static_cast<Long>(kMostElements),
               static_cast<Long>(height), static_cast<Long>(width), static_cast<Long>(channels));
}

}  // namespace

ConvSizes take_conv(Parts& parts, const Value& x) {
  const int64_t channels = parts.number("channels", 1);
  Windows2D windows = take_axes(parts, x);
  const Pair dilation = pair_of(parts, "dilation", parts.sizes("dilation"));
  windows.vertical.dilation = dilation.vertical;
  windows.horizontal.dilation = dilation.horizontal;
  const auto& [vertical, horizontal] = windows;
  check_fit(parts, vertical);
  check_fit(parts, horizontal);
  check_size(parts, vertical.outputs(), horizontal.outputs(), channels);
  ConvSizes sizes = {0, vertical.size, horizontal.size, x.channels(), channels, vertical.kernel, horizontal.kernel};
  sizes.stride_h = vertical.stride;
  sizes.stride_w = horizontal.stride;
  sizes.pad_h = vertical.pad;
  sizes.pad_w = horizontal.pad;
  sizes.dilation_h = vertical.dilation;
  sizes.dilation_w = horizontal.dilation;
  return sizes;
}

PoolSizes take_pool(Parts& parts, const Value& x) {
  const Windows2D windows = take_axes(parts, x);
  const bool up = parts.word("rounding", {"floor", "ceil"}) == 1;
  const auto outputs = [&](const WindowAxis& axis) {
    check_fit(parts, axis);
    const int64_t left = axis.size + 2 * axis.pad - axis.kernel;
    return (up ? left + axis.stride - 1 : left) / axis.stride + 1;
  };
  const auto& [vertical, horizontal] = windows;
  const int64_t height = outputs(vertical), width = outputs(horizontal);
  check_size(parts, height, width, x.channels());
  const auto check_inside = [&](const WindowAxis& axis, int64_t count) {
    if (axis.pad < axis.kernel && axis.start(count - 1) < axis.size) return;
    parts.refuse(
        "every window must have places inside of the image: kernel %lld, strides %lld and padding %lld over "
        "%lld places have one without",
        static_cast<Long>(axis.kernel), static_cast<Long>(axis.stride), static_cast<Long>(axis.pad),
        static_cast<Long>(axis.size));
  };
  check_inside(vertical, height);
  check_inside(horizontal, width);
  return {0,
          vertical.size,
          horizontal.size,
          x.channels(),
          vertical.kernel,
          horizontal.kernel,
          vertical.stride,
          horizontal.stride,
          vertical.pad,
          horizontal.pad,
          height,
          width};
}

}  // namespace gluon_bnn
