// The CUDA implementation on the CPU, for tests where no GPU is at hand.

#include "emulator.h"
#include "lmmd_op.h"

namespace fdan_edge {
namespace {

int64_t launches = 0;

}  // namespace

Outputs lmmd_emulated(const Tensor& z_visual, const Tensor& z_acoustic, const Tensor& y_visual,
                      const Tensor& y_acoustic, int64_t classes, bool shared_only, int64_t kernels, double ratio,
                      bool gradient, bool backwards) {
  const Inputs in =
      checked(z_visual, z_acoustic, y_visual, y_acoustic, classes, shared_only, kernels, ratio, gradient);
  HostLauncher launcher{backwards};
  int64_t report[2] = {NO_REPORT, 0};
  const Outputs out = lmmd_by(launcher, in, report);
  launches = launcher.launches;
  if (report[0] != NO_REPORT) fail(wrong_label(report, ""));
  return out;
}

int64_t emulated_launches() { return launches; }

}  // namespace fdan_edge

STABLE_TORCH_LIBRARY_IMPL(fdan_edge, CPU, m) { m.impl("lmmd_emulated", TORCH_BOX(&fdan_edge::lmmd_emulated)); }

STABLE_TORCH_LIBRARY_IMPL(fdan_edge, CompositeExplicitAutograd, m) {
  m.impl("emulated_launches", TORCH_BOX(&fdan_edge::emulated_launches));
}
