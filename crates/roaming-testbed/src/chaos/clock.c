// A wall clock that jumps: what a process is told is so many milliseconds ahead of the system's clock as the
// file says that CLOCK_OFFSET_FILE names, 8 octets, which may change at any time. CLOCK_MONOTONIC is left.
//
// libfaketime does not do: it knows nothing of C11's cnd_timedwait, with which librdkafka waits until a moment
// of the wall clock.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

// The longest that is waited before the clock is looked at again: it may have jumped past the deadline.
#define SLICE_MS 50

static const volatile int64_t *offset_ms;

__attribute__((constructor)) static void map_offset(void) {
    const char *path = getenv("CLOCK_OFFSET_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset_ms, PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) {
        perror("clock: CLOCK_OFFSET_FILE");
        abort();
    }
    close(file);
    offset_ms = map;
}

static struct timespec later(struct timespec time, int64_t ms) {
    time.tv_sec += ms / 1000;
    time.tv_nsec += ms % 1000 * 1000000;
    if (time.tv_nsec < 0) {
        time.tv_sec -= 1;
        time.tv_nsec += 1000000000;
    } else if (time.tv_nsec >= 1000000000) {
        time.tv_sec += 1;
        time.tv_nsec -= 1000000000;
    }
    return time;
}

static int is_before(struct timespec a, struct timespec b) {
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

static int read_clock(clockid_t id, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) {
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    return real(id, time);
}

int clock_gettime(clockid_t id, struct timespec *time) {
    int result = read_clock(id, time);
    if (result == 0 && offset_ms && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        *time = later(*time, *offset_ms);
    }
    return result;
}

int timespec_get(struct timespec *time, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, time) == 0 ? base : 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) {
        return -1;
    }
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) {
        return -1;
    }
    if (seconds) {
        *seconds = now.tv_sec;
    }
    return now.tv_sec;
}

// Waits for a slice and wakes without a reason, as it may at any time: who waits looks and waits again.
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict deadline) {
    static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
    if (!real) {
        real = (int (*)(cnd_t *, mtx_t *, const struct timespec *))dlsym(RTLD_NEXT, "cnd_timedwait");
    }
    struct timespec now;
    read_clock(CLOCK_REALTIME, &now);
    struct timespec until = later(*deadline, offset_ms ? -*offset_ms : 0), slice = later(now, SLICE_MS);
    if (!is_before(slice, until)) {
        return real(condition, mutex, &until);
    }
    int result = real(condition, mutex, &slice);
    return result == thrd_timedout ? thrd_success : result;
}
