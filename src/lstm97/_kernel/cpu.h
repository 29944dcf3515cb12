/* Which of the instruction set levels x86-64-v1 to -v4 this CPU and its operating system offer; 0 on other CPUs.
 *
 * Asked of the CPU itself: __builtin_cpu_supports answers no under some linkers. */
#ifndef LSTM97_CPU_H
#define LSTM97_CPU_H

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>

static int has_bits(unsigned word, unsigned bits) { return (word & bits) == bits; }

static int x86_64_level(void)
{
    unsigned a, b, c, d, saved;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 1;
    if (!has_bits(c, bit_FMA | bit_MOVBE | bit_OSXSAVE | bit_AVX | bit_F16C)) return 1;
    __asm__("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
    if (!has_bits(saved, 0x06)) return 1; /* the system keeps xmm and ymm */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has_bits(b, bit_AVX2 | bit_BMI | bit_BMI2)) return 1;
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
    const int has_avx512 = has_bits(b, avx512) && has_bits(saved, 0xe6); /* opmask and zmm are kept too */
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !has_bits(c, bit_LZCNT)) return 1;
    return has_avx512 ? 4 : 3;
}
#else
static int x86_64_level(void) { return 0; }
#endif

#endif
