// CPU kernels for one instruction set: included once per set, inside its namespace, with BYTES the width of
// a vector register. Only the compiler's own vectors: no intrinsics.

template <class T>
struct Simd;

template <>
struct Simd<float> {
  typedef float V __attribute__((vector_size(BYTES)));
  typedef float Loose __attribute__((vector_size(BYTES), aligned(4), may_alias));
  typedef int32_t I __attribute__((vector_size(BYTES)));
};

template <>
struct Simd<double> {
  typedef double V __attribute__((vector_size(BYTES)));
  typedef double Loose __attribute__((vector_size(BYTES), aligned(8), may_alias));
  typedef int64_t I __attribute__((vector_size(BYTES)));
};

template <class T>
using V = typename Simd<T>::V;
template <class T>
constexpr int64_t LANES = BYTES / sizeof(T);
template <class T>
constexpr int64_t PANEL = 2 * LANES<T>;  // two registers wide: 6 x 2 accumulators, 2 operands, 1 broadcast

template <class T>
LMMD_HD V<T> load(const T* p) {
  return *reinterpret_cast<const typename Simd<T>::Loose*>(p);
}

template <class T>
LMMD_HD void store(T* p, V<T> v) {
  *reinterpret_cast<typename Simd<T>::Loose*>(p) = v;
}

template <class T>
LMMD_HD T total(V<T> v) {
  T sum = 0;
  for (int64_t i = 0; i < LANES<T>; ++i) sum += v[i];
  return sum;
}

// 2^x for x <= 0, relative error below 2e-7 (polynomial of Cephes' exp2f); NaN stays NaN.
LMMD_HD Simd<float>::V exp2_of(Simd<float>::V x) {
  x = x < -126.0f ? x * 0 - 126.0f : x;
  const Simd<float>::V magic = x * 0 + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Simd<float>::V whole = (x + magic) - magic;
  const Simd<float>::V f = x - whole;
  Simd<float>::V p = f * 1.535336188319500e-4f + 1.339887440266574e-3f;
  p = p * f + 9.618437357674640e-3f;
  p = p * f + 5.550332471162809e-2f;
  p = p * f + 2.402264791363012e-1f;
  p = p * f + 6.931472028550421e-1f;
  p = p * f + 1.0f;
  const Simd<float>::I exponent = __builtin_convertvector(whole, Simd<float>::I);
  return p * reinterpret_cast<Simd<float>::V>((exponent + 127) << 23);
}

LMMD_HD Simd<double>::V exp2_of(Simd<double>::V x) {
  for (int64_t i = 0; i < LANES<double>; ++i) x[i] = std::exp2(x[i]);
  return x;
}

#include "kernel_sum.inl"

// c[m][0 ... PANEL) (+)= sum_k a[m, k] b[k][0 ... PANEL) for M rows.
template <class T, int M, bool ADD>
LMMD_HD void multiply_rows(const T* a, int64_t a_row, int64_t a_column, const T* b, int64_t b_row, int64_t depth,
                           T* c, int64_t c_row) {
  V<T> left[M], right[M];
  for (int m = 0; m < M; ++m) {
    left[m] = ADD ? load(c + m * c_row) : V<T>{};
    right[m] = ADD ? load(c + m * c_row + LANES<T>) : V<T>{};
  }
  for (int64_t k = 0; k < depth; ++k) {
    const V<T> b0 = load(b + k * b_row), b1 = load(b + k * b_row + LANES<T>);
#pragma GCC unroll 6
    for (int m = 0; m < M; ++m) {
      const T factor = a[m * a_row + k * a_column];
      left[m] += factor * b0;
      right[m] += factor * b1;
    }
  }
  for (int m = 0; m < M; ++m) {
    store(c + m * c_row, left[m]);
    store(c + m * c_row + LANES<T>, right[m]);
  }
}

template <class T, bool ADD>
void multiply(int64_t rows, const T* a, int64_t a_row, int64_t a_column, const T* b, int64_t b_row, int64_t depth,
              T* c, int64_t c_row) {
  for (; rows >= 6; rows -= 6, a += 6 * a_row, c += 6 * c_row)
    multiply_rows<T, 6, ADD>(a, a_row, a_column, b, b_row, depth, c, c_row);
  switch (rows) {
    case 5: return multiply_rows<T, 5, ADD>(a, a_row, a_column, b, b_row, depth, c, c_row);
    case 4: return multiply_rows<T, 4, ADD>(a, a_row, a_column, b, b_row, depth, c, c_row);
    case 3: return multiply_rows<T, 3, ADD>(a, a_row, a_column, b, b_row, depth, c, c_row);
    case 2: return multiply_rows<T, 2, ADD>(a, a_row, a_column, b, b_row, depth, c, c_row);
    case 1: return multiply_rows<T, 1, ADD>(a, a_row, a_column, b, b_row, depth, c, c_row);
  }
}

// out (TILE, TILE) = rows of tile i times rows of tile j.
template <class T>
void gram(const Matrix<T>& z, const Pair& p, T* out) {
  for (int64_t n = 0; n < p.j_rows; n += PANEL<T>)
    multiply<T, false>(p.i_rows, z.rows + p.i * z.ld, z.ld, 1, z.panels + (p.j + n) * z.width, PANEL<T>, z.width,
                       out + n, TILE);
}

// Turns inner products into B = weight * slope, row by row; gives sum weight * k.
template <class T, int COUNT>
double weigh(const Rows<T>& r, const Pair& p, Kernels kernels, const T* pair_weights, T* products) {
  double sum = 0;
  for (int64_t m = 0; m < p.i_rows; ++m) {
    T* row = products + m * TILE;
    const T norm = r.norms[p.i + m], own = r.weights[p.i + m];
    V<T> value{};
    for (int64_t n = 0; n < p.j_rows; n += LANES<T>) {
      V<T> distance = norm + load(r.norms + p.j + n) - 2 * load(row + n), k, slope;
      distance = distance < 0 ? V<T>{} : distance;
      kernel_sum<COUNT, T>(distance, kernels, k, slope);
      const V<T> weight = r.u.rows ? load(pair_weights + m * TILE + n) : own * load(r.weights + p.j + n);
      value += weight * k;
      store(row + n, weight * slope);
    }
    sum += total<T>(value);
  }
  return sum;
}

// gradients[i] += B z'[j]; element (m, n) of B is b[m * b_row + n * b_column].
template <class T>
void spread(const Rows<T>& r, int64_t i, int64_t i_rows, int64_t j, int64_t j_rows, const T* b, int64_t b_row,
            int64_t b_column) {
  const int64_t ld = r.z.ld;
  for (int64_t column = 0; column < r.z.width; column += PANEL<T>)
    multiply<T, true>(i_rows, b, b_row, b_column, r.z.rows + j * ld + column, ld, j_rows,
                      r.gradients + i * ld + column, ld);
}

// sums[i] += B 1 and, off the diagonal, sums[j] += B' 1.
template <class T>
void add_sums(const Pair& p, const T* __restrict b, T* __restrict sums) {
  for (int64_t m = 0; m < p.i_rows; ++m, b += TILE) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t n = 0; n < p.j_rows; ++n) sum += b[n];
    sums[p.i + m] += sum;
    if (p.i == p.j) continue;
#pragma omp simd
    for (int64_t n = 0; n < p.j_rows; ++n) sums[p.j + n] += b[n];
  }
}

template <class T>
double pair(const Rows<T>& r, const Pair& p, Kernels kernels) {
  alignas(64) T products[TILE * TILE];
  alignas(64) T weights[TILE * TILE];
  gram(r.z, p, products);
  if (r.u.rows) gram(r.u, p, weights);
  const bool diagonal = p.i == p.j;
  // A row's distance to itself is exactly 0, also beside the narrowest of many kernels.
  for (int64_t m = 0; diagonal && m < p.i_rows; ++m) products[m * TILE + m] = r.norms[p.i + m];
  const bool usual = kernels.count == 5 && kernels.doubling();
  const double value = usual ? weigh<T, 5>(r, p, kernels, weights, products)
                             : weigh<T, 0>(r, p, kernels, weights, products);
  if (r.gradients) {
    // A row does not pull at itself; its own large term would only cost digits.
    for (int64_t m = 0; diagonal && m < p.i_rows; ++m) products[m * TILE + m] = 0;
    add_sums(p, products, r.sums);
    spread(r, p.i, p.i_rows, p.j, p.j_rows, products, TILE, 1);
    if (!diagonal) spread(r, p.j, p.j_rows, p.i, p.i_rows, products, 1, TILE);
  }
  return diagonal ? value : 2 * value;
}

// Lane by lane of (a, b): of every pair of blocks of STEP lanes, the low halves or the high ones.
template <class T, int STEP, bool HIGH, int... LANE>
LMMD_HD V<T> exchange(V<T> a, V<T> b, std::integer_sequence<int, LANE...>) {
  constexpr int W = sizeof...(LANE);
  using I = typename Simd<T>::I;
  return SHUFFLE(a, b, ((LANE & STEP) ? W + LANE - (HIGH ? 0 : STEP) : LANE + (HIGH ? STEP : 0))...);
}

// Transposes LANES x LANES numbers in registers: rows STEP apart exchange halves of blocks.
template <class T, int STEP>
LMMD_HD void transpose(V<T>* rows) {
  constexpr int W = LANES<T>;
  constexpr auto lanes = std::make_integer_sequence<int, W>();
#pragma GCC unroll 16
  for (int row = 0; row < W; ++row) {
    if (row & STEP) continue;
    const V<T> a = rows[row], b = rows[row + STEP];
    rows[row] = exchange<T, STEP, false>(a, b, lanes);
    rows[row + STEP] = exchange<T, STEP, true>(a, b, lanes);
  }
  if constexpr (2 * STEP < W) transpose<T, 2 * STEP>(rows);
}

// PANEL rows into one panel, [column][row].
template <class T>
void pack(const T* rows, int64_t ld, int64_t width, T* panel) {
  constexpr int64_t W = LANES<T>;
  for (int64_t row = 0; row < PANEL<T>; row += W)
    for (int64_t column = 0; column < width; column += W) {
      V<T> block[W];
#pragma GCC unroll 16
      for (int64_t i = 0; i < W; ++i) block[i] = load(rows + (row + i) * ld + column);
      transpose<T, 1>(block);
#pragma GCC unroll 16
      for (int64_t i = 0; i < W; ++i) store(panel + (column + i) * PANEL<T> + row, block[i]);
    }
}

template <class In>
void statistics(const In* z, int64_t rows, int64_t width, const double* origin, double* sums, double* squares) {
  for (int64_t m = 0; m < rows; ++m, z += width) {
    double square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t k = 0; k < width; ++k) {
      const double x = double(typename Convert<In>::T(z[k])) - origin[k];
      sums[k] += x;
      square += x * x;
    }
    *squares += square;
  }
}

template <class In, class T>
T place(const In* z, int64_t width, const T* centre, T scale, T* out) {
  T norm = 0;
#pragma omp simd reduction(+ : norm)
  for (int64_t k = 0; k < width; ++k) {
    out[k] = (T(z[k]) - centre[k]) * scale;
    norm += out[k] * out[k];
  }
  return norm;
}

template <class T>
void finish(const T* __restrict z, const T* __restrict weighted, T sum, T factor, int64_t width, T* __restrict out) {
  for (int64_t k = 0; k < width; ++k) out[k] = factor * (z[k] * sum - weighted[k]);
}

template <class T>
constexpr Isa<T> ISA{PANEL<T>, pair<T>, pack<T>};
