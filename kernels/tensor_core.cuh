// Tensor cores: a warp multiplies two small matrices of TF32 numbers in one instruction.
//
// TF32 is a float32 whose mantissa has 10 bits in place of 23; sums are float32.  The warp holds
// the matrices together.  With group = lane / 4 and place = lane % 4, a lane holds of
//
//     A (16 rows, 8 columns)   a[0] A[group, place]         a[1] A[group + 8, place]
//                              a[2] A[group, place + 4]     a[3] A[group + 8, place + 4]
//     B (8 rows, 8 columns)    b[0] B[place, group]         b[1] B[place + 4, group]
//     C (16 rows, 8 columns)   c[0], c[1] C[group, 2 place], C[group, 2 place + 1]
//                              c[2], c[3] the same of row group + 8
//
// (PTX ISA, mma.m16n8k8 with .tf32.)  In the host shim the lanes lay their numbers open to each
// other and each computes its four values of C, so that a wrong layout gives wrong numbers there
// too.
#pragma once

#ifndef MINIMASK_HOST_SHIM

// Round to the nearest TF32 number, ties away from 0.
__device__ inline u32 to_tf32(float value) {
  u32 bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}

// C += A B; all 32 lanes of the warp must call it.
__device__ inline void multiply_tf32(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else

inline u32 to_tf32(float value) {
  const u32 bits = __float_as_uint(value);
  // adding half a unit to the magnitude carries into the exponent where it must; NaN stays NaN
  const u32 special = (bits & ~0x1FFFu) | (value != value ? 1u << 22 : 0);
  return std::isfinite(value) ? (bits + 0x1000u) & ~0x1FFFu : special;
}

inline void multiply_tf32(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  const u32 mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  u32 all[32][6];
  shim::lay_open(0xffffffffu, mine, all, SHIM_HERE);
  const int group = SHIM_LANE / 4, place = SHIM_LANE % 4;
  // a tensor core ignores the 13 bits that TF32 has not
  const auto number = [&](int lane, int i) { return __uint_as_float(all[lane][i] & ~0x1FFFu); };
  for (int i = 0; i < 4; ++i) {
    const int column = 2 * place + i % 2, below = i / 2;  // below: of row group + 8
    for (int k = 0; k < 8; ++k)
      c[i] += number(4 * group + k % 4, below + k / 4 * 2) * number(4 * column + k % 4, 4 + k / 4);
  }
}

#endif
