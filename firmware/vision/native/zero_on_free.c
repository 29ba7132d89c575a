/* Overwrites every heap block with zeros before it goes back to the allocator.
 *
 * Preloaded into the vision process: Python (PYTHONMALLOC=malloc), numpy, OpenCV, FFmpeg and the
 * inference engine all free through these symbols, so no freed block keeps a pixel. glibc gives
 * large blocks back to the kernel inside free(), which is after they were overwritten here; blocks
 * from calloc and the aligned allocators end in free() too and need nothing of their own.
 * Works on every architecture of glibc; nothing here depends on the word size.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t);
extern void __libc_free(void *);

/* The compiler may not drop a store to memory that dies in the next line: the barrier reads it. */
static void zero(void *block, size_t size)
{
    memset(block, 0, size);
    __asm__ __volatile__("" : : "r"(block) : "memory");
}

void free(void *block)
{
    if (!block)
        return;
    int kept = errno;
    zero(block, malloc_usable_size(block));
    __libc_free(block);
    errno = kept;
}

/* glibc's realloc would move the bytes itself, by copying or by remapping pages, and leave the
 * old ones: here a block that must move is copied, zeroed and freed. */
void *realloc(void *block, size_t size)
{
    if (!block)
        return __libc_malloc(size);
    if (!size) {
        free(block);
        return NULL;
    }
    size_t room = malloc_usable_size(block);
    if (size <= room && size >= room / 2) {
        zero((char *)block + size, room - size);
        return block;
    }
    void *moved = __libc_malloc(size);
    if (!moved)
        return NULL;
    memcpy(moved, block, size < room ? size : room);
    free(block);
    return moved;
}

void *reallocarray(void *block, size_t count, size_t each)
{
    size_t size;
    if (__builtin_mul_overflow(count, each, &size)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, size);
}
