/* A disk that fails on demand, for the process that preloads this library (LD_PRELOAD). Driven by io_faults.py.

   Every call of libc by which SQLite or Python changes what is in the folder of io_watch() is counted. io_arm() says
   which of them fail, and how: with an errno, after a part was written, by the death of the process, or by a power
   failure, at which what was not synced is lost. What SQLite does to the memory map of its -shm file is not seen, and
   need not be: that file is made anew from the others. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FAIL, TEAR, SHORT, KILL, POWER }; /* as in io_faults.py */

static char watched[PATH_MAX];
static size_t watched_length;
static long first, last, calls; /* armed for the calls number first to last; nothing is counted while last is 0 */
static int how, error_number, tell; /* tell: where the first call that fails is written, or -1 */
static unsigned seed;
static char dice[PATH_MAX]; /* what is opened in place of /dev/urandom, if it is set */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

/* ---- What the power takes away: the way back to what was synced, newest change last. ---- */

struct change {
    enum { WRITTEN, CUT, NAMED, KEPT } kind;
    dev_t device; ino_t inode;      /* of the file or, NAMED, of the folder that holds the name */
    int file;                       /* a descriptor of our own, never closed (that would drop SQLite's locks) */
    unsigned name;                  /* of the file, hashed */
    off_t offset, old_size;
    size_t length;
    char *old;                      /* the bytes before; zeros beyond the old end */
    int lost;                       /* WRITTEN: all of it */
    char *from, *to;                /* NAMED: `to` came from `from`; made from nothing if that is NULL */
};
static struct change *changes;
static size_t change_count, trash_count;

/* A name outside for what is gone, or may come back. */
static char *trash(void) {
    char name[PATH_MAX + 32];
    snprintf(name, sizeof name, "%s.trash-%zu", watched, trash_count++);
    return strdup(name);
}

static int is_shm(const char *path) {
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, "-shm");
}

static struct change *new_change(void) {
    changes = realloc(changes, (change_count + 1) * sizeof *changes);
    memset(&changes[change_count], 0, sizeof *changes);
    return &changes[change_count++];
}

static void will_change(int kind, int fd, const char *path, off_t offset, size_t length) {
    struct stat status;
    if (how != POWER || is_shm(path) || fstat(fd, &status)) return;
    int file = -1;
    unsigned name = 0;
    for (const char *c = path + watched_length; *c; c++) name = name * 31 + (unsigned char)*c;
    for (size_t i = 0; i < change_count && file < 0; i++)
        if (changes[i].kind != NAMED && changes[i].inode == status.st_ino && changes[i].device == status.st_dev)
            file = changes[i].file;
    if (file < 0) file = REAL(open64)(path, O_RDWR | O_CLOEXEC);
    char *old = calloc(length + 1, 1);
    if (pread(file, old, length, offset) < 0) abort();
    struct change *change = new_change();
    *change = (struct change){.kind = kind, .device = status.st_dev, .inode = status.st_ino, .file = file};
    change->name = name, change->offset = offset, change->old_size = status.st_size;
    change->length = length, change->old = old;
}

static void has_named(const char *from, const char *to) {
    if (how != POWER || is_shm(to) || (from && is_shm(from))) return;
    char folder[PATH_MAX];
    struct stat status;
    snprintf(folder, sizeof folder, "%s", from ? from : to);
    *strrchr(folder, '/') = 0;
    if (stat(folder, &status)) abort();
    struct change *change = new_change();
    *change = (struct change){.kind = NAMED, .device = status.st_dev, .inode = status.st_ino};
    change->from = from ? strdup(from) : NULL;
    change->to = strdup(to);
}

static void has_synced(int fd) {
    struct stat status;
    size_t kept = 0;
    if (how != POWER || fstat(fd, &status)) return;
    for (size_t i = 0; i < change_count; i++)
        if (changes[i].inode != status.st_ino || changes[i].device != status.st_dev) changes[kept++] = changes[i];
    change_count = kept;
}

/* With a seed, some of what was not synced has reached the disk all the same. */
static int is_lost(unsigned name, long part) {
    unsigned x = seed ^ name * 2654435761u ^ (unsigned)part * 40503u;
    x ^= x >> 15; x *= 2246822519u; x ^= x >> 13; x *= 3266489917u; x ^= x >> 16;
    return !seed || x & 1;
}

/* A file that was cut is not mended in part: the cut is lost with all that came after it, or kept with all before. */
static void decide_the_cuts(void) {
    for (size_t i = change_count; i-- > 0;) {
        struct change cut = changes[i];
        if (cut.kind != CUT) continue;
        int lost = is_lost(cut.name, -2 - (long)i);
        for (size_t j = lost ? i : 0; j < (lost ? change_count : i + 1); j++) {
            if (changes[j].kind == NAMED || changes[j].inode != cut.inode || changes[j].device != cut.device) continue;
            if (lost) changes[j].lost = 1;
            else changes[j].kind = KEPT;
        }
    }
}

static void cut_the_power(void) {
    decide_the_cuts();
    for (size_t i = change_count; i-- > 0;) {
        struct change *change = &changes[i];
        if (change->kind == NAMED) {
            if (!change->from) change->from = trash(); /* a folder, with all that is in it */
            REAL(rename)(change->to, change->from);
        }
        if (change->kind == NAMED || change->kind == KEPT) continue;
        for (size_t done = 0, step; done < change->length; done += step) {
            off_t at = change->offset + done;
            step = 512 - at % 512;
            if (step > change->length - done) step = change->length - done;
            if (change->lost || is_lost(change->name, at / 512))
                REAL(pwrite64)(change->file, change->old + done, step, at);
        }
        if (change->lost || is_lost(change->name, -1)) REAL(ftruncate64)(change->file, change->old_size);
    }
}

/* ---- Which calls fail ---- */

static int is_watched(const char *path) {
    if (!last || strncmp(path, watched, watched_length)) return 0;
    return path[watched_length] == '/' || !path[watched_length];
}

static int is_watched_fd(int fd, char path[PATH_MAX]) {
    char link[40];
    if (!last) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return is_watched(path);
}

/* Whether this call fails; it does not return if the process ends here. */
static int fails(const char *call, const char *path) {
    calls++;
    if (calls < first || calls > last) return 0;
    if (tell >= 0) dprintf(tell, "{\"hit\": \"%s %s\"}\n", call, path + watched_length), tell = -1;
    if (how == POWER) cut_the_power();
    if (how == POWER || how == KILL) kill(getpid(), SIGKILL);
    errno = error_number;
    return 1;
}

/* Do `call` on the watched path, or fail; `then` is done when it went well. All under the lock, one at a time. */
#define FAULTY(name, watch, path, before, call, then)                   \
    ({                                                                  \
        __typeof__(call) result_ = -1;                                  \
        if (!(watch)) result_ = call;                                   \
        else {                                                          \
            pthread_mutex_lock(&lock);                                  \
            if (!fails(name, path)) {                                   \
                before;                                                 \
                result_ = call;                                         \
                if (result_ >= 0) { int kept_ = errno; then; errno = kept_; } \
            }                                                           \
            pthread_mutex_unlock(&lock);                                \
        }                                                               \
        result_;                                                        \
    })

/* A write; `real` writes `length` bytes of `data` at `offset`. */
#define WRITE(fd, data, size, offset, real)                             \
    char path[PATH_MAX];                                                \
    size_t length = (size);                                             \
    if (!is_watched_fd(fd, path)) return real;                          \
    pthread_mutex_lock(&lock);                                          \
    ssize_t written = -1;                                               \
    int partly = calls + 1 >= first && calls + 1 <= last && how != FAIL; \
    if (partly) length /= 2;                                            \
    if (partly && how != SHORT) {                                       \
        will_change(WRITTEN, fd, path, offset, length);                 \
        (void)!real;                                                    \
        fails("write", path);                                           \
    } else if (!fails("write", path) || how == SHORT) {                 \
        if (partly) { /* and the rest of it does not go through */      \
            how = FAIL, first = calls + 1;                              \
            if (last < first) last = first;                             \
        }                                                               \
        will_change(WRITTEN, fd, path, offset, length);                 \
        written = real;                                                 \
    }                                                                   \
    pthread_mutex_unlock(&lock);                                        \
    return written

ssize_t write(int fd, const void *data, size_t size) {
    WRITE(fd, data, size, lseek(fd, 0, SEEK_CUR), REAL(write)(fd, data, length));
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    WRITE(fd, data, size, offset, REAL(pwrite)(fd, data, length, offset));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    WRITE(fd, data, size, offset, REAL(pwrite64)(fd, data, length, offset));
}

/* The disk itself is not asked: no power is really lost here, and it takes most of the time. */
#define SYNC(name)                                                      \
    int name(int fd) {                                                  \
        char path[PATH_MAX];                                            \
        if (!is_watched_fd(fd, path)) return REAL(name)(fd);            \
        return FAULTY(#name, 1, path, , 0, has_synced(fd));             \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name, type)                                            \
    int name(int fd, type length) {                                     \
        char path[PATH_MAX];                                            \
        struct stat status = {0};                                       \
        fstat(fd, &status);                                             \
        size_t cut = status.st_size > length ? status.st_size - length : 0; \
        return FAULTY(#name, is_watched_fd(fd, path), path, will_change(cut ? CUT : WRITTEN, fd, path, length, cut), \
                      REAL(name)(fd, length), );                        \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define ALLOCATE(name, type)                                            \
    int name(int fd, type offset, type length) { /* returns the error, and leaves errno alone */ \
        char path[PATH_MAX];                                            \
        int watch = is_watched_fd(fd, path);                            \
        int failed = FAULTY(#name, watch, path, will_change(WRITTEN, fd, path, offset, length), 0, ); \
        return failed ? error_number : REAL(name)(fd, offset, length);  \
    }
ALLOCATE(posix_fallocate, off_t)
ALLOCATE(posix_fallocate64, off64_t)

#define OPEN(name)                                                      \
    int name(const char *path, int flags, ...) {                        \
        va_list arguments;                                              \
        va_start(arguments, flags);                                     \
        mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;  \
        va_end(arguments);                                              \
        if (*dice && !strcmp(path, "/dev/urandom")) path = dice;        \
        int makes = (flags & O_CREAT) && is_watched(path) && access(path, F_OK); \
        return FAULTY("create", makes, path, , REAL(name)(path, flags, mode), has_named(NULL, path)); \
    }
OPEN(open)
OPEN(open64)

int rename(const char *from, const char *to) {
    return FAULTY("rename", is_watched(from), from, , REAL(rename)(from, to), has_named(from, to));
}

int mkdir(const char *path, mode_t mode) {
    return FAULTY("mkdir", is_watched(path), path, , REAL(mkdir)(path, mode), has_named(NULL, path));
}

int unlink(const char *path) {
    if (how != POWER || !is_watched(path) || is_shm(path))
        return FAULTY("unlink", is_watched(path), path, , REAL(unlink)(path), );
    char *kept = trash();
    return FAULTY("unlink", 1, path, , REAL(rename)(path, kept), has_named(path, kept));
}

/* ---- What Python calls ---- */

void io_watch(const char *folder) {
    snprintf(watched, sizeof watched, "%s", folder);
    watched_length = strlen(watched);
}

void io_draw_from(const char *file) { snprintf(dice, sizeof dice, "%s", file); }

void io_arm(long first_call, long last_call, int fault, int error, unsigned lost, int hit) {
    first = first_call, last = last_call, how = fault, error_number = error, seed = lost, tell = hit;
    calls = 0, change_count = 0;
}

void io_disarm(void) { last = 0; }
long io_calls(void) { return calls; }
