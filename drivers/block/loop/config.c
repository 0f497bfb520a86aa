// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls of a device, which attach a file, tell and change the settings of the
 * attachment, and end it. lease.c calls loop_ioctl() for those that work on a lease.
 *
 * This room calls attach.c, which begins, publishes and ends each change, and backing.c
 * to build a backing and to look at one. It takes the lock of the index inside lo->mutex
 * to set a status, and without lo->mutex for LOOP_CLR_FD, which also takes open_mutex if
 * it is free.
 */
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/uaccess.h>
#include "loop.h"

static_assert(sizeof(struct loop_info64) == 232);
static_assert(sizeof(struct loop_config) == 304);

/*
 * Attach
 */

static int loop_config_validate(const struct loop_config *config)
{
	if (config->info.lo_flags & ~LOOP_CONFIGURE_SETTABLE_FLAGS)
		return -EINVAL;
	if (memchr_inv(config->__reserved, 0, sizeof(config->__reserved)))
		return -EINVAL;
	return 0;
}

static int loop_device_configure(struct loop_device *lo, blk_mode_t mode,
				 const struct loop_config *config)
{
	struct file *file __free(fput) = fget(config->fd);
	struct loop_attach_arg arg = { .config = config };
	struct loop_reconf rc;
	int err;

	if (!file)
		return -EBADF;
	err = loop_file_validate(file);
	if (err)
		return err;
	/* a second caller fails at once, and does not wait for the first one's file */
	if (!loop_move_state(lo, LOOP_FREE, LOOP_ATTACHING))
		return -EBUSY;
	/* an opener with O_EXCL does not wait either, so the claim comes after the build */
	err = loop_config_validate(config) ?:
	      loop_attach_build(&arg, file, mode) ?:
	      loop_reconf_begin(&rc, lo, !(mode & BLK_OPEN_EXCL)) ?:
	      loop_reconf_end(&rc, loop_reconf_attach(&rc, &arg));
	if (arg.b)
		loop_backing_free(arg.b);
	if (err)
		loop_set_state(lo, LOOP_FREE);
	return err;
}

static int loop_ioctl_set_fd(struct loop_device *lo, blk_mode_t mode,
			     unsigned long arg)
{
	struct loop_config config = { .fd = arg };

	return loop_device_configure(lo, mode, &config);
}

static int loop_ioctl_configure(struct loop_device *lo, blk_mode_t mode,
				unsigned long arg)
{
	struct loop_config config;

	if (copy_from_user(&config, (void __user *)arg, sizeof(config)))
		return -EFAULT;
	return loop_device_configure(lo, mode, &config);
}

/*
 * This does not take lo->mutex, as a change may wait for its file; the state keeps
 * the two apart. Nor does it wait for open_mutex: if that is taken, somebody may be
 * opening or closing the device, and the caller counts as one of several openers.
 */
static int loop_ioctl_clr_fd(struct loop_device *lo, blk_mode_t mode,
			     unsigned long arg)
{
	bool settled = mutex_trylock(&lo->disk->open_mutex);
	int err = -ENXIO;

	xa_lock(&loop_index);
	if (lo->state == LOOP_ATTACHED) {
		if (settled && disk_openers(lo->disk) == 1 && !lo->pins)
			loop_set_state_locked(lo, LOOP_RUNDOWN);
		else
			loop_detach_at_close(lo);
		err = 0;
	}
	xa_unlock(&loop_index);
	if (settled)
		mutex_unlock(&lo->disk->open_mutex);
	return err;
}

static int loop_reconf_set_file(struct loop_reconf *rc, struct file *file)
{
	struct loop_backing *old = loop_reconf_old(rc);
	struct loop_backing *b;
	int err;

	if (IS_ERR(old))
		return PTR_ERR(old);
	if (!old->params.read_only)
		return -EINVAL;
	err = loop_reconf_clone(rc, old, file);
	if (err)
		return err;
	b = rc->b;
	if (file->f_flags & O_DIRECT) {
		b->params.direct = true;
		b->params.direct_asked = true;
	}
	err = loop_backing_derive(b, true);
	if (err)
		return err;
	if (atomic64_read(&b->nr_sectors) != atomic64_read(&old->nr_sectors))
		return -EINVAL;
	/* this comes before the old medium ends, so that a cycle changes nothing */
	err = loop_backing_check_chain(b);
	if (err)
		return err;
	/* a read of the old file may be filling the page cache */
	rc->stale = true;
	return loop_reconf_publish_medium(rc);
}

static int loop_ioctl_change_fd(struct loop_device *lo, blk_mode_t mode,
				unsigned long arg)
{
	struct file *file __free(fput) = fget(arg);
	struct loop_reconf rc;
	int err;

	if (!file)
		return -EBADF;
	err = loop_file_validate(file);
	if (err)
		return err;
	err = loop_reconf_begin(&rc, lo, false);
	return err ?: loop_reconf_end(&rc, loop_reconf_set_file(&rc, file));
}

/*
 * A file system that is mounted on the disk or a partition has holder operations.
 * No other holder has them.
 */
static bool loop_disk_is_mounted(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long partno;

	guard(rcu)();
	xa_for_each(&disk->part_tbl, partno, part)
		if (READ_ONCE(part->bd_holder_ops))
			return true;
	return false;
}

/*
 * At another offset, a holder would find foreign bytes. Behind an earlier end it
 * gets errors, which a file system does not expect. Device mapper is made smaller
 * by its user first, so it does not count.
 */
static bool loop_status_disturbs_holder(struct loop_device *lo,
					const struct loop_params *old,
					const struct loop_params *p)
{
	return p->offset != old->offset ||
	       (loop_range_end(p) < loop_range_end(old) &&
		loop_disk_is_mounted(lo->disk));
}

static int loop_reconf_move(struct loop_reconf *rc, struct loop_backing *old,
			    const struct loop_params *p)
{
	int err;

	err = loop_reconf_clone(rc, old, NULL);
	if (err)
		return err;
	rc->b->params.offset = p->offset;
	rc->b->params.sizelimit = p->sizelimit;
	err = loop_backing_derive(rc->b, true);
	if (err)
		return err;
	rc->announce = true;
	rc->stale = true;
	/* dirty pages belong to the old range */
	sync_blockdev(rc->lo->disk->part0);
	return loop_reconf_publish(rc);
}

/* Clearing autoclear revokes a detach that waits for the last close. */
static void loop_device_set_autoclear(struct loop_device *lo, bool autoclear)
{
	lockdep_assert_held(&loop_index.xa_lock);

	/* without a lease nobody can announce the device, so it keeps autoclear */
	if (lo->unannounced && !lo->leased)
		return;
	if (lo->autoclear && !autoclear)
		WRITE_ONCE(lo->lease_holds, lo->leased);
	WRITE_ONCE(lo->autoclear, autoclear);
}

/*
 * Another range needs a new backing; bios do not depend on the name and the flags.
 * With @exclusive, nobody else holds the disk.
 */
static int loop_reconf_set_status(struct loop_reconf *rc,
				  const struct loop_info64 *info, bool exclusive)
{
	struct loop_backing *old = loop_reconf_old(rc);
	struct loop_device *lo = rc->lo;
	struct loop_params p;
	int err;

	if (IS_ERR(old))
		return PTR_ERR(old);
	p = old->params;
	err = loop_params_set(&p, info);
	if (err)
		return err;
	if (!exclusive && loop_status_disturbs_holder(lo, &old->params, &p))
		return -EBUSY;
	if (p.offset != old->params.offset || p.sizelimit != old->params.sizelimit)
		err = loop_reconf_move(rc, old, &p);
	if (err)
		return err;

	xa_lock(&loop_index);
	loop_device_set_name(lo, info->lo_file_name);
	rc->scan = (info->lo_flags & LO_FLAGS_PARTSCAN) && !lo->partscan;
	if (rc->scan)
		WRITE_ONCE(lo->partscan, true);
	/* a device in LOOP_RUNDOWN keeps autoclear */
	if (lo->state == LOOP_ATTACHED)
		loop_device_set_autoclear(lo, info->lo_flags & LO_FLAGS_AUTOCLEAR);
	xa_unlock(&loop_index);
	rc->changed = true;
	return 0;
}

static bool loop_status_moves(struct loop_device *lo,
			      const struct loop_info64 *info)
{
	struct loop_backing *b __free(loop_backing_release) =
						loop_backing_hold(lo);

	return b && b->params.offset != info->lo_offset;
}

static int loop_status_try(struct loop_device *lo, const struct loop_info64 *info,
			   bool claim, bool exclusive)
{
	struct loop_reconf rc;
	int err = loop_reconf_begin(&rc, lo, claim);

	return err ?: loop_reconf_end(&rc, loop_reconf_set_status(&rc, info,
								  exclusive));
}

static int loop_status_change(struct loop_device *lo, blk_mode_t mode,
			      const struct loop_info64 *info)
{
	bool held = mode & BLK_OPEN_EXCL;
	bool claim = !held && loop_status_moves(lo, info);
	int err = loop_status_try(lo, info, claim, held || claim);

	/* another call may have moved the device: a claim tells whether it is held */
	if (err == -EBUSY && !held && !claim)
		err = loop_status_try(lo, info, true, true);
	return err;
}

static int loop_status_read(struct loop_device *lo, struct loop_info64 *info)
{
	struct loop_backing *b __free(loop_backing_release) =
						loop_backing_hold(lo);

	/* pairs with loop_set_state_locked() */
	if (!b || smp_load_acquire(&lo->state) != LOOP_ATTACHED)
		return -ENXIO;

	memset(info, 0, sizeof(*info));
	info->lo_number = lo->number;
	info->lo_device = huge_encode_dev(b->dev);
	info->lo_inode = b->ino;
	if (loop_file_bdev(b->file))
		info->lo_rdevice = huge_encode_dev(loop_file_bdev(b->file)->bd_dev);
	info->lo_offset = b->params.offset;
	info->lo_sizelimit = b->params.sizelimit;
	info->lo_flags = loop_backing_flags(b);
	loop_device_name(lo, info->lo_file_name);
	return 0;
}

static int loop_ioctl_set_status64(struct loop_device *lo, blk_mode_t mode,
				   unsigned long arg)
{
	struct loop_info64 info;

	if (copy_from_user(&info, (void __user *)arg, sizeof(info)))
		return -EFAULT;
	return loop_status_change(lo, mode, &info);
}

static int loop_ioctl_get_status64(struct loop_device *lo, blk_mode_t mode,
				   unsigned long arg)
{
	struct loop_info64 info;
	int err;

	if (!arg)
		return -EINVAL;
	err = loop_status_read(lo, &info);
	if (err)
		return err;
	if (copy_to_user((void __user *)arg, &info, sizeof(info)))
		return -EFAULT;
	return 0;
}

#ifdef CONFIG_COMPAT
struct compat_loop_info {
	compat_int_t	lo_number;
	compat_dev_t	lo_device;
	compat_ulong_t	lo_inode;
	compat_dev_t	lo_rdevice;
	compat_int_t	lo_offset;
	compat_int_t	lo_encrypt_type;
	compat_int_t	lo_encrypt_key_size;
	compat_int_t	lo_flags;
	char		lo_name[LO_NAME_SIZE];
	unsigned char	lo_encrypt_key[LO_KEY_SIZE];
	compat_ulong_t	lo_init[2];
	char		reserved[4];
};

static_assert(sizeof(struct compat_loop_info) == 140);
#else
#define compat_loop_info loop_info
#endif

/* struct loop_info as the caller has it; in_compat_syscall() tells which one. */
union loop_info_old {
	struct loop_info	native;
	struct compat_loop_info	compat;
};

static size_t loop_info_old_size(void)
{
	return in_compat_syscall() ? sizeof(struct compat_loop_info) :
				     sizeof(struct loop_info);
}

/*
 * The two layouts have the same fields, with types of different sizes. Since there
 * is no encryption, its fields are ignored.
 */
#define loop_info_decode(info, old) do {				\
	struct loop_info64 *to = (info);				\
	const typeof(old) from = (old);					\
									\
	to->lo_offset = from->lo_offset;				\
	to->lo_flags = from->lo_flags;					\
	memcpy(to->lo_file_name, from->lo_name, LO_NAME_SIZE);		\
} while (0)

/* Returns whether all numbers fit. */
#define loop_info_encode(old, info) ({					\
	const struct loop_info64 *from = (info);			\
	typeof(old) to = (old);						\
									\
	to->lo_number = from->lo_number;				\
	to->lo_device = from->lo_device;				\
	to->lo_inode = from->lo_inode;					\
	to->lo_rdevice = from->lo_rdevice;				\
	to->lo_offset = from->lo_offset;				\
	to->lo_flags = from->lo_flags;					\
	memcpy(to->lo_name, from->lo_file_name, LO_NAME_SIZE);		\
	to->lo_device == from->lo_device &&				\
		to->lo_inode == from->lo_inode &&			\
		to->lo_rdevice == from->lo_rdevice &&			\
		to->lo_offset == from->lo_offset;			\
})

static int loop_ioctl_set_status(struct loop_device *lo, blk_mode_t mode,
				 unsigned long arg)
{
	struct loop_info64 info = { };
	union loop_info_old old;

	if (copy_from_user(&old, (void __user *)arg, loop_info_old_size()))
		return -EFAULT;
	if (in_compat_syscall())
		loop_info_decode(&info, &old.compat);
	else
		loop_info_decode(&info, &old.native);
	return loop_status_change(lo, mode, &info);
}

static int loop_ioctl_get_status(struct loop_device *lo, blk_mode_t mode,
				 unsigned long arg)
{
	union loop_info_old old = { };
	struct loop_info64 info;
	bool fits;
	int err;

	if (!arg)
		return -EINVAL;
	err = loop_status_read(lo, &info);
	if (err)
		return err;
	if (in_compat_syscall())
		fits = loop_info_encode(&old.compat, &info);
	else
		fits = loop_info_encode(&old.native, &info);
	if (!fits)
		return -EOVERFLOW;
	if (copy_to_user((void __user *)arg, &old, loop_info_old_size()))
		return -EFAULT;
	return 0;
}

/* Asks the file for its size, and does not wait for I/O in flight. */
static int loop_reconf_set_capacity(struct loop_reconf *rc)
{
	struct loop_backing *b = loop_reconf_old(rc);
	struct kstat stat;
	s64 nr_sectors;
	int err;

	if (IS_ERR(b))
		return PTR_ERR(b);
	err = loop_backing_getattr(b, &stat);
	if (err)
		return err;
	nr_sectors = atomic64_read(&b->nr_sectors);
	loop_backing_set_size(b, &stat);
	/* a partition may have grown into a range that is exclusive */
	if (!loop_backing_claim_again(b)) {
		atomic64_set(&b->nr_sectors, nr_sectors);
		return -EBUSY;
	}
	rc->announce = true;
	loop_reconf_set_size(rc, b);
	return 0;
}

static int loop_ioctl_set_capacity(struct loop_device *lo, blk_mode_t mode,
				   unsigned long arg)
{
	struct loop_reconf rc;
	int err = loop_reconf_begin(&rc, lo, false);

	return err ?: loop_reconf_end(&rc, loop_reconf_set_capacity(&rc));
}

static int loop_reconf_set_direct_io(struct loop_reconf *rc, bool direct)
{
	struct loop_backing *old = loop_reconf_old(rc);
	int err;

	if (IS_ERR(old))
		return PTR_ERR(old);
	if (direct == old->params.direct) {
		WRITE_ONCE(old->params.direct_asked, direct);
		return 0;
	}
	err = loop_reconf_clone(rc, old, NULL);
	if (!err && direct)
		err = loop_backing_stat_direct(rc->b);
	if (err)
		return err;
	rc->b->params.direct = direct;
	rc->b->params.direct_asked = direct;
	err = loop_backing_derive(rc->b, false);
	if (err)
		return err;
	if (rc->b->params.direct != direct)
		return -EINVAL;
	return loop_reconf_publish(rc);
}

static int loop_ioctl_set_direct_io(struct loop_device *lo, blk_mode_t mode,
				    unsigned long arg)
{
	struct loop_reconf rc;
	int err = loop_reconf_begin(&rc, lo, false);

	return err ?: loop_reconf_end(&rc, loop_reconf_set_direct_io(&rc, arg));
}

static int loop_reconf_set_block_size(struct loop_reconf *rc, unsigned long asked)
{
	struct loop_backing *old = loop_reconf_old(rc);
	unsigned long size;
	int err;

	if (IS_ERR(old))
		return PTR_ERR(old);
	size = asked ?: loop_backing_block_size(old);
	err = blk_validate_block_size(size);
	if (err)
		return err;
	if (size == old->params.block_size) {
		WRITE_ONCE(old->params.block_size_asked, asked);
		return 0;
	}
	err = loop_reconf_clone(rc, old, NULL);
	if (err)
		return err;
	rc->b->params.block_size = size;
	rc->b->params.block_size_asked = asked;
	err = loop_backing_derive(rc->b, false);
	if (err)
		return err;
	rc->stale = true;
	sync_blockdev(rc->lo->disk->part0);
	return loop_reconf_publish(rc);
}

static int loop_ioctl_set_block_size(struct loop_device *lo, blk_mode_t mode,
				     unsigned long arg)
{
	struct loop_reconf rc;
	int err = loop_reconf_begin(&rc, lo, !(mode & BLK_OPEN_EXCL));

	return err ?: loop_reconf_end(&rc, loop_reconf_set_block_size(&rc, arg));
}

struct loop_ioctl {
	unsigned int	cmd;
	bool		write;	/* needs a writer, or CAP_SYS_ADMIN */
	int		(*handler)(struct loop_device *lo, blk_mode_t mode,
				   unsigned long arg);
};

static const struct loop_ioctl loop_ioctls[] = {
	{ LOOP_CONFIGURE,	false, loop_ioctl_configure },
	{ LOOP_SET_FD,		false, loop_ioctl_set_fd },
	{ LOOP_CLR_FD,		false, loop_ioctl_clr_fd },
	{ LOOP_SET_STATUS,	true,  loop_ioctl_set_status },
	{ LOOP_GET_STATUS,	false, loop_ioctl_get_status },
	{ LOOP_SET_STATUS64,	true,  loop_ioctl_set_status64 },
	{ LOOP_GET_STATUS64,	false, loop_ioctl_get_status64 },
	{ LOOP_CHANGE_FD,	false, loop_ioctl_change_fd },
	{ LOOP_SET_CAPACITY,	true,  loop_ioctl_set_capacity },
	{ LOOP_SET_DIRECT_IO,	true,  loop_ioctl_set_direct_io },
	{ LOOP_SET_BLOCK_SIZE,	true,  loop_ioctl_set_block_size },
};

static int loop_ioctl_call(struct block_device *bdev, blk_mode_t mode,
			   unsigned int cmd, unsigned long arg)
{
	const struct loop_ioctl *ioctl = loop_ioctls;
	unsigned int nr;

	for (nr = ARRAY_SIZE(loop_ioctls); nr; ioctl++, nr--) {
		if (ioctl->cmd != cmd)
			continue;
		if (ioctl->write && !(mode & BLK_OPEN_WRITE) &&
		    !capable(CAP_SYS_ADMIN))
			return -EPERM;
		/* an exclusive opener of a partition does not hold the disk */
		if (bdev_is_partition(bdev))
			mode &= ~BLK_OPEN_EXCL;
		return ioctl->handler(bdev->bd_disk->private_data, mode, arg);
	}
	return -ENOIOCTLCMD;
}

int loop_ioctl(struct block_device *bdev, blk_mode_t mode,
	       unsigned int cmd, unsigned long arg)
{
	int ret = loop_ioctl_call(bdev, mode, cmd, arg);

	return ret == -ENOIOCTLCMD ? -EINVAL : ret;
}

#ifdef CONFIG_COMPAT
/* An argument is a pointer or a number below 2^31; both survive compat_ptr(). */
int loop_compat_ioctl(struct block_device *bdev, blk_mode_t mode,
		      unsigned int cmd, unsigned long arg)
{
	return loop_ioctl_call(bdev, mode, cmd, (unsigned long)compat_ptr(arg));
}
#endif
