/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * User space ABI of the loop block device: /dev/loop-control and /dev/loopN.
 * Documentation/admin-guide/blockdev/loop.rst describes each ioctl with its
 * errors.
 */
#ifndef _UAPI_LINUX_LOOP_H
#define _UAPI_LINUX_LOOP_H

#include <asm/posix_types.h>
#include <linux/ioctl.h>
#include <linux/types.h>

/* These sizes are in bytes. A name has at most LO_NAME_SIZE - 1 bytes before its NUL. */
#define LO_NAME_SIZE	64
#define LO_KEY_SIZE	32

/**
 * enum - lo_flags of a device with a backing file
 * @LO_FLAGS_READ_ONLY: the device cannot be written to, and does not write to its
 *	backing file.
 * @LO_FLAGS_AUTOCLEAR: the device is detached when its last opener has closed it
 *	and its lease, if there is one, is closed as well. LOOP_CLR_FD and
 *	LOOP_DETACH_LAZY set the flag on a device that is open, and the lease does not
 *	count any more.
 * @LO_FLAGS_PARTSCAN: the partition table is read, and read again on changes.
 * @LO_FLAGS_DIRECT_IO: the backing file is read and written past its page
 *	cache.
 */
enum {
	LO_FLAGS_READ_ONLY	= 1,
	LO_FLAGS_AUTOCLEAR	= 4,
	LO_FLAGS_PARTSCAN	= 8,
	LO_FLAGS_DIRECT_IO	= 16,
};

/* LOOP_SET_STATUS and LOOP_SET_STATUS64 set these flags if they are in lo_flags. */
#define LOOP_SET_STATUS_SETTABLE_FLAGS \
	(LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN)

/* The same ioctls clear these flags if they are not in lo_flags, and ignore other flags. */
#define LOOP_SET_STATUS_CLEARABLE_FLAGS	(LO_FLAGS_AUTOCLEAR)

/* LOOP_CONFIGURE and LOOP_CTL_ATTACH take these flags; another one is EINVAL. */
#define LOOP_CONFIGURE_SETTABLE_FLAGS \
	(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | \
	 LO_FLAGS_PARTSCAN | LO_FLAGS_DIRECT_IO)

/**
 * struct loop_info - status of a device, LOOP_SET_STATUS and LOOP_GET_STATUS
 * @lo_number: number of the device (out).
 * @lo_device: device number of the file system that holds the backing file
 *	(out).
 * @lo_inode: inode number of the backing file (out).
 * @lo_rdevice: device number of the backing file if it is a block device, else
 *	0 (out).
 * @lo_offset: start of the data in the backing file, in bytes.
 * @lo_encrypt_type: no effect.
 * @lo_encrypt_key_size: no effect.
 * @lo_flags: LO_FLAGS_*.
 * @lo_name: a name given by the user, cut to LO_NAME_SIZE - 1 bytes.
 * @lo_encrypt_key: no effect.
 * @lo_init: no effect.
 * @reserved: no effect.
 *
 * LOOP_SET_STATUS sets the size limit to 0, and the offset is an int: use struct
 * loop_info64.
 */
struct loop_info {
	int			lo_number;
	__kernel_old_dev_t	lo_device;
	unsigned long		lo_inode;
	__kernel_old_dev_t	lo_rdevice;
	int			lo_offset;
	int			lo_encrypt_type;
	int			lo_encrypt_key_size;
	int			lo_flags;
	char			lo_name[LO_NAME_SIZE];
	unsigned char		lo_encrypt_key[LO_KEY_SIZE];
	unsigned long		lo_init[2];
	char			reserved[4];
};

/**
 * struct loop_info64 - status of a device, LOOP_SET_STATUS64 and
 *	LOOP_GET_STATUS64
 * @lo_device: device number of the file system that holds the backing file
 *	(out).
 * @lo_inode: inode number of the backing file (out).
 * @lo_rdevice: device number of the backing file if it is a block device, else
 *	0 (out).
 * @lo_offset: start of the data in the backing file, in bytes, up to
 *	2^63 - 1.
 * @lo_sizelimit: size of the device in bytes, up to 2^63 - 1; 0 or a value past
 *	the end of the file: up to the end of the file.
 * @lo_number: number of the device (out).
 * @lo_encrypt_type: LO_CRYPT_NONE; another value is EINVAL.
 * @lo_encrypt_key_size: size of @lo_encrypt_key in bytes, not above
 *	LO_KEY_SIZE; the key has no effect.
 * @lo_flags: LO_FLAGS_*.
 * @lo_file_name: a name given by the user, cut to LO_NAME_SIZE - 1 bytes.
 * @lo_crypt_name: no effect, reads as zeroes.
 * @lo_encrypt_key: no effect, reads as zeroes.
 * @lo_init: no effect, reads as zeroes.
 */
struct loop_info64 {
	__u64			lo_device;
	__u64			lo_inode;
	__u64			lo_rdevice;
	__u64			lo_offset;
	__u64			lo_sizelimit;
	__u32			lo_number;
	__u32			lo_encrypt_type;
	__u32			lo_encrypt_key_size;
	__u32			lo_flags;
	__u8			lo_file_name[LO_NAME_SIZE];
	__u8			lo_crypt_name[LO_NAME_SIZE];
	__u8			lo_encrypt_key[LO_KEY_SIZE];
	__u64			lo_init[2];
};

/**
 * struct loop_config - argument of LOOP_CONFIGURE
 * @fd: the backing file, open for reading, and for writing if the device is to
 *	be written to.
 * @block_size: logical block size in bytes, a power of two from 512 to the page
 *	size or, where the block layer knows larger ones, 65536; 0: 512 or, if
 *	direct I/O is asked for, what that needs on the file.
 * @info: the status to start with.
 * @__reserved: zeroes, else EINVAL.
 *
 * The ioctl attaches a file with all its settings in one step.
 */
struct loop_config {
	__u32			fd;
	__u32			block_size;
	struct loop_info64	info;
	__u64			__reserved[8];
};

/* Values of lo_encrypt_type. The driver accepts only LO_CRYPT_NONE. */
#define LO_CRYPT_NONE		0
#define LO_CRYPT_XOR		1
#define LO_CRYPT_DES		2
#define LO_CRYPT_FISH2		3
#define LO_CRYPT_BLOW		4
#define LO_CRYPT_CAST128	5
#define LO_CRYPT_IDEA		6
#define LO_CRYPT_DUMMY		9
#define LO_CRYPT_SKIPJACK	10
#define LO_CRYPT_CRYPTOAPI	18
#define MAX_LO_CRYPT		20

/* ioctls of /dev/loopN */
#define LOOP_SET_FD		0x4C00	/* int fd: attach */
#define LOOP_CLR_FD		0x4C01	/* detach at the last close */
#define LOOP_SET_STATUS		0x4C02	/* struct loop_info * */
#define LOOP_GET_STATUS		0x4C03	/* struct loop_info * */
#define LOOP_SET_STATUS64	0x4C04	/* struct loop_info64 * */
#define LOOP_GET_STATUS64	0x4C05	/* struct loop_info64 * */
#define LOOP_CHANGE_FD		0x4C06	/* int fd: exchange a read-only file */
#define LOOP_SET_CAPACITY	0x4C07	/* follow the size of the file */
#define LOOP_SET_DIRECT_IO	0x4C08	/* unsigned long: 0 off, else on */
#define LOOP_SET_BLOCK_SIZE	0x4C09	/* unsigned long: bytes */
#define LOOP_CONFIGURE		0x4C0A	/* struct loop_config *: attach */

/* ioctls of /dev/loop-control; these three return a number, or -1 and errno */
#define LOOP_CTL_ADD		0x4C80	/* int number; negative: the lowest unused */
#define LOOP_CTL_REMOVE		0x4C81	/* int number */
#define LOOP_CTL_GET_FREE	0x4C82	/* no argument */

/*
 * LOOP_CTL_ATTACH, LOOP_CTL_DETACH and LOOP_CTL_LIST return 0, or -1 and errno. Each takes
 * a structure that may grow at its end. It starts with its size in bytes as the caller
 * knows it:
 *
 *   below that of the first version	EINVAL
 *   above that of this kernel		E2BIG, if a byte past the latter is not 0
 *   above the page size		E2BIG
 *
 * The kernel looks at this size and not at the one in the ioctl's number. An
 * unknown flag and a reserved field that is not 0 are EINVAL. The fields whose
 * names start with out_ are answers: the caller sets them to 0, and another value
 * is EINVAL. The fields and the file are checked before a device is made; a file that
 * lies on the device itself, and a range that another device has, are found after
 * that. A call that fails leaves the structure as it was, except for @out_unmet with
 * EOPNOTSUPP and @out_busy with EBUSY.
 *
 * LOOP_CTL_ADD and LOOP_CTL_ATTACH of a number whose device is being removed wait until
 * it is gone. They fail with EINTR if the caller is killed meanwhile.
 *
 * There are 2^20 minors. A device has 2^n of them, where 2^n is the lowest that is above
 * the module parameter max_part, so the highest number is 2^(20 - n) - 1.
 */

/**
 * enum - attach_flags of struct loop_ctl_attach and struct loop_ctl_entry
 * @LOOP_ATTACH_LEASE: a lease of the attachment is returned in @out_lease.
 * @LOOP_ATTACH_HOLD: no uevent is sent and no partition table is read before
 *	LOOP_LEASE_ANNOUNCE is called on the lease. The event that adds a new device
 *	is sent all the same. If the lease is closed before that, the device is
 *	detached, as soon as nobody has it open, without an event. The flag needs
 *	LOOP_ATTACH_LEASE, else the call fails with EINVAL.
 * @LOOP_ATTACH_EXCLUSIVE: while the file is attached, each ioctl that would give
 *	another device an overlapping range of the same file fails with EBUSY. This
 *	call does so if another device has such a range already. Without a size limit
 *	the range has no end, as the file may grow. A file on overlayfs is the same as
 *	the file that it stands for, and a partition is a range of its disk. If the
 *	file is a partition that has become larger, LOOP_SET_CAPACITY,
 *	LOOP_SET_DIRECT_IO and LOOP_SET_BLOCK_SIZE may fail with EBUSY.
 * @LOOP_ATTACH_EPHEMERAL: the call makes a new device, which is removed when it
 *	is detached in any way. If @index names a device that
 *	exists, the call fails with EEXIST.
 * @LOOP_ATTACH_DIRECT_ALIGNED: direct I/O, if it is on or turned on later, is used
 *	for requests whose offset, length and memory the file accepts. Other requests
 *	go through the page cache of the file. Only the offset has to be aligned to
 *	what direct I/O needs, and not the block size. On a block device whose page
 *	cache has larger blocks than its sectors, both have to be.
 * @LOOP_ATTACH_NO_INLINE: workers do all I/O on the file.
 * @LOOP_ATTACH_UNCACHED: buffered I/O leaves nothing in the page cache of the
 *	file, if the kernel and the file system support that.
 * @LOOP_ATTACH_INTERNAL: the device belongs to a program. Desktops and tools that
 *	look for media should not show it: /sys/block/loopN/loop/internal is 1.
 * @LOOP_ATTACH_NO_DISCARD: the device offers no discard, and zeroes are written
 *	without making holes in the file.
 */
enum {
	LOOP_ATTACH_LEASE		= 1,
	LOOP_ATTACH_HOLD		= 2,
	LOOP_ATTACH_EXCLUSIVE		= 4,
	LOOP_ATTACH_EPHEMERAL		= 8,
	LOOP_ATTACH_DIRECT_ALIGNED	= 16,
	LOOP_ATTACH_NO_INLINE		= 32,
	LOOP_ATTACH_UNCACHED		= 64,
	LOOP_ATTACH_INTERNAL		= 128,
	LOOP_ATTACH_NO_DISCARD		= 256,
};

/**
 * enum - conditions: require and out_unmet of struct loop_ctl_attach, unmet of
 *	struct loop_ctl_entry
 * @LOOP_COND_DIRECT_IO: unmet if direct I/O was asked for, and the file has none.
 *	A file descriptor that is open with O_DIRECT asks for it as well.
 * @LOOP_COND_DIRECT_ALIGN: unmet if direct I/O was asked for, and the file has it,
 *	but not with the offset or the block size of the device. It stays unmet when
 *	these change, until direct I/O is turned on again.
 *	LOOP_ATTACH_DIRECT_ALIGNED allows other block sizes.
 * @LOOP_COND_WRITE: unmet if the device is read-only and LO_FLAGS_READ_ONLY was
 *	not asked for: the file, or the node that it was attached through, is not
 *	open for writing, or BLKROSET has made the device read-only.
 * @LOOP_COND_SIZELIMIT: unmet if the file ended before the size limit when its
 *	size was last looked at, or if the limit is not whole sectors.
 * @LOOP_COND_DISCARD: unmet if the device does not offer discard.
 * @LOOP_COND_BLOCK_SIZE: unmet if no block size was asked for, and it is above
 *	512 bytes as direct I/O on the file needs that.
 * @LOOP_COND_UNCACHED: unmet if LOOP_ATTACH_UNCACHED was asked for, and buffered
 *	I/O is cached.
 */
enum {
	LOOP_COND_DIRECT_IO	= 1,
	LOOP_COND_DIRECT_ALIGN	= 2,
	LOOP_COND_WRITE		= 4,
	LOOP_COND_SIZELIMIT	= 8,
	LOOP_COND_DISCARD	= 16,
	LOOP_COND_BLOCK_SIZE	= 32,
	LOOP_COND_UNCACHED	= 64,
};

/**
 * struct loop_ctl_attach - argument of LOOP_CTL_ATTACH
 * @size: of this structure, in bytes.
 * @attach_flags: LOOP_ATTACH_*.
 * @lo_flags: LO_FLAGS_*. LO_FLAGS_AUTOCLEAR without LOOP_ATTACH_LEASE is EINVAL,
 *	as nothing would hold the device.
 * @require: LOOP_COND_* that have to be met. If one is not met, the call fails with
 *	EOPNOTSUPP, and @out_unmet has all conditions that are not met.
 * @index: number of the device, which is added if it does not exist; -1: the
 *	lowest that is free and that nobody has open, or a new one.
 * @fd: the backing file, open for reading, and for writing if the device is to
 *	be written to.
 * @offset: start of the data in the file, in bytes, up to 2^63 - 1.
 * @sizelimit: size of the device in bytes, up to 2^63 - 1; 0 or a value past
 *	the end of the file: up to the end of the file.
 * @block_size: logical block size in bytes, a power of two from 512 to the page
 *	size or, where the block layer knows larger ones, 65536; 0: 512 or, if
 *	direct I/O is asked for without LOOP_ATTACH_DIRECT_ALIGNED, what that
 *	needs on the file.
 * @reserved: 0.
 * @name: a name, cut to LO_NAME_SIZE - 1 bytes.
 * @out_diskseq: the disk's sequence number, which no other attachment has.
 * @out_nr_bytes: size of the device in bytes.
 * @out_index: number of the device.
 * @out_lease: file descriptor of the lease, close-on-exec; -1 if none was asked
 *	for.
 * @out_block_size: logical block size in force, in bytes.
 * @out_lo_flags: LO_FLAGS_* in force.
 * @out_unmet: LOOP_COND_* that are not met, whether they are required or not. It is
 *	also set if the call fails with EOPNOTSUPP.
 * @out_busy: if the call fails with EBUSY, the number of the device that is in the
 *	way, which is @index or a device that has the same part of the file; -1 if
 *	there is none, and after a call that succeeds.
 *
 * The ioctl finds or makes a device and attaches the file in one step: nobody else
 * can attach a file to the device or remove it before the call returns. It needs
 * the control device open for writing, and the device cgroup of the caller has to
 * allow that the device is read and written. A call that fails leaves no device
 * behind that did not exist before.
 *
 * A lease is a file descriptor that stands for the attachment. It is no opener of the
 * device, and has no data. With LO_FLAGS_AUTOCLEAR the device stays attached while
 * it is open or its lease is, and is detached with the last of them, however the
 * process ends. Without the flag, the lease does not keep the device attached, and
 * closing it does not detach the device, unless LOOP_ATTACH_HOLD is set and the
 * device is not announced. LOOP_CLR_FD and LOOP_CTL_DETACH end the attachment in
 * spite of a lease.
 *
 * poll() of a lease returns POLLHUP once the attachment has ended, and as soon as a
 * detach by force begins. It returns POLLPRI if the size or a setting has changed
 * since the attachment, or since LOOP_GET_STATUS or LOOP_GET_STATUS64 was last
 * called on the lease.
 *
 * These ioctls work on a lease as on the device that is open for writing, and ask for no
 * other right: LOOP_CLR_FD, LOOP_SET_STATUS, LOOP_SET_STATUS64, LOOP_GET_STATUS,
 * LOOP_GET_STATUS64, LOOP_CHANGE_FD, LOOP_SET_CAPACITY, LOOP_SET_DIRECT_IO and
 * LOOP_SET_BLOCK_SIZE. LOOP_CLR_FD detaches the device before it returns, unless somebody
 * has it open or another ioctl on the lease is under way. BLKRRPART reads the partition
 * table even without LO_FLAGS_PARTSCAN. It fails with EBUSY if somebody has the device
 * exclusively or a partition open, or before the device is announced. LOOP_LEASE_ANNOUNCE
 * works only on a lease. All others fail with ENOTTY, and from the time when the attachment
 * is about to end, all of these fail with ENXIO.
 */
struct loop_ctl_attach {
	__u32			size;
	__u32			attach_flags;
	__u32			lo_flags;
	__u32			require;
	__s32			index;
	__s32			fd;
	__u64			offset;
	__u64			sizelimit;
	__u32			block_size;
	__u32			reserved;
	__u8			name[LO_NAME_SIZE];
	__u64			out_diskseq;
	__u64			out_nr_bytes;
	__s32			out_index;
	__s32			out_lease;
	__u32			out_block_size;
	__u32			out_lo_flags;
	__u32			out_unmet;
	__s32			out_busy;
};

#define LOOP_CTL_ATTACH_SIZE_VER0	152

/*
 * This ioctl of a lease does what LOOP_ATTACH_HOLD holds back: it reads the partition
 * table, with LO_FLAGS_PARTSCAN, and sends the uevents. It fails with EALREADY if nothing
 * is held back.
 */
#define LOOP_LEASE_ANNOUNCE	_IO(0x4C, 0x86)

/**
 * enum - mode of struct loop_ctl_detach
 * @LOOP_DETACH_NOW: the call detaches the device if nobody has it open, and fails
 *	with EBUSY otherwise. It waits for an open, a close or a partition scan that
 *	is under way. It also fails with EBUSY while LOOP_CTL_ATTACH or an ioctl on a
 *	lease of the device runs, and if the device was detached by force and is not
 *	free yet.
 * @LOOP_DETACH_WAIT: the call waits until nobody has the device open, and then
 *	detaches it.
 * @LOOP_DETACH_WATCH: the call only waits until others have detached the device.
 * @LOOP_DETACH_LAZY: the call detaches the device if nobody has it open. Otherwise
 *	the last close detaches it, as after LOOP_CLR_FD.
 * @LOOP_DETACH_FORCE: the call detaches the device although it may be open. No later
 *	I/O reaches the file: reads, direct writes and the sync of written data
 *	fail with EIO. File systems on the device and its partitions are shut down if
 *	they support that. A program that has the device open keeps it open.
 *	The call then waits, until @deadline, for I/O in flight on the file and for
 *	the release of the file. Data that were synced before are in the file. The
 *	same call can be made again to wait longer.
 */
enum {
	LOOP_DETACH_NOW		= 0,
	LOOP_DETACH_WAIT	= 1,
	LOOP_DETACH_WATCH	= 2,
	LOOP_DETACH_LAZY	= 3,
	LOOP_DETACH_FORCE	= 4,
};

/**
 * enum - flags of struct loop_ctl_detach
 * @LOOP_DETACH_ANY: the call does not compare the sequence number. @diskseq is 0.
 */
enum {
	LOOP_DETACH_ANY		= 1,
};

/**
 * enum - out_pending of struct loop_ctl_detach
 * @LOOP_PENDING_OPEN: the device is still open, and can be attached or removed
 *	after its last close.
 * @LOOP_PENDING_FILE: the file has not been released yet. After LOOP_DETACH_FORCE
 *	the reason is that I/O on the file has not ended, or that file systems are
 *	still being shut down.
 */
enum {
	LOOP_PENDING_OPEN	= 1,
	LOOP_PENDING_FILE	= 2,
};

/**
 * struct loop_ctl_detach - argument of LOOP_CTL_DETACH
 * @size: of this structure, in bytes.
 * @flags: LOOP_DETACH_ANY or 0.
 * @mode: LOOP_DETACH_*; another value is EINVAL.
 * @index: number of the device.
 * @diskseq: the sequence number of the attachment; another one is ESTALE. 0 without
 *	LOOP_DETACH_ANY is EINVAL.
 * @deadline: for LOOP_DETACH_WAIT, _WATCH and _FORCE, the time of CLOCK_MONOTONIC,
 *	in nanoseconds, until which the call waits; 2^63 - 1 and above: no limit. For
 *	the other modes 0.
 * @out_pending: LOOP_PENDING_*: it tells what is not done yet when the call returns
 *	0. It is 0 for LOOP_DETACH_NOW, _WAIT and _WATCH.
 * @reserved: 0.
 *
 * The ioctl ends an attachment. It needs the control device open for writing. The
 * device cgroup of the caller has to allow that the device is read, and to end the
 * attachment of another user takes CAP_SYS_ADMIN: else the call fails with EPERM.
 * Every user may call LOOP_DETACH_WATCH.
 *
 * If the call returns 0 and @out_pending is 0, the file has been released. But if
 * a close() or an ioctl of another task has detached the device, the file is certain
 * to be released only when that call has returned. An ephemeral device is gone, too,
 * unless it was detached by force and is still open, or the deadline or a signal
 * comes first. LOOP_DETACH_WAIT and _WATCH fail with ETIMEDOUT at the deadline, and
 * the device is as it was. The release of the file by LOOP_DETACH_WAIT may take
 * longer, as a close() may. With a signal the call fails with EINTR or is restarted.
 * A call that is restarted fails with ENXIO, ESTALE or ENODEV if the attachment has
 * ended meanwhile.
 */
struct loop_ctl_detach {
	__u32			size;
	__u32			flags;
	__u32			mode;
	__s32			index;
	__u64			diskseq;
	__u64			deadline;
	__u32			out_pending;
	__u32			reserved;
};

#define LOOP_CTL_DETACH_SIZE_VER0	40

/**
 * enum - state of struct loop_ctl_entry
 * @LOOP_STATE_FREE: a file can be attached.
 * @LOOP_STATE_BUSY: the device is about to be attached or removed, or is being
 *	detached, or was detached by force and is not free yet.
 * @LOOP_STATE_ATTACHED: the device has a backing file.
 */
enum {
	LOOP_STATE_FREE		= 0,
	LOOP_STATE_BUSY		= 1,
	LOOP_STATE_ATTACHED	= 2,
};

/**
 * struct loop_ctl_entry - a device, as LOOP_CTL_LIST describes it
 * @index: number of the device.
 * @state: LOOP_STATE_*. Unless it is LOOP_STATE_ATTACHED, all members below except
 *	@openers and @diskseq are 0.
 * @lo_flags: LO_FLAGS_*.
 * @block_size: logical block size in bytes.
 * @offset: start of the data in the backing file, in bytes.
 * @sizelimit: limit of the device's size in bytes, or 0.
 * @nr_bytes: size of the device in bytes.
 * @backing_dev: device number of the file system that holds the backing file,
 *	encoded as in struct loop_info64.
 * @backing_ino: inode number of the backing file.
 * @backing_rdev: device number of the backing file if that is a block device,
 *	else 0.
 * @diskseq: the sequence number of the attachment or, without one, of the disk.
 * @openers: how many times the device or a partition of it is open now.
 * @attach_flags: LOOP_ATTACH_* in force: LOOP_ATTACH_LEASE while a lease is open,
 *	LOOP_ATTACH_HOLD until the device is announced.
 * @unmet: LOOP_COND_* that are not met.
 * @owner: the user who attached the file, in the caller's user namespace.
 * @name: the name, with a NUL.
 */
struct loop_ctl_entry {
	__u32			index;
	__u32			state;
	__u32			lo_flags;
	__u32			block_size;
	__u64			offset;
	__u64			sizelimit;
	__u64			nr_bytes;
	__u64			backing_dev;
	__u64			backing_ino;
	__u64			backing_rdev;
	__u64			diskseq;
	__u32			openers;
	__u32			attach_flags;
	__u32			unmet;
	__u32			owner;
	__u8			name[LO_NAME_SIZE];
};

#define LOOP_CTL_ENTRY_SIZE_VER0	152

/**
 * enum - flags of struct loop_ctl_list
 * @LOOP_LIST_ATTACHED: the call lists only devices that have a backing file.
 * @LOOP_LIST_FD: the call lists only devices whose backing file is the one that @fd
 *	of struct loop_ctl_list is open on.
 */
enum {
	LOOP_LIST_ATTACHED	= 1,
	LOOP_LIST_FD		= 2,
};

/**
 * struct loop_ctl_list - argument of LOOP_CTL_LIST
 * @size: of this structure, in bytes.
 * @flags: LOOP_LIST_*.
 * @start: the lowest number to list.
 * @count: the number of entries that @entries has room for.
 * @entry_size: size of one entry in bytes, as the caller knows it, from 4 to the
 *	page size. If it is larger than the kernel's, the rest is zeroes; if it is
 *	smaller, the entry is cut.
 * @fd: with LOOP_LIST_FD, an open file, else -1.
 * @entries: pointer to an array of struct loop_ctl_entry, @entry_size apart.
 * @out_count: entries filled.
 * @out_next: the @start of the next call; 2^32 - 1 if there are no more devices.
 *
 * The ioctl lists the devices that the caller's device cgroup lets it read. The state and
 * the backing file of an entry are from one moment; its other members may be newer, and
 * devices may come and go between two entries. The control device may be open for reading
 * only. If the call fails with EFAULT or EINTR, some entries may have been written.
 */
struct loop_ctl_list {
	__u32			size;
	__u32			flags;
	__u32			start;
	__u32			count;
	__u32			entry_size;
	__s32			fd;
	__u64			entries;
	__u32			out_count;
	__u32			out_next;
};

#define LOOP_CTL_LIST_SIZE_VER0		40

#define LOOP_CTL_ATTACH		_IOWR(0x4C, 0x83, struct loop_ctl_attach)
#define LOOP_CTL_DETACH		_IOWR(0x4C, 0x84, struct loop_ctl_detach)
#define LOOP_CTL_LIST		_IOWR(0x4C, 0x85, struct loop_ctl_list)

#endif /* _UAPI_LINUX_LOOP_H */
