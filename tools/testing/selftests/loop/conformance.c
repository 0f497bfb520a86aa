// SPDX-License-Identifier: GPL-2.0
/*
 * Drives every ioctl of loop devices and of /dev/loop-control with good and
 * bad arguments in every state and prints one line per case:
 *
 *	GROUP.STATE.CALL: rc=0 errno=0 seq=same WORD...
 *
 * where the words are what the call changed of the device's visible state
 * (GET_STATUS64, size, block sizes, sysfs, see lt_add_state()), or "same".
 * The line GROUP.STATE.enter shows all of it.  The output of two drivers, or
 * of two versions of one, is meant to be compared line by line, so there is
 * nothing in it that differs between two runs.
 *
 * usage: conformance [-b] [-d DIRECTORY] [-f NAME=DIRECTORY]... [GROUP]...
 *
 * Images are made in DIRECTORY; -f adds a file system to try as backing; -b
 * leaves out what does not depend on the word size.
 */
#include <fnmatch.h>
#include <getopt.h>
#include <signal.h>
#include <time.h>

#include "conformance.h"

#define GROUP_SECONDS 800

const char *dir = "/tmp";
char *fs_args[MAX_FS];
int nr_fs;
bool brief;
char mount_point[PATH_MAX];
long page;

struct image_file image[IMG_COUNT];

const char *const image_names[IMG_COUNT] = { "A", "B", "C", "P", "E" };

static const struct {
	const char *name;
	void (*fn)(void);
} groups[] = {
	{ "states", group_states },
	{ "badfd", group_badfd },
	{ "cycle", group_cycle },
	{ "blocksize", group_blocksize },
	{ "flags", group_flags },
	{ "fields", group_fields },
	{ "pointers", group_pointers },
	{ "changefd", group_changefd },
	{ "capacity", group_capacity },
	{ "control", group_control },
	{ "control_nobody", group_control_nobody },
	{ "partition", group_partition },
	{ "backing", group_backing },
	{ "uevent", group_uevent },
	{ "io", group_io },
	{ "sysfs", group_sysfs },
	{ "settings", group_settings },
};

static void make_images(void)
{
	char command[PATH_MAX + 64];
	unsigned int i;

	for (i = 0; i < IMG_COUNT; i++) {
		snprintf(image[i].path, sizeof(image[i].path), "%s/img%s", dir,
			 image_names[i]);
		image[i].rw = lt_file(image[i].path,
				      i == IMG_C ? IMAGE_SIZE / 2 : IMAGE_SIZE,
				      i + 1);
		image[i].ro = must_open(image[i].path, O_RDONLY);
		lt_know(image[i].rw, image_names[i]);
	}
	lt_label_two(image[IMG_P].rw);
	snprintf(command, sizeof(command), "mkfs.ext4 -q -F -O ^has_journal %s",
		 image[IMG_E].path);
	if (system(command))
		lt_die("%s", command);
	snprintf(mount_point, sizeof(mount_point), "%s/mount", dir);
	if (mkdir(mount_point, 0700) && errno != EEXIST)
		lt_die("mkdir %s", mount_point);
	for (i = 0; i < IMG_COUNT; i++)
		fsync(image[i].rw);
}

static void remove_images(void)
{
	static const char *const more[] = {
		"larger", "growing", "sized", "readonly", "append", "data",
	};
	char path[PATH_MAX];
	unsigned int i;

	for (i = 0; i < IMG_COUNT; i++) {
		close(image[i].rw);
		close(image[i].ro);
		unlink(image[i].path);
	}
	for (i = 0; i < ARRAY_SIZE(more); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, more[i]);
		unlink(path);
	}
	rmdir(mount_point);
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!fnmatch(*names, name, 0))
			return true;
	return false;
}

static void die_by_alarm(int sig)
{
	static const char text[] = "Bail out! no end of ";

	if (write(1, text, sizeof(text) - 1) < 0 ||
	    write(1, running, strlen(running)) < 0 || write(1, "\n", 1) < 0)
		_exit(3);
	_exit(2);
}

/* Each group runs in a process of its own, so that the others go on if it fails. */
static bool run_group(unsigned int i)
{
	struct timespec start, end;
	int status;
	pid_t pid;

	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &start);
	group = groups[i].name;
	state = "";
	name_case("start");
	pid = fork();
	if (pid < 0)
		lt_die("fork");
	if (!pid) {
		signal(SIGALRM, die_by_alarm);
		alarm(GROUP_SECONDS);
		groups[i].fn();
		leave();
		exit(0);
	}
	waitpid(pid, &status, 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	fprintf(stderr, "# %s: %ld ms\n", group,
		(end.tv_sec - start.tv_sec) * 1000L +
		(end.tv_nsec - start.tv_nsec) / 1000000);
	if (!status)
		return false;
	printf("%s: died, status %#x\n", group, status);
	lt_destroy(LOWEST, 100);
	lt_destroy(LOWER, 100);
	lt_destroy(NUMBER, 100);
	return true;
}

int main(int argc, char **argv)
{
	bool failed = false;
	unsigned int i;
	int opt;

	while ((opt = getopt(argc, argv, "bd:f:")) != -1) {
		if (opt == 'b') {
			brief = true;
		} else if (opt == 'd') {
			dir = optarg;
		} else if (opt == 'f' && nr_fs < MAX_FS &&
			   strchr(optarg, '=')) {
			fs_args[nr_fs++] = optarg;
		} else {
			fprintf(stderr,
				"usage: %s [-b] [-d DIRECTORY] [-f NAME=DIRECTORY]... [GROUP]...\n",
				argv[0]);
			return 1;
		}
	}
	if (lt_control() < 0)
		lt_die("open /dev/loop-control");
	page = sysconf(_SC_PAGESIZE);
	snprintf(lt_prefix, sizeof(lt_prefix), "%s", dir);
	signal(SIGPIPE, SIG_IGN);
	make_images();
	for (i = 0; i < ARRAY_SIZE(groups); i++)
		if (wanted(groups[i].name, argv + optind))
			failed |= run_group(i);
	remove_images();
	return failed;
}
