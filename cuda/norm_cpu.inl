// Kernels of normalisation for one instruction set: included once per set, inside its namespace. Plain loops that
// the compiler turns into vectors. Each works on `count` numbers in rows of `width`; the last row may be short.

// Calls `run(first number, how many)` row by row.
template <class F>
NORM_INLINE void for_rows(int64_t count, int64_t width, const F& run) {
  for (int64_t at = 0; at < count; at += width) run(at, count - at < width ? count - at : width);
}

// Forward and backward compute it alike: they agree on what the activation cuts off.
NORM_INLINE float normalised(float centred, float scale, float bias) { return centred * scale + bias; }

// NaN stays NaN.
template <int ACT>
NORM_INLINE float activated(float v) {
  if (ACT != NONE) v = v < 0 ? 0 : v;
  if (ACT == RELU6) v = v > 6 ? 6 : v;
  return v;
}

// The slope of what came out of the activation of v, as PyTorch has it at 0 and 6.
template <int ACT>
NORM_INLINE float passed(float slope, float v) {
  if (ACT != NONE) slope = v <= 0 ? 0 : slope;
  if (ACT == RELU6) slope = v >= 6 ? 0 : slope;
  return slope;
}

// sums[k] += x. Four rows at a time: sums are loaded and stored less often.
inline void add(const float* __restrict x, int64_t count, int64_t width, float* __restrict sums) {
  for (; count >= 4 * width; count -= 4 * width, x += 4 * width) {
#pragma omp simd
    for (int64_t k = 0; k < width; ++k)
      sums[k] += (x[k] + x[width + k]) + (x[2 * width + k] + x[3 * width + k]);
  }
  for_rows(count, width, [&](int64_t at, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) sums[k] += x[at + k];
  });
}

// sums[k] += x - shift; squares[k] += (x - shift)^2
inline void add_squares(const float* __restrict x, int64_t count, int64_t width, const float* __restrict shift,
                        float* __restrict sums, float* __restrict squares) {
  for (; count >= 4 * width; count -= 4 * width, x += 4 * width) {
#pragma omp simd
    for (int64_t k = 0; k < width; ++k) {
      const float a = x[k] - shift[k], b = x[width + k] - shift[k];
      const float c = x[2 * width + k] - shift[k], d = x[3 * width + k] - shift[k];
      sums[k] += (a + b) + (c + d);
      squares[k] += (a * a + b * b) + (c * c + d * d);
    }
  }
  for_rows(count, width, [&](int64_t at, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
      const float a = x[at + k] - shift[k];
      sums[k] += a;
      squares[k] += a * a;
    }
  });
}

template <int ACT>
void apply(const float* __restrict x, int64_t count, int64_t width, Columns by, float* __restrict y) {
  const float *__restrict mean = by.mean, *__restrict scale = by.scale, *__restrict bias = by.bias;
  for_rows(count, width, [&](int64_t at, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k)
      y[at + k] = activated<ACT>(normalised(x[at + k] - mean[k], scale[k], bias[k]));
  });
}

// sums[k] += slope; products[k] += slope * (x - mean), slopes before the activation.
template <int ACT>
void add_slopes(const float* __restrict dy, const float* __restrict x, int64_t count, int64_t width, Columns by,
                float* __restrict sums, float* __restrict products) {
  const float *__restrict mean = by.mean, *__restrict scale = by.scale, *__restrict bias = by.bias;
  for (; count >= 2 * width; count -= 2 * width, x += 2 * width, dy += 2 * width) {
#pragma omp simd
    for (int64_t k = 0; k < width; ++k) {
      const float a = x[k] - mean[k], b = x[width + k] - mean[k];
      const float p = passed<ACT>(dy[k], normalised(a, scale[k], bias[k]));
      const float q = passed<ACT>(dy[width + k], normalised(b, scale[k], bias[k]));
      sums[k] += p + q;
      products[k] += p * a + q * b;
    }
  }
  for_rows(count, width, [&](int64_t at, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
      const float a = x[at + k] - mean[k];
      const float p = passed<ACT>(dy[at + k], normalised(a, scale[k], bias[k]));
      sums[k] += p;
      products[k] += p * a;
    }
  });
}

template <int ACT>
void apply_slopes(const float* __restrict dy, const float* __restrict x, int64_t count, int64_t width, Columns by,
                  float* __restrict dx) {
  const float *__restrict mean = by.mean, *__restrict scale = by.scale, *__restrict bias = by.bias;
  const float *__restrict constant = by.constant, *__restrict linear = by.linear;
  for_rows(count, width, [&](int64_t at, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
      const float centred = x[at + k] - mean[k];
      const float slope = passed<ACT>(dy[at + k], normalised(centred, scale[k], bias[k]));
      dx[at + k] = slope * scale[k] - (constant[k] + centred * linear[k]);
    }
  });
}
