// What training needs of the library, without Python and MXNet: a layer forward and backward, Adam and batch norm on
// every instruction set of the machine, against loops in double as plain as the formulas. Arrays have just the size
// they need, so that a sanitizer sees every step beyond. Built and run by run.sh.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "batch_norm.h"
#include "gluon_bnn.h"
#include "layer.h"
#include "optimizer.h"

namespace {

using gluon_bnn::Gradient;
using gluon_bnn::LayerSizes;
using gluon_bnn::Scale;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kBound = 8;  // in units of float's epsilon times the sum of the magnitudes, as in the Python tests

std::mt19937 generator(20161);

float real() { return std::normal_distribution<float>()(generator); }

Floats reals(int64_t size) {
  Floats values(size);
  for (float& value : values) value = real();
  return values;
}

void within(const Floats& found, const Doubles& expected, const Doubles& magnitude, const std::string& what) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::fabs(found[i] - expected[i]);
    if (error <= kBound * std::numeric_limits<float>::epsilon() * magnitude[i]) continue;
    std::printf("FAILED with %s: %s, number %zu is %.9g, not %.9g\n", gluon_bnn_instruction_set(), what.c_str(), i,
                found[i], expected[i]);
    std::exit(1);
  }
}

// A product and the sum of its terms' magnitudes.
struct Sum {
  double value = 0, size = 0;
  void add(double term) {
    value += term;
    size += std::fabs(term);
  }
};

void check_layer(const LayerSizes& sizes, Scale scale, Gradient gradient, float clip, bool signs, bool has_bias) {
  const int64_t m = sizes.rows, n = sizes.units, k = sizes.inputs;
  Floats x = reals(m * k), w = reals(n * k), l = reals(n * k);
  const Floats bias = reals(n), dy = reals(m * n);
  if (signs) for (float& v : x) v = v < 0 ? -1.0f : 1.0f;
  for (float& v : l) v = std::fabs(v) + 0.1f;
  w[0] = -0.0f;
  w[n * k / 2] = 1.0f;  // at the clip
  if (scale == Scale::kChannel) std::fill(w.begin() + (n - 1) * k, w.end(), 0.0f);  // a unit without a gradient

  std::vector<uint32_t> bits((n + 15) / 16 * ((k + 31) / 32) * 16);
  Floats alpha(n), y(m * n), dx(m * k), dw(n * k, 7.0f), dbias(n);
  gluon_bnn::layer_weights(sizes, scale, w.data(), scale == Scale::kLoss ? l.data() : nullptr, bits.data(),
                           alpha.data());
  gluon_bnn::layer_forward(sizes, bits.data(), alpha.data(), x.data(), has_bias ? bias.data() : nullptr, y.data());
  gluon_bnn::layer_backward(sizes, scale, gradient, clip, dy.data(), x.data(), w.data(), bits.data(), alpha.data(),
                            dx.data(), dw.data(), has_bias ? dbias.data() : nullptr);

  const auto sign = [&](int64_t i) { return w[i] < 0 ? -1.0 : 1.0; };
  Doubles scales(n, 1.0);
  if (scale != Scale::kNone) {
    Doubles top(n), bottom(n);
    for (int64_t i = 0; i < n * k; ++i) {
      const int64_t group = scale == Scale::kChannel ? i / k : 0;
      const double weight = scale == Scale::kLoss ? l[i] : 1;
      top[group] += weight * std::fabs(w[i]);
      bottom[group] += weight;
    }
    for (int64_t u = 0; u < n; ++u) {
      const int64_t group = scale == Scale::kChannel ? u : 0;
      scales[u] = top[group] / bottom[group];
    }
  }
  std::vector<Sum> ys(m * n), dxs(m * k), gs(n * k), dbs(n), products(n);
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t u = 0; u < n; ++u) {
      if (has_bias) ys[r * n + u].add(bias[u]);
      dbs[u].add(dy[r * n + u]);
      for (int64_t i = 0; i < k; ++i) {
        ys[r * n + u].add(scales[u] * sign(u * k + i) * x[r * k + i]);
        dxs[r * k + i].add(dy[r * n + u] * scales[u] * sign(u * k + i));
        gs[u * k + i].add(static_cast<double>(dy[r * n + u]) * x[r * k + i]);
      }
    }
  }
  for (int64_t i = 0; i < n * k; ++i) {
    const int64_t group = scale == Scale::kChannel ? i / k : 0;
    products[group].value += sign(i) * gs[i].value;
    products[group].size += gs[i].size;
  }
  const double group_size = scale == Scale::kChannel ? k : n * k;
  std::vector<Sum> dws(n * k);
  for (int64_t i = 0; i < n * k; ++i) {
    const double a = scales[i / k], passes = std::fabs(w[i]) <= clip;
    const Sum& product = products[scale == Scale::kChannel ? i / k : 0];
    if (a == 0) continue;
    double factor = 0;
    if (gradient == Gradient::kSte) factor = passes;
    if (gradient == Gradient::kXnor) factor = 1 / group_size + a * passes;
    if (gradient == Gradient::kExact) factor = a * passes;
    if (gradient == Gradient::kNotebook) factor = 1 / group_size + (std::fabs(w[i]) <= 5) * w[i] * a / group_size;
    dws[i] = {factor * gs[i].value, std::fabs(factor) * gs[i].size};
    if (gradient == Gradient::kNotebook) dws[i].size = gs[i].size * (1 + std::fabs(w[i]) * a) / group_size;
    if (gradient != Gradient::kExact) continue;
    dws[i].value += sign(i) * product.value / group_size;
    dws[i].size += product.size / group_size;
  }

  std::ostringstream text;
  text << " at " << m << " x " << n << " x " << k << ", scale " << static_cast<int>(scale) << ", gradient "
       << static_cast<int>(gradient) << ", clip " << clip << (signs ? ", of signs" : "") << (has_bias ? ", bias" : "");
  const auto compare = [&](const Floats& found, const std::vector<Sum>& sums, const char* what) {
    Doubles expected, magnitude;
    for (const Sum& sum : sums) {
      expected.push_back(sum.value);
      magnitude.push_back(sum.size);
    }
    within(found, expected, magnitude, what + text.str());
  };
  compare(y, ys, "y");
  compare(dx, dxs, "dx");
  compare(dw, dws, "dw");
  if (has_bias) compare(dbias, dbs, "dbias");
}

void check_adam(int64_t size) {
  gluon_bnn::AdamStep step;
  step.lr = 0.1f, step.beta1 = 0.9f, step.beta2 = 0.99f, step.epsilon = 1e-8f, step.wd = 0.01f;
  step.rescale_grad = 0.5f, step.clip_gradient = 0.7f, step.clip_weights = 1;
  const Floats g = reals(size), w = reals(size), m = reals(size);
  Floats v = reals(size);
  for (float& value : v) value = std::fabs(value);
  for (const bool curved : {false, true}) {
    Floats weight = w, mean = m, var = v, curvature(size);
    gluon_bnn::update(step, g.data(), size, weight.data(), mean.data(), var.data(),
                      curved ? curvature.data() : nullptr);
    Doubles weights(size), means(size), vars(size), curvatures(size), magnitude(size, 4.0);
    for (int64_t i = 0; i < size; ++i) {
      const double most = step.clip_gradient;
      const double d = std::min(most, std::max(-most, g[i] * 0.5 + w[i] * static_cast<double>(step.wd)));
      means[i] = static_cast<double>(step.beta1) * m[i] + (1 - static_cast<double>(step.beta1)) * d;
      vars[i] = static_cast<double>(step.beta2) * v[i] + (1 - static_cast<double>(step.beta2)) * d * d;
      const double moved = w[i] - step.lr * means[i] / (std::sqrt(vars[i]) + step.epsilon);
      weights[i] = std::min(1.0, std::max(-1.0, moved));
      curvatures[i] = std::sqrt(vars[i]) + 1e-8;
      magnitude[i] += std::fabs(w[i]) + std::fabs(step.lr * means[i] / std::sqrt(vars[i]));
    }
    within(weight, weights, magnitude, "Adam's weight");
    within(mean, means, magnitude, "Adam's mean");
    within(var, vars, magnitude, "Adam's variance");
    if (curved) within(curvature, curvatures, magnitude, "the curvature");
  }
}

void check_batch_norm(int64_t m, int64_t n) {
  const Floats x = reals(m * n), gamma = reals(n), beta = reals(n), dy = reals(m * n);
  Floats running_mean = reals(n), running_var(n, 0.5f), mean(n), inverse(n), y(m * n);
  const Floats old = running_mean;
  gluon_bnn::batch_norm_train(x.data(), gamma.data(), beta.data(), m, n, 1e-3, 0.9, running_mean.data(),
                              running_var.data(), mean.data(), inverse.data(), y.data());
  Floats dx(m * n), dgamma(n), dbeta(n);
  gluon_bnn::batch_norm_train_backward(dy.data(), x.data(), gamma.data(), mean.data(), inverse.data(), m, n, dx.data(),
                                       dgamma.data(), dbeta.data());
  Doubles ys(m * n), dxs(m * n), dgammas(n), dbetas(n), running(n), size(m * n), unit_size(n);
  for (int64_t u = 0; u < n; ++u) {
    double average = 0, var = 0;
    for (int64_t r = 0; r < m; ++r) average += x[r * n + u] / static_cast<double>(m);
    for (int64_t r = 0; r < m; ++r) var += (x[r * n + u] - average) * (x[r * n + u] - average) / m;
    const double scale = 1 / std::sqrt(var + 1e-3);
    for (int64_t r = 0; r < m; ++r) {
      dbetas[u] += dy[r * n + u];
      dgammas[u] += dy[r * n + u] * (x[r * n + u] - average) * scale;
    }
    running[u] = 0.9 * old[u] + 0.1 * average;
    unit_size[u] = 100.0 * m * (1 + scale);
    for (int64_t r = 0; r < m; ++r) {
      const double normal = (x[r * n + u] - average) * scale;
      ys[r * n + u] = gamma[u] * normal + beta[u];
      dxs[r * n + u] = gamma[u] * scale * (dy[r * n + u] - dbetas[u] / m - normal * dgammas[u] / m);
      size[r * n + u] = 100 * (1 + scale) * (1 + scale);
    }
  }
  within(y, ys, size, "batch norm");
  within(dx, dxs, size, "batch norm's dx");
  within(dgamma, dgammas, unit_size, "batch norm's dgamma");
  within(dbeta, dbetas, unit_size, "batch norm's dbeta");
  within(running_mean, running, unit_size, "batch norm's running mean");
}

void check_layers(const LayerSizes& sizes) {
  for (const bool signs : {false, true}) {
    for (const float clip : {1.0f, kInfinity}) {
      for (const Scale scale : {Scale::kNone, Scale::kLayer, Scale::kChannel, Scale::kLoss}) {
        const bool any = scale == Scale::kLayer || scale == Scale::kChannel;
        for (const Gradient gradient : {Gradient::kSte, Gradient::kXnor, Gradient::kExact, Gradient::kNotebook}) {
          if (any || gradient == Gradient::kSte) check_layer(sizes, scale, gradient, clip, signs, clip == 1.0f);
        }
      }
    }
  }
}

}  // namespace

int main() {
  const std::string names = gluon_bnn_instruction_sets();
  std::istringstream list(names);
  for (std::string name; list >> name;) {
    generator.seed(20161);
    if (gluon_bnn_use(name.c_str()) != GLUON_BNN_OK) {
      std::printf("FAILED to use %s: %s\n", name.c_str(), gluon_bnn_error());
      return 1;
    }
    for (const LayerSizes& sizes : {LayerSizes{1, 1, 1}, {2, 3, 5}, {5, 7, 33}, {3, 17, 64}, {9, 16, 48}, {13, 33, 31},
                                    {100, 13, 97}, {130, 37, 16}, {6, 40, 530}, {100, 70, 784}}) {
      check_layers(sizes);
    }
    for (int64_t size : {1, 7, 16, 33, 1000, 40000}) check_adam(size);
    for (int64_t units : {1, 5, 16, 33, 300}) check_batch_norm(70, units);
  }
  std::printf("ok: %s\n", names.c_str());
}
