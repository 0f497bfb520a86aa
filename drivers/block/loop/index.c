// SPDX-License-Identifier: GPL-2.0
/*
 * The devices by number: made, found, reserved for one caller, removed; the module
 * parameters about numbers, and the devices that are made at load.
 *
 * This room calls attach.c for states, report.c for the attributes of a disk, backing.c
 * for limits, and work.c for groups, the memory of bios, the workqueue that removes devices
 * and the operations of a disk. It takes the lock of the index: inside open_mutex to remove
 * a device, else alone. It holds neither across add_disk() or del_gendisk().
 */
#include <linux/device_cgroup.h>
#include <linux/major.h>
#include <linux/module.h>
#include <linux/slab.h>
#include "loop.h"

/* What a caller's device cgroup has to allow for an attachment. */
#define LOOP_ACC_ATTACH		(DEVCG_ACC_READ | DEVCG_ACC_WRITE)

static atomic_t loop_nr_devices;	/* devices whose memory is not freed yet */
static DECLARE_WAIT_QUEUE_HEAD(loop_number_waiters);
static unsigned int loop_number_releases;	/* number of releases; under the index's lock */

/*
 * Devices: added, found and removed
 */

void loop_device_free(struct loop_device *lo)
{
	if (lo->write_queue)
		destroy_workqueue(lo->write_queue);
	if (lo->flush_queue)
		destroy_workqueue(lo->flush_queue);
	if (lo->read_queue)
		destroy_workqueue(lo->read_queue);
	loop_groups_free(lo);
	mempool_exit(&lo->io_pool);
	free_percpu(lo->counters);
	mutex_destroy(&lo->uevent_mutex);
	mutex_destroy(&lo->mutex);
	kfree(lo);
	if (atomic_dec_and_test(&loop_nr_devices))
		wake_up_var(&loop_nr_devices);
}

/* Returns the highest number that has minors. */
static unsigned int loop_number_max(void)
{
	return MINORMASK >> loop_part_shift;
}

static void loop_remove_work(struct work_struct *work);

static struct loop_device *loop_device_alloc(int number, enum loop_state state)
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
	init_waitqueue_head(&lo->events);
	init_waitqueue_head(&lo->drained);
	INIT_WORK(&lo->remove_work, loop_remove_work);
	INIT_WORK(&lo->force_work, loop_force_work);
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
	lo->free_limits = disk->queue->limits;
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

/* Reserves @number, or the lowest free number if @number is negative. */
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

static void loop_number_release(int number)
{
	xa_lock(&loop_index);
	__xa_erase(&loop_index, number);
	WRITE_ONCE(loop_number_releases, loop_number_releases + 1);
	xa_unlock(&loop_index);
	wake_up(&loop_number_waiters);
}

static bool loop_number_is_removed_locked(int number)
{
	struct loop_device *lo = xa_load(&loop_index, number);

	lockdep_assert_held(&loop_index.xa_lock);

	return lo && lo->state == LOOP_REMOVING;
}

/* Returns true if the device is being removed, so that its number will be free. */
static bool loop_number_is_removed(int number)
{
	bool removed;

	xa_lock(&loop_index);
	removed = loop_number_is_removed_locked(number);
	xa_unlock(&loop_index);
	return removed;
}

/*
 * A device can be opened, and a file attached, before add_disk() returns. Only after
 * that does the index have the device.
 */
static void loop_number_publish(struct loop_device *lo)
{
	xa_lock(&loop_index);
	__xa_store(&loop_index, lo->number, lo, 0);
	if (lo->state == LOOP_FREE)
		__xa_set_mark(&loop_index, lo->number, LOOP_INDEX_FREE);
	xa_unlock(&loop_index);
}

/*
 * Makes the device @number, which the caller has reserved. A failure releases the
 * number. *@lop may be used only if @state keeps others from removing the device.
 */
static int loop_device_create(int number, enum loop_state state,
			      struct loop_device **lop)
{
	struct loop_device *lo;
	int err;

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
	return 0;

out_free:
	put_disk(lo->disk);
	loop_device_free(lo);
out_release:
	loop_number_release(number);
	return err;
}

/*
 * A try has failed with @err, as the number is in use. Returns 0 if the device has been
 * removed, so that the caller tries again, and waits for a removal that is under way.
 * @freed is loop_number_releases from before the try: the removal may just have ended.
 */
static int loop_number_wait(int number, unsigned int freed, int err)
{
	bool removed;

	xa_lock(&loop_index);
	removed = loop_number_is_removed_locked(number);
	if (freed != loop_number_releases)
		err = 0;
	xa_unlock(&loop_index);
	if (!removed)
		return err;
	return wait_event_killable(loop_number_waiters,
				   !loop_number_is_removed(number)) ? -EINTR : 0;
}

/* Waits while the device is being removed, until a signal comes or the time has passed. */
void loop_number_wait_timeout(int number, ktime_t timeout)
{
	if (timeout > 0)
		wait_event_interruptible_hrtimeout(loop_number_waiters,
						   !loop_number_is_removed(number),
						   timeout);
}

/* Adds the device @number, or the lowest absent one if @number is negative. */
static int loop_device_add_nowait(int number)
{
	struct loop_device *lo;
	int err;

	number = loop_number_reserve(number);
	if (number < 0)
		return number;
	err = loop_device_create(number, LOOP_FREE, &lo);
	return err ?: number;
}

int loop_device_add(int number)
{
	unsigned int freed;
	int err;

	do {
		freed = READ_ONCE(loop_number_releases);
		err = loop_device_add_nowait(number);
		if (err != -EEXIST)
			return err;
		err = loop_number_wait(number, freed, err);
	} while (!err);
	return err;
}

/* Removes the device. Its number is free only when the device is gone from sysfs. */
static void loop_device_delete(struct loop_device *lo)
{
	struct gendisk *disk = lo->disk;
	int number = lo->number;

	del_gendisk(disk);
	loop_number_release(number);
	put_disk(disk);
}

static void loop_remove_work(struct work_struct *work)
{
	loop_device_delete(container_of(work, struct loop_device, remove_work));
}

/*
 * Moves a free device that nobody has open to LOOP_REMOVING, so that nobody can open
 * it any more. EBUSY if it is not free or is open, ENODEV if it is being removed.
 */
static int loop_device_begin_remove(struct loop_device *lo)
{
	int err = -EBUSY;

	lockdep_assert_held(&lo->disk->open_mutex);

	xa_lock(&loop_index);
	if (lo->state == LOOP_REMOVING) {
		err = -ENODEV;
	} else if (lo->state == LOOP_FREE && !disk_openers(lo->disk)) {
		loop_set_state_locked(lo, LOOP_REMOVING);
		err = 0;
	}
	xa_unlock(&loop_index);
	return err;
}

/*
 * Returns the first device from *@number to @last, with a reference on its disk, or
 * NULL. The index itself holds a reference on the disk of each device.
 */
struct loop_device *loop_device_get_next(unsigned long *number, unsigned long last)
{
	struct loop_device *lo;

	xa_lock(&loop_index);
	lo = xa_find(&loop_index, number, last, XA_PRESENT);
	if (lo)
		get_device(disk_to_dev(lo->disk));
	xa_unlock(&loop_index);
	return lo;
}

struct loop_device *loop_device_get(unsigned long number)
{
	return loop_device_get_next(&number, number);
}

int loop_device_remove(int number)
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
		err = loop_device_begin_remove(lo);
		mutex_unlock(&disk->open_mutex);
	}
	if (!err)
		loop_device_delete(lo);
	put_disk(disk);
	return err ?: number;
}

/* Returns 0 if the caller's device cgroup allows @access, DEVCG_ACC_*, else EPERM. */
int loop_number_check_cgroup(int number, short access)
{
	return devcgroup_check_permission(DEVCG_DEV_BLOCK, LOOP_MAJOR,
					  number << loop_part_shift, access);
}

/*
 * Returns the lowest free device that nobody has open, or NULL. With @allowed, it
 * skips devices that the caller's device cgroup does not let it read and write.
 */
static struct loop_device *loop_index_find_free(bool allowed)
{
	struct loop_device *lo;
	unsigned long number;

	lockdep_assert_held(&loop_index.xa_lock);

	xa_for_each_marked(&loop_index, number, lo, LOOP_INDEX_FREE)
		if (!disk_openers(lo->disk) &&
		    !(allowed && loop_number_check_cgroup(number, LOOP_ACC_ATTACH)))
			return lo;
	return NULL;
}

int loop_device_get_free(void)
{
	struct loop_device *lo;
	int number = -1;

	xa_lock(&loop_index);
	lo = loop_index_find_free(false);
	if (lo)
		number = lo->number;
	xa_unlock(&loop_index);
	return lo ? number : loop_device_add(-1);
}

/*
 * Devices that are reserved for one caller
 */

/* Makes a device in LOOP_ATTACHING. EEXIST if the number is in use. */
static int loop_device_create_reserved(int number, struct loop_reserved *reserved)
{
	int err;

	number = loop_number_reserve(number);
	if (number < 0)
		return number;
	err = loop_number_check_cgroup(number, LOOP_ACC_ATTACH);
	if (err) {
		loop_number_release(number);
		return err;
	}
	reserved->made = true;
	return loop_device_create(number, LOOP_ATTACHING, &reserved->lo);
}

/* Moves an existing device to LOOP_ATTACHING. reserved->lo is NULL if there is none. */
static int loop_device_reserve_existing(int number, struct loop_reserved *reserved)
{
	struct loop_device *lo;
	int err = 0;

	xa_lock(&loop_index);
	lo = number < 0 ? loop_index_find_free(true) : xa_load(&loop_index, number);
	if (lo && lo->state != LOOP_FREE)
		err = -EBUSY;
	else if (lo && number >= 0)
		err = loop_number_check_cgroup(number, LOOP_ACC_ATTACH);
	if (lo && !err)
		loop_set_state_locked(lo, LOOP_ATTACHING);
	xa_unlock(&loop_index);
	*reserved = (struct loop_reserved) { .lo = err ? NULL : lo };
	return err;
}

/*
 * Reserves the device @number, or any one if @number is negative, in LOOP_ATTACHING.
 * The caller then attaches a file or gives the device back. With @fresh, it makes a
 * new device. It waits for a device that is being removed.
 */
int loop_device_reserve(int number, bool fresh, struct loop_reserved *reserved)
{
	unsigned int freed;
	int err;

	do {
		*reserved = (struct loop_reserved) { };
		freed = READ_ONCE(loop_number_releases);
		err = fresh ? 0 : loop_device_reserve_existing(number, reserved);
		if (!err && !reserved->lo) {
			err = loop_device_create_reserved(number, reserved);
			/* another task has added the device meanwhile, or is adding it */
			if (err == -EEXIST && !fresh)
				err = -EBUSY;
		}
		if ((err != -EBUSY && err != -EEXIST) || number < 0)
			return err;
		err = loop_number_wait(number, freed, err);
	} while (!err);
	return err;
}

void loop_device_give_back(struct loop_reserved *reserved)
{
	if (!reserved->made) {
		loop_set_state(reserved->lo, LOOP_FREE);
		return;
	}
	loop_set_state(reserved->lo, LOOP_REMOVING);
	loop_device_delete(reserved->lo);
}

/*
 * Numbers: parameters, the first devices, and devices that an open of a node makes
 */

static unsigned int loop_max = CONFIG_BLK_DEV_LOOP_MIN_COUNT;
/* an open of a node makes only devices with lower numbers than this */
static unsigned int loop_probe_end = UINT_MAX;
static int loop_max_part;

/* Only a value that the user has given limits what an open makes, and 0 does not. */
static int loop_max_set(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint(val, kp);

	if (!err)
		loop_probe_end = loop_max ?: UINT_MAX;
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
/* The kernel's command line also accepts the name without "loop." */
static int __init loop_max_setup(char *str)
{
	const struct kernel_param kp = { .arg = &loop_max };

	loop_max_set(str, &kp);
	return 1;
}
__setup("max_loop=", loop_max_setup);
#endif

/* The block layer calls this when a node in /dev is opened that has no device. */
static void loop_probe(dev_t dev)
{
	unsigned int number = MINOR(dev) >> loop_part_shift;

	/* the block layer holds a lock that all drivers share, so this does not wait */
	if (number < loop_probe_end)
		loop_device_add_nowait(number);
}

static int __init loop_params_init(void)
{
	if (loop_max_part >= DISK_MAX_PARTS)
		return -EINVAL;
	/* a negative number means 0, as in the kernel's own driver */
	loop_max_part = max(loop_max_part, 0);
	loop_part_shift = fls(loop_max_part);
	loop_max_part = (1U << loop_part_shift) - 1;
	if (loop_max > loop_number_max() + 1)
		return -EINVAL;
	return 0;
}

/*
 * Makes the devices of max_loop. Programs may use each one at once, so a failure does
 * not remove them again. A device that is missing can be added later.
 */
void __init loop_index_add_first(void)
{
	int err;

	for (unsigned int i = 0; i < loop_max; i++) {
		err = loop_device_add(i);
		/* with EEXIST, another task has added it already */
		if (err < 0 && err != -EEXIST) {
			pr_err("loop: device %u of %u: error %d\n", i, loop_max, err);
			return;
		}
	}
}

int __init loop_index_init(void)
{
	int err = loop_params_init();

	if (err)
		return err;
	return __register_blkdev(LOOP_MAJOR, "loop", loop_probe) ? -EIO : 0;
}

/*
 * No device is attached or open, as each such device holds the module. The control
 * device is gone, and unregister_blkdev() ends the probe, so nobody can add a device.
 */
void loop_index_exit(void)
{
	struct loop_device *lo;
	unsigned long number;

	unregister_blkdev(LOOP_MAJOR, "loop");
	/* these work items use the devices, and one of the first may queue one of the second */
	drain_workqueue(loop_force_workqueue);
	drain_workqueue(loop_remove_workqueue);
	xa_for_each(&loop_index, number, lo)
		loop_device_delete(lo);
	/* a task that has just looked a device up may still hold a reference */
	wait_var_event(&loop_nr_devices, !atomic_read(&loop_nr_devices));
	xa_destroy(&loop_index);
}
