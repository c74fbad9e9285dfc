// What the library does where memory or the stack is short: every function of the C interface and for training, with
// each of its allocations failing in turn, and in a thread whose stack is measured; and how much memory convolutions
// take. Built and run by run.sh.
#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "gemm/conv.h"
#include "model.h"
#include "training/adam.h"
#include "training/batch_norm.h"
#include "training/binary_dense.h"
#include "training/correlation.h"
#include "training/scale_bias.h"
#include "training/sign.h"
#include "training/sign_scale.h"

extern "C" __attribute__((weak)) void __asan_init();  // null without AddressSanitizer

namespace {
std::atomic<int64_t> allocations_left{INT64_MAX}, bytes_allocated{0};
}

__attribute__((noinline)) void* operator new(size_t size) {
  void* memory = allocations_left-- > 0 ? std::malloc(size) : nullptr;
  if (memory == nullptr) throw std::bad_alloc();
  bytes_allocated += static_cast<int64_t>(size);
  return memory;
}
void* operator new[](size_t size) { return operator new(size); }
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { operator delete(memory); }
void operator delete[](void* memory) noexcept { operator delete(memory); }
void operator delete[](void* memory, size_t) noexcept { operator delete(memory); }

namespace {

using gluon_bnn::DenseSizes;
using gluon_bnn::Gradient;
using gluon_bnn::Scale;

const Gradient kSte = gluon_bnn::gradient_of<gluon_bnn::Ste>();
const Gradient kExact = gluon_bnn::gradient_of<gluon_bnn::Exact>();
constexpr int kThreads = 3;
constexpr size_t kStack = 1 << 20;
// The library's functions; more where it was compiled with the sanitizer, which puts a gap around every variable.
const size_t kMostStack = (__asan_init != nullptr ? 24 : 8) << 10;

// Sizes beyond those from which threads are used, and tails everywhere.
constexpr int64_t kRows = 70, kUnits = 150, kInputs = 810;

std::vector<float> reals(int64_t size) {
  std::vector<float> values(size);
  for (float& value : values) value = real();
  return values;
}

struct Arrays {
  std::vector<float> x = reals(kRows * kInputs), signs = x, w = reals(kUnits * kInputs), curvature = w;
  std::vector<float> parameters = reals(kInputs), positive = parameters, dy = reals(kRows * kUnits);
  std::vector<uint8_t> pixels = std::vector<uint8_t>(kRows * kInputs, 77);
  std::vector<int32_t> bits = std::vector<int32_t>(kRows * kInputs), weight_bits = bits, integers = bits;
  std::vector<float> a = std::vector<float>(kUnits * kInputs), b = a, c = a, d = a, y = a;
  std::vector<double> doubles = std::vector<double>(kUnits * kInputs, 0.5), more_doubles = doubles;

  Arrays() {
    for (float& v : signs) v = v < 0 ? -1.0f : 1.0f;
    for (float& v : curvature) v = 1.0f + v * v;
    for (float& v : positive) v = 1.0f + v * v;
    if (gluon_bnn_pack_weights(w.data(), kUnits, kInputs, weight_bits.data()) != GLUON_BNN_OK ||
        gluon_bnn_pack_inputs(x.data(), kRows, kInputs, bits.data()) != GLUON_BNN_OK) {
      fail(gluon_bnn_error());
    }
  }
};

struct Call {
  std::string name;
  std::function<int()> run;  // an error code, or std::bad_alloc
};

std::vector<Call> calls(Arrays& s) {
  const float *x = s.x.data(), *p = s.parameters.data();
  const int32_t *bits = s.bits.data(), *w = s.weight_bits.data();
  std::vector<Call> list = {
      {"pack_inputs", [=, &s] { return gluon_bnn_pack_inputs(x, kRows, kInputs, s.integers.data()); }},
      {"pack_inputs_u8",
       [=, &s] { return gluon_bnn_pack_inputs_u8(s.pixels.data(), bits, kRows, kInputs, s.integers.data()); }},
      {"pack_weights", [=, &s] { return gluon_bnn_pack_weights(s.w.data(), kUnits, kInputs, s.integers.data()); }},
      {"xnor_dense", [=, &s] { return gluon_bnn_xnor_dense(bits, w, p, p, kRows, kUnits, kInputs, s.y.data()); }},
      {"xnor_dense_bits",
       [=, &s] { return gluon_bnn_xnor_dense_bits(bits, w, bits, kRows, kUnits, kInputs, s.integers.data()); }},
      {"binary_dense", [=, &s] { return gluon_bnn_binary_dense(x, w, p, p, kRows, kUnits, kInputs, s.y.data()); }},
      {"binary_dense_u8",
       [=, &s] { return gluon_bnn_binary_dense_u8(s.pixels.data(), w, p, p, kRows, kUnits, kInputs, s.y.data()); }}};
  for (const std::string form : kEveryForm) {
    // Loading a small file takes as many allocations, each of which is tried.
    const std::string bytes = every_kind(form, 40, 20).bytes();
    list.push_back({"load " + form, [=] {
                      gluon_bnn_model* loaded = nullptr;
                      const int code = gluon_bnn_load_bytes(bytes.data(), static_cast<int64_t>(bytes.size()), &loaded);
                      gluon_bnn_free(loaded);
                      return code;
                    }});
    std::shared_ptr<Model> model = std::make_shared<Model>(nullptr, gluon_bnn_free);
    if (load(every_kind(form, kInputs, kUnits).bytes(), model.get()) != GLUON_BNN_OK)
      fail(form + ": " + gluon_bnn_error());
    const uint8_t* pixels = s.pixels.data();
    const auto classes = std::make_shared<std::vector<int64_t>>(kRows);
    list.push_back({"run", [=, &s] { return gluon_bnn_run(model->get(), x, kRows, s.y.data()); }});
    list.push_back({"run_u8", [=, &s] { return gluon_bnn_run_u8(model->get(), pixels, kRows, s.y.data()); }});
    list.push_back({"run predict", [=] { return gluon_bnn_predict(model->get(), x, kRows, classes->data()); }});
    list.push_back(
        {"run predict_u8", [=] { return gluon_bnn_predict_u8(model->get(), pixels, kRows, classes->data()); }});
  }

  const auto training = [&list](const std::string& name, const std::function<void()>& run) {
    list.push_back({name, [run] {
                      run();
                      return static_cast<int>(GLUON_BNN_OK);
                    }});
  };
  const DenseSizes sizes = {kRows, kUnits, kInputs};
  for (const Scale scale : {Scale::kNone, Scale::kChannel, Scale::kLoss}) {
    training("binary_dense_weights", [=, &s] {
      gluon_bnn::binary_dense_weights(sizes, scale, s.w.data(), scale == Scale::kLoss ? s.curvature.data() : nullptr,
                                      reinterpret_cast<uint32_t*>(s.integers.data()), s.y.data());
    });
    training("sign_scale", [=, &s] {
      gluon_bnn::sign_scale(scale, s.w.data(), scale == Scale::kLoss ? s.curvature.data() : nullptr, kUnits, kInputs,
                            s.a.data(), s.y.data());
    });
  }
  for (const bool real_inputs : {false, true}) {
    const float* inputs = (real_inputs ? s.x : s.signs).data();
    const auto* words = reinterpret_cast<const uint32_t*>(w);
    training("binary_dense_forward", [=, &s] {
      gluon_bnn::binary_dense_forward(sizes, words, p, inputs, real_inputs ? p : nullptr, nullptr, s.y.data());
    });
    training("binary_dense_forward of signs", [=, &s] {
      auto* kept = reinterpret_cast<uint32_t*>(s.integers.data());
      gluon_bnn::binary_dense_forward(sizes, words, p, inputs, nullptr, kept, s.y.data());
      gluon_bnn::binary_dense_backward(sizes, Scale::kChannel, kSte, 1.0f, s.dy.data(), inputs, kept, 1.0f, s.w.data(),
                                       words, p, s.a.data(), s.y.data(), nullptr);
    });
    for (const Gradient gradient : {kSte, kExact}) {
      training("binary_dense_backward", [=, &s] {
        gluon_bnn::binary_dense_backward(sizes, Scale::kChannel, gradient, 1.0f, s.dy.data(), inputs, nullptr, 1.0f,
                                         s.w.data(), words, p, s.a.data(), s.y.data(),
                                         real_inputs ? s.b.data() : nullptr);
      });
    }
  }
  training("scale_bias_backward", [=, &s] {
    gluon_bnn::scale_bias_backward<float>(s.dy.data(), s.dy.data(), p, true, true, kRows, kUnits, s.a.data(),
                                          s.b.data(), s.y.data());
  });
  training("sign", [=, &s] { gluon_bnn::sign(x, kRows * kInputs, s.y.data()); });
  training("adam_update", [=, &s] {
    std::fill(s.y.begin(), s.y.end(), 0.5f);
    std::fill(s.b.begin(), s.b.end(), 0.5f);
    std::fill(s.c.begin(), s.c.end(), 0.5f);
    gluon_bnn::adam_update({}, s.w.data(), kUnits * kInputs, s.y.data(), s.b.data(), s.c.data(), s.d.data());
  });
  training("batch_norm_train", [=, &s] {
    gluon_bnn::batch_norm_train<float>(x, p, p, {kRows, kInputs, 1}, 1e-5, 0.9, s.b.data(), s.c.data(), s.d.data(),
                                       s.d.data(), s.y.data());
  });
  training("batch_norm_train_backward", [=, &s] {
    gluon_bnn::batch_norm_train_backward<float>(x, x, p, p, p, {kRows, kInputs, 1}, s.y.data(), s.b.data(), s.c.data());
  });
  training("batch_norm_infer", [=, &s] {
    gluon_bnn::batch_norm_infer<float>(x, p, p, p, s.positive.data(), {kRows, kInputs, 1}, 1e-5, s.y.data());
  });
  training("batch_norm_infer_backward", [=, &s] {
    const double* of = s.doubles.data();
    double* to = s.more_doubles.data();
    gluon_bnn::batch_norm_infer_backward<double>(of, of, of, of, of, {kRows, kUnits, 1}, 1e-5, to, to + kRows * kUnits,
                                                 to + (kRows + 1) * kUnits);
  });
  return list;
}

// The call with its first allocation failing, then its second, and so on until none of them fails; a call after all of
// these gives the results of one before them.
void check_memory(Arrays& arrays, const Call& call) {
  const std::vector<float> y = arrays.y;
  const std::vector<int32_t> integers = arrays.integers;
  const auto start_again = [&] {
    arrays.y = y;
    arrays.integers = integers;
  };
  const auto must_run = [&] {
    start_again();
    if (call.run() != GLUON_BNN_OK) fail(call.name + ": " + gluon_bnn_error());
  };
  must_run();
  const std::vector<float> expected_y = arrays.y;
  const std::vector<int32_t> expected_integers = arrays.integers;
  bool failed = true;
  for (int64_t allocations = 0; failed; ++allocations) {
    int code = GLUON_BNN_OK;
    allocations_left = allocations;
    try {
      code = call.run();
    } catch (const std::bad_alloc&) {
      code = GLUON_BNN_NO_MEMORY;
    }
    failed = allocations_left.exchange(INT64_MAX) < 0;
    if (failed != (code == GLUON_BNN_NO_MEMORY)) fail(call.name + " returned " + std::to_string(code));
  }
  must_run();
  if (std::memcmp(arrays.y.data(), expected_y.data(), expected_y.size() * sizeof(float)) != 0 ||
      arrays.integers != expected_integers) {
    fail(call.name + " gives other results after it failed");
  }
  start_again();
}

void check_message(const Call& call) {
  allocations_left = 0;
  const int code = call.run();
  allocations_left = INT64_MAX;
  if (code != GLUON_BNN_NO_MEMORY || std::strstr(gluon_bnn_error(), "memory") == nullptr) {
    fail(call.name + " without memory says " + gluon_bnn_error());
  }
}

// Scratch memory does not grow with an image: not with long lines, nor where an image has one place, nor with strides.
void check_scratch() {
  using gluon_bnn::ConvSizes;
  const auto bounded = [](const char* what, const std::function<void()>& run) {
    const int64_t before = bytes_allocated;
    run();
    const int64_t bytes = (bytes_allocated - before) / kThreads;
    if (bytes > 1 << 20) fail(std::string(what) + " allocates " + std::to_string(bytes) + " bytes for each thread");
  };
  for (const ConvSizes& sizes : {ConvSizes{1, 1, 20000, 40, 5, 1, 25}, {64, 40, 40, 40, 5, 40, 40}}) {
    const std::vector<uint32_t> x(sizes.rows * sizes.height * sizes.width * sizes.pixel_words());
    const std::vector<uint32_t> w(gluon_bnn::kBlock * sizes.words());
    const std::vector<uint8_t> pixels(sizes.rows * sizes.height * sizes.width * sizes.channels);
    const std::vector<int32_t> threshold(sizes.units);
    std::vector<uint32_t> y(sizes.rows * sizes.places());
    const gluon_bnn::Border border(sizes, gluon_bnn::Pad::kZero, w.data());
    bounded("xnor_conv_bits",
            [&] { gluon_bnn::xnor_conv_bits(sizes, border, x.data(), w.data(), threshold.data(), y.data()); });
    // A window is one row of bits, and a buffer for 24 of them is not small where it is a whole image.
    if (sizes.kernel_h > 1) continue;
    bounded("u8_conv_bits",
            [&] { gluon_bnn::u8_conv_bits(sizes, pixels.data(), w.data(), threshold.data(), y.data()); });
  }
  ConvSizes sizes = {1, 961, 961, 1, 4, 1, 1};
  sizes.stride_h = sizes.stride_w = 64;
  const std::vector<float> x(sizes.height * sizes.width), dy(sizes.places() * sizes.units);
  std::vector<float> g(sizes.units);
  bounded("correlated_gradient", [&] { gluon_bnn::correlated_gradient(sizes, 0, dy.data(), x.data(), 1, g.data()); });
}

// How much of its stack a thread has used that makes all calls. OpenMP's other threads have small ones by run.sh.
size_t stack_used(Arrays& arrays) {
  static std::vector<Call> list;
  list = calls(arrays);
  std::vector<unsigned char> memory(kStack + 4096, 0xa5);
  unsigned char* stack = memory.data() + (4096 - reinterpret_cast<uintptr_t>(memory.data()) % 4096);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (pthread_attr_setstack(&attributes, stack, kStack - 4096) != 0) fail("pthread_attr_setstack");
  const auto run = [](bool work) {
    return work ? +[](void*) -> void* {
      omp_set_num_threads(kThreads);
      for (const Call& call : list) call.run();
      return nullptr;
    } : +[](void*) -> void* { return nullptr; };
  };
  size_t used[2];
  for (const bool work : {false, true}) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, run(work), nullptr) != 0) fail("pthread_create");
    pthread_join(thread, nullptr);
    size_t untouched = 0;
    while (stack[untouched] == 0xa5) ++untouched;
    used[work] = kStack - 4096 - untouched;
  }
  pthread_attr_destroy(&attributes);
  return used[true] - used[false];  // without what any thread needs
}

}  // namespace

// Any argument leaves all instruction sets out but the fastest: the kernels, in which they differ, allocate nothing.
int main(int argc, char**) {
  size_t most = 0;
  const std::string all = gluon_bnn_instruction_sets(), fastest = all.substr(all.rfind(' ') + 1);
  const std::string names = on_every_instruction_set([&] {
    if (argc > 1 && gluon_bnn_instruction_set() != fastest) return;
    omp_set_num_threads(kThreads);
    Arrays arrays;
    for (const Call& call : calls(arrays)) {
      check_memory(arrays, call);
      if (call.name.rfind("run", 0) == 0 || call.name.rfind("load", 0) == 0) check_message(call);
    }
    most = std::max(most, stack_used(arrays));
    check_scratch();
  });
  if (most > kMostStack) fail("the calls take " + std::to_string(most) + " bytes of stack");
  std::printf("ok: %s; %zu bytes of stack at most\n", names.c_str(), most);
}
