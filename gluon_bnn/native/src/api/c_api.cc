// The C interface: every argument is checked here, before any kernel sees it.
#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "api/read_file.h"
#include "error.h"
#include "gemm/gemm.h"
#include "gemm/pack.h"
#include "gluon_bnn.h"
#include "inference/model.h"
#include "parallel.h"

struct gluon_bnn_model {
  gluon_bnn::Model model;
};

namespace gluon_bnn {
namespace {

// Rows, units and inputs below these bounds have products that fit into int64 with room to spare.
constexpr int64_t kMostRows = INT64_C(1) << 31;
constexpr int64_t kMostUnits = GLUON_BNN_MOST_INPUTS;

int check_size(const char* name, int64_t size, int64_t most) {
  if (size >= 1 && size <= most) return GLUON_BNN_OK;
  return fail("%s must be from 1 to %lld, got %lld", name, static_cast<Long>(most), static_cast<Long>(size));
}

int check_sizes(int64_t rows, int64_t units, int64_t inputs, int64_t most_inputs = GLUON_BNN_MOST_INPUTS) {
  int error = check_size("rows", rows, kMostRows);
  if (error == GLUON_BNN_OK) error = check_size("units", units, kMostUnits);
  return error != GLUON_BNN_OK ? error : check_size("inputs", inputs, most_inputs);
}

struct Named {
  const char* name;
  const void* pointer;
};

int check_pointers(std::initializer_list<Named> pointers) {
  for (const Named& each : pointers) {
    if (each.pointer == nullptr) return fail("%s must not be null", each.name);
  }
  return GLUON_BNN_OK;
}

const uint32_t* words(const int32_t* bits) { return reinterpret_cast<const uint32_t*>(bits); }
uint32_t* words(int32_t* bits) { return reinterpret_cast<uint32_t*>(bits); }

// Calls work(the model, x, rows, result) if x, float or uint8, is what the model takes.
template <typename T, typename Result, typename Work>
int with_model(const gluon_bnn_model* model, const T* x, int64_t rows, Result* result, const Work& work) {
  int error = check_pointers({{"model", model}, {"x", x}, {"the result", result}});
  if (error == GLUON_BNN_OK) error = check_size("rows", rows, kMostRows);
  if (error != GLUON_BNN_OK) return error;
  if (sizeof(T) == 1 && !model->model.takes_u8()) {
    return fail("this model takes float32 inputs only: it has no scale for uint8 inputs");
  }
  return call([=] { work(model->model, x, rows, result); });
}

template <typename T>
int run(const gluon_bnn_model* model, const T* x, int64_t rows, float* y) {
  return with_model(model, x, rows, y, [](const Model& m, const T* in, int64_t n, float* out) { m.run(in, n, out); });
}

template <typename T>
int predict(const gluon_bnn_model* model, const T* x, int64_t rows, int64_t* classes) {
  return with_model(model, x, rows, classes,
                    [](const Model& m, const T* in, int64_t n, int64_t* out) { m.predict(in, n, out); });
}

}  // namespace
}  // namespace gluon_bnn

using gluon_bnn::call;
using gluon_bnn::check_pointers;
using gluon_bnn::check_size;
using gluon_bnn::check_sizes;
using gluon_bnn::words;

#define GLUON_BNN_RETURN_IF_BAD(check)       \
  do {                                       \
    const int error = (check);               \
    if (error != GLUON_BNN_OK) return error; \
  } while (false)

extern "C" {

void gluon_bnn_after_fork(void) { gluon_bnn::after_fork(); }

int gluon_bnn_pack_inputs(const float* x, int64_t rows, int64_t inputs, int32_t* bits) {
  GLUON_BNN_RETURN_IF_BAD(check_sizes(rows, 1, inputs));
  GLUON_BNN_RETURN_IF_BAD(check_pointers({{"x", x}, {"bits", bits}}));
  return call([=] { gluon_bnn::pack_inputs(x, rows, inputs, words(bits)); });
}

int gluon_bnn_pack_inputs_u8(const uint8_t* x, const int32_t* threshold, int64_t rows, int64_t inputs, int32_t* bits) {
  GLUON_BNN_RETURN_IF_BAD(check_sizes(rows, 1, inputs));
  GLUON_BNN_RETURN_IF_BAD(check_pointers({{"x", x}, {"threshold", threshold}, {"bits", bits}}));
  return call([=] { gluon_bnn::pack_inputs_u8(x, threshold, 1, rows, inputs, words(bits)); });
}

int gluon_bnn_pack_weights(const float* w, int64_t units, int64_t inputs, int32_t* weight_bits) {
  GLUON_BNN_RETURN_IF_BAD(check_sizes(1, units, inputs));
  GLUON_BNN_RETURN_IF_BAD(check_pointers({{"w", w}, {"weight_bits", weight_bits}}));
  return call([=] { gluon_bnn::pack_weights(w, units, inputs, words(weight_bits), [](int64_t) {}); });
}

int gluon_bnn_xnor_dense(const int32_t* bits, const int32_t* weight_bits, const float* alpha, const float* bias,
                         int64_t rows, int64_t units, int64_t inputs, float* y) {
  GLUON_BNN_RETURN_IF_BAD(check_sizes(rows, units, inputs));
  GLUON_BNN_RETURN_IF_BAD(
      check_pointers({{"bits", bits}, {"weight_bits", weight_bits}, {"alpha", alpha}, {"bias", bias}, {"y", y}}));
  return call([=] { gluon_bnn::xnor_dense({rows, units, inputs}, words(bits), words(weight_bits), {alpha, bias}, y); });
}

int gluon_bnn_xnor_dense_bits(const int32_t* bits, const int32_t* weight_bits, const int32_t* threshold, int64_t rows,
                              int64_t units, int64_t inputs, int32_t* y) {
  GLUON_BNN_RETURN_IF_BAD(check_sizes(rows, units, inputs));
  GLUON_BNN_RETURN_IF_BAD(
      check_pointers({{"bits", bits}, {"weight_bits", weight_bits}, {"threshold", threshold}, {"y", y}}));
  return call(
      [=] { gluon_bnn::xnor_dense_bits({rows, units, inputs}, words(bits), words(weight_bits), threshold, words(y)); });
}

int gluon_bnn_binary_dense(const float* x, const int32_t* weight_bits, const float* alpha, const float* bias,
                           int64_t rows, int64_t units, int64_t inputs, float* y) {
  GLUON_BNN_RETURN_IF_BAD(check_sizes(rows, units, inputs));
  GLUON_BNN_RETURN_IF_BAD(
      check_pointers({{"x", x}, {"weight_bits", weight_bits}, {"alpha", alpha}, {"bias", bias}, {"y", y}}));
  return call([=] { gluon_bnn::lut_dense({rows, units, inputs}, x, words(weight_bits), {alpha, bias}, {y}); });
}

int gluon_bnn_binary_dense_u8(const uint8_t* x, const int32_t* weight_bits, const float* alpha, const float* bias,
                              int64_t rows, int64_t units, int64_t inputs, float* y) {
  GLUON_BNN_RETURN_IF_BAD(check_sizes(rows, units, inputs, GLUON_BNN_MOST_INPUTS_U8));
  GLUON_BNN_RETURN_IF_BAD(
      check_pointers({{"x", x}, {"weight_bits", weight_bits}, {"alpha", alpha}, {"bias", bias}, {"y", y}}));
  return call([=] { gluon_bnn::u8_dense({rows, units, inputs}, x, words(weight_bits), {alpha, bias}, {y}); });
}

int gluon_bnn_load(const char* path, gluon_bnn_model** model) {
  GLUON_BNN_RETURN_IF_BAD(check_pointers({{"path", path}, {"model", model}}));
  *model = nullptr;
  const int code = call([=] {
    gluon_bnn::RegularFile file(path);
    *model = new gluon_bnn_model{gluon_bnn::Model(file.bytes())};
  });
  if (code == GLUON_BNN_BAD_FILE) {
    char why[sizeof(gluon_bnn::Failure::message)];
    std::snprintf(why, sizeof(why), "%s", gluon_bnn_error());
    gluon_bnn::fail("%.100s is not a model that can be loaded: %s", path, why);
  }
  return code;
}

int gluon_bnn_load_bytes(const void* bytes, int64_t size, gluon_bnn_model** model) {
  GLUON_BNN_RETURN_IF_BAD(check_pointers({{"bytes", bytes}, {"model", model}}));
  *model = nullptr;
  return call([=] {
    const char* at = static_cast<const char*>(bytes);
    const auto take = [&at](void* to, int64_t count) {
      std::memcpy(to, at, count);
      at += count;
    };
    *model = new gluon_bnn_model{gluon_bnn::Model({size, take})};
  });
}

void gluon_bnn_free(gluon_bnn_model* model) { delete model; }

int64_t gluon_bnn_inputs(const gluon_bnn_model* model) { return model ? model->model.inputs() : 0; }

int64_t gluon_bnn_outputs(const gluon_bnn_model* model) { return model ? model->model.outputs() : 0; }

int gluon_bnn_takes_u8(const gluon_bnn_model* model) { return model && model->model.takes_u8() ? 1 : 0; }

int gluon_bnn_run(const gluon_bnn_model* model, const float* x, int64_t rows, float* y) {
  return gluon_bnn::run(model, x, rows, y);
}

int gluon_bnn_run_u8(const gluon_bnn_model* model, const uint8_t* x, int64_t rows, float* y) {
  return gluon_bnn::run(model, x, rows, y);
}

int gluon_bnn_predict(const gluon_bnn_model* model, const float* x, int64_t rows, int64_t* classes) {
  return gluon_bnn::predict(model, x, rows, classes);
}

int gluon_bnn_predict_u8(const gluon_bnn_model* model, const uint8_t* x, int64_t rows, int64_t* classes) {
  return gluon_bnn::predict(model, x, rows, classes);
}

}  // extern "C"
