// Which of the instruction sets that CPU kernels are compiled for runs: chosen when the ops are loaded.
#pragma once

#include <cstdint>

namespace fdan_edge {

// clang has no target pragma; it and other processors get 16-byte vectors, which all of them have.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define X86_LEVELS 1
#endif

inline int highest_level() {
#if defined(X86_LEVELS)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}

inline int level = highest_level();  // 0: 16-byte vectors, 1: AVX2, 2: AVX-512

}  // namespace fdan_edge
