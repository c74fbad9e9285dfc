// Files of nets, whole and damaged: each is loaded and run, or refused; a sanitizer sees every step beyond. The files
// are those of the directories that the program is given, of nets that are written down here, and of random graphs;
// each is also damaged in many ways, in the same ways each time, with and without a CRC-32 that is right. Built and run
// by run.sh.
#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "model.h"

namespace {

constexpr int64_t kRows = 3, kWidest = 1 << 16;

int64_t below(int64_t limit) { return static_cast<int64_t>(generator() % static_cast<uint64_t>(limit)); }

template <typename T, size_t n>
const T& pick(const T (&choices)[n]) {
  return choices[below(n)];
}

template <typename Run, typename T, typename Result>
void must(const Run& run, const Model& model, const T* x, Result* y) {
  if (run(model.get(), x, kRows, y) != GLUON_BNN_OK)
    fail(std::string("a net that loads does not run: ") + gluon_bnn_error());
}

// Loads the file and runs some rows; false where it is refused, which needs a message. The arrays have just the size
// that they need.
bool load_and_run(const std::string& bytes) {
  const std::unique_ptr<char[]> exact(new char[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  Model model(nullptr, gluon_bnn_free);
  gluon_bnn_model* loaded = nullptr;
  const int code = gluon_bnn_load_bytes(exact.get(), static_cast<int64_t>(bytes.size()), &loaded);
  if (code != GLUON_BNN_OK) {
    if (code != GLUON_BNN_BAD_FILE || loaded != nullptr || std::strlen(gluon_bnn_error()) < 10)
      fail("refused with " + std::to_string(code) + ": " + gluon_bnn_error());
    return false;
  }
  model.reset(loaded);
  const int64_t inputs = gluon_bnn_inputs(loaded), outputs = gluon_bnn_outputs(loaded);
  if (inputs > kWidest || outputs > kWidest) return true;
  std::vector<float> x(kRows * inputs), y(kRows * outputs);
  std::vector<int64_t> classes(kRows);
  for (float& value : x) value = real();
  must(gluon_bnn_run, model, x.data(), y.data());
  must(gluon_bnn_predict, model, x.data(), classes.data());
  for (int64_t r = 0; r < kRows; ++r) {
    const float* row = y.data() + r * outputs;
    const bool any_nan = std::any_of(row, row + outputs, [](float value) { return value != value; });
    if (!any_nan && classes[r] != std::max_element(row, row + outputs) - row) fail("predict is not the first maximum");
  }
  if (!gluon_bnn_takes_u8(loaded)) return true;
  const std::vector<uint8_t> pixels(kRows * inputs, 200);
  must(gluon_bnn_run_u8, model, pixels.data(), y.data());
  must(gluon_bnn_predict_u8, model, pixels.data(), classes.data());
  return true;
}

std::string with_header(const std::string& header, const std::string& data) {
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> 8 * i);
  return length + header + data;
}

// The file with another number, word or character in its header, or another byte or length.
std::string damaged(std::string bytes) {
  const char* const words[] = {"0",
                               "1",
                               "2",
                               "31",
                               "32",
                               "33",
                               "1073741824",
                               "1073741825",
                               "4294967296",
                               "9223372036854775807",
                               "18446744073709551615",
                               "-1",
                               "-0",
                               "1.0",
                               "1e3",
                               "00",
                               "float",
                               "bits",
                               "bits01",
                               "input",
                               "pack",
                               "dense",
                               "flatten",
                               "image",
                               "concat",
                               "slice",
                               "arithmetic",
                               "relu",
                               "gelu",
                               "add",
                               "scale",
                               "0,1",
                               "1x2",
                               "0x1",
                               "F32",
                               "I32",
                               "F64",
                               "\\u0041",
                               "\\ud800",
                               "\xc3\xa9",
                               "\xff",
                               "\"",
                               "[",
                               "{",
                               "",
                               " ",
                               "; ",
                               "null"};
  const int64_t size = static_cast<int64_t>(bytes.size());
  const int64_t header_size =
      std::min<int64_t>(size - 8, static_cast<uint8_t>(bytes[0]) + 256 * static_cast<uint8_t>(bytes[1]));
  switch (below(8)) {
    case 0:
      bytes[below(size)] ^= static_cast<char>(1 << below(8));
      return bytes;
    case 1:
      bytes[8 + below(header_size)] ^= static_cast<char>(1 << below(8));
      return bytes;
    case 2:
      return bytes.substr(0, below(size));
    case 3:
      return bytes + bytes.substr(0, 1 + below(9));
    case 4:
      bytes[below(8)] = static_cast<char>(generator());
      return bytes;
  }
  std::string header = bytes.substr(8, header_size);
  for (int64_t changes = 1 + below(2); changes > 0; --changes) {
    size_t begin = below(static_cast<int64_t>(header.size()));
    const auto is_word = [&](size_t at) {
      return std::isalnum(static_cast<unsigned char>(header[at])) || header[at] == '_';
    };
    while (begin < header.size() && !is_word(begin)) ++begin;
    while (begin > 0 && is_word(begin - 1)) --begin;
    size_t end = begin;
    while (end < header.size() && is_word(end)) ++end;
    header = header.substr(0, begin) + pick(words) + header.substr(end);
  }
  return with_header(header, bytes.substr(8 + header_size));
}

// A file whose nodes or tensors are changed, with the CRC-32 of what it then has.
std::string damaged(ModelFile file) {
  const auto any_tensor = [&] {
    return std::next(file.tensors.begin(), below(static_cast<int64_t>(file.tensors.size())));
  };
  for (int64_t changes = 1 + below(2); changes > 0 && !file.tensors.empty(); --changes) {
    auto& [type, data] = any_tensor()->second;
    switch (below(6)) {
      case 0:
        data[below(static_cast<int64_t>(data.size()))] ^= static_cast<char>(1 << below(8));
        break;
      case 1:
        type.replace(type.find("dtype\":\"") + 8, 3, pick({"F32", "I32", "U8"}));
        break;
      case 2:
        file.tensors[pick({"0.scale", "1.alpha", "1.sums", "2.mean", "9.x", "01.alpha"})] = {type, data};
        break;
      case 3:
        if (file.tensors.size() > 1) file.tensors.erase(any_tensor());
        break;
      default: {
        const char* const words[] = {"0",
                                     "1",
                                     "2",
                                     "3",
                                     "7",
                                     "0,0",
                                     "1,2",
                                     "units=1",
                                     "units=40",
                                     "to=bits",
                                     "to=bits01",
                                     "to=float",
                                     "function=swish",
                                     "function=maximum",
                                     "shape=2x2x2",
                                     "begin=0",
                                     "end=2",
                                     "flatten",
                                     "pack",
                                     "concat",
                                     "max_pool",
                                     "average_pool",
                                     "kernel=2x2",
                                     "kernel=1073741824x1",
                                     "strides=2x1",
                                     "padding=0x0",
                                     "padding=1073741824x1",
                                     "dilation=1x2",
                                     "groups=2",
                                     "pad=plus",
                                     "rounding=ceil",
                                     "count=inside"};
        const size_t begin = file.line.find(' ', below(static_cast<int64_t>(file.line.size())));
        if (begin == std::string::npos) break;
        const size_t end = file.line.find_first_of(" ;", begin + 1);
        file.line =
            file.line.substr(0, begin + 1) + pick(words) + (end == std::string::npos ? "" : file.line.substr(end));
      }
    }
  }
  return file.bytes();
}

// A graph of random nodes that fit; what nobody takes is put together in the end.
ModelFile random_graph() {
  struct Value {
    bool is_float;
    int64_t height, width, channels;  // height 0: a row of features
    bool used;
  };
  ModelFile file;
  std::vector<Value> values;
  const auto reals = [](int64_t size) {
    std::vector<float> numbers(size);
    for (float& number : numbers) number = real();
    return numbers;
  };
  const auto add = [&](const std::string& kind, std::vector<int64_t> sources, const std::string& attributes,
                       Value value) {
    std::string text = kind;
    for (size_t i = 0; i < sources.size(); ++i) {
      text += (i == 0 ? " " : ",") + std::to_string(sources[i]);
      values[sources[i]].used = true;
    }
    file.node(text + attributes);
    values.push_back(value);
    return static_cast<int64_t>(values.size()) - 1;
  };
  const auto binary_dense = [&](int64_t source, int64_t units, bool to_float) {
    const Value x = values[source];
    const int64_t k = x.channels;
    const std::vector<float> w = reals(units * k);
    std::vector<int32_t> bits((units + 15) / 16 * ((k + 31) / 32) * 16);
    gluon_bnn_pack_weights(w.data(), units, k, bits.data());
    add("binary_dense", {source}, " units=" + std::to_string(units) + (to_float ? " to=float" : " to=bits"),
        {to_float, x.height, x.width, units, false});
    file.weight_bits(bits, units);
    if (!x.is_float && !to_float) return file.array("threshold", std::vector<int32_t>(units, 1));
    for (const char* name : {"alpha", "bias"}) file.array(name, reals(units));
  };
  const int64_t places = 1 + below(4), inputs = places * (1 + below(40));
  add("input", {}, " shape=" + std::to_string(inputs), {true, 0, 0, inputs, false});
  const int64_t length = 1 + below(20);
  for (int64_t i = 0; i < length; ++i) {
    const int64_t source = below(static_cast<int64_t>(values.size()));
    const Value x = values[source];
    const std::string channels = std::to_string(x.channels);
    if (!x.is_float) {
      binary_dense(source, 1 + below(40), below(2) == 0);
      continue;
    }
    switch (below(9)) {
      case 0:
        binary_dense(source, 1 + below(40), below(2) == 0);
        break;
      case 1: {
        const int64_t units = 1 + below(20);
        add("dense", {source}, " units=" + std::to_string(units), {true, x.height, x.width, units, false});
        file.array("weight", reals(x.channels * units), {x.channels, units});
        break;
      }
      case 2:
        add("batch_norm", {source}, "", x);
        for (const char* name : {"mean", "factor", "beta"}) file.array(name, reals(x.channels));
        break;
      case 3:
        add("activation", {source}, std::string(" function=") + pick({"relu", "gelu", "tanh", "softrelu", "sign"}), x);
        break;
      case 4:
        add("pack", {source}, " to=bits", {false, x.height, x.width, x.channels, false});
        break;
      case 5:
        if (x.height == 0) {
          add("image", {source}, " shape=1x1x" + channels, {true, 1, 1, x.channels, false});
        } else {
          add("flatten", {source}, "", {true, 0, 0, x.height * x.width * x.channels, false});
        }
        break;
      case 6:
        add("arithmetic", {source, source}, " function=multiply", x);
        break;
      case 7:
        if (x.channels < 500) add("concat", {source, source}, "", {true, x.height, x.width, 2 * x.channels, false});
        break;
      case 8:
        add("slice", {source}, " begin=" + std::to_string(x.channels - 1) + " end=" + channels,
            {true, x.height, x.width, 1, false});
    }
    values.back().used = false;
  }
  std::vector<int64_t> ends;
  for (int64_t i = 0, count = static_cast<int64_t>(values.size()); i < count; ++i) {
    if (values[i].used) continue;
    int64_t end = i;
    if (!values[end].is_float) {
      binary_dense(end, 3, true);
      end = static_cast<int64_t>(values.size()) - 1;
    }
    if (values[end].height != 0) {
      const Value x = values[end];
      end = add("flatten", {end}, "", {true, 0, 0, x.height * x.width * x.channels, false});
    }
    ends.push_back(end);
  }
  if (ends.size() > 1) add("concat", ends, "", {});
  if (file.nodes == 1) add("flatten", {0}, "", {});
  return file;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// What cannot be made by damaging a file: sizes that claim more than there is, and texts without an end.
void check_extremes() {
  for (const std::string& bytes :
       {std::string(), std::string(1, '\0'), std::string(8, '\0'), std::string(8, '\xff'),
        with_header(std::string(1 << 20, '['), ""), with_header(std::string(1 << 20, ' '), ""),
        with_header("{\"__metadata__\":{\"gluon_bnn\":\"" + std::string(1 << 20, ' ') + "\"}}", ""),
        with_header("{\"__metadata__\":{\"gluon_bnn\":\"", ""), with_header("{\"a\\u12", "")}) {
    if (load_and_run(bytes)) fail("accepted what is no file of a net");
  }
  gluon_bnn_model* model = nullptr;
  const std::string directory = std::filesystem::temp_directory_path().string();
  for (const std::string& path : {directory, std::string("/dev/zero"), directory + "/no such file"}) {
    if (gluon_bnn_load(path.c_str(), &model) != GLUON_BNN_NO_FILE) fail(path + " must not be a file");
  }
  // A long chain, and a node that doubles what the one before it gives, again and again.
  ModelFile chain;
  chain.node("input shape=3");
  for (int i = 0; i < 20000; ++i) chain.node("activation " + std::to_string(i) + " function=relu");
  if (!load_and_run(chain.bytes())) fail(gluon_bnn_error());
  ModelFile doubled;
  doubled.node("input shape=3");
  for (int i = 0; i < 40; ++i) doubled.node("concat " + std::to_string(i) + "," + std::to_string(i));
  if (load_and_run(doubled.bytes()) || std::strstr(gluon_bnn_error(), "at most") == nullptr)
    fail("accepted a row of 2^41");
}

}  // namespace

// The arguments are directories of files. Damaged ones are for the fastest instruction set: the others differ in
// kernels.
int main(int argc, char** argv) {
  check_extremes();
  const std::string all_sets = gluon_bnn_instruction_sets(), fastest = all_sets.substr(all_sets.rfind(' ') + 1);
  int64_t files = 0, loaded = 0;
  const std::string names = on_every_instruction_set([&] {
    const int damages = gluon_bnn_instruction_set() == fastest ? 150 : 0;  // of each file
    const auto all = [&](const std::string& bytes, const auto& damage) {
      for (int i = 0; i < damages; ++i, ++files) loaded += load_and_run(damage(bytes));
    };
    const auto whole_and_damaged = [&](const std::string& what, const std::string& bytes) {
      if (!load_and_run(bytes)) fail(what + ": " + gluon_bnn_error());
      all(bytes, [](const std::string& whole) { return damaged(whole); });
    };
    for (const std::string form : kEveryForm) {
      const ModelFile file = every_kind(form, 40, 20);
      whole_and_damaged(form, file.bytes());
      all("", [&](const std::string&) { return damaged(file); });
    }
    for (int i = 0; i < 50; ++i) {
      const ModelFile file = random_graph();
      if (!load_and_run(file.bytes())) fail("a random graph: " + std::string(gluon_bnn_error()));
      for (int k = 0; k < damages / 15; ++k, ++files) loaded += load_and_run(damaged(file));
    }
    for (int i = 1; i < argc; ++i) {
      std::vector<std::filesystem::path> paths;
      for (const auto& entry : std::filesystem::directory_iterator(argv[i])) paths.push_back(entry.path());
      std::sort(paths.begin(), paths.end());
      for (const auto& path : paths) {
        const std::string name = path.filename().string();
        if (path.extension() != ".safetensors" || name.find(".answers") != std::string::npos) continue;
        gluon_bnn_model* model = nullptr;
        if (gluon_bnn_load(path.string().c_str(), &model) != GLUON_BNN_OK) fail(gluon_bnn_error());
        gluon_bnn_free(model);
        whole_and_damaged(name, read(path));
      }
    }
  });
  std::printf("ok: %s; %lld damaged files, %lld of them loaded\n", names.c_str(), static_cast<long long>(files),
              static_cast<long long>(loaded));
}
