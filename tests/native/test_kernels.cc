// The C interface alone, without Python and MXNet, and what it cannot show of the kernels: every instruction set of the
// machine against loops that are as plain as the formulas. Arrays have just the size they need, so that a sanitizer
// sees every step beyond. Built and run by run.sh; prints "ok" and the instruction sets, or what differed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "common.h"
#include "kernels/table.h"
#include "kernels/winograd.h"
#include "model.h"

namespace {

using gluon_bnn::kTileUnits;

int whole(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator); }

template <typename T, typename Make>
std::vector<T> filled(size_t size, const Make& make) {
  std::vector<T> values(size);
  for (T& value : values) value = make();
  return values;
}

int words(int bits) { return (bits + 31) / 32; }
int blocks(int units) { return (units + 15) / 16; }

template <typename T>
void same(const std::vector<T>& found, const std::vector<T>& expected, const char* what, int m, int n, int64_t k) {
  if (found.size() == expected.size() && std::memcmp(found.data(), expected.data(), sizeof(T) * found.size()) == 0) {
    return;
  }
  std::ostringstream text;
  text << what << " at rows " << m << ", units " << n << ", inputs " << k;
  fail(text.str());
}

void good(int code, const char* what) {
  if (code != GLUON_BNN_OK) fail(std::string(what) + ": " + gluon_bnn_error());
}

void refused(int code, const char* word) {
  if (code == GLUON_BNN_OK) fail(std::string("accepted what has a wrong ") + word);
  if (std::strstr(gluon_bnn_error(), word) == nullptr) {
    fail(std::string("message without ") + word + ": " + gluon_bnn_error());
  }
}

bool below(float x) { return x < 0; }

std::vector<int32_t> packed(const std::vector<bool>& bit, int rows, int size) {
  std::vector<int32_t> to(rows * words(size));
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < size; ++i) {
      if (bit[r * size + i]) to[r * words(size) + i / 32] |= static_cast<int32_t>(1u << i % 32);
    }
  }
  return to;
}

void check(int m, int n, int k) {
  auto x = filled<float>(m * k, real);
  x[0] = -0.0f;
  x[m * k / 2] = NAN;
  const auto w = filled<float>(n * k, real);
  const auto alpha = filled<float>(n, real), bias = filled<float>(n, real);
  const auto pixels = filled<uint8_t>(m * k, [] { return whole(0, 255); });
  const auto limit = filled<int32_t>(k, [] { return whole(-2, 258); });
  const auto threshold = filled<int32_t>(n, [k] { return whole(-k - 1, k + 1); });

  std::vector<bool> bit(m * k), bit_u8(m * k);
  for (int i = 0; i < m * k; ++i) {
    bit[i] = below(x[i]);
    bit_u8[i] = pixels[i] < limit[i % k];
  }
  std::vector<int32_t> bits(m * words(k)), found(m * words(k));
  good(gluon_bnn_pack_inputs(x.data(), m, k, bits.data()), "pack_inputs");
  same(bits, packed(bit, m, k), "pack_inputs", m, n, k);
  good(gluon_bnn_pack_inputs_u8(pixels.data(), limit.data(), m, k, found.data()), "pack_inputs_u8");
  same(found, packed(bit_u8, m, k), "pack_inputs_u8", m, n, k);

  std::vector<int32_t> weights(blocks(n) * words(k) * 16), expected_weights(weights.size());
  for (int u = 0; u < n; ++u) {
    for (int i = 0; i < k; ++i) {
      if (below(w[u * k + i])) {
        expected_weights[(u / 16 * words(k) + i / 32) * 16 + u % 16] |= static_cast<int32_t>(1u << i % 32);
      }
    }
  }
  good(gluon_bnn_pack_weights(w.data(), n, k, weights.data()), "pack_weights");
  same(weights, expected_weights, "pack_weights", m, n, k);

  // NaN has served its purpose: bit 0. In a sum it would hide everything else.
  x[m * k / 2] = 0.5f;
  std::vector<float> y(m * n), from_bits(m * n), from_floats(m * n), from_pixels(m * n);
  std::vector<bool> out(m * n);
  for (int r = 0; r < m; ++r) {
    for (int u = 0; u < n; ++u) {
      const auto sign = [&](int i) { return i < k && below(w[u * k + i]) ? -1 : 1; };
      int dot = 0, dot_u8 = 0;
      for (int i = 0; i < k; ++i) {
        dot += bit[r * k + i] ? -sign(i) : sign(i);
        dot_u8 += sign(i) * pixels[r * k + i];
      }
      float sum = 0;
      for (int begin = 0; begin < k; begin += 256) {
        float part = 0;
        for (int i = begin; i < std::min(k, begin + 256); i += 4) {
          float p[4];
          for (int t = 0; t < 4; ++t) p[t] = sign(i + t) * (i + t < k ? x[r * k + i + t] : 0.0f);
          part += (p[0] + p[1]) + (p[2] + p[3]);
        }
        sum += part;
      }
      from_bits[r * n + u] = alpha[u] * dot + bias[u];
      from_floats[r * n + u] = alpha[u] * sum + bias[u];
      from_pixels[r * n + u] = alpha[u] * dot_u8 + bias[u];
      out[r * n + u] = dot < threshold[u];
    }
  }
  const auto* a = alpha.data();
  const auto* b = bias.data();
  good(gluon_bnn_xnor_dense(bits.data(), weights.data(), a, b, m, n, k, y.data()), "xnor_dense");
  same(y, from_bits, "xnor_dense", m, n, k);
  good(gluon_bnn_binary_dense(x.data(), weights.data(), a, b, m, n, k, y.data()), "binary_dense");
  same(y, from_floats, "binary_dense", m, n, k);
  good(gluon_bnn_binary_dense_u8(pixels.data(), weights.data(), a, b, m, n, k, y.data()), "binary_dense_u8");
  same(y, from_pixels, "binary_dense_u8", m, n, k);
  std::vector<int32_t> next(m * words(n));
  good(gluon_bnn_xnor_dense_bits(bits.data(), weights.data(), threshold.data(), m, n, k, next.data()),
       "xnor_dense_bits");
  same(next, packed(out, m, n), "xnor_dense_bits", m, n, k);

  // The same products as nets: floats to bits to floats, and 0/1 inputs, whose dot is (dot + sums) / 2.
  std::vector<int32_t> sums(n), again((n + 15) / 16 * words(n) * 16);
  std::vector<float> ones(n, 1.0f), identity(n * n);
  for (int u = 0; u < n; ++u) {
    for (int i = 0; i < k; ++i) sums[u] += below(w[u * k + i]) ? -1 : 1;
    for (int i = 0; i < n; ++i) identity[u * n + i] = real();
  }
  good(gluon_bnn_pack_weights(identity.data(), n, n, again.data()), "pack_weights");
  const std::string input = "input shape=" + std::to_string(k), units = "units=" + std::to_string(n);
  ModelFile over01;
  over01.node(input);
  over01.node("pack 0 to=bits01");
  over01.node("binary_dense 1 " + units + " to=float");
  over01.weight_bits(weights, n);
  over01.array("alpha", alpha);
  over01.array("bias", bias);
  over01.array("sums", sums);
  good(gluon_bnn_run(load(over01).get(), x.data(), m, y.data()), "run");
  for (int r = 0; r < m; ++r) {
    for (int u = 0; u < n; ++u) {
      int dot01 = 0;
      for (int i = 0; i < k; ++i) dot01 += below(x[r * k + i]) ? 0 : below(w[u * k + i]) ? -1 : 1;
      from_bits[r * n + u] = alpha[u] * dot01 + bias[u];
    }
  }
  same(y, from_bits, "run over 0/1", m, n, k);

  ModelFile deep_file;
  deep_file.node(input);
  deep_file.array("scale", std::vector<float>{1.0f});
  deep_file.array("shift", std::vector<float>(k));
  deep_file.node("binary_dense 0 " + units + " to=bits");
  deep_file.weight_bits(weights, n);
  for (const char* name : {"alpha", "alpha_u8"}) deep_file.array(name, alpha);
  for (const char* name : {"bias", "bias_u8"}) deep_file.array(name, bias);
  deep_file.node("binary_dense 1 " + units + " to=float");
  deep_file.weight_bits(again, n);
  for (const char* name : {"alpha", "factor"}) deep_file.array(name, alpha);
  for (const char* name : {"bias", "mean"}) deep_file.array(name, bias);
  deep_file.array("beta", ones);
  const Model deep = load(deep_file);
  const auto deep_result = [&](const std::vector<float>& hidden) {
    std::vector<float> result(m * n);
    for (int r = 0; r < m; ++r) {
      for (int u = 0; u < n; ++u) {
        int dot = 0;
        for (int i = 0; i < n; ++i) dot += below(hidden[r * n + i]) != below(identity[u * n + i]) ? -1 : 1;
        const float scaled = alpha[u] * dot;
        result[r * n + u] = (scaled + bias[u] - bias[u]) * alpha[u] + 1.0f;
      }
    }
    return result;
  };
  good(gluon_bnn_run(deep.get(), x.data(), m, y.data()), "run");
  same(y, deep_result(from_floats), "run floats to bits to floats", m, n, k);
  good(gluon_bnn_run_u8(deep.get(), pixels.data(), m, y.data()), "run_u8");
  same(y, deep_result(from_pixels), "run_u8", m, n, k);
}

// So many results that some instruction sets write them past the caches, in each kind of sum.
void check_large_results() {
  if (gluon_bnn::kernels().epilogue_xnor_stream == nullptr) return;  // nothing that fewer results do not show
  const int m = 1024, n = 1024, k = 3;
  const auto w = filled<float>(n * k, real), x = filled<float>(m * k, real), ones = std::vector<float>(n, 1.0f);
  std::vector<int32_t> weights(blocks(n) * 16), bits(m), sums(n);
  good(gluon_bnn_pack_weights(w.data(), n, k, weights.data()), "pack_weights");
  for (int u = 0; u < n; ++u) {
    for (int i = 0; i < k; ++i) sums[u] += below(w[u * k + i]) ? -1 : 1;
  }
  std::vector<float> memory(m * n + 16), expected(m * n), found(m * n);
  float* y = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64 / sizeof(float);
  for (const std::string form : {"bits", "bits01"}) {
    for (const bool norm : {false, true}) {
      ModelFile file;
      file.node("input shape=" + std::to_string(k));
      file.node("pack 0 to=" + form);
      file.node("binary_dense 1 units=" + std::to_string(n) + " to=float");
      file.weight_bits(weights, n);
      for (const char* name : {"alpha", "bias"}) file.array(name, ones);
      if (form == "bits01") file.array("sums", sums);
      for (const char* name : {"mean", "factor", "beta"}) {
        if (norm) file.array(name, ones);
      }
      for (int r = 0; r < m; ++r) {
        for (int u = 0; u < n; ++u) {
          int dot = 0;
          for (int i = 0; i < k; ++i) dot += below(x[r * k + i]) != below(w[u * k + i]) ? -1 : 1;
          expected[r * n + u] = (form == "bits" ? dot : (dot + sums[u]) / 2) + 1.0f;
        }
      }
      good(gluon_bnn_run(load(file).get(), x.data(), m, y), "run");
      std::copy(y, y + m * n, found.begin());
      same(found, expected, "run with large results", m, n, k);
      if (form == "bits" && !norm) {
        good(gluon_bnn_pack_inputs(x.data(), m, k, bits.data()), "pack_inputs");
        good(gluon_bnn_xnor_dense(bits.data(), weights.data(), ones.data(), ones.data(), m, n, k, y), "xnor_dense");
        std::copy(y, y + m * n, found.begin());
        same(found, expected, "xnor_dense with large results", m, n, k);
      }
    }
  }
}

// All bits differ, in more words than kernels add up in bytes.
void check_largest_counts() {
  const int m = 5, n = 33, k = 4200;
  const std::vector<float> x(m * k, -1.0f), w(n * k, 1.0f), ones(n, 1.0f), zeros(n);
  std::vector<int32_t> bits(m * words(k)), weights(blocks(n) * words(k) * 16);
  good(gluon_bnn_pack_inputs(x.data(), m, k, bits.data()), "pack_inputs");
  good(gluon_bnn_pack_weights(w.data(), n, k, weights.data()), "pack_weights");
  std::vector<float> y(m * n);
  good(gluon_bnn_xnor_dense(bits.data(), weights.data(), ones.data(), zeros.data(), m, n, k, y.data()), "xnor_dense");
  same(y, std::vector<float>(m * n, -k), "xnor_dense of opposite signs", m, n, k);
}

// The counts and sums of as many inputs as are allowed, which no test has the memory to make: all signs plus, all minus
// and what lies between. Twice a count, and dot + sums, do not fit into int32.
void check_most_inputs() {
  const gluon_bnn::Kernels& k = gluon_bnn::kernels();
  const int rows = 5, units = 48;
  for (const int64_t inputs : {GLUON_BNN_MOST_INPUTS, GLUON_BNN_MOST_INPUTS - 1}) {
    const int64_t count_of[rows] = {0, 1, inputs / 2, inputs - 1, inputs};
    std::vector<int32_t> counts(rows * kTileUnits), sums(units), threshold(units);
    std::vector<uint32_t> bits(rows * words(units));
    std::vector<float> ones(units, 1.0f), y(rows * units), memory(rows * units + 16);
    float* aligned = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64 / sizeof(float);
    for (int u = 0; u < units; ++u) {
      const int64_t sum_of[5] = {inputs, inputs - 2, inputs % 2, 2 - inputs, -inputs};
      const int64_t threshold_of[7] = {INT32_MIN, -inputs, -inputs + 1, 0, inputs, inputs + 1, INT32_MAX};
      sums[u] = static_cast<int32_t>(sum_of[u % 5]);
      threshold[u] = static_cast<int32_t>(threshold_of[u % 7]);
      for (int r = 0; r < rows; ++r) counts[r * kTileUnits + u] = static_cast<int32_t>(count_of[(r + u / 5) % rows]);
    }
    const auto dot = [&](int r, int u) { return inputs - 2 * int64_t{counts[r * kTileUnits + u]}; };
    for (const bool with_sums : {false, true}) {
      for (const bool norm : {false, true}) {
        const float* third = norm ? ones.data() : nullptr;
        const gluon_bnn::Epilogue epilogue = {ones.data(), ones.data(), third,
                                              third,       third,       with_sums ? sums.data() : nullptr};
        std::vector<float> want(rows * units);
        for (int i = 0; i < rows * units; ++i) {
          const int64_t d = dot(i / units, i % units);
          want[i] = static_cast<float>(with_sums ? (d + sums[i % units]) / 2 : d) + 1.0f;
          if (norm) want[i] = want[i] - 1.0f + 1.0f;
        }
        k.epilogue_xnor(counts.data(), rows, units, inputs, epilogue, y.data(), units);
        same(y, want, "epilogue_xnor with most inputs", rows, units, inputs);
        if (k.epilogue_xnor_stream == nullptr) continue;
        k.epilogue_xnor_stream(counts.data(), rows, units, inputs, epilogue, aligned, units);
        std::copy(aligned, aligned + rows * units, y.begin());
        same(y, want, "epilogue_xnor_stream with most inputs", rows, units, inputs);
      }
    }
    for (const int width : {units, units - 3}) {
      std::vector<bool> out(rows * width);
      for (int i = 0; i < rows * width; ++i) out[i] = dot(i / width, i % width) < threshold[i % width];
      k.epilogue_xnor_bits(counts.data(), rows, width, inputs, threshold.data(), bits.data(), words(width));
      const auto want = packed(out, rows, width);
      same(bits, std::vector<uint32_t>(want.begin(), want.end()), "epilogue_xnor_bits with most inputs", rows, width,
           inputs);
    }
  }
}

// Sums of four inputs a lane, chosen by four bits each, in the order of binary_dense's additions.
void check_signed_sums() {
  using gluon_bnn::kLanes;
  const gluon_bnn::Kernels& k = gluon_bnn::kernels();
  const int outputs = 5;
  const auto x = filled<float>(32 * kLanes, real);
  const auto bits = filled<uint32_t>(outputs, [] { return generator(); });
  const int64_t offsets[outputs] = {0, 3, 200, 100, 201};  // some lanes of two outputs are the same
  std::vector<float> y(201 + kLanes, 0.5f), expected = y, sums(gluon_bnn::kSignedSums);
  const float* rows[32];
  for (int i = 0; i < 32; ++i) rows[i] = &x[(i * 7 % 32) * kLanes];
  for (int u = 0; u < outputs; ++u) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const auto term = [&](int i) { return bits[u] >> i & 1 ? -rows[i][lane] : rows[i][lane]; };
      float& to = expected[offsets[u] + lane];
      for (int i = 0; i < 32; i += 4) to += (term(i) + term(i + 1)) + (term(i + 2) + term(i + 3));
    }
  }
  k.signed_sums(rows, gluon_bnn::kInOrder, kLanes, sums.data());
  k.add_signed_sums(sums.data(), kLanes, bits.data(), offsets, outputs, gluon_bnn::kInOrder, y.data());
  same(y, expected, "add_signed_sums", outputs, kLanes, 32);
  for (int lanes = 1; lanes < kLanes; ++lanes) {  // others may change
    const int64_t offset = 0;
    std::fill(y.begin(), y.end(), 0.5f);
    std::fill(sums.begin(), sums.end(), NAN);
    k.signed_sums(rows, gluon_bnn::kInOrder, lanes, sums.data());
    k.add_signed_sums(sums.data(), lanes, bits.data(), &offset, 1, gluon_bnn::kInOrder, y.data());
    if (!std::equal(y.begin(), y.begin() + std::min(lanes, 3), expected.begin())) fail("signed sums of few lanes");
  }
}

// More blocks than the loops around the kernels ask for at a time.
void check_many_blocks() {
  const gluon_bnn::Kernels& k = gluon_bnn::kernels();
  const int words = 3;
  for (int n = 1; n <= 9; ++n) {
    const auto x = filled<uint8_t>(words * 32, [] { return whole(0, 255); });
    const auto w = filled<uint32_t>(n * words * 16, [] { return generator(); });
    std::vector<int32_t> sums(n * 16, 7), expected(n * 16, 7);
    for (int u = 0; u < n * 16; ++u) {
      for (int i = 0; i < words * 32; ++i) {
        expected[u] += w[(u / 16 * words + i / 32) * 16 + u % 16] >> i % 32 & 1 ? -x[i] : x[i];
      }
    }
    k.u8_gemm(x.data(), words * 32, 1, w.data(), words * 16, n, words, sums.data());
    same(sums, expected, "u8_gemm", 1, n * 16, words * 32);
  }
}

// Winograd's factors of a row of tiles, `kWidth` numbers each, from `kSide` x `kSide` places. What lies after the row
// is another thread's, and must stay. Vectors are wider than tiles where the compiler's flags allow wider ones than
// those of the instruction set.
template <int kWidth, int kSide, typename Run>
void check_tiles(const int (&factors)[4][kSide], const Run& run, const char* what) {
  constexpr int64_t kPlace = 40, kAfter = 64;
  for (int64_t tiles : {1, 2, 3, 9}) {
    const int64_t row = (2 * tiles + kSide - 2) * kPlace, part = tiles * kWidth + kAfter;
    const auto from = filled<float>(kSide * row + gluon_bnn::kLanes, [] { return whole(-9, 9); });
    std::vector<float> to(16 * part, 7.5f), expected = to;
    for (int64_t i = 0; i < 16 * tiles * kWidth; ++i) {
      const int64_t product = i / (tiles * kWidth), t = i / kWidth % tiles, lane = i % kWidth;
      float& sum = expected[product * part + t * kWidth + lane] = 0;
      for (int64_t y = 0; y < kSide; ++y) {
        for (int64_t at = 0; at < kSide; ++at) {
          const int factor = factors[product / 4][y] * factors[product % 4][at];
          sum += factor * from[y * row + (2 * t + at) * kPlace + lane];
        }
      }
    }
    run(from.data(), kPlace, row, tiles, to.data(), part);
    if (to != expected) fail(std::string(what) + " of " + std::to_string(kWidth) + " in a row of tiles");
  }
}

void check_winograd() {
  const int dy[4][2] = {{1, 0}, {1, 1}, {1, -1}, {0, 1}};
  const int x[4][4] = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}};
  constexpr int kLanes = gluon_bnn::kVectorLanes;
  check_tiles<1>(dy, gluon_bnn::winograd_dy<1>, "winograd_dy");
  check_tiles<kLanes / 2 + 1>(dy, gluon_bnn::winograd_dy<kLanes / 2 + 1>, "winograd_dy");
  check_tiles<kLanes>(dy, gluon_bnn::winograd_dy<kLanes>, "winograd_dy");
  check_tiles<kLanes / 2>(x, gluon_bnn::winograd_x<kLanes / 2>, "winograd_x");
  check_tiles<2 * kLanes>(x, gluon_bnn::winograd_x<2 * kLanes>, "winograd_x");
}

void check_errors() {
  float x[4] = {}, y[4] = {};
  int32_t bits[16] = {};
  refused(gluon_bnn_use("mmx"), "instruction set");
  refused(gluon_bnn_use(nullptr), "instruction set");
  refused(gluon_bnn_pack_inputs(nullptr, 1, 4, bits), "x");
  refused(gluon_bnn_pack_inputs(x, 0, 4, bits), "rows");
  refused(gluon_bnn_pack_inputs(x, 1, -1, bits), "inputs");
  refused(gluon_bnn_pack_weights(x, INT64_MAX, 4, bits), "units");
  refused(gluon_bnn_xnor_dense(bits, bits, x, x, 1, 4, INT64_C(1) << 31, y), "inputs");
  refused(gluon_bnn_xnor_dense(bits, bits, x, nullptr, 1, 4, 4, y), "bias");
  refused(gluon_bnn_binary_dense_u8(reinterpret_cast<uint8_t*>(x), bits, x, x, 1, 1, GLUON_BNN_MOST_INPUTS_U8 + 1, y),
          "inputs");
  int64_t classes[1];
  ModelFile file;
  file.node("input shape=4");
  file.node("activation 0 function=relu");
  const Model model = load(file);
  refused(gluon_bnn_run(nullptr, x, 1, y), "model");
  refused(gluon_bnn_run(model.get(), nullptr, 1, y), "x");
  refused(gluon_bnn_run(model.get(), x, 1, nullptr), "result");
  refused(gluon_bnn_run(model.get(), x, 0, y), "rows");
  refused(gluon_bnn_predict(model.get(), x, INT64_MAX, classes), "rows");
  refused(gluon_bnn_run_u8(model.get(), reinterpret_cast<uint8_t*>(x), 1, y), "uint8");
  refused(gluon_bnn_predict_u8(model.get(), reinterpret_cast<uint8_t*>(x), 1, classes), "uint8");
  gluon_bnn_free(nullptr);
  if (gluon_bnn_inputs(nullptr) != 0 || gluon_bnn_outputs(nullptr) != 0 || gluon_bnn_takes_u8(nullptr) != 0) {
    fail("a model that is null has elements");
  }
}

}  // namespace

// Any argument leaves two sizes of three out.
int main(int argc, char**) {
  const bool small = argc > 1;
  const std::string names = on_every_instruction_set([small] {
    int turn = 0;
    for (int k : {1, 2, 3, 7, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 129, 1000}) {
      if (small && k == 1000) continue;
      for (int n : {1, 2, 15, 16, 17, 31, 33, 65, 97, 130}) {
        if (!small || turn++ % 3 == 0) check(whole(1, 13), n, k);  // ten of them: each k begins with another
      }
    }
    check(100, 70, 260);  // several pieces a thread
    check_large_results();
    check_largest_counts();
    check_most_inputs();
    check_many_blocks();
    check_signed_sums();
    check(3, 2000, 130);  // more units than a piece has
    check(2, 33, 8200);   // more inputs than a block
  });
  check_winograd();
  check_errors();
  std::printf("ok: %s\n", names.c_str());
}
