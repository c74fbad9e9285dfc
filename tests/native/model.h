// The files of nets for the tests in C++: their nodes and tensors, written down one by one.
#ifndef GLUON_BNN_TESTS_MODEL_H_
#define GLUON_BNN_TESTS_MODEL_H_

#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common.h"
#include "inference/crc32.h"

struct ModelFile {
  std::string line = "format 2";
  // Their dtypes and shapes as the header has them, and their bytes.
  struct Tensor {
    std::string type, bytes;
  };
  std::map<std::string, Tensor> tensors;
  int nodes = 0;

  // Adds a node; `text` is its entry. Its number.
  int node(const std::string& text) {
    line += "; " + text;
    return nodes++;
  }

  // Adds an array of the last node.
  template <typename T>
  void array(const std::string& name, const std::vector<T>& values, std::vector<int64_t> shape = {}) {
    static_assert(sizeof(T) == 4, "float or int32");
    if (shape.empty()) shape = {static_cast<int64_t>(values.size())};
    std::string sizes;
    for (const int64_t size : shape) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    const char* begin = reinterpret_cast<const char*>(values.data());
    tensors[std::to_string(nodes - 1) + "." + name] = {
        std::string("\"dtype\":\"") + (static_cast<T>(0.5) != 0 ? "F32" : "I32") + "\",\"shape\":[" + sizes + "]",
        std::string(begin, begin + 4 * values.size())};
  }

  // Weight bits of `units` units.
  void weight_bits(const std::vector<int32_t>& bits, int64_t units) {
    const int64_t blocks = (units + 15) / 16;
    array("weight_bits", bits, {blocks, static_cast<int64_t>(bits.size()) / blocks / 16, 16});
  }

  std::string bytes() const {
    uint32_t crc = gluon_bnn::crc32(0, line.data(), static_cast<int64_t>(line.size()));
    std::string header, data;
    for (const auto& [name, tensor] : tensors) {
      crc = gluon_bnn::crc32(crc, name.data(), static_cast<int64_t>(name.size()));
      crc = gluon_bnn::crc32(crc, tensor.bytes.data(), static_cast<int64_t>(tensor.bytes.size()));
      const std::string end = std::to_string(data.size() + tensor.bytes.size());
      header +=
          ",\"" + name + "\":{" + tensor.type + ",\"data_offsets\":[" + std::to_string(data.size()) + "," + end + "]}";
      data += tensor.bytes;
    }
    char checksum[16];
    std::snprintf(checksum, sizeof(checksum), "%08x", crc);
    header = "{\"__metadata__\":{\"gluon_bnn\":\"" + line + "; crc32 " + checksum + "\"}" + header + "}";
    std::string length(8, '\0');
    for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> 8 * i);
    return length + header + data;
  }
};

using Model = std::unique_ptr<gluon_bnn_model, decltype(&gluon_bnn_free)>;

// The code of loading, and the model where that is 0.
inline int load(const std::string& bytes, Model* model) {
  gluon_bnn_model* loaded = nullptr;
  const int code = gluon_bnn_load_bytes(bytes.data(), static_cast<int64_t>(bytes.size()), &loaded);
  if ((code == GLUON_BNN_OK) != (loaded != nullptr)) fail("a code that does not fit the model");
  *model = Model(loaded, gluon_bnn_free);
  return code;
}

inline Model load(const ModelFile& file) {
  Model model(nullptr, gluon_bnn_free);
  if (load(file.bytes(), &model) != GLUON_BNN_OK) fail(gluon_bnn_error());
  return model;
}

inline const std::initializer_list<const char*> kEveryForm = {"float", "pixels", "bits", "bits01"};

// A net with every kind of node, whose first product takes `form`, one of kEveryForm. `units` is a multiple of 10.
inline ModelFile every_kind(const std::string& form, int64_t inputs, int64_t units) {
  ModelFile file;
  const auto reals = [](int64_t size) {
    std::vector<float> values(size);
    for (float& value : values) value = real();
    return values;
  };
  const auto after = [&](const std::string& kind, const std::string& text) {
    file.node(kind + " " + std::to_string(file.nodes - 1) + text);
  };
  const auto binary_dense = [&](int64_t k, bool is_01, const std::string& to,
                                std::initializer_list<const char*> floats) {
    const std::vector<float> w = reals(units * k);
    std::vector<int32_t> bits((units + 15) / 16 * ((k + 31) / 32) * 16), sums(units);
    if (gluon_bnn_pack_weights(w.data(), units, k, bits.data()) != GLUON_BNN_OK) fail(gluon_bnn_error());
    for (int64_t i = 0; i < units * k; ++i) sums[i / k] += w[i] < 0 ? -1 : 1;
    after("binary_dense", " units=" + std::to_string(units) + " to=" + to);
    file.weight_bits(bits, units);
    for (const char* name : floats) file.array(name, reals(units));
    if (floats.size() == 0) {
      file.array("threshold", sums);
    } else if (is_01) {
      file.array("sums", sums);
    }
  };
  file.node("input shape=" + std::to_string(inputs));
  file.array("scale", std::vector<float>{form == "float" ? -0.5f : 0.5f});
  file.array("shift", reals(inputs));
  if (form == "bits" || form == "bits01") {
    after("pack", " to=" + form);
    file.array("threshold_u8", std::vector<int32_t>(inputs, 99));
    binary_dense(inputs, form == "bits01", "bits", {});
  } else if (form == "pixels") {
    binary_dense(inputs, false, "bits01", {"alpha", "bias", "alpha_u8", "bias_u8"});
  } else {
    binary_dense(inputs, false, "bits", {"alpha", "bias"});
  }
  binary_dense(units, form == "pixels", "float", {"alpha", "bias", "mean", "factor", "beta"});
  const std::string shortcut = "," + std::to_string(file.nodes - 1);
  after("batch_norm", "");
  for (const char* name : {"mean", "factor", "beta"}) file.array(name, reals(units));
  after("activation", " function=tanh");
  after("arithmetic", shortcut + " function=add");
  after("image", " shape=5x" + std::to_string(units / 10) + "x2");
  const std::string same = " kernel=3x3 strides=1x1 padding=1x1", conv = " channels=2" + same + " dilation=1x1";
  const auto binary_conv = [&](int64_t runs, int64_t size, const std::string& text) {
    after("binary_conv2d", conv + text);
    std::vector<int32_t> bits(runs * 16);
    for (size_t i = 0; i < bits.size(); ++i)
      bits[i] = i % 16 < 2 ? static_cast<int32_t>(generator() >> (32 - size)) : 0;
    file.weight_bits(bits, 2);
  };
  binary_conv(1, 18, " pad=minus to=bits");
  for (const char* name : {"alpha", "bias"}) file.array(name, reals(2));
  binary_conv(9, 2, " pad=zero to=bits");
  file.array("threshold", std::vector<int32_t>{1, -1});
  after("max_pool", same + " rounding=ceil");
  file.array("falls", std::vector<int32_t>{2});
  binary_conv(9, 2, " pad=zero to=float");
  for (const char* name : {"alpha", "bias"}) file.array(name, reals(2));
  after("max_pool", same + " rounding=floor");
  after("average_pool", same + " rounding=floor count=all");
  after("conv2d", conv + " groups=1");
  file.array("weight", reals(36), {18, 2});
  after("slice", " begin=1 end=2");
  after("flatten", "");
  after("concat", shortcut);
  after("dense", " units=7");
  file.array("weight", reals(7 * (units + units / 2)), {units + units / 2, 7});
  return file;
}

#endif  // GLUON_BNN_TESTS_MODEL_H_
