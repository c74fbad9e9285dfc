// Which kernels run: chosen once, when they are first asked for, from what the processor and the operating
// system both support; GLUON_BNN_ISA or gluon_bnn_use() chooses another.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "error.h"
#include "gluon_bnn.h"
#include "kernels/table.h"

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

// What this machine has, from the slowest to the fastest, and the names, separated by spaces. Found when the library is
// loaded, and without memory of its own: nothing here throws, or waits for another thread.
struct Available {
  static constexpr int kMost = 5;
  const Kernels* tables[kMost];
  Kernels vpopcntdq;  // those of AVX-512, with what newer instructions add
  int count = 0;
  char names[kMost * 24] = "";

  Available() {
    add(serial_kernels(), true);
    add(neon_kernels(), true);
    add(avx2_kernels(), has_avx2());
    add(avx512_kernels(), has_avx512());
    if (const Kernels *base = avx512_kernels(), *added = avx512vpopcntdq_kernels();
        base != nullptr && added != nullptr) {
      vpopcntdq = *base;
      vpopcntdq.name = added->name;
      vpopcntdq.xnor_gemm = added->xnor_gemm;
      vpopcntdq.xnor_rows = added->xnor_rows;
      vpopcntdq.xnor_blocks = added->xnor_blocks;
      vpopcntdq.u8_gemm = added->u8_gemm;
      add(&vpopcntdq, has_avx512vpopcntdq());
    }
  }

  void add(const Kernels* table, bool supported) {
    if (table == nullptr || !supported) return;
    if (count > 0) std::strcat(names, " ");
    std::strcat(names, table->name);
    tables[count++] = table;
  }

  const Kernels* named(const char* name) const {
    for (int i = 0; i < count; ++i) {
      if (std::strcmp(tables[i]->name, name) == 0) return tables[i];
    }
    return nullptr;
  }
};

const Available available;

std::atomic<const Kernels*> chosen{nullptr};

// The first call's choice. A name that this machine does not have is refused by library.py; here it means: choose for
// me.
const Kernels* choose() {
  const char* name = std::getenv("GLUON_BNN_ISA");
  const Kernels* table = name == nullptr ? nullptr : available.named(name);
  if (table == nullptr) table = available.tables[available.count - 1];
  const Kernels* none = nullptr;
  return chosen.compare_exchange_strong(none, table) ? table : none;
}

}  // namespace

const Kernels& kernels() {
  const Kernels* table = chosen.load(std::memory_order_relaxed);
  return table != nullptr ? *table : *choose();
}

}  // namespace gluon_bnn

extern "C" {

int gluon_bnn_abi(void) { return GLUON_BNN_ABI; }

const char* gluon_bnn_instruction_set(void) { return gluon_bnn::kernels().name; }

const char* gluon_bnn_instruction_sets(void) { return gluon_bnn::available.names; }

int gluon_bnn_use(const char* instruction_set) {
  const gluon_bnn::Kernels* table = instruction_set == nullptr ? nullptr : gluon_bnn::available.named(instruction_set);
  if (table == nullptr) {
    return gluon_bnn::fail("the instruction set must be one of %s, got %s", gluon_bnn::available.names,
                           instruction_set == nullptr ? "null" : instruction_set);
  }
  gluon_bnn::chosen.store(table, std::memory_order_relaxed);
  return GLUON_BNN_OK;
}

}  // extern "C"
