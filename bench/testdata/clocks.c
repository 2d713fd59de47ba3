// The target of the clock figures. One command per byte of its input:
//   c  time CALLS calls of clock_gettime(CLOCK_REALTIME); print picoseconds per call
//   s  the same by the system call itself
//   g  print the longest gap, in ns, that a thread which only reads the clock has seen
//      since the last g
//   w  print 0 and read the clock until the next byte comes; print the longest gap: the
//      same for a program of one thread
// Its argument: how many more threads there are, asleep.
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CALLS 100000

static atomic_llong gap, looks;

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void *rest(void *arg)
{
	pause();
	return arg;
}

static void *watch(void *arg)
{
	for (long long last = now();;) {
		long long t = now();
		if (t - last > atomic_load(&gap))
			atomic_store(&gap, t - last);
		last = t;
		atomic_fetch_add(&looks, 1);
	}
	return arg;
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 0;
	pthread_t t;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&t, NULL, rest, NULL) != 0)
			abort();
	if (argc > 2 && pthread_create(&t, NULL, watch, NULL) != 0)
		abort();
	puts("0");
	fflush(stdout);
	for (char c; read(0, &c, 1) == 1; fflush(stdout)) {
		struct timespec ts;
		long long start = now();
		if (c == 'g') {
			// What it has not seen yet, it sees at its next look.
			long long seen = atomic_load(&looks);
			while (atomic_load(&looks) < seen + 2)
				usleep(20);
			printf("%lld\n", atomic_exchange(&gap, 0));
			continue;
		}
		if (c == 'w') {
			struct pollfd in = {.fd = 0, .events = POLLIN};
			long long longest = 0;
			puts("0");
			fflush(stdout);
			for (long long last = now(); poll(&in, 1, 0) == 0;) {
				long long t = now();
				if (t - last > longest)
					longest = t - last;
				last = t;
			}
			if (read(0, &c, 1) != 1)
				abort();
			printf("%lld\n", longest);
			continue;
		}
		for (int i = 0; i < CALLS; i++) {
			if (c == 'c')
				clock_gettime(CLOCK_REALTIME, &ts);
			else
				syscall(SYS_clock_gettime, CLOCK_REALTIME, &ts);
		}
		printf("%lld\n", (now() - start) * 1000 / CALLS);
	}
	return 0;
}
