/* Overwrites what is left of calls that have returned: the dead part of the stack and the vector
 * registers. Called by a wipe from as shallow a frame as possible.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#define RED_ZONE 128 /* bytes below the stack pointer that this function itself may use */

/* Lower end of the stack that the kernel has mapped so far: nothing was ever written below it.
 * Read without stdio, whose buffers would be allocated and freed at every wipe. */
static uintptr_t mapped_end(uintptr_t inside)
{
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (maps < 0)
        return 0;
    uintptr_t number[2] = {0, 0}, found = 0;
    int field = 0; /* 0: start, 1: end, 2: rest of the line */
    char text[4096];
    ssize_t got;
    while (!found && (got = read(maps, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < got && !found; i++) {
            char c = text[i];
            if (c == '\n') {
                field = 0;
                number[0] = number[1] = 0;
            } else if (field < 2 && (c == '-' || c == ' ')) {
                if (field == 1 && number[0] <= inside && inside < number[1])
                    found = number[0];
                field++;
            } else if (field < 2) {
                number[field] = number[field] * 16 + (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
            }
        }
    close(maps);
    return found;
}

/* Zero the stack from its mapped end up to this frame. Returns the number of bytes, or -1. */
__attribute__((noinline)) long scrub_stack(void)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t low = mapped_end(here);
    if (!low)
        return -1;
    /* No call from here on: its frame would stand in the part that is being overwritten. */
    volatile uint64_t *word = (volatile uint64_t *)low;
    volatile uint64_t *top = (volatile uint64_t *)((here - RED_ZONE) & ~(uintptr_t)7);
    while (word < top)
        *word++ = 0;
    return (long)((uintptr_t)top - low);
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void scrub_wide(void)
{
    __asm__ __volatile__(
        ".irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
        "vpxorq %%zmm\\n, %%zmm\\n, %%zmm\\n\n"
        ".endr\n" ::: "memory");
}
#endif

/* Zero the vector registers that a caller may not rely on. */
__attribute__((noinline)) void scrub_registers(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx"))
        __asm__ __volatile__("vzeroall" ::: "memory");
    if (__builtin_cpu_supports("avx512f"))
        scrub_wide();
#elif defined(__aarch64__)
    /* v8 to v15 keep their lower halves across calls (AAPCS64); the compiler saves them here. */
    __asm__ __volatile__(
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
        "movi v\\n\\().2d, #0\n"
        ".endr\n" ::: "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10",
        "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23",
        "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
#endif
}
