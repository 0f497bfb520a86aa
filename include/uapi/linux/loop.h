/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * User space ABI of the loop block device: /dev/loop-control and /dev/loopN.
 * Documentation/admin-guide/blockdev/loop.rst describes each ioctl with its
 * errors.
 */
#ifndef _UAPI_LINUX_LOOP_H
#define _UAPI_LINUX_LOOP_H

#include <asm/posix_types.h>
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
 *	size; 0: 512 or, for direct I/O, that of the block device below.
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

#endif /* _UAPI_LINUX_LOOP_H */
