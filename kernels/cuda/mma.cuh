// Tensor-core instructions for bf16 (sm_80 and newer): multiply, load fragments from shared memory, copy
// global memory to shared memory without waiting. All but the copies are for a whole warp in step.
//
// Fragments, with lane = 4·group + member (group 0…7, member 0…3); a register holds two neighbours of a row,
// the left one in its low half:
//   a (16 × 16, rows × depth): a[0] is row group, columns 2·member and the next; a[1] is 8 rows below, a[2]
//     8 columns to the right, a[3] both.
//   b (16 × 8, depth × columns): b0 is depth 2·member and the next in column group; b1 is 8 deeper.
//   d (16 × 8): d[0], d[1] are row group, columns 2·member and the next; d[2], d[3] are 8 rows below.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace minichilla::cuda {

/// The address that shared-memory instructions take.
__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// d += a · b in fp32.
__device__ inline void mma_bf16_16x8x16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                        std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8 × 8 matrices of 16-bit elements. Lane 8·i + r passes the address (16-byte aligned) of row r of
/// matrix i; every lane receives in registers[i] the elements 2·member and the next of row `group` of matrix
/// i.
__device__ inline void ldmatrix_x4(std::uint32_t (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}

/// The same of the transposed matrices: a lane receives rows 2·member and the next of column `group`.
__device__ inline void ldmatrix_x4_trans(std::uint32_t (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}

/// Starts to copy `bytes` (0 to 16) from `global`, and fills the rest of the 16 bytes at `shared` with zeros.
/// Both are 16-byte aligned; with 0 bytes `global` is not read, but must be an address.
__device__ inline void cp_async_16(void* shared, const void* global, int bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)), "r"(bytes)
               : "memory");
}

/// The same for 4 bytes, with `bytes` 0 or 4.
__device__ inline void cp_async_4(void* shared, const void* global, int bytes = 4) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
               :
               : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)), "r"(bytes)
               : "memory");
}

/// Ends a group of this thread's copies.
__device__ inline void cp_async_commit() {
  asm volatile("cp.async.commit_group;" : : : "memory");
}

/// Waits until at most the `kPending` latest groups of this thread are still under way. Other threads see the
/// copies after a barrier that follows the wait.
template <int kPending>
__device__ inline void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory");
}

/// 2^x to 2 ulp; 0 where that is below the smallest normal number.
__device__ inline float exp2_approximate(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// Two neighbours of a fragment: `low` in the low half.
__device__ inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return static_cast<std::uint32_t>(__bfloat16_as_ushort(pair.x)) |
         static_cast<std::uint32_t>(__bfloat16_as_ushort(pair.y)) << 16;
}

/// What pack_bf16() took.
__device__ inline float low_float(std::uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ inline float high_float(std::uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000u);
}

}  // namespace minichilla::cuda
