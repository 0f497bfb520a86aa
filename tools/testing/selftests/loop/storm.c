// SPDX-License-Identifier: GPL-2.0
/*
 * 64 processes attach and detach devices in every way there is, and are killed
 * at random. In the end nothing may be left of them.
 *
 * usage: storm [ATTACHES [SEED]]
 */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <sys/prctl.h>

#include "loop_test.h"

#define PROCESSES 64
#define DIRS 8			/* file systems with a backing file each */
#define NUMBERS 128		/* that are asked for, from FIRST on */
#define FIRST 2000
#define PER_KILL 20		/* attaches */
#define KILLS 8			/* at a time, at most */
#define HANG_SECONDS 300	/* nothing has gone on for so long */
#define SIZE LT_MIB

/* An attachment that a process got. */
struct record {
	uint64_t diskseq;
	uint32_t index;
};

enum problem {
	NOT_MINE, ATTACH_ANY, ATTACH_ERRNO, DETACH_ERRNO, LIST_ERRNO, CLR_FD_ERRNO,
	PROBLEMS
};

static const char *const problem_names[PROBLEMS] = {
	"attached to another's device", "LOOP_CTL_ATTACH of any number",
	"LOOP_CTL_ATTACH", "LOOP_CTL_DETACH", "LOOP_CTL_LIST",
	"LOOP_CLR_FD",
};

/* Shared by all processes */
static struct shared {
	atomic_uint attached, detached, busy, died;
	atomic_uint problems[PROBLEMS];
	atomic_int problem_errno[PROBLEMS];
	unsigned int wanted;
	struct record record[];
} *shared;

static struct {
	char path[64];
	int fd;
	ino_t ino;
} files[DIRS];

static uint64_t state;

static uint32_t next(void)
{
	return lt_random(&state);
}

static void problem(enum problem p)
{
	shared->problem_errno[p] = errno;
	shared->problems[p]++;
}

static bool one_of(int err, const int *list)
{
	while (*list && *list != err)
		list++;
	return *list;
}

/*
 * The device of another process may be detached, taken or removed at any time.
 * LOOP_CTL_ATTACH finds a detached device, and LOOP_CTL_REMOVE removes it.
 */
static void detach(uint32_t index, uint64_t diskseq)
{
	static const int allowed[] = {
		EBUSY, ENXIO, ENODEV, ESTALE, ETIMEDOUT, EINTR, 0
	};
	static const uint32_t modes[] = {
		LOOP_DETACH_NOW, LOOP_DETACH_NOW, LOOP_DETACH_WAIT,
		LOOP_DETACH_WAIT, LOOP_DETACH_WATCH, LOOP_DETACH_LAZY,
		LOOP_DETACH_FORCE, LOOP_DETACH_FORCE,
	};
	struct loop_ctl_detach d = lt_to_detach(index,
						modes[next() % ARRAY_SIZE(modes)], 0);

	if (diskseq) {
		d.flags = 0;
		d.diskseq = diskseq;
	}
	if (d.mode != LOOP_DETACH_NOW && d.mode != LOOP_DETACH_LAZY)
		d.deadline = lt_in_ms(next() % 4);
	if (!ioctl(lt_control(), LOOP_CTL_DETACH, &d))
		shared->detached++;
	else if (!one_of(errno, allowed))
		problem(DETACH_ERRNO);
}

/* Detaches what others have left, or never meant to be detached. */
static void tidy(void)
{
	struct loop_ctl_entry e[16];
	struct loop_ctl_list l = lt_to_list(next() % 2 ? FIRST + next() % NUMBERS :
							 0, ARRAY_SIZE(e), e,
					    LOOP_LIST_ATTACHED, -1);
	unsigned int i;

	if (ioctl(lt_control(), LOOP_CTL_LIST, &l)) {
		problem(LIST_ERRNO);
		return;
	}
	for (i = 0; i < l.out_count; i++)
		if (!e[i].openers)
			detach(e[i].index, e[i].diskseq);
}

static void old_way(void)
{
	int n = FIRST + next() % NUMBERS, fd;

	switch (next() % 4) {
	case 0:
		lt_ctl(LOOP_CTL_REMOVE, n);
		break;
	case 1:
		n = lt_ctl(LOOP_CTL_GET_FREE, 0);
		break;
	default:
		fd = lt_open(n, O_RDONLY);
		if (fd >= 0)
			close(fd);
	}
}

/*
 * Returns whether the lease, and a device that is open with the diskseq of the answer,
 * still belong to this attachment. Others may have detached the device.
 */
static bool mine(const struct loop_ctl_attach *a, int lease, int fd, ino_t ino)
{
	struct loop_info64 info;

	if (lease >= 0 && ioctl(lease, LOOP_GET_STATUS64, &info)) {
		/* Others may force it to go. */
		return errno == ENXIO;
	}
	if (lease >= 0 && (info.lo_number != (uint32_t)a->out_index ||
			   info.lo_inode != ino))
		return false;
	if (fd < 0 || lt_diskseq(fd) != a->out_diskseq ||
	    ioctl(fd, LOOP_GET_STATUS64, &info))
		return true;
	return lt_diskseq(fd) != a->out_diskseq ||
	       (info.lo_number == (uint32_t)a->out_index && info.lo_inode == ino);
}

static void use(const struct loop_ctl_attach *a, int fd)
{
	uint8_t buf[4096];

	if (next() % 2 && pread(fd, buf, sizeof(buf), 0) < 0)
		errno = 0;
	if (!(a->out_lo_flags & LO_FLAGS_READ_ONLY) && next() % 2) {
		memset(buf, next(), sizeof(buf));
		if (pwrite(fd, buf, sizeof(buf), 65536) < 0)
			errno = 0;
	}
}

/* Changes through the lease what does not matter to others. */
static void use_lease(int lease)
{
	struct pollfd p = { .fd = lease, .events = POLLPRI };

	switch (next() % 6) {
	case 0:
		ioctl(lease, LOOP_SET_CAPACITY, 0);
		break;
	case 1:
		ioctl(lease, BLKRRPART, 0);
		break;
	case 2:
		ioctl(lease, LOOP_SET_DIRECT_IO, next() % 2);
		break;
	case 3:
		poll(&p, 1, next() % 3);
		break;
	default:
		ioctl(lease, LOOP_LEASE_ANNOUNCE);
	}
}

static void finish(const struct loop_ctl_attach *a, int lease, int fd)
{
	int held = lease >= 0 ? lease : fd;

	switch (next() % 8) {
	case 0:
	case 1:
		/* ENXIO is no problem, as others may have detached the device. */
		if (held >= 0 && ioctl(held, LOOP_CLR_FD, 0) && errno != ENXIO)
			problem(CLR_FD_ERRNO);
		break;
	case 2:
		/* This process may still have the device open. */
		detach(a->out_index, next() % 2 ? a->out_diskseq : 0);
		break;
	default:
		break;
	}
	if (next() % 2 && lease >= 0) {
		close(lease);
		lease = -1;
	}
	if (fd >= 0)
		close(fd);
	if (lease >= 0)
		close(lease);
	if (!(a->lo_flags & LO_FLAGS_AUTOCLEAR) && next() % 4)
		detach(a->out_index, a->out_diskseq);
}

static void attach_choose(struct loop_ctl_attach *a)
{
	if (next() % 2)
		a->index = FIRST + next() % NUMBERS;
	if (next() % 4) {
		a->attach_flags |= LOOP_ATTACH_LEASE;
		if (next() % 2)
			a->lo_flags |= LO_FLAGS_AUTOCLEAR;
		if (next() % 4 == 0)
			a->attach_flags |= LOOP_ATTACH_HOLD;
	}
	if (next() % 2)
		a->attach_flags |= LOOP_ATTACH_EPHEMERAL;
	if (next() % 8 == 0)
		a->attach_flags |= LOOP_ATTACH_EXCLUSIVE;
	if (next() % 4 == 0)
		a->lo_flags |= LO_FLAGS_READ_ONLY;
	if (next() % 16 == 0)
		a->lo_flags |= LO_FLAGS_PARTSCAN;
	if (next() % 4 == 0)
		a->offset = 4096;
}

static void attach(void)
{
	/* Another may have an exclusive part of the file. */
	static const int allowed[] = { EBUSY, EEXIST, EINTR, 0 };
	unsigned int file = next() % DIRS, at;
	struct loop_ctl_attach a = lt_to_attach(-1, files[file].fd, 0, 0);
	int lease, fd = -1;

	attach_choose(&a);
	if (ioctl(lt_control(), LOOP_CTL_ATTACH, &a)) {
		/* A call that takes any device succeeds, unless the file is in use. */
		if (a.index == -1 && !(errno == EBUSY && a.out_busy >= 0) &&
		    errno != EINTR)
			problem(ATTACH_ANY);
		else if (!one_of(errno, allowed))
			problem(ATTACH_ERRNO);
		shared->busy++;
		return;
	}
	at = shared->attached++;
	if (at < shared->wanted)
		shared->record[at] = (struct record) { a.out_diskseq, a.out_index };
	lease = a.out_lease;
	if (next() % 4)
		fd = lt_open(a.out_index, a.out_lo_flags & LO_FLAGS_READ_ONLY ?
					  O_RDONLY : O_RDWR);
	if (!mine(&a, lease, fd, files[file].ino))
		problem(NOT_MINE);
	if (fd >= 0)
		use(&a, fd);
	if (lease >= 0 && next() % 2)
		use_lease(lease);
	finish(&a, lease, fd);
}

static __noreturn void work(uint64_t seed)
{
	state = seed;
	next();
	while (shared->attached < shared->wanted) {
		switch (next() % 8) {
		case 0:
			tidy();
			break;
		case 1:
			old_way();
			break;
		default:
			attach();
		}
	}
	_exit(0);
}

static pid_t start(uint64_t seed)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		lt_die("fork");
	if (pid)
		return pid;
	/* It is not to outlive the parent. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(1);
	work(seed);
}

/* Lets them run, and kills one now and then; false if they do not end. */
static bool storm(uint64_t seed)
{
	pid_t pids[PROCESSES];
	unsigned int i, count, victims[KILLS], killed = 0, before = 0;
	time_t moved = time(NULL);

	for (i = 0; i < PROCESSES; i++)
		pids[i] = start(seed + i * 7919);
	while (shared->attached < shared->wanted) {
		unsigned int now = shared->attached;

		if (now != before) {
			before = now;
			moved = time(NULL);
		} else if (time(NULL) - moved > HANG_SECONDS) {
			ksft_print_msg("nothing moves after %u attaches\n",
				       now);
			for (i = 0; i < PROCESSES; i++)
				kill(pids[i], SIGKILL);
			return false;
		}
		for (count = 0; count < KILLS && killed + count < now / PER_KILL;
		     count++) {
			victims[count] = (next() % (PROCESSES / KILLS)) * KILLS +
					 count;
			kill(pids[victims[count]], SIGKILL);
		}
		for (i = 0; i < count; i++) {
			pid_t *pid = &pids[victims[i]];

			if (waitpid(*pid, NULL, 0) != *pid)
				lt_die("wait for one that was killed");
			killed++;
			*pid = start(seed + (PROCESSES + killed) * 7919);
		}
		if (!count)
			lt_sleep_ms(1);
	}
	shared->died = killed;
	alarm(HANG_SECONDS);
	for (i = 0; i < PROCESSES; i++)
		if (waitpid(pids[i], NULL, 0) != pids[i])
			lt_die("wait for a process");
	alarm(0);
	return true;
}

static int by_diskseq(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	return x->diskseq < y->diskseq ? -1 : x->diskseq > y->diskseq;
}

static bool check_diskseq(void)
{
	unsigned int i, known = 0;
	bool good = true;

	qsort(shared->record, shared->wanted, sizeof(*shared->record),
	      by_diskseq);
	for (i = 0; i < shared->wanted; i++) {
		const struct record *r = &shared->record[i];

		/* Killed between getting it and telling of it. */
		if (!r->diskseq)
			continue;
		known++;
		if (i && r->diskseq == r[-1].diskseq) {
			ksft_print_msg("diskseq %llu: loop%u and loop%u\n",
				       (unsigned long long)r->diskseq,
				       r[-1].index, r->index);
			good = false;
		}
	}
	ksft_print_msg("%u of %u are known\n", known, shared->wanted);
	return good && known;
}

/* Detaches all devices on our files, without waiting for one. */
static bool detach_all(void)
{
	struct loop_ctl_entry e[64];
	struct loop_ctl_list l = lt_to_list(0, ARRAY_SIZE(e), e,
					    LOOP_LIST_ATTACHED, -1);
	unsigned int i, count = 0;
	bool good = true;

	do {
		if (ioctl(lt_control(), LOOP_CTL_LIST, &l)) {
			ksft_print_msg("LOOP_CTL_LIST: %s\n",
				       lt_errname(errno));
			return false;
		}
		for (i = 0; i < l.out_count; i++) {
			struct loop_ctl_detach d = {
				.size = sizeof(d), .index = e[i].index,
				.diskseq = e[i].diskseq,
			};

			count++;
			if (!ioctl(lt_control(), LOOP_CTL_DETACH, &d))
				continue;
			ksft_print_msg("loop%u, state %u, %u openers: %s\n",
				       e[i].index, e[i].state, e[i].openers,
				       lt_errname(errno));
			good = false;
		}
	} while (lt_list_next(&l));
	ksft_print_msg("%u were left attached\n", count);
	return good;
}

static bool unmount_all(void)
{
	bool good = true;
	unsigned int i;

	for (i = 0; i < DIRS; i++) {
		close(files[i].fd);
		if (!umount2(files[i].path, 0))
			continue;
		ksft_print_msg("umount %s: %s\n", files[i].path,
			       lt_errname(errno));
		good = false;
	}
	return good;
}

/* Each device that is there is listed, can be opened, and can be removed. */
static bool remove_all(void)
{
	static bool listed[FIRST + NUMBERS + 1];
	struct loop_ctl_entry e[64];
	struct loop_ctl_list l;
	bool good = true;
	unsigned int i;
	int n, tries;

	/* Ephemeral devices are removed by work items, which takes a moment. */
	for (tries = 0; tries < 1000; tries++) {
		bool busy = false;

		memset(listed, 0, sizeof(listed));
		l = lt_to_list(0, ARRAY_SIZE(e), e, 0, -1);
		do {
			if (ioctl(lt_control(), LOOP_CTL_LIST, &l))
				return false;
			for (i = 0; i < l.out_count; i++) {
				if (e[i].state == LOOP_STATE_BUSY)
					busy = true;
				if (e[i].index < ARRAY_SIZE(listed))
					listed[e[i].index] = true;
			}
		} while (lt_list_next(&l));
		if (!busy)
			break;
		lt_sleep_ms(20);
	}
	for (n = 0; n < (int)ARRAY_SIZE(listed); n++) {
		bool exists = lt_exists(n);
		int fd, rc;

		if (exists != listed[n]) {
			ksft_print_msg("loop%d: in sysfs %d, listed %d\n", n,
				       exists, listed[n]);
			good = false;
		}
		if (!exists)
			continue;
		fd = lt_open(n, O_RDWR);
		if (fd < 0 || lt_sysfs_attached(n)) {
			ksft_print_msg("loop%d: open %s, attached %d\n", n,
				       fd < 0 ? lt_errname(errno) : "ok",
				       lt_sysfs_attached(n));
			good = false;
		}
		close(fd);
		rc = lt_ctl(LOOP_CTL_REMOVE, n);
		if (rc != n || lt_exists(n)) {
			ksft_print_msg("remove loop%d: %s, exists %d\n", n,
				       rc < 0 ? lt_errname(errno) : "ok",
				       lt_exists(n));
			good = false;
		}
	}
	return good;
}

static bool check_problems(void)
{
	bool good = true;
	int i;

	for (i = 0; i < PROBLEMS; i++) {
		if (!shared->problems[i])
			continue;
		ksft_print_msg("%s: %u times, last %s\n", problem_names[i],
			       shared->problems[i],
			       lt_errname(shared->problem_errno[i]));
		good = false;
	}
	return good;
}

static void make_files(const char *dir)
{
	char path[80];
	struct stat st;
	int i;

	for (i = 0; i < DIRS; i++) {
		snprintf(files[i].path, sizeof(files[i].path), "%s/%d", dir, i);
		if (mkdir(files[i].path, 0700) ||
		    mount("storm", files[i].path, "tmpfs", 0, NULL))
			lt_die("mount %s", files[i].path);
		snprintf(path, sizeof(path), "%s/%d/file", dir, i);
		files[i].fd = lt_file(path, SIZE, i);
		if (i % 2)
			lt_label_two(files[i].fd);
		if (fstat(files[i].fd, &st))
			lt_die("fstat %s", path);
		files[i].ino = st.st_ino;
	}
}

int main(int argc, char **argv)
{
	unsigned int wanted = argc > 1 ? atoi(argv[1]) : 100000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) :
				   (uint64_t)time(NULL);
	bool existed[8], ended;
	char dir[32];
	int n;

	ksft_print_header();
	if (lt_unusable())
		ksft_exit_skip("%s\n", lt_unusable());
	ksft_set_plan(6);
	ksft_print_msg("%u attaches, seed %llu\n", wanted,
		       (unsigned long long)seed);
	shared = mmap(NULL, sizeof(*shared) + wanted * sizeof(struct record),
		      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		lt_die("map shared memory");
	shared->wanted = wanted;
	signal(SIGALRM, lt_give_up);
	state = seed;
	if (lt_scratch(dir, "storm"))
		lt_die("make a tmpfs");
	make_files(dir);
	for (n = 0; n < (int)ARRAY_SIZE(existed); n++)
		existed[n] = lt_exists(n);

	ended = storm(seed);
	ksft_print_msg("%u attached, %u not; %u detached by the ioctl; %u killed\n",
		       shared->attached, shared->busy, shared->detached,
		       shared->died);
	ksft_test_result(ended, "all processes end\n");
	ksft_test_result(check_problems(), "no unexpected error\n");
	ksft_test_result(check_diskseq(), "no two have the same diskseq\n");
	ksft_test_result(detach_all(), "what is left can be detached\n");
	ksft_test_result(unmount_all(),
			 "no reference to a backing file is left\n");
	ksft_test_result(remove_all(), "no device is lost\n");

	for (n = 0; n < (int)ARRAY_SIZE(existed); n++)
		if (existed[n])
			lt_ctl(LOOP_CTL_ADD, n);
	umount2(dir, 0);
	rmdir(dir);
	ksft_finished();
}
