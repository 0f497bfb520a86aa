// SPDX-License-Identifier: GPL-2.0
/*
 * The devices by number: added, found, removed; and /dev/loop-control, which does
 * this and attaches, detaches and lists them. The parameters about numbers are
 * here, too.
 *
 * It calls config.c to bind and unbind a device, backing.c to look at a backing,
 * and work.c for a device's groups. It takes open_mutex and, inside that, the lock
 * of the index, and holds neither across add_disk() or del_gendisk().
 */
#include <linux/compat.h>
#include <linux/device_cgroup.h>
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/ioctl.h>
#include <linux/major.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>
#include <trace/events/loop.h>
#include "loop.h"

static_assert(sizeof(struct loop_ctl_attach) == LOOP_CTL_ATTACH_SIZE_VER0);
static_assert(sizeof(struct loop_ctl_detach) == LOOP_CTL_DETACH_SIZE_VER0);
static_assert(sizeof(struct loop_ctl_list) == LOOP_CTL_LIST_SIZE_VER0);
static_assert(sizeof(struct loop_ctl_entry) == LOOP_CTL_ENTRY_SIZE_VER0);

static const struct loop_entries *loop_entries;
static atomic_t loop_nr_devices;	/* whose memory is not freed yet */

/*
 * Devices: added, found and removed
 */

void loop_device_free(struct loop_device *lo)
{
	if (lo->flush_queue)
		destroy_workqueue(lo->flush_queue);
	if (lo->workqueue)
		destroy_workqueue(lo->workqueue);
	loop_groups_free(lo);
	mempool_exit(&lo->io_pool);
	free_percpu(lo->counters);
	mutex_destroy(&lo->uevent_mutex);
	mutex_destroy(&lo->mutex);
	kfree(lo);
	if (atomic_dec_and_test(&loop_nr_devices))
		wake_up_var(&loop_nr_devices);
}

/* The highest number that has minors. */
static unsigned int loop_number_max(void)
{
	return MINORMASK >> loop_part_shift;
}

static void loop_remove_work(struct work_struct *work);

static struct loop_device *loop_device_alloc(int number, unsigned int state)
{
	struct queue_limits lim = { };
	struct loop_device *lo;
	struct gendisk *disk;

	lo = kzalloc_obj(*lo, GFP_KERNEL);
	if (!lo)
		return ERR_PTR(-ENOMEM);
	atomic_inc(&loop_nr_devices);
	lo->number = number;
	lo->state = state;
	lo->entries = loop_entries;
	init_waitqueue_head(&lo->closed);
	init_waitqueue_head(&lo->drained);
	INIT_WORK(&lo->remove_work, loop_remove_work);
	mutex_init(&lo->mutex);
	mutex_init(&lo->uevent_mutex);
	spin_lock_init(&lo->group_lock);
	INIT_LIST_HEAD(&lo->groups);
	ratelimit_state_init(&lo->error_limit, DEFAULT_RATELIMIT_INTERVAL,
			     DEFAULT_RATELIMIT_BURST);
	loop_group_init(&lo->root_group, lo, loop_queue_depth);
	loop_group_init(&lo->swap_group, lo, LOOP_SWAP_DEPTH);

	lo->counters = alloc_percpu(struct loop_counters);
	if (!lo->counters || mempool_init_slab_pool(&lo->io_pool, LOOP_IO_RESERVE,
						    loop_io_cache)) {
		loop_device_free(lo);
		return ERR_PTR(-ENOMEM);
	}
	loop_limits_init(&lim);
	disk = blk_alloc_disk(&lim, NUMA_NO_NODE);
	if (IS_ERR(disk)) {
		loop_device_free(lo);
		return ERR_CAST(disk);
	}
	lo->disk = disk;
	lo->unbound_limits = disk->queue->limits;
	disk->major = LOOP_MAJOR;
	disk->first_minor = number << loop_part_shift;
	disk->minors = 1 << loop_part_shift;
	disk->fops = loop_entries->fops;
	disk->private_data = lo;
	disk->events = DISK_EVENT_MEDIA_CHANGE;
	disk->event_flags = DISK_EVENT_FLAG_UEVENT;
	snprintf(disk->disk_name, DISK_NAME_LEN, "loop%d", number);
	loop_partscan_allow(lo, loop_part_shift);
	/* there is nothing to suspend, and no need to offer it in sysfs */
	device_set_pm_not_required(disk_to_dev(disk));
	return lo;
}

/* Reserves @number, or the lowest free one if it is negative. */
static int loop_number_reserve(int number)
{
	u32 free;
	int err;

	if (number < 0) {
		err = xa_alloc(&loop_index, &free, NULL,
			       XA_LIMIT(0, loop_number_max()), GFP_KERNEL);
		return err == -EBUSY ? -ENOSPC : err ?: free;
	}
	if (number > loop_number_max())
		return -EINVAL;
	err = xa_insert(&loop_index, number, NULL, GFP_KERNEL);
	return err == -EBUSY ? -EEXIST : err ?: number;
}

/*
 * A device can be opened, and bound, before add_disk() returns; the control
 * device knows it only after that.
 */
static void loop_number_publish(struct loop_device *lo)
{
	xa_lock(&loop_index);
	__xa_store(&loop_index, lo->number, lo, 0);
	if (lo->state == LOOP_STATE_UNBOUND)
		__xa_set_mark(&loop_index, lo->number, LOOP_INDEX_UNBOUND);
	xa_unlock(&loop_index);
}

/*
 * Makes the device @number, or the lowest that is absent if it is negative, and
 * returns the number. *@lop may be used only if @state keeps others from
 * removing the device again.
 */
static int loop_device_create(int number, unsigned int state,
			      struct loop_device **lop)
{
	struct loop_device *lo;
	int err;

	number = loop_number_reserve(number);
	if (number < 0)
		return number;
	lo = loop_device_alloc(number, state);
	if (IS_ERR(lo)) {
		err = PTR_ERR(lo);
		goto out_release;
	}
	err = device_add_disk(NULL, lo->disk, loop_disk_groups);
	if (err)
		goto out_free;
	*lop = lo;
	loop_number_publish(lo);
	return number;

out_free:
	put_disk(lo->disk);
	loop_device_free(lo);
out_release:
	xa_erase(&loop_index, number);
	return err;
}

static int loop_device_add(int number)
{
	struct loop_device *lo;

	return loop_device_create(number, LOOP_STATE_UNBOUND, &lo);
}

/* The number is free again only when the device is gone from sysfs. */
static void loop_device_delete(struct loop_device *lo)
{
	struct gendisk *disk = lo->disk;
	int number = lo->number;

	del_gendisk(disk);
	xa_erase(&loop_index, number);
	put_disk(disk);
}

static void loop_remove_work(struct work_struct *work)
{
	loop_device_delete(container_of(work, struct loop_device, remove_work));
}

/* Nobody has it open, and from now on nobody can. */
static int loop_device_retire(struct loop_device *lo)
{
	int err = -EBUSY;

	lockdep_assert_held(&lo->disk->open_mutex);

	xa_lock(&loop_index);
	if (lo->state == LOOP_STATE_REMOVING) {
		err = -ENODEV;
	} else if (lo->state == LOOP_STATE_UNBOUND && !disk_openers(lo->disk)) {
		loop_set_state_locked(lo, LOOP_STATE_REMOVING);
		err = 0;
	}
	xa_unlock(&loop_index);
	return err;
}

/* The index holds a reference on the disk of each device in it. */
static struct loop_device *loop_device_get(int number)
{
	struct loop_device *lo;

	xa_lock(&loop_index);
	lo = xa_load(&loop_index, number);
	if (lo)
		get_device(disk_to_dev(lo->disk));
	xa_unlock(&loop_index);
	return lo;
}

static int loop_device_remove(int number)
{
	struct loop_device *lo;
	struct gendisk *disk;
	int err = -EINTR;

	if (number < 0)
		return -EINVAL;
	lo = loop_device_get(number);
	if (!lo)
		return -ENODEV;
	disk = lo->disk;
	if (!mutex_lock_killable(&disk->open_mutex)) {
		err = loop_device_retire(lo);
		mutex_unlock(&disk->open_mutex);
	}
	if (!err)
		loop_device_delete(lo);
	put_disk(disk);
	return err ?: number;
}

/* The lowest unbound device that nobody has open, or NULL. */
static struct loop_device *loop_index_find_free(void)
{
	struct loop_device *lo;
	unsigned long number;

	lockdep_assert_held(&loop_index.xa_lock);

	xa_for_each_marked(&loop_index, number, lo, LOOP_INDEX_UNBOUND)
		if (!disk_openers(lo->disk))
			return lo;
	return NULL;
}

static int loop_device_get_free(void)
{
	struct loop_device *lo;
	int number = -1;

	xa_lock(&loop_index);
	lo = loop_index_find_free();
	if (lo)
		number = lo->number;
	xa_unlock(&loop_index);
	return lo ? number : loop_device_add(-1);
}

/*
 * Attach
 */

/* A device for one caller to bind, in LOOP_STATE_BINDING. */
struct loop_taken {
	struct loop_device	*lo;
	bool			added;	/* for it, and goes if it fails */
};

/* With @fresh and no @number, one that nobody has seen before. */
static int loop_device_take(int number, bool fresh, struct loop_taken *taken)
{
	struct loop_device *lo;
	int err;

	xa_lock(&loop_index);
	if (number >= 0)
		lo = xa_load(&loop_index, number);
	else
		lo = fresh ? NULL : loop_index_find_free();
	err = lo && lo->state != LOOP_STATE_UNBOUND ? -EBUSY : 0;
	if (lo && !err)
		loop_set_state_locked(lo, LOOP_STATE_BINDING);
	xa_unlock(&loop_index);
	if (err)
		return err;

	*taken = (struct loop_taken) { .lo = lo, .added = !lo };
	if (lo)
		return 0;
	err = loop_device_create(number, LOOP_STATE_BINDING, &taken->lo);
	/* somebody adds or removes it right now */
	return err == -EEXIST ? -EBUSY : min(err, 0);
}

static void loop_device_give_back(struct loop_taken *taken)
{
	if (!taken->added) {
		loop_set_state(taken->lo, LOOP_STATE_UNBOUND);
		return;
	}
	loop_set_state(taken->lo, LOOP_STATE_REMOVING);
	loop_device_delete(taken->lo);
}

/*
 * An open file of the device. It can do what that of a node can, but it has no
 * path, and cannot be opened again through /proc.
 */
static struct file *loop_device_open(struct loop_device *lo, blk_mode_t mode)
{
	struct file *file = bdev_file_open_by_dev(disk_devt(lo->disk), mode,
						  NULL, NULL);

	if (IS_ERR(file))
		return file;
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	file_ra_state_init(&file->f_ra, file->f_mapping);
	return file;
}

static int loop_attach_validate(const struct loop_ctl_attach *attach)
{
	if (attach->attach_flags & ~(LOOP_ATTACH_STRICT | LOOP_ATTACH_EXCLUSIVE |
				     LOOP_ATTACH_EPHEMERAL | LOOP_ATTACH_NO_FD |
				     LOOP_ATTACH_DIRECT_ALIGNED))
		return -EINVAL;
	if (attach->lo_flags & ~LOOP_CONFIGURE_SETTABLE_FLAGS)
		return -EINVAL;
	if ((attach->attach_flags & LOOP_ATTACH_NO_FD) &&
	    (attach->lo_flags & LO_FLAGS_AUTOCLEAR))
		return -EINVAL;
	if (attach->index < -1 || attach->reserved)
		return -EINVAL;
	return 0;
}

/*
 * Binds @taken, or gives it back. The file that is returned holds the device
 * open.
 */
static struct file *loop_attach_taken(struct loop_taken *taken,
				      struct loop_ctl_attach *attach,
				      struct file *backing)
{
	struct loop_config config = {
		.block_size		= attach->block_size,
		.info.lo_offset		= attach->offset,
		.info.lo_sizelimit	= attach->sizelimit,
		.info.lo_flags		= attach->lo_flags,
	};
	struct loop_bind_arg bind = {
		.files.file = backing,
		.mode	= BLK_OPEN_READ,
		.config	= &config,
		.attach	= attach,
	};
	struct file *quiet __free(fput) = NULL;
	struct file *file;
	int err;

	memcpy(config.info.lo_file_name, attach->name, LO_NAME_SIZE);
	if ((backing->f_mode & FMODE_WRITE) &&
	    !(attach->lo_flags & LO_FLAGS_READ_ONLY))
		bind.mode |= BLK_OPEN_WRITE;
	quiet = loop_file_open_quiet(backing, loop_bind_is_read_only(&bind));
	bind.files.quiet = quiet;

	file = loop_device_open(taken->lo, bind.mode);
	if (IS_ERR(file)) {
		loop_device_give_back(taken);
		return file;
	}
	err = loop_device_attach(taken->lo, true, &bind);
	if (err) {
		fput(file);
		loop_device_give_back(taken);
		return ERR_PTR(err);
	}
	return file;
}

/* Undoes an attach whose result cannot be told: @file's close unbinds it. */
static void loop_attach_undo(struct loop_taken *taken, struct file *file)
{
	struct loop_device *lo = taken->lo;

	xa_lock(&loop_index);
	if (lo->state == LOOP_STATE_BOUND) {
		WRITE_ONCE(lo->autoclear, true);
		WRITE_ONCE(lo->ephemeral, taken->added);
	}
	xa_unlock(&loop_index);
	fput(file);
}

static int loop_attach(struct loop_ctl_attach *attach,
		       struct loop_taken *taken, struct file **filep)
{
	struct file *backing __free(fput) = fget(attach->fd);
	bool fresh = attach->attach_flags & LOOP_ATTACH_EPHEMERAL;
	bool again = attach->index < 0;
	int number, err;

	if (!backing)
		return -EBADF;
	/* before there is a device to be seen */
	err = loop_file_validate(backing);
	if (err)
		return err;
	for (;;) {
		err = loop_device_take(attach->index, fresh, taken);
		if (err)
			return err;
		number = taken->lo->number;
		/* should it be the device itself that is in the way */
		attach->index = number;
		*filep = loop_attach_taken(taken, attach, backing);
		err = PTR_ERR_OR_ZERO(*filep);
		if (err != -EBUSY || attach->index != number || !again)
			return err;
		/* somebody has opened it with O_EXCL just now */
		attach->index = -1;
		fresh = true;
		again = false;
	}
}

/*
 * Structures that may grow
 */

/*
 * Reads a structure that starts with its size; returns that size. The kernel
 * knows @size bytes of it, of which the first version had @first.
 */
static int loop_struct_read(void *dst, size_t size, size_t first,
			    void __user *src)
{
	u32 usize;
	int err;

	if (get_user(usize, (u32 __user *)src))
		return -EFAULT;
	if (usize < first)
		return -EINVAL;
	if (usize > PAGE_SIZE)
		return -E2BIG;
	err = copy_struct_from_user(dst, size, src, usize);
	/* the size is copied once more: what was checked is what counts */
	*(u32 *)dst = usize;
	return err ?: usize;
}

static int loop_struct_write(void __user *dst, const void *src, size_t size,
			     size_t usize)
{
	return copy_to_user(dst, src, min(size, usize)) ? -EFAULT : 0;
}

static int loop_control_attach(void __user *arg)
{
	struct loop_ctl_attach attach, result;
	struct loop_taken taken;
	struct file *file;
	int usize, fd = -1;
	int err;

	usize = loop_struct_read(&attach, sizeof(attach),
				 LOOP_CTL_ATTACH_SIZE_VER0, arg);
	if (usize < 0)
		return usize;
	err = loop_attach_validate(&attach);
	/* a result that cannot be told shall not be there */
	if (!err)
		err = loop_struct_write(arg, &attach, sizeof(attach), usize);
	if (err)
		return err;
	if (!(attach.attach_flags & LOOP_ATTACH_NO_FD)) {
		fd = get_unused_fd_flags(O_CLOEXEC);
		if (fd < 0)
			return fd;
	}

	result = attach;
	err = loop_attach(&result, &taken, &file);
	if (err) {
		attach.index = result.index;
		if (err == -EBUSY)
			loop_struct_write(arg, &attach, sizeof(attach), usize);
		goto out_put_fd;
	}
	result.device_fd = fd;
	err = loop_struct_write(arg, &result, sizeof(result), usize);
	if (err) {
		loop_attach_undo(&taken, file);
		goto out_put_fd;
	}
	if (fd >= 0)
		fd_install(fd, file);
	else
		fput(file);
	return 0;

out_put_fd:
	if (fd >= 0)
		put_unused_fd(fd);
	return err;
}

/*
 * Detach
 */

/*
 * One try, with open_mutex: nobody opens or closes the device meanwhile. If
 * *@binding is not 0, it is about that one, whatever its medium is now.
 */
static int loop_detach_locked(struct loop_device *lo, u64 *diskseq, u64 *binding)
{
	int err = 0;

	lockdep_assert_held(&lo->disk->open_mutex);

	xa_lock(&loop_index);
	if (lo->state == LOOP_STATE_REMOVING)
		err = -ENODEV;
	else if (!loop_state_is_bound(lo->state))
		err = -ENXIO;
	else if (*binding ? *binding != lo->binding :
			    *diskseq && *diskseq != lo->disk->diskseq)
		err = -ESTALE;
	else if (disk_openers(lo->disk))
		err = -EBUSY;
	else
		loop_set_state_locked(lo, LOOP_STATE_RUNDOWN);
	if (err == -EBUSY) {
		*binding = lo->binding;
		*diskseq = lo->disk->diskseq;
	}
	xa_unlock(&loop_index);
	if (!err)
		loop_unbind(lo);
	return err;
}

/* On EBUSY, *@diskseq and *@binding are what is there. */
static int loop_detach_try(struct loop_device *lo, u64 *diskseq, u64 *binding)
{
	struct mutex *open_mutex = &lo->disk->open_mutex;
	int err;

	if (mutex_lock_interruptible(open_mutex))
		return -ERESTARTSYS;
	err = loop_detach_locked(lo, diskseq, binding);
	mutex_unlock(open_mutex);
	/* an ephemeral device is gone when its number is free */
	if (err != -EBUSY)
		flush_work(&lo->remove_work);
	return err;
}

/* Looked at without a lock: a try will tell. */
static bool loop_detach_may_work(struct loop_device *lo, u64 binding)
{
	return !disk_openers(lo->disk) || READ_ONCE(lo->binding) != binding ||
	       !loop_state_is_bound(READ_ONCE(lo->state));
}

/* The binding may have got another medium, and so another number. */
static void loop_detach_find(struct loop_device *lo, u64 *diskseq, u64 binding)
{
	xa_lock(&loop_index);
	if (loop_state_is_bound(lo->state) && lo->binding == binding)
		*diskseq = lo->disk->diskseq;
	xa_unlock(&loop_index);
}

/*
 * As loop_detach_try(), but waits for the openers. Once it waits it is about one
 * binding, and it does not matter who ends that.
 */
static int loop_detach_wait(struct loop_device *lo, u64 *diskseq,
			    ktime_t deadline)
{
	u64 binding = 0;
	int err;

	err = loop_detach_try(lo, diskseq, &binding);
	while (err == -EBUSY) {
		ktime_t left = deadline == KTIME_MAX ? KTIME_MAX :
			       ktime_sub(deadline, ktime_get());

		if (left <= 0)
			return -ETIMEDOUT;
		err = wait_event_interruptible_hrtimeout(lo->closed,
							 loop_detach_may_work(lo, binding),
							 left);
		if (err == -ETIME)
			return -ETIMEDOUT;
		if (err)
			break;
		err = loop_detach_try(lo, diskseq, &binding);
		if (err == -ENXIO || err == -ESTALE || err == -ENODEV)
			err = 0;
	}
	if (err == -ERESTARTSYS)
		loop_detach_find(lo, diskseq, binding);
	return err;
}

static int loop_detach_validate(const struct loop_ctl_detach *detach)
{
	if (detach->flags & ~LOOP_DETACH_WAIT)
		return -EINVAL;
	if (detach->index < 0 || detach->reserved)
		return -EINVAL;
	if (!(detach->flags & LOOP_DETACH_WAIT) && detach->timeout)
		return -EINVAL;
	return 0;
}

/* To detach takes what opening the node for reading takes, as for LOOP_CLR_FD. */
static int loop_detach_check_cgroup(struct loop_device *lo)
{
	return devcgroup_check_permission(DEVCG_DEV_BLOCK, LOOP_MAJOR,
					  lo->disk->first_minor,
					  DEVCG_ACC_READ);
}

static int loop_control_detach(void __user *arg)
{
	struct loop_ctl_detach detach;
	struct loop_device *lo;
	ktime_t deadline;
	u64 binding = 0;
	int usize, err;

	usize = loop_struct_read(&detach, sizeof(detach),
				 LOOP_CTL_DETACH_SIZE_VER0, arg);
	if (usize < 0)
		return usize;
	err = loop_detach_validate(&detach);
	if (err)
		return err;
	lo = loop_device_get(detach.index);
	if (!lo)
		return -ENODEV;
	err = loop_detach_check_cgroup(lo);
	if (err) {
		put_disk(lo->disk);
		return err;
	}

	deadline = ktime_add_safe(ktime_get(), min(detach.timeout, KTIME_MAX));
	if (detach.flags & LOOP_DETACH_WAIT)
		err = loop_detach_wait(lo, &detach.diskseq, deadline);
	else
		err = loop_detach_try(lo, &detach.diskseq, &binding);
	put_disk(lo->disk);
	if (err == -ERESTARTSYS && (detach.flags & LOOP_DETACH_WAIT)) {
		/* for the call that goes on where this one stopped */
		if (deadline != KTIME_MAX)
			detach.timeout = max(ktime_sub(deadline, ktime_get()), 1);
		if (loop_struct_write(arg, &detach, sizeof(detach), usize))
			return -EFAULT;
	}
	return err;
}

/*
 * List
 */

/* The next device from *@number on, with a reference on its disk; or NULL. */
static struct loop_device *loop_device_get_next(unsigned long *number)
{
	struct loop_device *lo;

	xa_lock(&loop_index);
	lo = xa_find(&loop_index, number, ULONG_MAX, XA_PRESENT);
	if (lo)
		get_device(disk_to_dev(lo->disk));
	xa_unlock(&loop_index);
	return lo;
}

/*
 * Returns the backing that *@entry was made from, for the caller to release;
 * NULL: there is none. State, diskseq and backing are those of one moment, but in
 * the midst of a change of the file, when diskseq may be that of the old one: each
 * change takes a while, so trying again ends.
 */
static struct loop_backing *loop_entry_read(struct loop_ctl_entry *entry,
					    struct loop_device *lo)
{
	struct loop_backing *b;
	unsigned int state;
	u64 diskseq;

	for (;;) {
		state = READ_ONCE(lo->state);
		diskseq = READ_ONCE(lo->disk->diskseq);
		smp_rmb();	/* so that neither is newer than the backing */
		b = loop_state_is_bound(state) ? loop_backing_hold(lo) : NULL;
		smp_rmb();	/* nor older */
		if (state == READ_ONCE(lo->state) &&
		    diskseq == READ_ONCE(lo->disk->diskseq))
			break;
		if (b)
			loop_backing_release(b);
		cond_resched();
	}
	memset(entry, 0, sizeof(*entry));
	entry->index = lo->number;
	entry->state = state;
	entry->diskseq = diskseq;
	entry->openers = disk_openers(lo->disk);
	if (b)
		loop_entry_fill_backing(entry, b);
	return b;
}

/* Whether @list asks for @lo; if so, *@entry is about it. */
static bool loop_list_match(struct loop_device *lo,
			    const struct loop_ctl_list *list,
			    struct file *file, struct loop_ctl_entry *entry)
{
	struct loop_backing *b __free(loop_backing_release) =
						loop_entry_read(entry, lo);

	if ((list->flags & LOOP_LIST_BOUND) && !b)
		return false;
	return !file || (b && b->file->f_mapping == file->f_mapping);
}

/* *@list: how far it came. Nothing is held while user memory is written. */
static int loop_list(struct loop_ctl_list *list, struct file *file)
{
	void __user *dst = u64_to_user_ptr(list->entries);
	u32 capacity = list->count;
	struct loop_ctl_entry entry;
	unsigned long number;
	struct loop_device *lo;
	bool match;

	list->count = 0;
	for (number = list->start; (lo = loop_device_get_next(&number)); number++) {
		match = list->count < capacity &&
			loop_list_match(lo, list, file, &entry);
		put_disk(lo->disk);
		if (list->count == capacity) {
			list->start = number;
			return 0;
		}
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		if (!match)
			continue;
		if (copy_struct_to_user(dst, list->entry_size, &entry,
					sizeof(entry), NULL))
			return -EFAULT;
		dst += list->entry_size;
		list->count++;
	}
	list->start = U32_MAX;
	return 0;
}

static int loop_list_validate(const struct loop_ctl_list *list)
{
	if (list->flags & ~(LOOP_LIST_BOUND | LOOP_LIST_FD))
		return -EINVAL;
	if (!(list->flags & LOOP_LIST_FD) && list->fd)
		return -EINVAL;
	if (list->entry_size < sizeof(u32) || list->entry_size > PAGE_SIZE)
		return -EINVAL;
	return 0;
}

static int loop_control_list(void __user *arg)
{
	struct file *file __free(fput) = NULL;
	struct loop_ctl_list list;
	int usize, err;

	usize = loop_struct_read(&list, sizeof(list), LOOP_CTL_LIST_SIZE_VER0,
				 arg);
	if (usize < 0)
		return usize;
	err = loop_list_validate(&list);
	if (err)
		return err;
	if (list.flags & LOOP_LIST_FD) {
		file = fget(list.fd);
		if (!file)
			return -EBADF;
	}
	err = loop_list(&list, file);
	return err ?: loop_struct_write(arg, &list, sizeof(list), usize);
}

/*
 * Control device
 */

static long loop_control_ioctl(struct file *file, unsigned int cmd,
			       unsigned long arg)
{
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case LOOP_CTL_ADD:
		return loop_device_add(arg);
	case LOOP_CTL_REMOVE:
		return loop_device_remove(arg);
	case LOOP_CTL_GET_FREE:
		return loop_device_get_free();
	}
	/* the size in the number may be that of another version */
	switch (cmd & ~IOCSIZE_MASK) {
	case LOOP_CTL_ATTACH & ~IOCSIZE_MASK:
		return file->f_mode & FMODE_WRITE ? loop_control_attach(uarg) :
						    -EPERM;
	case LOOP_CTL_DETACH & ~IOCSIZE_MASK:
		return file->f_mode & FMODE_WRITE ? loop_control_detach(uarg) :
						    -EPERM;
	case LOOP_CTL_LIST & ~IOCSIZE_MASK:
		return loop_control_list(uarg);
	}
	return -ENOSYS;
}

#ifdef CONFIG_COMPAT
/* An argument is an int or, of those that say so, a pointer. */
static long loop_control_compat_ioctl(struct file *file, unsigned int cmd,
				      unsigned long arg)
{
	if (_IOC_DIR(cmd))
		arg = (unsigned long)compat_ptr(arg);
	return loop_control_ioctl(file, cmd, arg);
}
#endif

static const struct file_operations loop_control_fops = {
	.owner		= THIS_MODULE,
	.open		= nonseekable_open,
	.unlocked_ioctl	= loop_control_ioctl,
#ifdef CONFIG_COMPAT
	.compat_ioctl	= loop_control_compat_ioctl,
#endif
	.llseek		= noop_llseek,
};

/* What this driver has beyond LOOP_CTL_ADD, _REMOVE and _GET_FREE. */
static ssize_t features_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	return sysfs_emit(buf, "attach detach list\n");
}
static DEVICE_ATTR_RO(features);

static struct attribute *loop_control_attrs[] = {
	&dev_attr_features.attr,
	NULL,
};
ATTRIBUTE_GROUPS(loop_control);

static struct miscdevice loop_control = {
	.minor		= LOOP_CTRL_MINOR,
	.name		= "loop-control",
	.fops		= &loop_control_fops,
	.groups		= loop_control_groups,
};

/*
 * Numbers: parameters, the first devices, and those of nodes that are opened
 */

static unsigned int loop_max = CONFIG_BLK_DEV_LOOP_MIN_COUNT;
static bool loop_max_given;
static int loop_max_part;

static int loop_max_set(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint(val, kp);

	if (!err)
		loop_max_given = true;
	return err;
}

static const struct kernel_param_ops loop_max_ops = {
	.set	= loop_max_set,
	.get	= param_get_uint,
};

module_param_cb(max_loop, &loop_max_ops, &loop_max, 0444);
MODULE_PARM_DESC(max_loop, "Devices made at load; if given, also the limit for devices made by opening their node");
module_param_named(max_part, loop_max_part, int, 0444);
MODULE_PARM_DESC(max_part, "Minors for partitions of each device");

#ifndef MODULE
static int __init loop_max_setup(char *str)
{
	if (!kstrtouint(str, 0, &loop_max))
		loop_max_given = true;
	return 1;
}
__setup("max_loop=", loop_max_setup);
#endif

/* Somebody opens a node in /dev that has no device behind it. */
static void loop_probe(dev_t dev)
{
	unsigned int number = MINOR(dev) >> loop_part_shift;

	if (loop_max_given && loop_max && number >= loop_max)
		return;
	loop_device_add(number);
}

static int __init loop_params_init(void)
{
	if (loop_max_part >= DISK_MAX_PARTS)
		return -EINVAL;
	/* the kernel's own driver takes a negative number for none, too */
	loop_max_part = max(loop_max_part, 0);
	loop_part_shift = fls(loop_max_part);
	loop_max_part = (1U << loop_part_shift) - 1;
	if (loop_max > loop_number_max() + 1)
		return -EINVAL;
	return 0;
}

/*
 * Programs may use them from now on, so they cannot be taken back, and if one is
 * missing it can be made later.
 */
static void __init loop_device_add_first(void)
{
	int err;

	for (unsigned int i = 0; i < loop_max; i++) {
		err = loop_device_add(i);
		/* somebody else was faster */
		if (err == -EEXIST)
			continue;
		if (err < 0) {
			pr_err("loop: device %u of %u: error %d\n", i, loop_max, err);
			return;
		}
	}
}

static void loop_device_delete_all(void)
{
	struct loop_device *lo;
	unsigned long number;

	xa_for_each(&loop_index, number, lo)
		loop_device_delete(lo);
	/* whoever looked a device up just now still has a reference on it */
	wait_var_event(&loop_nr_devices, !atomic_read(&loop_nr_devices));
}

int __init loop_control_init(const struct loop_entries *entries)
{
	int err;

	loop_entries = entries;
	err = loop_params_init();
	if (err)
		return err;
	err = __register_blkdev(LOOP_MAJOR, "loop", loop_probe);
	if (err)
		return -EIO;
	err = misc_register(&loop_control);
	if (err)
		goto out_unregister;
	loop_device_add_first();
	return 0;

out_unregister:
	unregister_blkdev(LOOP_MAJOR, "loop");
	/* the probe may have made some */
	loop_device_delete_all();
	return err;
}

/*
 * No device is bound or open: each such one holds the module. After the node
 * and the probe are gone nobody can add one either.
 */
void loop_control_exit(void)
{
	unregister_blkdev(LOOP_MAJOR, "loop");
	misc_deregister(&loop_control);
	/* ephemeral devices that are on their way out get there first */
	flush_workqueue(loop_remove_workqueue);
	loop_device_delete_all();
	xa_destroy(&loop_index);
}
