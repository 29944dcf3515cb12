/* Functions that read the control bits of the floating-point unit, and set them as a host process might. */
#include <fenv.h>

#if defined(__x86_64__)
#include <immintrin.h>
/* Bits of MXCSR: subnormal results and operands become zero; the flags that operations set. */
enum { FLUSH_RESULTS = 1 << 15, FLUSH_OPERANDS = 1 << 6, FLAGS = 0x3f };
/* Bits of MXCSR: while they are set, these exceptions do not trap. */
enum { INVALID = 1 << 7, BY_ZERO = 1 << 9, OVERFLOWED = 1 << 10, TRAPS = INVALID | BY_ZERO | OVERFLOWED };

int flushing(void) { return _mm_getcsr() & (FLUSH_RESULTS | FLUSH_OPERANDS); }
void flush(void) { _mm_setcsr(_mm_getcsr() | FLUSH_RESULTS | FLUSH_OPERANDS); }
unsigned long control(void)
{
    unsigned short x87;
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    return (unsigned long)x87 << 32 | (_mm_getcsr() & ~FLAGS);
}
void trap(void) { _mm_setcsr(_mm_getcsr() & ~(FLAGS | TRAPS)); }
void trap_no_more(void) { _mm_setcsr(_mm_getcsr() | TRAPS); }
#elif defined(__aarch64__)
/* No traps here: few of these processors have them. */
enum { FLUSH = 1 << 24 };

static unsigned long fpcr(void)
{
    unsigned long value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
}
int flushing(void) { return (int)(fpcr() & FLUSH); }
void flush(void) { __asm__ volatile("msr fpcr, %0" : : "r"(fpcr() | FLUSH)); }
unsigned long control(void) { return fpcr(); }
#endif

int round_nearest(void) { return fesetround(FE_TONEAREST); }
int round_upward(void) { return fesetround(FE_UPWARD); }
int round_downward(void) { return fesetround(FE_DOWNWARD); }
int round_to_zero(void) { return fesetround(FE_TOWARDZERO); }
double divide(volatile double a, volatile double b) { return a / b; }
