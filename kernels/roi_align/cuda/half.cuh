// float16 in memory, float32 in registers.  The type and two conversions; nothing is computed in
// it.
//
// The toolkit's own header is no part of NVRTC's search path, and two instructions need none.
#pragma once

struct half {
  unsigned short bits;
};

#ifndef MINIMASK_HOST_SHIM
__device__ inline float to_float(half h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h.bits));
  return f;
}

__device__ inline half to_half(float f) {  // to the nearest, ties to even
  half h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(f));
  return h;
}
#else
// On the CPU by hand: 1 bit of sign, 5 of exponent, 10 of fraction.
inline float to_float(half h) {
  const int exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
  float f = exponent == 0    ? std::ldexp(float(fraction), -24)
            : exponent == 31 ? (fraction ? NAN : INFINITY)
                             : std::ldexp(float(fraction + 1024), exponent - 25);
  return h.bits >> 15 ? -f : f;
}

inline half to_half(float f) {
  const unsigned short sign = std::signbit(f) ? 0x8000 : 0;
  const float size = std::fabs(f);
  if (size != size) return {static_cast<unsigned short>(sign | 0x7e00)};
  if (size >= 65520) return {static_cast<unsigned short>(sign | 0x7c00)};  // rounds to infinity
  // units in the last place: 2^-24 for the smallest numbers, then 2^-10 of the power of two below
  const int exponent = size < 6.103515625e-05f ? -24 : std::ilogb(size) - 10;
  const int units = int(std::nearbyint(std::ldexp(size, -exponent)));  // ties to even
  return {static_cast<unsigned short>(sign | ((exponent + 24) * 1024 + units))};
}
#endif
