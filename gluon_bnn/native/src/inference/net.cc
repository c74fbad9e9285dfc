// A whole net in one call: its layers are checked, then run one after the other, some rows at a time.
#include <algorithm>

#include "error.h"
#include "gemm/gemm.h"
#include "gemm/pack.h"
#include "gluon_bnn.h"
#include "inference/activations.h"
#include "parallel.h"

namespace gluon_bnn {
namespace {

using Layer = gluon_bnn_layer;

constexpr int64_t kRows = 256;  // rows that pass through all layers before the next ones

const uint32_t* words(const void* bits) { return static_cast<const uint32_t*>(bits); }

Epilogue epilogue_of(const Layer& layer) {
  return {layer.alpha,  layer.bias, layer.mean,
          layer.factor, layer.beta, layer.from == GLUON_BNN_BITS01 ? layer.sums : nullptr};
}

int check_binary(const Layer& layer, long long i) {
  if (layer.weight_bits == nullptr) return fail("layer %lld: weight_bits must not be null", i);
  if (layer.from < GLUON_BNN_FLOAT || layer.from > GLUON_BNN_BITS01 || layer.to < GLUON_BNN_FLOAT ||
      layer.to > GLUON_BNN_BITS) {
    return fail("layer %lld: from must be 0 to 2 and to 0 or 1, got %d and %d", i, layer.from, layer.to);
  }
  if (layer.from != GLUON_BNN_FLOAT && layer.to == GLUON_BNN_BITS) {
    return layer.threshold != nullptr ? 0 : fail("layer %lld: threshold must not be null", i);
  }
  if (layer.alpha == nullptr || layer.bias == nullptr) {
    return fail("layer %lld: alpha and bias must not be null", i);
  }
  if ((layer.mean == nullptr) != (layer.factor == nullptr) || (layer.mean == nullptr) != (layer.beta == nullptr)) {
    return fail("layer %lld: mean, factor and beta must be null together or not at all", i);
  }
  if (layer.from == GLUON_BNN_BITS01 && layer.sums == nullptr) {
    return fail("layer %lld: sums must not be null where the inputs are 0 and 1", i);
  }
  return 0;
}

int check_layer(const Layer& layer, long long i, bool u8) {
  const int64_t most = u8 && layer.alpha_u8 != nullptr ? GLUON_BNN_MOST_INPUTS_U8 : GLUON_BNN_MOST_INPUTS;
  if (layer.inputs < 1 || layer.inputs > most || layer.units < 1 || layer.units > GLUON_BNN_MOST_INPUTS) {
    return fail("layer %lld: inputs must be from 1 to %lld and units to %lld, got %lld and %lld", i,
                static_cast<long long>(most), static_cast<long long>(GLUON_BNN_MOST_INPUTS),
                static_cast<long long>(layer.inputs), static_cast<long long>(layer.units));
  }
  if (layer.kind == GLUON_BNN_BINARY_DENSE) return check_binary(layer, i);
  const int32_t to = layer.kind == GLUON_BNN_PACK ? GLUON_BNN_BITS : GLUON_BNN_FLOAT;
  if (layer.kind < GLUON_BNN_BINARY_DENSE || layer.kind > GLUON_BNN_PACK) {
    return fail("layer %lld: kind must be 1 to 5, got %d", i, layer.kind);
  }
  if (layer.from != GLUON_BNN_FLOAT || layer.to != to) {
    return fail("layer %lld: a layer of kind %d goes from 0 to %d, got %d to %d", i, layer.kind, to, layer.from,
                layer.to);
  }
  if (layer.kind == GLUON_BNN_DENSE) {
    return layer.weight != nullptr ? 0 : fail("layer %lld: weight must not be null", i);
  }
  if (layer.inputs != layer.units) {
    return fail("layer %lld: a layer of kind %d has as many units as inputs, got %lld and %lld", i, layer.kind,
                static_cast<long long>(layer.units), static_cast<long long>(layer.inputs));
  }
  if (layer.kind == GLUON_BNN_BATCH_NORM &&
      (layer.mean == nullptr || layer.factor == nullptr || layer.beta == nullptr)) {
    return fail("layer %lld: mean, factor and beta must not be null", i);
  }
  if (layer.kind == GLUON_BNN_ACTIVATION &&
      (layer.function < GLUON_BNN_RELU || layer.function > GLUON_BNN_BINARY_SIGMOID)) {
    return fail("layer %lld: function must be 1 to 7, got %d", i, layer.function);
  }
  return 0;
}

int check_net(const Layer* layers, int64_t count, const void* x, int64_t rows, const void* y, bool u8) {
  if (layers == nullptr || x == nullptr || y == nullptr) return fail("layers, x and y must not be null");
  if (count < 1) return fail("a net must have at least one layer, got %lld", static_cast<long long>(count));
  if (rows < 1 || rows > (INT64_C(1) << 31)) {
    return fail("rows must be from 1 to 2^31, got %lld", static_cast<long long>(rows));
  }
  for (int64_t i = 0; i < count; ++i) {
    if (const int error = check_layer(layers[i], i, u8 && i == 0)) return error;
    if (i == 0) continue;
    const Layer &one = layers[i - 1], &next = layers[i];
    if (one.units != next.inputs || (one.to == GLUON_BNN_FLOAT) != (next.from == GLUON_BNN_FLOAT)) {
      return fail("layer %lld gives %lld units as form %d, layer %lld takes %lld inputs as form %d",
                  static_cast<long long>(i - 1), static_cast<long long>(one.units), one.to, static_cast<long long>(i),
                  static_cast<long long>(next.inputs), next.from);
    }
  }
  if (layers[0].from != GLUON_BNN_FLOAT || layers[count - 1].to != GLUON_BNN_FLOAT) {
    return fail("a net goes from floats to floats (form 0), got forms %d and %d", layers[0].from, layers[count - 1].to);
  }
  return 0;
}

int64_t bytes_a_row(const Layer& layer) {
  return 4 * (layer.to == GLUON_BNN_FLOAT ? layer.units : ceil_div(layer.units, kWord));
}

Result result_of(const Layer& layer, void* y) {
  if (layer.to == GLUON_BNN_FLOAT) return {static_cast<float*>(y), nullptr};
  return {nullptr, static_cast<uint32_t*>(y)};
}

void run_layer(const Layer& layer, const void* x, int64_t rows, void* y) {
  const auto [out, bits] = result_of(layer, y);
  const float* in = static_cast<const float*>(x);
  const DenseSizes sizes = {rows, layer.units, layer.inputs};
  switch (layer.kind) {
    case GLUON_BNN_BINARY_DENSE:
      if (layer.from == GLUON_BNN_FLOAT) {
        return lut_dense(sizes, in, words(layer.weight_bits), epilogue_of(layer), result_of(layer, y));
      }
      if (out == nullptr) return xnor_dense_bits(sizes, words(x), words(layer.weight_bits), layer.threshold, bits);
      return xnor_dense(sizes, words(x), words(layer.weight_bits), epilogue_of(layer), out);
    case GLUON_BNN_DENSE:
      return dense(sizes, in, layer.weight, layer.bias, out);
    case GLUON_BNN_BATCH_NORM:
      return batch_norm(in, layer.mean, layer.factor, layer.beta, rows, layer.units, out);
    case GLUON_BNN_ACTIVATION:
      return activation(layer.function, in, rows * layer.units, out);
    case GLUON_BNN_PACK:
      return pack_inputs(in, rows, layer.inputs, bits);
  }
}

// `first(row, rows, to)` runs what stands before layers[begin] and returns its result, or the inputs; `first_bytes` are
// those of a row of converted inputs.
template <typename First>
int run(const Layer* layers, int64_t count, int64_t begin, int64_t rows, int64_t first_bytes, float* y,
        const First& first) {
  return call([&] {
    // Results go to two buffers in turn, those of the last layer to y.
    int64_t bytes = first_bytes;
    for (int64_t i = 0; i + 1 < count; ++i) bytes = std::max(bytes, bytes_a_row(layers[i]));
    const Scratch<char> buffers(2, bytes * std::min(rows, kRows));
    int turn = 0;
    const auto next = [&] { return buffers[turn = 1 - turn]; };
    const int64_t units = layers[count - 1].units;
    for (int64_t row = 0; row < rows; row += kRows) {
      const int64_t size = std::min(kRows, rows - row);
      float* out = y + row * units;
      const void* data = first(row, size, begin == count ? static_cast<void*>(out) : next());
      for (int64_t i = begin; i < count; ++i) {
        void* to = i + 1 == count ? static_cast<void*>(out) : next();
        run_layer(layers[i], data, size, to);
        data = to;
      }
    }
  });
}

}  // namespace
}  // namespace gluon_bnn

extern "C" {

int gluon_bnn_run(const gluon_bnn_layer* layers, int64_t count, const float* x, int64_t rows, float* y) {
  if (const int error = gluon_bnn::check_net(layers, count, x, rows, y, false)) return error;
  return gluon_bnn::run(layers, count, 0, rows, 0, y,
                        [=](int64_t row, int64_t, void*) { return x + row * layers[0].inputs; });
}

int gluon_bnn_run_u8(const gluon_bnn_layer* layers, int64_t count, const uint8_t* x, float scale, const float* shift,
                     int64_t rows, float* y) {
  if (const int error = gluon_bnn::check_net(layers, count, x, rows, y, true)) return error;
  const gluon_bnn_layer& layer = layers[0];
  const int64_t inputs = layer.inputs;
  if (layer.kind == GLUON_BNN_BINARY_DENSE && layer.alpha_u8 != nullptr && layer.bias_u8 != nullptr) {
    gluon_bnn::Epilogue epilogue = gluon_bnn::epilogue_of(layer);
    epilogue.alpha = layer.alpha_u8;
    epilogue.bias = layer.bias_u8;
    return gluon_bnn::run(layers, count, 1, rows, 0, y, [&](int64_t row, int64_t size, void* to) -> const void* {
      gluon_bnn::u8_dense({size, layer.units, inputs}, x + row * inputs, gluon_bnn::words(layer.weight_bits), epilogue,
                          gluon_bnn::result_of(layer, to));
      return to;
    });
  }
  if (layer.kind == GLUON_BNN_PACK && layer.threshold_u8 != nullptr) {
    return gluon_bnn::run(layers, count, 1, rows, 0, y, [&](int64_t row, int64_t size, void* to) -> const void* {
      gluon_bnn::pack_inputs_u8(x + row * inputs, layer.threshold_u8, size, inputs, static_cast<uint32_t*>(to));
      return to;
    });
  }
  if (shift == nullptr) return gluon_bnn::fail("shift must not be null");
  return gluon_bnn::run(layers, count, 0, rows, 4 * inputs, y, [&](int64_t row, int64_t size, void* to) -> const void* {
    float* values = static_cast<float*>(to);
    for (int64_t r = 0; r < size; ++r) {
      const uint8_t* pixels = x + (row + r) * inputs;
      for (int64_t k = 0; k < inputs; ++k) values[r * inputs + k] = scale * pixels[k] + shift[k];
    }
    return values;
  });
}

}  // extern "C"
