// The second pass of a convolution whose rows were cut into parts.
#pragma once

// One thread a value of y: the sum of its parts in their order, so always the same, and the bias.
extern "C" __global__ void __launch_bounds__(256)
    conv2d_add_parts(const float* parts, int count, const float* bias, bool has_bias, i64 size,
                     int plane, int filters, float* y) {
  const i64 i = global_thread();
  if (i >= size) return;
  float sum = parts[i];
  for (int part = 1; part < count; ++part) sum += parts[i64(part) * size + i];
  y[i] = has_bias ? sum + bias[i / plane % filters] : sum;
}
