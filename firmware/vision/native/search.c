/* Looks for many needles at once in a stretch of memory.
 *
 * A needle is kept as the hash of a window of one to three 8-byte words, so that an index holds no
 * byte of what it finds, and a process can search itself without finding its own index. Memory is
 * read at every 8-byte boundary; needles are indexed at every offset at which their element may
 * stand, so any copy of at least window + 7 bytes is met. With 64-bit keys and a hundred million
 * words against ten million needles, a chance hit has a probability of 5e-5.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

struct index {
    uint64_t *keys;    /* open addressing, 0: empty */
    uint8_t *kinds;    /* beside each key */
    uint64_t slots;    /* a power of two */
    uint64_t *starts;  /* one bit for each hash of a first word */
    uint64_t bits;     /* a power of two, at least 64 */
};

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9E3779B97F4A7C15ull;
    return h ^ (h >> 29);
}

static uint64_t word_at(const uint8_t *place)
{
    uint64_t word;
    memcpy(&word, place, 8);
    return word;
}

static uint64_t start_of(const struct index *index, uint64_t word)
{
    return (mix(0, word) >> 20) & (index->bits - 1);
}

static uint64_t key_of(const uint8_t *window, int words)
{
    uint64_t h = (uint64_t)words;
    for (int i = 0; i < words; i++)
        h = mix(h, word_at(window + 8 * i));
    h *= 0xBF58476D1CE4E5B9ull;
    h ^= h >> 32;
    return h ? h : 1;
}

/* Runs of one value and small patterns stand everywhere: a needle must have `least` byte values. */
static int telling(const uint8_t *window, int size, int least)
{
    uint64_t seen[4] = {0, 0, 0, 0};
    int distinct = 0;
    for (int i = 0; i < size; i++) {
        uint64_t bit = 1ull << (window[i] & 63), *set = &seen[window[i] >> 6];
        distinct += !(*set & bit);
        *set |= bit;
    }
    return distinct >= least;
}

/* Slot of a key, or of the empty place where it belongs. */
static uint64_t slot_of(const struct index *index, uint64_t key)
{
    uint64_t slot = key & (index->slots - 1);
    while (index->keys[slot] && index->keys[slot] != key)
        slot = (slot + 1) & (index->slots - 1);
    return slot;
}

/* Index the windows of `data` that begin every `step` bytes. A key that is there keeps its kind.
 * Returns how many were added; stops when the index is three quarters full. */
int64_t add_needles(struct index *index, int64_t held, const uint8_t *data, int64_t size,
                    int64_t step, int words, int least, uint8_t kind)
{
    int64_t added = 0;
    for (int64_t at = 0; at + 8 * words <= size; at += step) {
        if (!telling(data + at, 8 * words, least))
            continue;
        if ((held + added + 1) * 4 > (int64_t)index->slots * 3)
            break;
        uint64_t key = key_of(data + at, words), slot = slot_of(index, key);
        if (index->keys[slot])
            continue;
        index->keys[slot] = key;
        index->kinds[slot] = kind;
        uint64_t start = start_of(index, word_at(data + at));
        index->starts[start / 64] |= 1ull << (start % 64);
        added++;
    }
    return added;
}

/* Give another kind to those windows of `data` that are indexed. Returns how many have it now. */
int64_t recast_needles(struct index *index, const uint8_t *data, int64_t size, int64_t step,
                       int words, uint8_t kind)
{
    int64_t recast = 0;
    for (int64_t at = 0; at + 8 * words <= size; at += step) {
        uint64_t slot = slot_of(index, key_of(data + at, words));
        if (!index->keys[slot] || index->kinds[slot] == kind)
            continue;
        index->kinds[slot] = kind;
        recast++;
    }
    return recast;
}

/* Count hits of each kind in `memory`, which begins at an 8-byte boundary of what is searched, and
 * note where the first of each kind is. Returns how many there are in all. */
int64_t search(const struct index *index, const uint8_t *memory, int64_t size, int64_t base,
               uint64_t *hits, int64_t *first)
{
    int64_t found = 0;
    for (int64_t at = 0; at + 8 <= size; at += 8) {
        uint64_t word = word_at(memory + at);
        if (!word)
            continue;
        uint64_t start = start_of(index, word);
        if (!(index->starts[start / 64] >> (start % 64) & 1))
            continue;
        for (int words = 1; words <= 3 && at + 8 * words <= size; words++) {
            uint64_t slot = slot_of(index, key_of(memory + at, words));
            if (!index->keys[slot])
                continue;
            if (!hits[index->kinds[slot]]++)
                first[index->kinds[slot]] = base + at;
            found++;
        }
    }
    return found;
}

/* A number in hexadecimal, and the place behind it. */
static const char *hexadecimal(const char *text, uintptr_t *number)
{
    for (*number = 0; (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'f'); text++)
        *number = *number * 16 + (uintptr_t)(*text <= '9' ? *text - '0' : *text - 'a' + 10);
    return text;
}

/* Search this process's own private memory that can be written; of what it shares with a device
 * the device is the owner. The list of mappings is read line by line and without the heap, whose
 * use would change the list. Returns the number of hits, or -1 without that list. */
int64_t search_self(const struct index *index, uint64_t *hits, int64_t *first)
{
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (maps < 0)
        return -1;
    char text[8192]; /* the longest line is shorter: an address and a path */
    size_t held = 0;
    int64_t found = 0;
    ssize_t got;
    while ((got = read(maps, text + held, sizeof text - held)) > 0) {
        held += (size_t)got;
        char *line = text, *end;
        while ((end = memchr(line, '\n', held - (size_t)(line - text)))) {
            uintptr_t from, to;
            const char *rights = hexadecimal(hexadecimal(line, &from) + 1, &to) + 1;
            int own = rights[0] == 'r' && rights[1] == 'w' && rights[3] == 'p';
            if (own && from)
                found += search(index, (const uint8_t *)from, (int64_t)(to - from), (int64_t)from,
                                hits, first);
            line = end + 1;
        }
        held -= (size_t)(line - text);
        memmove(text, line, held);
    }
    close(maps);
    return found;
}
