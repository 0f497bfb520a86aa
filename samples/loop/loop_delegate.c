// SPDX-License-Identifier: GPL-2.0
/*
 * This container manager lets a process without any privilege manage one device. That
 * process gets the lease and the image over a socket, and enlarges the image and the
 * device. It could also run in a container that has no /dev/loop-control.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/loop.h>

#define NOBODY 65534

/* The lease and the image, which go with a message of one byte */
union fds {
	struct cmsghdr header;
	char space[CMSG_SPACE(2 * sizeof(int))];
};

static void prepare(struct msghdr *msg, struct iovec *iov, union fds *fds)
{
	static char byte;

	memset(msg, 0, sizeof(*msg));
	memset(fds, 0, sizeof(*fds));
	iov->iov_base = &byte;
	iov->iov_len = 1;
	msg->msg_iov = iov;
	msg->msg_iovlen = 1;
	msg->msg_control = fds->space;
	msg->msg_controllen = sizeof(fds->space);
}

static void send_fds(int sock, int lease, int image)
{
	int both[2] = { lease, image };
	struct cmsghdr *cmsg;
	struct msghdr msg;
	struct iovec iov;
	union fds fds;

	prepare(&msg, &iov, &fds);
	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(both));
	memcpy(CMSG_DATA(cmsg), both, sizeof(both));
	if (sendmsg(sock, &msg, 0) != 1)
		err(1, "sendmsg");
}

static void receive_fds(int sock, int *lease, int *image)
{
	struct cmsghdr *cmsg;
	struct msghdr msg;
	struct iovec iov;
	union fds fds;
	int both[2];

	prepare(&msg, &iov, &fds);
	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		err(1, "recvmsg");
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_len != CMSG_LEN(sizeof(both)))
		errx(1, "no file descriptors came");
	memcpy(both, CMSG_DATA(cmsg), sizeof(both));
	*lease = both[0];
	*image = both[1];
}

/* The process in the container runs this. It knows no number and no node. */
static void resize(int sock, off_t size)
{
	struct loop_info64 info;
	int lease, image;

	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
		err(1, "drop privileges");
	receive_fds(sock, &lease, &image);
	if (ftruncate(image, size))
		err(1, "ftruncate");
	if (ioctl(lease, LOOP_SET_CAPACITY))
		err(1, "LOOP_SET_CAPACITY");
	if (ioctl(lease, LOOP_GET_STATUS64, &info))
		err(1, "LOOP_GET_STATUS64");
	printf("user %u has resized the device %u\n", getuid(), info.lo_number);
	fflush(stdout);
	_exit(0);
}

static unsigned long long size_of(int number)
{
	unsigned long long sectors = 0;
	char path[48];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/loop%d/size", number);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%llu", &sectors) != 1)
		err(1, "%s", path);
	fclose(file);
	return sectors * 512;
}

int main(int argc, char **argv)
{
	struct loop_ctl_attach a = {
		.size = sizeof(a),
		.attach_flags = LOOP_ATTACH_LEASE | LOOP_ATTACH_EXCLUSIVE |
				LOOP_ATTACH_INTERNAL,
		.lo_flags = LO_FLAGS_AUTOCLEAR,
		.index = -1,
	};
	struct pollfd change = { .events = POLLPRI };
	int control, sock[2], status;
	unsigned long long size;
	struct stat st;
	char *end;

	if (argc != 3)
		errx(2, "usage: %s IMAGE NEW-SIZE", argv[0]);
	errno = 0;
	size = strtoull(argv[2], &end, 0);
	if (end == argv[2] || *end || errno || size > INT64_MAX)
		errx(2, "%s: not a number of bytes", argv[2]);
	a.fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (a.fd < 0 || fstat(a.fd, &st))
		err(1, "%s", argv[1]);
	if (size < (unsigned long long)st.st_size)
		errx(2, "%s: larger than %llu bytes already", argv[1], size);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		err(1, "socketpair");
	switch (fork()) {
	case -1:
		err(1, "fork");
	case 0:
		close(sock[0]);
		resize(sock[1], size);
	}

	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		err(1, "/dev/loop-control");
	if (ioctl(control, LOOP_CTL_ATTACH, &a))
		err(1, "%s: LOOP_CTL_ATTACH", argv[1]);
	printf("/dev/loop%d has %llu bytes\n", a.out_index, a.out_nr_bytes);
	fflush(stdout);
	send_fds(sock[0], a.out_lease, a.fd);

	/* The lease tells of a change of the size as well as of the end. */
	change.fd = a.out_lease;
	if (poll(&change, 1, 10000) < 0)
		err(1, "poll");
	if (change.revents & POLLHUP)
		errx(1, "/dev/loop%d has been detached", a.out_index);
	printf("/dev/loop%d has %llu bytes\n", a.out_index,
	       size_of(a.out_index));
	if (wait(&status) < 0)
		err(1, "wait");
	return status ? 1 : 0;
}
