// The kernels of one pair. Included by each implementation after its own exp2_of(V), inside its namespace:
// GCC lowers vectors by the target that is in force where a template is written.

// k and slope = -1/ln(2) dk/dD' at a scaled squared distance; V is a number of type T or a vector of them.
// COUNT > 0: so many kernels with bandwidths in ratio 2. COUNT = 0: whatever `kernels` says.
template <int COUNT, class T, class V>
LMMD_HD void kernel_sum(V distance, Kernels kernels, V& value, V& slope) {
  V e = exp2_of(-distance);
  value = slope = e;
  if (COUNT > 0 || kernels.doubling()) {
    T weight = 1;
    for (int i = 1; i < (COUNT > 0 ? COUNT : kernels.count); ++i) {
      weight += weight;
      e = e * e;
      value += e;
      slope += weight * e;
    }
    return;
  }
  T power = 1;
  for (int i = 1; i < kernels.count; ++i) {
    power *= T(kernels.ratio);
    e = exp2_of(-distance * power);
    value += e;
    slope += power * e;
  }
}
