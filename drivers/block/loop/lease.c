// SPDX-License-Identifier: GPL-2.0
/*
 * The lease, which LOOP_CTL_ATTACH returns, and the ways in which LOOP_CTL_DETACH
 * detaches.
 *
 * This room calls index.c to wait until an ephemeral device is gone, config.c for the
 * ioctls of a device, attach.c to pin, announce, detach and scan a device, and backing.c to
 * look at a backing. It takes open_mutex to detach, and the lock of the index inside
 * it or alone. BLKRRPART claims the disk exclusively before it takes open_mutex.
 */
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/time_namespace.h>
#include "loop.h"

/* A task that waits for nothing but open_mutex tries to take it this often. */
#define LOOP_OPEN_MUTEX_STEP	(20 * NSEC_PER_MSEC)

struct loop_lease {
	struct loop_device	*lo;		/* C: with a reference; NULL: not started */
	u64			attachment;	/* C */
	atomic_t		seen;		/* A: of lo->changes */
};

/*
 * Detach
 */

/*
 * Checks that @lo has the attachment that *@arg names, and that the caller may detach
 * it. Later checks compare arg->attachment, as LOOP_CHANGE_FD changes the diskseq.
 */
static int loop_detach_check(struct loop_device *lo, struct loop_detach_arg *arg)
{
	lockdep_assert_held(&loop_index.xa_lock);

	if (lo->state == LOOP_REMOVING)
		return -ENODEV;
	if (!loop_state_is_attached(lo->state))
		return -ENXIO;
	if (arg->attachment ? arg->attachment != lo->attachment :
			      arg->diskseq && arg->diskseq != lo->diskseq)
		return -ESTALE;
	if (!arg->admin && !uid_eq(lo->owner, current_euid()))
		return -EPERM;
	arg->attachment = lo->attachment;
	return 0;
}

/* Returns what is not done yet of an attachment that has not ended, LOOP_PENDING_*. */
static u32 loop_detach_pending(const struct loop_device *lo)
{
	u32 pending = 0;

	lockdep_assert_held(&loop_index.xa_lock);

	if (lo->death != LOOP_DEAD)
		pending |= LOOP_PENDING_FILE;
	/* a dead device that nobody has open will be free in a moment */
	if (lo->death == LOOP_DEAD || !loop_device_is_unused(lo))
		pending |= LOOP_PENDING_OPEN;
	return pending;
}

/*
 * Makes one try, and releases open_mutex, which has kept others from opening or closing
 * the device. With LOOP_DETACH_LAZY, the last close detaches a device that is in use.
 */
static int loop_detach_and_unlock(struct loop_device *lo, struct loop_detach_arg *arg)
{
	bool detach = false;
	int err;

	lockdep_assert_held(&lo->disk->open_mutex);

	xa_lock(&loop_index);
	err = loop_detach_check(lo, arg);
	if (!err && arg->mode != LOOP_DETACH_WATCH && loop_device_is_unused(lo) &&
	    lo->death != LOOP_DYING) {
		loop_detach_begin(lo);
		detach = true;
	} else if (!err && arg->mode == LOOP_DETACH_LAZY) {
		arg->pending = loop_detach_pending(lo);
		loop_detach_at_close(lo);
	} else if (!err) {
		err = -EBUSY;
	}
	xa_unlock(&loop_index);
	if (detach)
		loop_device_detach(lo);
	mutex_unlock(&lo->disk->open_mutex);
	return err;
}

/* The deadline is a time of the caller's time namespace. */
static ktime_t loop_time_left(ktime_t deadline)
{
	struct timespec64 now;

	if (deadline == KTIME_MAX)
		return KTIME_MAX;
	ktime_get_ts64(&now);
	timens_add_monotonic(&now);
	return ktime_sub(deadline, timespec64_to_ktime(now));
}

/*
 * A dead device has ended when its file is released, although it is open. If nobody has
 * it open, it ends when it is free.
 */
static bool loop_device_is_dead_and_open(struct loop_device *lo, u64 attachment)
{
	return READ_ONCE(lo->attachment) == attachment &&
	       READ_ONCE(lo->death) == LOOP_DEAD && !loop_device_is_unused(lo);
}

/* Tells whether a try is worthwhile. It takes no lock: the try itself decides. */
static bool loop_detach_may_work(struct loop_device *lo, u64 attachment, bool watch)
{
	if (READ_ONCE(lo->attachment) != attachment ||
	    !loop_state_is_attached(READ_ONCE(lo->state)) ||
	    loop_device_is_dead_and_open(lo, attachment))
		return true;
	return !watch && loop_device_is_unused(lo) &&
	       READ_ONCE(lo->death) != LOOP_DYING;
}

/* Makes one try without waiting. Returns EBUSY, too, if another task has open_mutex. */
static int loop_detach_try(struct loop_device *lo, struct loop_detach_arg *arg)
{
	int err;

	if (!mutex_trylock(&lo->disk->open_mutex)) {
		xa_lock(&loop_index);
		err = loop_detach_check(lo, arg);
		xa_unlock(&loop_index);
		return err ?: -EBUSY;
	}
	return loop_detach_and_unlock(lo, arg);
}

/*
 * Detaches as soon as nobody has the device open. LOOP_DETACH_WATCH only waits until
 * others have detached it. Once it waits, it succeeds as soon as the attachment ends.
 */
static int loop_detach_wait(struct loop_device *lo, struct loop_detach_arg *arg)
{
	bool watch = arg->mode == LOOP_DETACH_WATCH;
	int err = loop_detach_try(lo, arg);

	while (err == -EBUSY) {
		ktime_t left = loop_time_left(arg->deadline);
		bool locked = !watch && loop_device_is_unused(lo);
		u64 attachment = arg->attachment;

		if (loop_device_is_dead_and_open(lo, attachment))
			return 0;
		if (left <= 0)
			return -ETIMEDOUT;
		/* only open_mutex was in the way, and its release wakes no waiter here */
		if (locked)
			left = min(left, LOOP_OPEN_MUTEX_STEP);
		err = wait_event_interruptible_hrtimeout(lo->events,
							 loop_detach_may_work(lo, attachment,
									      watch || locked),
							 left);
		if (err == -ERESTARTSYS)
			return err;
		err = loop_detach_try(lo, arg);
		if (err == -ENXIO || err == -ESTALE || err == -ENODEV)
			err = 0;
	}
	return err;
}

/* The file is released, and the device is free unless somebody has it open. */
static bool loop_force_is_done(struct loop_device *lo, u64 attachment)
{
	return READ_ONCE(lo->attachment) != attachment ||
	       READ_ONCE(lo->state) != LOOP_RUNDOWN ||
	       loop_device_is_dead_and_open(lo, attachment);
}

/* Waits until the file is released, and sets arg->pending to what is not done yet. */
static int loop_force_wait(struct loop_device *lo, struct loop_detach_arg *arg)
{
	ktime_t left = loop_time_left(arg->deadline);
	u64 attachment = arg->attachment;
	int err = 0;

	if (left > 0)
		err = wait_event_interruptible_hrtimeout(lo->events,
							 loop_force_is_done(lo, attachment),
							 left);
	xa_lock(&loop_index);
	if (lo->attachment == attachment && lo->state == LOOP_RUNDOWN)
		arg->pending = loop_detach_pending(lo);
	xa_unlock(&loop_index);
	return err == -ETIME ? 0 : err;
}

/*
 * Kills the device at once. A work item does everything that may wait for the file. If
 * another task detaches the device already, there is nothing to do but wait.
 */
static int loop_detach_by_force(struct loop_device *lo, struct loop_detach_arg *arg)
{
	int err;

	xa_lock(&loop_index);
	err = loop_detach_check(lo, arg);
	if (!err && lo->death == LOOP_ALIVE && !lo->detaching)
		loop_device_kill_locked(lo);
	xa_unlock(&loop_index);
	return err ?: loop_force_wait(lo, arg);
}

static int loop_detach_by_mode(struct loop_device *lo, struct loop_detach_arg *arg)
{
	switch (arg->mode) {
	case LOOP_DETACH_WAIT:
	case LOOP_DETACH_WATCH:
		return loop_detach_wait(lo, arg);
	case LOOP_DETACH_FORCE:
		return loop_detach_by_force(lo, arg);
	default:
		if (mutex_lock_interruptible(&lo->disk->open_mutex))
			return -ERESTARTSYS;
		return loop_detach_and_unlock(lo, arg);
	}
}

/*
 * Detaches the device. An ephemeral device is gone then, unless it is dead and open, or a
 * signal or the deadline ends the wait for that.
 */
int loop_detach(struct loop_device *lo, struct loop_detach_arg *arg)
{
	int err = loop_detach_by_mode(lo, arg);

	/* the file is another user's, and nothing has been done yet */
	if (err == -EPERM && capable(CAP_SYS_ADMIN)) {
		arg->admin = true;
		err = loop_detach_by_mode(lo, arg);
	}
	if (!err && !arg->pending)
		loop_number_wait_timeout(lo->number, loop_time_left(arg->deadline));
	return err;
}

/*
 * Lease
 */

/* The attachment has ended, or it is ending and no further I/O succeeds. */
static bool loop_lease_has_ended(const struct loop_lease *lease)
{
	const struct loop_device *lo = lease->lo;
	bool ended;

	xa_lock(&loop_index);
	ended = lo->attachment != lease->attachment || lo->death != LOOP_ALIVE ||
		!loop_state_is_attached(lo->state);
	xa_unlock(&loop_index);
	return ended;
}

/* Reads the partition table, also of a device without LO_FLAGS_PARTSCAN. */
static int loop_lease_scan(struct loop_device *lo)
{
	struct block_device *bdev = lo->disk->part0;
	int err;

	/* a scan would announce the partitions before the disk is announced */
	if (READ_ONCE(lo->unannounced))
		return -EBUSY;
	/* partitions must not appear while another task has the disk exclusively */
	err = bd_prepare_to_claim(bdev, lo, NULL);
	if (err)
		return err;
	err = loop_scan_partitions(lo);
	bd_abort_claiming(bdev, lo);
	return err;
}

/* Tells whether the ioctl works on a lease. struct loop_ctl_attach lists them. */
static bool loop_lease_has_ioctl(unsigned int cmd)
{
	switch (cmd) {
	case LOOP_CLR_FD:
	case LOOP_SET_STATUS:
	case LOOP_GET_STATUS:
	case LOOP_SET_STATUS64:
	case LOOP_GET_STATUS64:
	case LOOP_CHANGE_FD:
	case LOOP_SET_CAPACITY:
	case LOOP_SET_DIRECT_IO:
	case LOOP_SET_BLOCK_SIZE:
	case LOOP_LEASE_ANNOUNCE:
	case BLKRRPART:
		return true;
	}
	return false;
}

/*
 * Runs an ioctl of a lease. The caller has pinned the device, so LOOP_CLR_FD does not end
 * the attachment at once: the end of the pin, or the last close, detaches the device.
 */
static long loop_lease_call(struct loop_lease *lease, unsigned int cmd,
			    unsigned long arg)
{
	blk_mode_t mode = BLK_OPEN_READ | BLK_OPEN_WRITE;
	struct loop_device *lo = lease->lo;
	int seen = atomic_read(&lo->changes);
	long ret;

	switch (cmd) {
	case LOOP_LEASE_ANNOUNCE:
		return loop_device_announce(lo);
	case BLKRRPART:
		return loop_lease_scan(lo);
	}
	ret = loop_ioctl(lo->disk->part0, mode, cmd, arg);
	if (!ret && (cmd == LOOP_GET_STATUS || cmd == LOOP_GET_STATUS64))
		atomic_set(&lease->seen, seen);
	return ret;
}

static long loop_lease_ioctl(struct file *file, unsigned int cmd,
			     unsigned long arg)
{
	struct loop_lease *lease = file->private_data;
	long ret;

	if (!loop_lease_has_ioctl(cmd))
		return -ENOTTY;
	if (!loop_device_pin(lease->lo, lease->attachment))
		return -ENXIO;
	ret = loop_lease_call(lease, cmd, arg);
	loop_device_unpin(lease->lo);
	return ret;
}

static __poll_t loop_lease_poll(struct file *file, poll_table *wait)
{
	struct loop_lease *lease = file->private_data;
	__poll_t events = 0;

	poll_wait(file, &lease->lo->events, wait);
	if (loop_lease_has_ended(lease))
		events |= EPOLLHUP;
	if (atomic_read(&lease->lo->changes) != atomic_read(&lease->seen))
		events |= EPOLLPRI;
	return events;
}

static void loop_lease_show_fdinfo(struct seq_file *seq, struct file *file)
{
	struct loop_lease *lease = file->private_data;
	struct loop_device *lo = lease->lo;
	struct loop_backing *b __free(loop_backing_release) = NULL;

	seq_printf(seq, "loop-device:\t%d\n", lo->number);
	b = loop_backing_hold(lo);
	/* if the attachment is still there now, the backing belongs to it */
	if (!b || loop_lease_has_ended(lease))
		return;
	seq_printf(seq, "loop-diskseq:\t%llu\n", READ_ONCE(lo->diskseq));
	seq_puts(seq, "loop-file:\t");
	seq_file_path(seq, b->file, " \t\n\\");
	seq_putc(seq, '\n');
}

/* Ends the hold of the lease. Returns true if the device may have to be detached. */
static bool loop_lease_end(struct loop_lease *lease)
{
	struct loop_device *lo = lease->lo;
	bool last = false;

	xa_lock(&loop_index);
	if (lo->attachment == lease->attachment && loop_state_is_attached(lo->state)) {
		WRITE_ONCE(lo->leased, false);
		/* without the lease, nobody can announce the device */
		if (lo->unannounced)
			WRITE_ONCE(lo->autoclear, true);
		last = lo->autoclear;
		WRITE_ONCE(lo->lease_holds, false);
	}
	xa_unlock(&loop_index);
	return last;
}

static int loop_lease_release(struct inode *inode, struct file *file)
{
	struct loop_lease *lease = file->private_data;
	struct loop_device *lo = lease->lo;

	if (lo) {
		/* this detaches as the last close of the device does */
		if (loop_lease_end(lease))
			loop_device_lock_and_detach_if_due(lo);
		put_disk(lo->disk);
	}
	kfree(lease);
	return 0;
}

static const struct file_operations loop_lease_fops = {
	.owner		= THIS_MODULE,
	.release	= loop_lease_release,
	.unlocked_ioctl	= loop_lease_ioctl,
	/* an argument is a pointer or a number below 2^31; both survive this */
	.compat_ioctl	= compat_ptr_ioctl,
	.poll		= loop_lease_poll,
	.show_fdinfo	= loop_lease_show_fdinfo,
	.llseek		= noop_llseek,
};

/* Makes a lease that holds nothing yet. This can fail, so it precedes the attach. */
struct file *loop_lease_create(void)
{
	struct loop_lease *lease = kzalloc_obj(*lease, GFP_KERNEL);
	struct file *file;

	if (!lease)
		return ERR_PTR(-ENOMEM);
	file = anon_inode_getfile("[loop-lease]", &loop_lease_fops, lease,
				  O_RDWR | O_CLOEXEC);
	if (IS_ERR(file))
		kfree(lease);
	return file;
}

/* Starts a lease. Nobody else can see @file yet, and the caller has pinned @lo. */
void loop_lease_start(struct file *file, struct loop_device *lo)
{
	struct loop_lease *lease = file->private_data;

	get_device(disk_to_dev(lo->disk));
	lease->attachment = READ_ONCE(lo->attachment);
	lease->lo = lo;
}
