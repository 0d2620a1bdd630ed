// LMMD, the local maximum mean discrepancy (FDAN eqs. 5-8): the arithmetic that every implementation shares.
// Compiled for the host and, under nvcc, for the device; free of PyTorch.
//
//     d = 1/C' sum_c sum_{m,n} u[m,c] u[n,c] k(z_m, z_n),   k(D) = sum_{i<K} exp(-D / (b r^i))
//
// with D = |z_m - z_n|^2, b = (mean off-diagonal D) / r^(K/2), and u the signed class weights of eq. 7.
//
// Rows are centred and scaled once, z' = (z - mean) * sqrt(log2(e) / (b r^(K-1))), so that the largest
// bandwidth's kernel is 2^-D' of scaled distances: no overflow at any unit, and no multiplication per pair.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define LMMD_HD __host__ __device__ __forceinline__
#else
#define LMMD_HD inline __attribute__((always_inline))
#endif

namespace fdan_edge {

constexpr double LOG2_E = 1.4426950408889634;
constexpr double LN_2 = 0.6931471805599453;

struct Kernels {
  int count;     // K
  double ratio;  // r
  double gain;   // log2(e) r^(K/2) / r^(K-1): squared scale times mean off-diagonal squared distance
  // With bandwidths in ratio 2, one exponential gives all kernels by squaring; each one doubles the rounding error.
  LMMD_HD bool doubling() const { return ratio == 2.0 && count <= 6; }
};

inline Kernels kernels_of(int count, double ratio) {
  return {count, ratio, LOG2_E * std::pow(ratio, count / 2 - (count - 1))};
}

// The largest scale that T holds with room for products with it.
template <class T>
LMMD_HD constexpr double most_scale() {
  return sizeof(T) == 4 ? 1e36 : 1e300;
}

constexpr int64_t NO_REPORT = INT64_MIN;  // no label out of range has been seen

enum class Type { HALF, BFLOAT16, FLOAT, DOUBLE };

// One call on a GPU, free of PyTorch.
struct Call {
  const void *z_visual, *z_acoustic;  // (n_v, width), (n_a, width) of `type`
  const void *y_visual, *y_acoustic;  // int64 labels, or soft labels in the type of the outputs
  void *value, *gradients;            // one number, and (rows, width), in float or (`wide`) double
  int64_t* report;                    // memory of the host that gets a label out of range, and the number of classes
  Type type;
  int n_visual, n_acoustic, width, classes;
  bool wide, soft, shared_only, gradient;
  Kernels kernels;
};

// Which classes the sum is divided by: all C, as the paper writes, or those that both sides have (DSAN).
LMMD_HD double divisor_of(bool shared_only, int shared, int classes) {
  return shared_only ? (shared > 0 ? shared : 1) : classes;
}

// Weight of one row of a class with `count` rows on its side; `other` rows are on the other side (eq. 7).
// A class absent from either side gets 0: there is nothing to align it with. NaN stays NaN.
LMMD_HD double class_weight(bool visual, double count, double other) {
  if (count <= 0 || other <= 0) return 0;
  return visual ? 1 / count : -1 / count;
}

// The scale of z' from sums over all n rows, taken relative to any one row: `squares` = sum |z - z_0|^2 and
// `shift` = |mean(z - z_0)|^2. The mean off-diagonal squared distance is 2 / (n - 1) * sum |z - mean|^2, so it
// needs no pairs. 0 where all rows are equal, or so nearly that the scale is beyond `most` (any bandwidth gives the
// right answer, 0), NaN for non-finite rows.
LMMD_HD double scale_of(double squares, double shift, double n, Kernels kernels, double most) {
  const double spread = squares - n * shift;
  if (spread <= 0) return 0;
  if (!(spread * 0 == 0)) return NAN;
  const double scale = sqrt(kernels.gain / (2 / (n - 1) * spread));
  return scale > most ? 0 : scale;
}

// d(value)/dz_m = gradient_factor * (z'_m * sum_n B_mn - sum_n B_mn z'_n) with B = u u' slope.
LMMD_HD double gradient_factor(double scale, double divisor) { return -4 * LN_2 * scale / divisor; }

}  // namespace fdan_edge
