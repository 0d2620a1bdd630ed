// What the driver of normalisation on the CPU and its kernels (one set per instruction set) agree on.
#pragma once

#include <cstdint>

namespace fdan_edge {

// The activation after the normalisation.
enum Activation { NONE, RELU, RELU6 };

// Per column: the values of a channel, repeated for each place of a kernel's wide row.
struct Columns {
  const float* mean;
  const float* scale;  // weight / standard deviation
  const float* bias;
  const float* constant;  // what every slope of the channel loses, and what it loses per unit of x - mean
  const float* linear;
};

}  // namespace fdan_edge
