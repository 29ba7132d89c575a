/* The same random numbers, times and process number in every run, to compare two runs with.
 *
 * Preloaded into vision for that comparison alone. Such numbers do more than fill keys: hash
 * tables order themselves by random ones, so that objects are freed in another order and the heap
 * comes to lie elsewhere; and what is done every two seconds falls into another turn.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { TICK_NS = 1000000, START_S = 1800000000 };

ssize_t getrandom(void *buffer, size_t size, unsigned flags)
{
    static uint8_t call;
    (void)flags;
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)buffer)[i] = (uint8_t)(call + 37 * i);
    call++;
    return (ssize_t)size;
}

int getentropy(void *buffer, size_t size)
{
    getrandom(buffer, size, 0);
    return 0;
}

/* Every look at a clock finds it a millisecond later. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int64_t ns;
    (void)clock;
    ns += TICK_NS;
    now->tv_sec = START_S + ns / 1000000000;
    now->tv_nsec = ns % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}

pid_t getpid(void)
{
    return 4242;
}
