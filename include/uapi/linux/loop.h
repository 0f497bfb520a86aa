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

/* Sizes in bytes; a name takes at most LO_NAME_SIZE - 1, then a NUL. */
#define LO_NAME_SIZE	64
#define LO_KEY_SIZE	32

/**
 * enum - lo_flags of a bound device
 * @LO_FLAGS_READ_ONLY: the device and its backing file are not written to.
 * @LO_FLAGS_AUTOCLEAR: the device is unbound when its last opener closes it.
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

/* What LOOP_SET_STATUS and LOOP_SET_STATUS64 take from lo_flags: set ... */
#define LOOP_SET_STATUS_SETTABLE_FLAGS \
	(LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN)

/* ... and clear; other bits are ignored. */
#define LOOP_SET_STATUS_CLEARABLE_FLAGS	(LO_FLAGS_AUTOCLEAR)

/* What LOOP_CONFIGURE takes; another bit is EINVAL. */
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
 * Has no size limit and only a small offset: use struct loop_info64.
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
 * Binds a device in one step: it is never seen half configured.
 */
struct loop_config {
	__u32			fd;
	__u32			block_size;
	struct loop_info64	info;
	__u64			__reserved[8];
};

/* lo_encrypt_type: transformations that once were; only NONE is accepted. */
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
#define LOOP_SET_FD		0x4C00	/* int fd: bind */
#define LOOP_CLR_FD		0x4C01	/* unbind, at the last close */
#define LOOP_SET_STATUS		0x4C02	/* struct loop_info * */
#define LOOP_GET_STATUS		0x4C03	/* struct loop_info * */
#define LOOP_SET_STATUS64	0x4C04	/* struct loop_info64 * */
#define LOOP_GET_STATUS64	0x4C05	/* struct loop_info64 * */
#define LOOP_CHANGE_FD		0x4C06	/* int fd: swap a read-only file */
#define LOOP_SET_CAPACITY	0x4C07	/* follow the size of the file */
#define LOOP_SET_DIRECT_IO	0x4C08	/* unsigned long: 0 off, else on */
#define LOOP_SET_BLOCK_SIZE	0x4C09	/* unsigned long: bytes */
#define LOOP_CONFIGURE		0x4C0A	/* struct loop_config *: bind */

/* ioctls of /dev/loop-control; each returns a device number, or -1 and errno */
#define LOOP_CTL_ADD		0x4C80	/* int number; negative: lowest free */
#define LOOP_CTL_REMOVE		0x4C81	/* int number */
#define LOOP_CTL_GET_FREE	0x4C82	/* no argument */

/*
 * Those below return 0, or -1 and errno, and take a structure that may grow at
 * its end. It starts with its size in bytes as the caller knows it:
 *
 *   below that of the first version	EINVAL
 *   above that of this kernel		E2BIG, if a byte past the latter is not 0
 *   above the page size			E2BIG
 *
 * The kernel looks at this size and not at the one in the ioctl's number.
 * Unknown flags and reserved fields that are not 0 are EINVAL. A caller that
 * gets an error finds the structure as it was, but for what is said below.
 */

/**
 * enum - attach_flags of struct loop_ctl_attach and struct loop_ctl_entry
 * @LOOP_ATTACH_STRICT: fail rather than bind otherwise than asked for:
 *	EOPNOTSUPP if LOOP_UNMET_DIRECT_IO would be true of the device, EINVAL
 *	if LOOP_UNMET_DIRECT_ALIGN, _WRITE or _SIZELIMIT would. An fd that is
 *	open with O_DIRECT asks for direct I/O as well.
 * @LOOP_ATTACH_EXCLUSIVE: EBUSY if another device is bound to one of the same
 *	bytes of the same file, unless both are read-only. Without a size limit
 *	the range has no end, as the file may grow. Looked at once, when the
 *	device is attached: it does not keep others from attaching later.
 * @LOOP_ATTACH_EPHEMERAL: the device is removed when it is unbound, however
 *	that comes about.
 * @LOOP_ATTACH_NO_FD: no file descriptor is returned. Not with
 *	LO_FLAGS_AUTOCLEAR, as nobody would hold the device: EINVAL.
 * @LOOP_ATTACH_DIRECT_ALIGNED: direct I/O, now or later, is for those requests
 *	that the file takes with their offset, length and memory; the others go
 *	through the page cache of the file. The block size does not depend on
 *	what direct I/O needs, and only the offset has to be aligned to that.
 */
enum {
	LOOP_ATTACH_STRICT	= 1,
	LOOP_ATTACH_EXCLUSIVE	= 2,
	LOOP_ATTACH_EPHEMERAL	= 4,
	LOOP_ATTACH_NO_FD	= 8,
	LOOP_ATTACH_DIRECT_ALIGNED = 16,
};

/**
 * struct loop_ctl_attach - argument of LOOP_CTL_ATTACH
 * @size: of this structure, in bytes.
 * @attach_flags: LOOP_ATTACH_*.
 * @index: number of the device to bind, which is added if it is not there; -1:
 *	the lowest that is unbound and that nobody has open, or a new one; with
 *	LOOP_ATTACH_EPHEMERAL always a new one.
 *	(out) The number of the device; on EBUSY, of the device that is in the
 *	way.
 * @fd: the backing file, open for reading, and for writing if the device is to
 *	be written to.
 * @offset: start of the data in the file, in bytes, up to 2^63 - 1.
 * @sizelimit: size of the device in bytes, up to 2^63 - 1; 0 or a value past
 *	the end of the file: up to the end of the file.
 * @block_size: logical block size in bytes, a power of two from 512 to the page
 *	size or, where the block layer knows larger ones, 65536; 0: 512 or, if
 *	direct I/O is asked for without LOOP_ATTACH_DIRECT_ALIGNED, what that
 *	needs on the file.
 *	(out) The one in force.
 * @lo_flags: LO_FLAGS_*. (out) Those in force.
 * @diskseq: (out) the disk's sequence number, which no other binding has.
 * @device_fd: (out) a file descriptor of the device, close-on-exec, open for
 *	reading, and for writing unless the device is read-only; -1 with
 *	LOOP_ATTACH_NO_FD.
 * @reserved: 0.
 * @name: a name, cut to LO_NAME_SIZE - 1 bytes.
 *
 * Finds a device and binds it in one step: no other caller can bind or remove
 * the device before this one returns. It needs no node in /dev, and the
 * control device open for writing. What fails leaves no device behind that was
 * not there before, and the structure as it was, but for @index on EBUSY.
 */
struct loop_ctl_attach {
	__u32			size;
	__u32			attach_flags;
	__s32			index;
	__s32			fd;
	__u64			offset;
	__u64			sizelimit;
	__u32			block_size;
	__u32			lo_flags;
	__u64			diskseq;
	__s32			device_fd;
	__u32			reserved;
	__u8			name[LO_NAME_SIZE];
};

#define LOOP_CTL_ATTACH_SIZE_VER0	120

/**
 * enum - flags of struct loop_ctl_detach
 * @LOOP_DETACH_WAIT: wait until nobody has the device open.
 */
enum {
	LOOP_DETACH_WAIT	= 1,
};

/**
 * struct loop_ctl_detach - argument of LOOP_CTL_DETACH
 * @size: of this structure, in bytes.
 * @flags: LOOP_DETACH_*.
 * @index: number of the device.
 * @reserved: 0.
 * @diskseq: only the binding with this sequence number; 0: whichever is there.
 *	(out) On EINTR, with LOOP_DETACH_WAIT, that of the binding that was
 *	waited for, if there was one.
 * @timeout: with LOOP_DETACH_WAIT, the longest wait in nanoseconds; 2^63 - 1
 *	and above: no limit. An open, a close or a partition scan that is under
 *	way is waited for in any case. Without the flag 0. (out) On EINTR, with
 *	the flag, what is left of it, so that the same call can be made again.
 *
 * Unbinds a device that nobody has open. When it returns 0 the backing file
 * has been released; if it was the close that this call waited for that unbound
 * the device, by the time that close() returns. A device that somebody has open
 * is never torn away: it is EBUSY or, after a wait, ETIMEDOUT, and as before.
 * A caller whose device cgroup may not open the device for reading gets EPERM.
 */
struct loop_ctl_detach {
	__u32			size;
	__u32			flags;
	__s32			index;
	__u32			reserved;
	__u64			diskseq;
	__u64			timeout;
};

#define LOOP_CTL_DETACH_SIZE_VER0	32

/**
 * enum - state of struct loop_ctl_entry
 * @LOOP_STATE_UNBOUND: has no backing file.
 * @LOOP_STATE_BINDING: is about to be bound.
 * @LOOP_STATE_BOUND: has a backing file.
 * @LOOP_STATE_RUNDOWN: is about to lose its backing file.
 * @LOOP_STATE_REMOVING: is about to be removed.
 */
enum {
	LOOP_STATE_UNBOUND	= 0,
	LOOP_STATE_BINDING	= 1,
	LOOP_STATE_BOUND	= 2,
	LOOP_STATE_RUNDOWN	= 3,
	LOOP_STATE_REMOVING	= 4,
};

/**
 * enum - unmet of struct loop_ctl_entry: what the device should be and is not
 * @LOOP_UNMET_DIRECT_IO: direct I/O was asked for, and the file has none.
 * @LOOP_UNMET_DIRECT_ALIGN: direct I/O was asked for, and the file has it, but
 *	not with the offset or block size that the device has, or had: it is
 *	not turned on again by itself. With LOOP_ATTACH_DIRECT_ALIGNED only the
 *	offset counts.
 * @LOOP_UNMET_WRITE: the device is read-only, as the file, or the node that it
 *	was bound through, is not open for writing, or BLKROSET has made it so.
 * @LOOP_UNMET_SIZELIMIT: the file ended before the size limit when its size
 *	was last looked at, or the limit is not whole sectors.
 * @LOOP_UNMET_DISCARD: the device does not offer discard, as the file does not.
 * @LOOP_UNMET_BLOCK_SIZE: no block size was asked for, and it is above 512 bytes
 *	as direct I/O on the file needs that.
 */
enum {
	LOOP_UNMET_DIRECT_IO	= 1,
	LOOP_UNMET_DIRECT_ALIGN	= 2,
	LOOP_UNMET_WRITE	= 4,
	LOOP_UNMET_SIZELIMIT	= 8,
	LOOP_UNMET_DISCARD	= 16,
	LOOP_UNMET_BLOCK_SIZE	= 32,
};

/**
 * struct loop_ctl_entry - a device, as LOOP_CTL_LIST tells it
 * @index: number of the device.
 * @state: LOOP_STATE_*. All below but @openers and @diskseq is 0 unless it is
 *	LOOP_STATE_BOUND or, until the device loses its backing file,
 *	LOOP_STATE_RUNDOWN.
 * @lo_flags: LO_FLAGS_*.
 * @block_size: logical block size in bytes.
 * @offset: start of the data in the backing file, in bytes.
 * @sizelimit: limit of the device's size in bytes, or 0.
 * @nr_bytes: size of the device in bytes.
 * @backing_dev: device number of the file system that holds the backing file,
 *	encoded as in struct loop_info64.
 * @backing_ino: inode number of the backing file.
 * @diskseq: the disk's sequence number.
 * @openers: how many times the device or a partition of it is open now.
 * @attach_flags: those of LOOP_ATTACH_* that are still in force:
 *	LOOP_ATTACH_EPHEMERAL, LOOP_ATTACH_DIRECT_ALIGNED.
 * @unmet: LOOP_UNMET_*.
 * @reserved: 0.
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
	__u64			diskseq;
	__u32			openers;
	__u32			attach_flags;
	__u32			unmet;
	__u32			reserved;
	__u8			name[LO_NAME_SIZE];
};

#define LOOP_CTL_ENTRY_SIZE_VER0	144

/**
 * enum - flags of struct loop_ctl_list
 * @LOOP_LIST_BOUND: only devices that have a backing file.
 * @LOOP_LIST_FD: only devices whose backing file is the one that @fd of struct
 *	loop_ctl_list is open on.
 */
enum {
	LOOP_LIST_BOUND		= 1,
	LOOP_LIST_FD		= 2,
};

/**
 * struct loop_ctl_list - argument of LOOP_CTL_LIST
 * @size: of this structure, in bytes.
 * @flags: LOOP_LIST_*.
 * @start: the lowest number to tell. (out) Where to go on; -1, all bits set,
 *	when there is nothing more to tell.
 * @count: entries that @entries has room for. (out) Entries filled.
 * @entry_size: size of one entry in bytes, as the caller knows it, from 4 to the
 *	page size; a larger one than the kernel's is filled up with zeroes, a
 *	smaller one is cut.
 * @fd: with LOOP_LIST_FD, an open file, else 0.
 * @entries: pointer to an array of struct loop_ctl_entry, @entry_size apart.
 *
 * Each entry is true for one moment; devices may come and go between two. The
 * control device may be open for reading only. On EFAULT some entries may have
 * been written.
 */
struct loop_ctl_list {
	__u32			size;
	__u32			flags;
	__u32			start;
	__u32			count;
	__u32			entry_size;
	__s32			fd;
	__u64			entries;
};

#define LOOP_CTL_LIST_SIZE_VER0		32

#define LOOP_CTL_ATTACH		_IOWR(0x4C, 0x83, struct loop_ctl_attach)
#define LOOP_CTL_DETACH		_IOWR(0x4C, 0x84, struct loop_ctl_detach)
#define LOOP_CTL_LIST		_IOWR(0x4C, 0x85, struct loop_ctl_list)

#endif /* _UAPI_LINUX_LOOP_H */
