// What the library says of itself, in plain C: read through ctypes, with or without MXNet.
#if defined(_WIN32)
#define GLUON_BNN_API extern "C" __declspec(dllexport)
#else
#define GLUON_BNN_API extern "C" __attribute__((visibility("default")))
#endif

// Raised when an operator or a function changes meaning; library.py refuses any other number.
GLUON_BNN_API int gluon_bnn_abi() { return 2; }

// The instruction set that the kernels run on: so far, the baseline of the platform.
GLUON_BNN_API const char* gluon_bnn_instruction_set() {
#if defined(__x86_64__) || defined(_M_X64)
  return "sse2";
#elif defined(__aarch64__) || defined(_M_ARM64)
  return "neon";
#else
  return "serial";
#endif
}
