// A program that tells what time it is. One command per byte of its input:
//   r  print: REALTIME in ns, MONOTONIC in ns, gettimeofday in µs, time in s
//   t  the same, from a new thread
//   f  fork; print the child's pid. The child answers SIGUSR1 with its REALTIME
//   x  execute itself again: a new vDSO
// Its arguments: how many threads call all of the functions without end (and abort on
// an impossible result); then one word: "seccomp" for a filter that kills the process
// for any system call but read and write (strict mode would take the time stamp counter
// away too), "churn" for starting threads and forking children without end, aborting
// if one of them fails, or "signals" for a thread that sends itself signals without
// end, aborting if one of those does not arrive exactly once.
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long ns(clockid_t id)
{
	struct timespec t;
	if (clock_gettime(id, &t) != 0 || t.tv_nsec < 0 || t.tv_nsec > 999999999)
		abort();
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void print(void)
{
	struct timeval tv;
	char line[200];
	if (gettimeofday(&tv, NULL) != 0 || tv.tv_usec < 0 || tv.tv_usec > 999999)
		abort();
	int n = snprintf(line, sizeof line, "%lld %lld %lld %lld\n", ns(CLOCK_REALTIME), ns(CLOCK_MONOTONIC),
			 tv.tv_sec * 1000000LL + tv.tv_usec, (long long)time(NULL));
	if (write(1, line, n) != n)
		abort();
}

static void *call(void *arg)
{
	static const clockid_t ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_REALTIME_COARSE, CLOCK_TAI};
	long long last = ns(CLOCK_MONOTONIC);
	for (unsigned i = 0;; i++) {
		struct timeval tv;
		ns(ids[i % 4]);
		gettimeofday(&tv, NULL);
		time(NULL);
		long long now = ns(CLOCK_MONOTONIC);
		if (now < last)
			abort();
		last = now;
		if (arg)
			usleep(20000);
	}
}

static void *once(void *arg)
{
	print();
	return arg;
}

static void tell(int sig)
{
	char line[100];
	int n = snprintf(line, sizeof line, "%lld 0 0 0\n", ns(CLOCK_REALTIME));
	if (write(1, line, n) != n || sig != SIGUSR1)
		abort();
}

static void confine(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		abort();
}

static void *brief(void *arg)
{
	struct timeval tv;
	ns(CLOCK_REALTIME);
	gettimeofday(&tv, NULL);
	time(NULL);
	return arg;
}

static void *threads_come_and_go(void *arg)
{
	pthread_t t;
	for (;;) {
		if (pthread_create(&t, NULL, brief, arg) != 0 || pthread_join(t, NULL) != 0)
			abort();
	}
}

static void *children_come_and_go(void *arg)
{
	for (;;) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			for (int i = 0; i < 1000; i++)
				brief(NULL);
			_exit(0);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			abort();
	}
	return arg;
}

static __thread volatile unsigned long arrived;

static void arrive(int sig)
{
	arrived += sig == SIGUSR2;
}

static void *signals(void *arg)
{
	for (unsigned long sent = 1;; sent++) {
		// A signal that a thread sends itself arrives before the call returns.
		if (syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR2) != 0 || arrived != sent)
			abort();
	}
	return arg;
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 0;
	for (int i = 0; i < threads; i++) {
		pthread_t t;
		// Two of them never sleep; more would starve a small machine.
		if (pthread_create(&t, NULL, call, i < 2 ? NULL : argv) != 0)
			abort();
	}
	if (argc > 2 && strcmp(argv[2], "seccomp") == 0)
		confine();
	if (argc > 2 && strcmp(argv[2], "churn") == 0) {
		pthread_t t;
		if (pthread_create(&t, NULL, threads_come_and_go, NULL) != 0 || pthread_create(&t, NULL, children_come_and_go, NULL) != 0)
			abort();
	}
	if (argc > 2 && strcmp(argv[2], "signals") == 0) {
		pthread_t t;
		if (signal(SIGUSR2, arrive) == SIG_ERR || pthread_create(&t, NULL, signals, NULL) != 0)
			abort();
	}
	print();
	for (char c; read(0, &c, 1) == 1;) {
		pthread_t t;
		pid_t child;
		switch (c) {
		case 'r':
			print();
			break;
		case 't':
			if (pthread_create(&t, NULL, once, NULL) != 0 || pthread_join(t, NULL) != 0)
				abort();
			break;
		case 'f':
			child = fork();
			if (child == 0) {
				signal(SIGUSR1, tell);
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				printf("%d 0 0 0\n", getpid());
				fflush(stdout);
				for (;;)
					pause();
			}
			break;
		case 'x':
			execv("/proc/self/exe", argv);
			abort();
		}
	}
	return 0;
}
