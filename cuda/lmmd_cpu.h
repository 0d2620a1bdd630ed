// What the CPU driver and its kernels (one set per instruction set) agree on.
#pragma once

#include <cstdint>

#include "lmmd.h"

namespace fdan_edge {

constexpr int64_t TILE = 64;  // rows of a tile: two of them and their product stay in the second-level cache

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <class T>
struct Matrix {
  T* rows;        // (padded rows, ld)
  T* panels;      // the same numbers, [panel][column][row of the panel]
  int64_t width;  // columns in use, a multiple of a panel
  int64_t ld;     // see stride_of
};

// Rows in the order of their classes; every class starts at a whole panel, rows between are zeros.
template <class T>
struct Rows {
  Matrix<T> z;   // z', centred and scaled
  Matrix<T> u;   // u of every class (soft labels), else null
  T* norms;      // |z'|^2
  T* weights;    // u of the row's own class (hard labels)
  T* gradients;  // (padded rows, z.ld): sum_n B_mn z'_n, null where no gradient is asked for
  T* sums;       // sum_n B_mn
};

// Rows a multiple of 512 bytes apart would meet in a few sets of the first-level cache.
template <class T>
int64_t stride_of(int64_t width) {
  constexpr int64_t LINE = 64 / sizeof(T);
  return width % (8 * LINE) ? width : width + LINE;
}

// Two tiles of one class: rows i ... i + i_rows and j ... j + j_rows. i == j or not overlapping.
struct Pair {
  int64_t i, i_rows, j, j_rows;
};

// The kernels compiled for one instruction set.
template <class T>
struct Isa {
  int64_t panel;  // rows of a panel, and what ld is a multiple of
  // Adds the pair's part of the gradient; gives its part of sum u u k, both triangles.
  double (*pair)(const Rows<T>&, const Pair&, Kernels);
  void (*pack)(const T* rows, int64_t ld, int64_t width, T* panel);  // `panel` rows into one panel
};

// Sums of z - origin over rows, and of their squares.
template <class In>
using Statistics = void (*)(const In* z, int64_t rows, int64_t width, const double* origin, double* sums,
                            double* squares);
// z' = (z - centre) * scale; gives |z'|^2. Rounding the centre moves all rows alike, which changes no distance.
template <class In, class T>
using Place = T (*)(const In* z, int64_t width, const T* centre, T scale, T* out);
// gradient = factor * (z' * sum - gradients)
template <class T>
using Finish = void (*)(const T* z, const T* weighted, T sum, T factor, int64_t width, T* out);

template <class In>
struct Convert {
  using T = float;
};
template <>
struct Convert<double> {
  using T = double;
};

}  // namespace fdan_edge
