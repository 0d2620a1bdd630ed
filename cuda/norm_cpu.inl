// Kernels of normalisation for one instruction set: included once per set, inside its namespace. Plain loops that
// the compiler turns into vectors. Each works on `count` numbers in rows of `width`; the last row may be short.
// Numbers are float32 or bfloat16 (T); what is computed with them is float32.

// By hand: loops that call BFloat16's own conversions need not become vectors, and then take six times as long.
NORM_INLINE float widened(float v) { return v; }
NORM_INLINE float widened(BFloat16 v) { return __builtin_bit_cast(float, uint32_t(v.x) << 16); }

// To the nearest, of two as near to the even one, as PyTorch rounds. NaN, whose bits could carry over, is set apart.
template <class T>
NORM_INLINE T narrowed(float v) {
  if constexpr (std::is_same_v<T, float>) {
    return v;
  } else {
    const uint32_t bits = __builtin_bit_cast(uint32_t, v);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return BFloat16(uint16_t(v != v ? 0x7fc0 : rounded), BFloat16::from_bits());
  }
}

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
template <class T>
void add(const T* __restrict x, int64_t count, int64_t width, float* __restrict sums) {
  for (; count >= 4 * width; count -= 4 * width, x += 4 * width) {
#pragma omp simd
    for (int64_t k = 0; k < width; ++k)
      sums[k] += (widened(x[k]) + widened(x[width + k])) + (widened(x[2 * width + k]) + widened(x[3 * width + k]));
  }
  for_rows(count, width, [&](int64_t at, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) sums[k] += widened(x[at + k]);
  });
}

// sums[k] += x - shift; squares[k] += (x - shift)^2
template <class T>
void add_squares(const T* __restrict x, int64_t count, int64_t width, const float* __restrict shift,
                 float* __restrict sums, float* __restrict squares) {
  for (; count >= 4 * width; count -= 4 * width, x += 4 * width) {
#pragma omp simd
    for (int64_t k = 0; k < width; ++k) {
      const float a = widened(x[k]) - shift[k], b = widened(x[width + k]) - shift[k];
      const float c = widened(x[2 * width + k]) - shift[k], d = widened(x[3 * width + k]) - shift[k];
      sums[k] += (a + b) + (c + d);
      squares[k] += (a * a + b * b) + (c * c + d * d);
    }
  }
  for_rows(count, width, [&](int64_t at, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
      const float a = widened(x[at + k]) - shift[k];
      sums[k] += a;
      squares[k] += a * a;
    }
  });
}

template <int ACT, class T>
void apply(const T* __restrict x, int64_t count, int64_t width, Columns by, T* __restrict y) {
  const float *__restrict mean = by.mean, *__restrict scale = by.scale, *__restrict bias = by.bias;
  for_rows(count, width, [&](int64_t at, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k)
      y[at + k] = narrowed<T>(activated<ACT>(normalised(widened(x[at + k]) - mean[k], scale[k], bias[k])));
  });
}

// sums[k] += slope; products[k] += slope * (x - mean), slopes before the activation.
template <int ACT, class T>
void add_slopes(const T* __restrict dy, const T* __restrict x, int64_t count, int64_t width, Columns by,
                float* __restrict sums, float* __restrict products) {
  const float *__restrict mean = by.mean, *__restrict scale = by.scale, *__restrict bias = by.bias;
  for (; count >= 2 * width; count -= 2 * width, x += 2 * width, dy += 2 * width) {
#pragma omp simd
    for (int64_t k = 0; k < width; ++k) {
      const float a = widened(x[k]) - mean[k], b = widened(x[width + k]) - mean[k];
      const float p = passed<ACT>(widened(dy[k]), normalised(a, scale[k], bias[k]));
      const float q = passed<ACT>(widened(dy[width + k]), normalised(b, scale[k], bias[k]));
      sums[k] += p + q;
      products[k] += p * a + q * b;
    }
  }
  for_rows(count, width, [&](int64_t at, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
      const float a = widened(x[at + k]) - mean[k];
      const float p = passed<ACT>(widened(dy[at + k]), normalised(a, scale[k], bias[k]));
      sums[k] += p;
      products[k] += p * a;
    }
  });
}

template <int ACT, class T>
void apply_slopes(const T* __restrict dy, const T* __restrict x, int64_t count, int64_t width, Columns by,
                  T* __restrict dx) {
  const float *__restrict mean = by.mean, *__restrict scale = by.scale, *__restrict bias = by.bias;
  const float *__restrict constant = by.constant, *__restrict linear = by.linear;
  for_rows(count, width, [&](int64_t at, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
      const float centred = widened(x[at + k]) - mean[k];
      const float slope = passed<ACT>(widened(dy[at + k]), normalised(centred, scale[k], bias[k]));
      dx[at + k] = narrowed<T>(slope * scale[k] - (constant[k] + centred * linear[k]));
    }
  });
}
