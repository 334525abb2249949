package redistest

import (
	"strconv"
	"testing"
	"time"
)

// clockSource moves the clock of the day by as many seconds as the environment says, and leaves the monotonic one.
const clockSource = `#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long ahead;
__attribute__((constructor)) static void init(void) { ahead = atol(getenv("GATHERQ_TEST_CLOCK_AHEAD")); }
int clock_gettime(clockid_t id, struct timespec *now) {
	int failed = syscall(SYS_clock_gettime, id, now);
	if (failed == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead;
	return failed;
}
int gettimeofday(struct timeval *tv, void *tz) {
	struct timespec now;
	(void)tz;
	int failed = clock_gettime(CLOCK_REALTIME, &now);
	if (failed == 0) {
		tv->tv_sec = now.tv_sec;
		tv->tv_usec = now.tv_nsec / 1000;
	}
	return failed;
}
time_t time(time_t *to) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (to) *to = now.tv_sec;
	return now.tv_sec;
}
`

// LocalAhead is Local of a server whose clock is ahead.
func LocalAhead(t testing.TB, ahead time.Duration, args ...string) *Server {
	t.Helper()
	return local(t, []string{"LD_PRELOAD=" + preload(t, clockSource), "GATHERQ_TEST_CLOCK_AHEAD=" + strconv.Itoa(int(ahead.Seconds()))}, args)
}
