// Which kernels run: chosen once, when they are first asked for, from what the processor and the operating
// system both support; GLUON_BNN_ISA or gluon_bnn_use() chooses another.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels.h"
#include "error.h"
#include "gluon_bnn.h"

namespace gluon_bnn {
namespace {

// __builtin_cpu_supports asks the processor (cpuid) and whether the system saves the registers (xgetbv).
#if defined(__x86_64__) || defined(__i386__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool has_avx512vpopcntdq() {
  return has_avx512() && __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vnni");
}
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
bool has_avx512vpopcntdq() { return false; }
#endif

// From the slowest to the fastest.
std::vector<const Kernels*> find() {
  std::vector<const Kernels*> found = {serial_kernels()};
  const auto add = [&](const Kernels* table, bool supported) {
    if (table != nullptr && supported) found.push_back(table);
  };
  add(neon_kernels(), true);
  add(avx2_kernels(), has_avx2());
  add(avx512_kernels(), has_avx512());
  add(avx512vpopcntdq_kernels(), has_avx512vpopcntdq());
  return found;
}

const std::vector<const Kernels*>& available() {
  static const std::vector<const Kernels*> tables = find();
  return tables;
}

const std::string& names() {
  static const std::string text = [] {
    std::string joined;
    for (const Kernels* table : available()) joined += (joined.empty() ? "" : " ") + std::string(table->name);
    return joined;
  }();
  return text;
}

const Kernels* named(const char* name) {
  for (const Kernels* table : available()) {
    if (std::strcmp(table->name, name) == 0) return table;
  }
  return nullptr;
}

std::atomic<const Kernels*>& chosen() {
  // A name that this machine does not have is refused by library.py; here it means: choose for me.
  static std::atomic<const Kernels*> table{[] {
    const char* name = std::getenv("GLUON_BNN_ISA");
    const Kernels* wanted = name == nullptr ? nullptr : named(name);
    return wanted != nullptr ? wanted : available().back();
  }()};
  return table;
}

}  // namespace

const Kernels& kernels() { return *chosen().load(std::memory_order_relaxed); }

}  // namespace gluon_bnn

extern "C" {

int gluon_bnn_abi(void) { return GLUON_BNN_ABI; }

const char* gluon_bnn_instruction_set(void) { return gluon_bnn::kernels().name; }

const char* gluon_bnn_instruction_sets(void) { return gluon_bnn::names().c_str(); }

int gluon_bnn_use(const char* instruction_set) {
  const gluon_bnn::Kernels* table = instruction_set == nullptr ? nullptr : gluon_bnn::named(instruction_set);
  if (table == nullptr) {
    return gluon_bnn::fail("the instruction set must be one of %s, got %s", gluon_bnn::names().c_str(),
                           instruction_set == nullptr ? "null" : instruction_set);
  }
  gluon_bnn::chosen().store(table, std::memory_order_relaxed);
  return GLUON_BNN_OK;
}

}  // extern "C"
