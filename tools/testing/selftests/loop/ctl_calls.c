// SPDX-License-Identifier: GPL-2.0
/*
 * The library of the ctl_*.c programs, see ctl_calls.h.
 */
#include <grp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/time.h>

#include "ctl_calls.h"

/* Makes arguments of LOOP_CTL_DETACH for one attachment. */
struct loop_ctl_detach to_detach_seq(int index, uint64_t diskseq, uint32_t mode,
				     uint64_t deadline)
{
	struct loop_ctl_detach d = lt_to_detach(index, mode, deadline);

	d.flags = 0;
	d.diskseq = diskseq;
	return d;
}

/*
 * Returns a sum of the devices, of those that are attached, and of the lowest
 * unused fd.
 */
uint64_t trace(void)
{
	uint64_t sum = fcntl(lt_control(), F_DUPFD_CLOEXEC, 0);
	struct dirent *de;
	DIR *dir;

	close(sum);
	dir = opendir("/sys/block");
	if (!dir)
		lt_die("read /sys/block");
	while ((de = readdir(dir))) {
		int n = -1;

		if (sscanf(de->d_name, "loop%d", &n) != 1)
			continue;
		sum += lt_pattern(lt_sysfs_attached(n), n * 8);
	}
	closedir(dir);
	return sum;
}

/*
 * Each of these returns "ok", the name of the errno, or what is wrong with a
 * call that failed. A call that fails must leave the structure and the devices
 * as they were, but for the one answer that goes with an errno. Answers of the
 * call before are made 0 first.
 */
static const char *call(unsigned long cmd, void *arg, size_t size)
{
	struct loop_ctl_attach *copied;
	uint64_t before = trace();
	uint8_t copy[256];
	const char *name;

	memcpy(copy, arg, size);
	if (!ioctl(lt_control(), cmd, arg))
		return "ok";
	name = lt_errname(errno);
	copied = (void *)copy;
	if (cmd == LOOP_CTL_ATTACH && errno == EBUSY)
		copied->out_busy = ((struct loop_ctl_attach *)arg)->out_busy;
	if (cmd == LOOP_CTL_ATTACH && errno == EOPNOTSUPP)
		copied->out_unmet = ((struct loop_ctl_attach *)arg)->out_unmet;
	if (memcmp(copy, arg, size))
		return "changes the structure";
	if (trace() != before)
		return "leaves something behind";
	return name;
}

const char *attach(struct loop_ctl_attach *a)
{
	lt_attach_again(a);
	return call(LOOP_CTL_ATTACH, a, sizeof(*a));
}

const char *detach(struct loop_ctl_detach *d)
{
	/* The memory may be read-only. */
	if (d->out_pending)
		d->out_pending = 0;
	return call(LOOP_CTL_DETACH, d, sizeof(*d));
}

const char *list(struct loop_ctl_list *l)
{
	if (l->out_count || l->out_next) {
		l->out_count = 0;
		l->out_next = 0;
	}
	return call(LOOP_CTL_LIST, l, sizeof(*l));
}

/* Attaches, and closes the lease if there has to be one for autoclear. */
const char *attach_to(int index, int fd, uint32_t attach_flags,
		      uint32_t lo_flags)
{
	struct loop_ctl_attach a = lt_to_attach(index, fd, attach_flags, lo_flags);
	const char *name;

	if (lo_flags & AUTOCLEAR)
		a.attach_flags |= LEASE;
	name = attach(&a);
	if (!strcmp(name, "ok") && a.out_lease >= 0)
		close(a.out_lease);
	return name;
}

const char *detach_how(int index, uint32_t mode, uint64_t deadline)
{
	struct loop_ctl_detach d = lt_to_detach(index, mode, deadline);

	return detach(&d);
}

const char *detach_from(int index)
{
	return detach_how(index, NOW, 0);
}

/* Returns the fd of the node, which alone holds the device, or -1. */
int attach_fd(int index, int fd, uint32_t attach_flags, uint32_t lo_flags)
{
	struct loop_ctl_attach a = lt_to_attach(index, fd, attach_flags, lo_flags);

	return lt_attach(&a, NULL);
}

/* Returns the lease, or -1. */
int attach_lease(int index, int fd, uint32_t attach_flags, uint32_t lo_flags)
{
	struct loop_ctl_attach a = lt_to_attach(index, fd, attach_flags | LEASE,
						lo_flags);

	return ioctl(lt_control(), LOOP_CTL_ATTACH, &a) ? -1 : a.out_lease;
}

/*
 * Runs @fn in a child that is the user nobody and has no rights but what is open;
 * returns what it returns, a number from 0 to 255.
 */
int run_as_nobody(int (*fn)(void *arg), void *arg)
{
	pid_t pid;
	int status;

	/* The control device must be open for the child. */
	lt_control();
	pid = fork();
	if (pid < 0)
		lt_die("fork");
	if (!pid) {
		if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) ||
		    setresuid(65534, 65534, 65534))
			lt_die("become nobody");
		_exit(fn(arg));
	}
	if (waitpid(pid, &status, 0) != pid)
		lt_die("wait for nobody");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

uint32_t openers(int index)
{
	struct loop_ctl_entry e;

	return lt_entry(index, &e) ? e.openers : UINT32_MAX;
}

/* Waits until a device that is removed by itself and its number are gone. */
bool gone(int index)
{
	struct loop_ctl_entry e;
	int i;

	for (i = 0; i < 2000 && lt_entry(index, &e); i++)
		lt_sleep_ms(10);
	return !lt_entry(index, &e) && !lt_exists(index);
}

/* Returns a read-only page that begins with @what. */
void *unwritable(const void *what, size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		lt_die("map a page");
	memcpy(p, what, size);
	if (mprotect(p, page, PROT_READ))
		lt_die("protect a page");
	return p;
}

/* Returns a copy of @what that no other page follows. */
void *at_edge(const void *what, size_t size)
{
	return memcpy(lt_edge() - size, what, size);
}

atomic_int signals;

static void on_signal(int sig)
{
	signals++;
}

/* Sends a signal each @ms from now on, or no longer if that is 0. */
void signal_each(int ms, int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };
	struct itimerval it = {
		.it_interval.tv_usec = ms * 1000,
		.it_value.tv_usec = ms * 1000,
	};

	if (sigaction(SIGVTALRM, &sa, NULL) || sigaction(SIGUSR1, &sa, NULL) ||
	    sigaction(SIGALRM, &sa, NULL) || setitimer(ITIMER_REAL, &it, NULL))
		lt_die("start a timer");
}

/* Kills the child, waits for its end, and returns the signal that has ended it, or 0. */
int killed(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		lt_die("wait for the child");
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* For run_as_nobody(): attaches the file *@arg. Returns an errno. */
int attach_first(void *arg)
{
	struct loop_ctl_attach a = lt_to_attach(FIRST, *(int *)arg, 0, 0);

	return ioctl(lt_control(), LOOP_CTL_ATTACH, &a) ? errno : 0;
}
