/* Leaves a pattern where calls leave what they worked on: in dead stack and in vector registers. */
#include <stdint.h>
#include <string.h>

enum { DEEP = 1 << 16, WIDTH = 16, LAST = 16 };

__attribute__((noinline)) void leave_on_stack(const uint8_t *pattern)
{
    uint8_t dead[DEEP]; /* its lower end lies deeper than what is called later reaches */
    for (int i = 0; i < DEEP / 2; i++)
        dead[i] = pattern[i % WIDTH];
    __asm__ __volatile__("" ::"r"(dead) : "memory");
}

/* Registers 8 and up: what is called between has little use for them. */
#if defined(__x86_64__)
#define EACH(OF) OF(8) OF(9) OF(10) OF(11) OF(12) OF(13) OF(14) OF(15)
#define LOAD(N) __asm__ __volatile__("movups %0, %%xmm" #N ::"m"(*(const char(*)[WIDTH])pattern));
#define STORE(N) __asm__ __volatile__("movups %%xmm" #N ", %0" : "=m"(held[N]));
#elif defined(__aarch64__)
#define EACH(OF) OF(16) OF(17) OF(18) OF(19) OF(20) OF(21) OF(22) OF(23)
#define LOAD(N) __asm__ __volatile__("ldr q" #N ", %0" ::"m"(*(const char(*)[WIDTH])pattern));
#define STORE(N) __asm__ __volatile__("str q" #N ", %0" : "=m"(held[N - 16 + 8]));
#endif

__attribute__((noinline)) void leave_in_registers(const uint8_t *pattern)
{
    EACH(LOAD)
}

/* How many of them still hold it. */
__attribute__((noinline)) int in_registers(const uint8_t *pattern)
{
    uint8_t held[LAST][WIDTH] = {{0}};
    EACH(STORE)
    int found = 0;
    for (int i = 0; i < LAST; i++)
        found += !memcmp(held[i], pattern, WIDTH);
    return found;
}
