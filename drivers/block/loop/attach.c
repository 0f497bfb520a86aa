// SPDX-License-Identifier: GPL-2.0
/*
 * One device: its state, its uevents, how a file is attached, replaced and detached,
 * also by force; and how each change of an attachment begins and ends. The index of the
 * devices is here, as its lock protects their states; index.c fills it.
 *
 * This room calls backing.c, which builds and publishes a backing, report.c for the
 * attributes of an attached device, and work.c for its workqueues and groups. An attach,
 * and a change of block size or offset, takes the exclusive claim of the disk, unless the
 * caller has it. Each change then takes lo->mutex. open_mutex is taken to scan partitions
 * and to announce, after lo->mutex is released, and to detach: then lo->mutex comes inside
 * it. A detach by force takes first lo->mutex alone, and then the two. lo->uevent_mutex and
 * the lock of the index come inside either, and lo->group_lock inside the latter. The
 * caller of loop_device_detach() holds open_mutex.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sysfs.h>
#include "loop.h"
#include <trace/events/loop.h>

/*
 * The index of the numbers that exist. A number is reserved while its device is
 * created, and keeps its entry until its device is gone. Devices in
 * LOOP_FREE have the mark. The lock of the index also protects their state.
 */
DEFINE_XARRAY_ALLOC(loop_index);

/* A device has 1 << loop_part_shift minors, for itself and its partitions. */
unsigned int loop_part_shift;

/*
 * State
 */

/* The device has a backing; in LOOP_RUNDOWN it may have lost it just now. */
bool loop_state_is_attached(enum loop_state state)
{
	return state == LOOP_ATTACHED || state == LOOP_RUNDOWN;
}

void loop_set_state_locked(struct loop_device *lo, enum loop_state state)
{
	lockdep_assert_held(&loop_index.xa_lock);

	if (state == LOOP_FREE)
		__xa_set_mark(&loop_index, lo->number, LOOP_INDEX_FREE);
	else if (lo->state == LOOP_FREE)
		__xa_clear_mark(&loop_index, lo->number, LOOP_INDEX_FREE);
	if (lo->state != state)
		trace_loop_state(lo->number, lo->state, state);
	/* loop_attach_finish() sets these; only a rundown ends with the last close otherwise */
	if (state != LOOP_ATTACHED) {
		WRITE_ONCE(lo->autoclear, state == LOOP_RUNDOWN);
		WRITE_ONCE(lo->lease_holds, false);
	}
	/* pairs with loop_entry_read() and loop_status_read() */
	smp_store_release(&lo->state, state);
}

void loop_set_state(struct loop_device *lo, enum loop_state state)
{
	xa_lock(&loop_index);
	loop_set_state_locked(lo, state);
	xa_unlock(&loop_index);
}

bool loop_move_state(struct loop_device *lo, enum loop_state from,
		     enum loop_state to)
{
	bool moved;

	xa_lock(&loop_index);
	moved = lo->state == from;
	if (moved)
		loop_set_state_locked(lo, to);
	xa_unlock(&loop_index);
	return moved;
}

/*
 * Reconfiguration
 */

/*
 * The block layer sends a CHANGE event of the disk at each step of a change. A
 * task holds these back while it makes such steps, and then says which event is
 * due. The last of several tasks sends it, so that no event is lost. But
 * partitions that others add meanwhile are not announced, so a change of size does
 * without this.
 */
static void loop_uevents_hold(struct loop_device *lo)
{
	guard(mutex)(&lo->uevent_mutex);
	if (!lo->uevents_held++)
		dev_set_uevent_suppress(disk_to_dev(lo->disk), 1);
}

static void loop_uevents_release(struct loop_device *lo, bool change)
{
	char *envp[2] = { "RESIZE=1" };

	guard(mutex)(&lo->uevent_mutex);
	lo->uevent_change |= change;
	if (--lo->uevents_held)
		return;
	dev_set_uevent_suppress(disk_to_dev(lo->disk), 0);
	if (lo->uevent_change)
		kobject_uevent_env(&disk_to_dev(lo->disk)->kobj, KOBJ_CHANGE,
				   lo->uevent_resize ? envp : NULL);
	lo->uevent_change = false;
	lo->uevent_resize = false;
}

/* Sends the event, or leaves it to the last task that holds events back. */
static void loop_uevent_change(struct loop_device *lo)
{
	guard(mutex)(&lo->uevent_mutex);
	if (lo->uevents_held)
		lo->uevent_change = true;
	else
		kobject_uevent(&disk_to_dev(lo->disk)->kobj, KOBJ_CHANGE);
}

void loop_partscan_allow(struct loop_device *lo, bool allow)
{
	assign_bit(GD_SUPPRESS_PART_SCAN, &lo->disk->state, !allow);
}

/* The block layer announces no partition while the disk's events are held back. */
static void loop_partitions_announce(struct loop_device *lo)
{
	struct block_device *part;
	unsigned long partno;

	lockdep_assert_held(&lo->disk->open_mutex);

	xa_for_each_start(&lo->disk->part_tbl, partno, part, 1)
		kobject_uevent(bdev_kobj(part), KOBJ_ADD);
}

/*
 * Reads the partition table, and announces the partitions and then the disk. Returns
 * -EBUSY if a partition is open: then nothing changes, and nothing is announced.
 */
static int loop_scan_partitions_locked(struct loop_device *lo)
{
	int err;

	lockdep_assert_held(&lo->disk->open_mutex);

	loop_partscan_allow(lo, true);
	loop_uevents_hold(lo);
	err = bdev_disk_changed(lo->disk, false);
	if (!err)
		loop_partitions_announce(lo);
	loop_partscan_allow(lo, READ_ONCE(lo->partscan));
	loop_uevents_release(lo, err != -EBUSY);
	/* without an opener, no last close drops what the scan has cached */
	if (!disk_openers(lo->disk))
		truncate_inode_pages(lo->disk->part0->bd_mapping, 0);
	return err;
}

int loop_scan_partitions(struct loop_device *lo)
{
	guard(mutex)(&lo->disk->open_mutex);
	return loop_scan_partitions_locked(lo);
}

/* Drops the events that are due. */
static void loop_uevents_forget(struct loop_device *lo)
{
	guard(mutex)(&lo->uevent_mutex);
	lo->uevent_change = false;
	lo->uevent_resize = false;
}

/* Announces a device, once, after a LOOP_ATTACH_HOLD. The caller has a pin. */
int loop_device_announce(struct loop_device *lo)
{
	bool unannounced;

	xa_lock(&loop_index);
	unannounced = lo->unannounced;
	WRITE_ONCE(lo->unannounced, false);
	xa_unlock(&loop_index);
	if (!unannounced)
		return -EALREADY;
	/* BLKPG may have added partitions, and waits for open_mutex to add more */
	guard(mutex)(&lo->disk->open_mutex);
	if (!READ_ONCE(lo->partscan) || loop_scan_partitions_locked(lo))
		loop_partitions_announce(lo);
	loop_uevents_release(lo, true);
	return 0;
}

/* With @claim, nobody else has or gets the disk exclusively until loop_reconf_end(). */
int loop_reconf_begin(struct loop_reconf *rc, struct loop_device *lo,
		      bool claim)
{
	int err;

	*rc = (struct loop_reconf) { .lo = lo, .claimed = claim };
	if (claim) {
		err = bd_prepare_to_claim(lo->disk->part0, rc, NULL);
		if (err)
			return err;
	}
	if (!mutex_lock_killable(&lo->mutex))
		return 0;
	if (claim)
		bd_abort_claiming(lo->disk->part0, rc);
	return -EINTR;
}

/* Ends a change whose result is @err, and returns @err. */
int loop_reconf_end(struct loop_reconf *rc, int err)
{
	struct loop_device *lo = rc->lo;

	mutex_unlock(&lo->mutex);
	if (rc->b)
		loop_backing_retire(rc->b);
	if (rc->stale && !err) {
		/* drops the per-CPU references to buffers, and then all clean pages */
		invalidate_bdev(lo->disk->part0);
		invalidate_inode_pages2(lo->disk->part0->bd_mapping);
	}
	/* loop_device_announce() scans and announces an unannounced device */
	if (rc->scan && !err && !READ_ONCE(lo->unannounced))
		rc->announce = loop_scan_partitions(lo) == -EBUSY;
	if (rc->announce && !err)
		loop_uevent_change(lo);
	if (rc->changed && !err) {
		atomic_inc(&lo->changes);
		wake_up(&lo->events);
	}
	if (rc->claimed)
		bd_abort_claiming(lo->disk->part0, rc);
	return err;
}

/* Returns the backing that the change replaces, or an error. */
struct loop_backing *loop_reconf_old(struct loop_reconf *rc)
{
	struct loop_backing *old = loop_device_backing(rc->lo);

	return old && READ_ONCE(rc->lo->state) == LOOP_ATTACHED ? old :
								 ERR_PTR(-ENXIO);
}

/* Allocates rc->b with the parameters of @old and, if @file is NULL, its files. */
int loop_reconf_clone(struct loop_reconf *rc, struct loop_backing *old,
		      struct file *file)
{
	struct loop_backing *b = loop_backing_alloc(rc->lo, file ?: old->file);

	if (!b)
		return -ENOMEM;
	rc->b = b;
	b->params = old->params;
	b->diskseq = old->diskseq;
	if (file)
		b->quiet_file = loop_file_open_quiet(file, b->params.read_only);
	else if (old->quiet_file)
		b->quiet_file = get_file(old->quiet_file);
	atomic64_set(&b->nr_sectors, atomic64_read(&old->nr_sectors));
	/*
	 * A file may report a larger alignment than before, as xfs does when blocks
	 * become shared. The file still accepts the smaller one, so direct I/O stays
	 * on. A block device does not accept the smaller one.
	 */
	b->dio_mem_mask = old->dio_mem_mask;
	b->dio_offset_mask = old->dio_offset_mask;
	if (file || loop_file_bdev(b->file))
		return loop_backing_stat_direct(b);
	return 0;
}

/*
 * Gives the disk the size of @b. The block layer sends the event that tells this, unless
 * a task holds events back.
 */
void loop_reconf_set_size(struct loop_reconf *rc, struct loop_backing *b)
{
	sector_t nr_sectors = atomic64_read(&b->nr_sectors);
	struct loop_device *lo = rc->lo;
	struct gendisk *disk = lo->disk;
	bool resized = false;

	rc->changed |= get_capacity(disk) != nr_sectors;
	guard(mutex)(&lo->uevent_mutex);
	/* set_capacity_and_notify() would log each attach */
	if (!get_capacity(disk))
		set_capacity(disk, nr_sectors);
	else
		resized = set_capacity_and_notify(disk, nr_sectors);
	if (resized && lo->uevents_held) {
		lo->uevent_change = true;
		lo->uevent_resize = true;
	}
	rc->announce &= !resized;
}

/*
 * Claims the range of rc->b for the device. EBUSY if another device has an overlapping
 * range and one of the two attachments is exclusive.
 */
static int loop_reconf_claim(struct loop_reconf *rc)
{
	int number = loop_backing_claim(rc->b);

	if (number < 0)
		return 0;
	if (rc->attach)
		rc->attach->out_busy = number;
	return -EBUSY;
}

int loop_reconf_publish(struct loop_reconf *rc)
{
	struct loop_backing *b = rc->b;
	int err;

	err = loop_reconf_claim(rc);
	if (err)
		return err;
	err = loop_backing_publish(rc->lo, &rc->b);
	if (err)
		return err;
	loop_reconf_set_size(rc, b);
	rc->changed = true;
	return 0;
}

/* Shuts down file systems on the partitions, as their medium is gone. */
static void loop_partitions_mark_dead(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long partno;

	rcu_read_lock();
	xa_for_each_start(&disk->part_tbl, partno, part, 1) {
		if (!kobject_get_unless_zero(bdev_kobj(part)))
			continue;
		rcu_read_unlock();
		bdev_mark_dead(part, true);
		put_device(&part->bd_device);
		rcu_read_lock();
	}
	rcu_read_unlock();
}

/*
 * Shuts down file systems on the disk and its partitions, as their caches do not
 * match the next medium. The disk gets its next diskseq.
 */
static void loop_medium_end(struct loop_device *lo)
{
	loop_partitions_mark_dead(lo->disk);
	disk_force_media_change(lo->disk);
	xa_lock(&loop_index);
	WRITE_ONCE(lo->diskseq, lo->disk->diskseq);
	xa_unlock(&loop_index);
}

/*
 * Publishes rc->b as another medium. The old medium ends first, so that no file system
 * takes the new one for the old. The new one is announced at the end of the change,
 * and until then an open does not scan its partitions.
 */
int loop_reconf_publish_medium(struct loop_reconf *rc)
{
	struct loop_device *lo = rc->lo;
	struct loop_backing *old = loop_device_backing(lo);
	int err;

	err = loop_reconf_claim(rc);
	if (err)
		return err;
	loop_uevents_hold(lo);
	if (old) {
		loop_medium_end(lo);
		rc->b->diskseq = lo->diskseq;
	}
	err = loop_reconf_publish(rc);
	if (!err) {
		loop_partscan_allow(lo, false);
		if (!old)
			disk_force_media_change(lo->disk);
		rc->scan = READ_ONCE(lo->partscan);
		rc->announce = true;
	} else if (old) {
		/* the old file stays attached, and an event announces its new diskseq */
		WRITE_ONCE(old->diskseq, lo->diskseq);
	}
	loop_uevents_release(lo, err && old);
	return err;
}

int loop_params_set(struct loop_params *p,
		    const struct loop_info64 *info)
{
	if (info->lo_encrypt_key_size > LO_KEY_SIZE ||
	    info->lo_encrypt_type != LO_CRYPT_NONE)
		return -EINVAL;
	if (info->lo_offset > LLONG_MAX || info->lo_sizelimit > LLONG_MAX)
		return -EOVERFLOW;
	p->offset = info->lo_offset;
	p->sizelimit = info->lo_sizelimit;
	return 0;
}

/*
 * Returns the default block size: 512 bytes, or more if direct I/O needs more. With
 * LOOP_ATTACH_DIRECT_ALIGNED it is 512 bytes.
 */
unsigned int loop_backing_block_size(const struct loop_backing *b)
{
	unsigned int align = b->dio_offset_mask + 1;

	if (!b->params.direct ||
	    (b->params.attach_flags & LOOP_ATTACH_DIRECT_ALIGNED) ||
	    !(b->file->f_mode & FMODE_CAN_ODIRECT) ||
	    blk_validate_block_size(align))
		return SECTOR_SIZE;
	return align;
}

static int loop_attach_params(struct loop_backing *b,
			      const struct loop_attach_arg *arg, blk_mode_t mode)
{
	const struct loop_config *config = arg->config;
	struct loop_params *p = &b->params;
	u32 flags = config->info.lo_flags;
	int err;

	p->direct = (flags & LO_FLAGS_DIRECT_IO) || (b->file->f_flags & O_DIRECT);
	p->direct_asked = p->direct;
	p->attach_flags = arg->attach ? arg->attach->attach_flags : 0;
	p->write_asked = !(flags & LO_FLAGS_READ_ONLY);
	p->read_only = !p->write_asked || !(mode & BLK_OPEN_WRITE) ||
		       !(b->file->f_mode & FMODE_WRITE);

	p->block_size_asked = config->block_size;
	p->block_size = config->block_size ?: loop_backing_block_size(b);
	err = blk_validate_block_size(p->block_size);
	return err ?: loop_params_set(p, &config->info);
}

void loop_device_name(struct loop_device *lo, u8 *name)
{
	xa_lock(&loop_index);
	memcpy(name, lo->name, LO_NAME_SIZE);
	xa_unlock(&loop_index);
}

void loop_device_set_name(struct loop_device *lo, const u8 *name)
{
	lockdep_assert_held(&loop_index.xa_lock);

	memcpy(lo->name, name, LO_NAME_SIZE - 1);
}

u32 loop_backing_flags(const struct loop_backing *b)
{
	return (b->params.read_only ? LO_FLAGS_READ_ONLY : 0) |
	       (READ_ONCE(b->lo->partscan) ? LO_FLAGS_PARTSCAN : 0) |
	       (b->params.direct ? LO_FLAGS_DIRECT_IO : 0) |
	       (READ_ONCE(b->lo->autoclear) ? LO_FLAGS_AUTOCLEAR : 0);
}

/* Returns LOOP_ATTACH_* in force. Three of them can change after the attach. */
static u32 loop_device_attach_flags(const struct loop_backing *b)
{
	const struct loop_device *lo = b->lo;
	u32 flags = b->params.attach_flags & ~(LOOP_ATTACH_LEASE |
					       LOOP_ATTACH_HOLD |
					       LOOP_ATTACH_EPHEMERAL);

	return flags | (READ_ONCE(lo->leased) ? LOOP_ATTACH_LEASE : 0) |
	       (READ_ONCE(lo->unannounced) ? LOOP_ATTACH_HOLD : 0) |
	       (READ_ONCE(lo->ephemeral) ? LOOP_ATTACH_EPHEMERAL : 0);
}

/* Sets the fields of *@entry that describe the backing. */
void loop_entry_fill_backing(struct loop_ctl_entry *entry,
			     const struct loop_backing *b)
{
	entry->diskseq = READ_ONCE(b->diskseq);
	entry->lo_flags = loop_backing_flags(b);
	entry->block_size = b->params.block_size;
	entry->offset = b->params.offset;
	entry->sizelimit = b->params.sizelimit;
	entry->nr_bytes = atomic64_read(&b->nr_sectors) << SECTOR_SHIFT;
	entry->backing_dev = huge_encode_dev(b->dev);
	entry->backing_ino = b->ino;
	if (loop_file_bdev(b->file))
		entry->backing_rdev = huge_encode_dev(loop_file_bdev(b->file)->bd_dev);
	entry->attach_flags = loop_device_attach_flags(b);
	entry->unmet = loop_backing_unmet(b);
	entry->owner = from_kuid_munged(current_user_ns(), READ_ONCE(b->lo->owner));
	loop_device_name(b->lo, entry->name);
}

static void loop_trace_attach(struct loop_backing *b)
{
	struct loop_ctl_entry entry = { };

	loop_entry_fill_backing(&entry, b);
	trace_loop_attach(b->lo->number, &entry);
}

static void loop_attach_labels(struct loop_device *lo,
			       const struct loop_attach_arg *arg)
{
	const struct loop_info64 *info = &arg->config->info;

	xa_lock(&loop_index);
	WRITE_ONCE(lo->owner, current_euid());
	loop_device_set_name(lo, info->lo_file_name);
	WRITE_ONCE(lo->partscan,
		   (info->lo_flags & LO_FLAGS_PARTSCAN) || loop_part_shift);
	xa_unlock(&loop_index);
}

/* Marks the device as attached, and tells the caller of LOOP_CTL_ATTACH about it. */
static void loop_attach_finish(struct loop_backing *b,
			       const struct loop_attach_arg *arg)
{
	struct loop_ctl_attach *attach = arg->attach;
	u32 attach_flags = b->params.attach_flags;
	struct loop_device *lo = b->lo;

	__module_get(THIS_MODULE);
	b->diskseq = lo->disk->diskseq;
	xa_lock(&loop_index);
	WRITE_ONCE(lo->attachment, lo->attachment + 1);
	WRITE_ONCE(lo->diskseq, b->diskseq);
	WRITE_ONCE(lo->autoclear, arg->config->info.lo_flags &
		   LO_FLAGS_AUTOCLEAR);
	WRITE_ONCE(lo->ephemeral, attach_flags & LOOP_ATTACH_EPHEMERAL);
	WRITE_ONCE(lo->leased, attach_flags & LOOP_ATTACH_LEASE);
	WRITE_ONCE(lo->lease_holds, lo->leased);
	/* changes count from here on, as the answers below may not have them */
	atomic_set(&lo->changes, 0);
	/* the control device unpins it after it has written the answers */
	if (attach)
		WRITE_ONCE(lo->pins, lo->pins + 1);
	/* a task that sees this state sees all of the above, also without the lock */
	loop_set_state_locked(lo, LOOP_ATTACHED);
	xa_unlock(&loop_index);
	/* a task that waits for the end of the last attachment may have missed it */
	wake_up(&lo->events);

	if (attach) {
		attach->out_index = lo->number;
		attach->out_block_size = b->params.block_size;
		attach->out_lo_flags = loop_backing_flags(b);
		attach->out_diskseq = b->diskseq;
		attach->out_nr_bytes = atomic64_read(&b->nr_sectors) << SECTOR_SHIFT;
		attach->out_unmet = loop_backing_unmet(b);
	}
	if (trace_loop_attach_enabled())
		loop_trace_attach(b);
}

static int loop_attach_check_required(const struct loop_backing *b,
				      struct loop_ctl_attach *attach)
{
	u32 unmet = loop_backing_unmet(b);

	if (!(unmet & attach->require))
		return 0;
	attach->out_unmet = unmet;
	return -EOPNOTSUPP;
}

/*
 * Builds arg->b from the file and from what the caller asks for, and checks all that
 * does not depend on the device. The caller frees arg->b if no device has taken it.
 */
int loop_attach_build(struct loop_attach_arg *arg, struct file *file,
		      blk_mode_t mode)
{
	struct loop_backing *b = loop_backing_alloc(NULL, file);
	int err;

	if (!b)
		return -ENOMEM;
	arg->b = b;
	err = loop_backing_stat_direct(b) ?: loop_attach_params(b, arg, mode);
	if (err)
		return err;
	b->quiet_file = loop_file_open_quiet(file, b->params.read_only);
	err = loop_backing_derive(b, true);
	if (!err && arg->attach)
		err = loop_attach_check_required(b, arg->attach);
	return err;
}

static int loop_attach_publish(struct loop_reconf *rc,
			       const struct loop_attach_arg *arg)
{
	struct loop_device *lo = rc->lo;
	struct kobject *kobj = &disk_to_dev(lo->disk)->kobj;
	struct loop_backing *b = rc->b;
	int err;

	loop_attach_labels(lo, arg);
	err = sysfs_create_group(kobj, &loop_attr_group);
	if (err)
		return err;
	err = loop_reconf_publish_medium(rc);
	if (err) {
		sysfs_remove_group(kobj, &loop_attr_group);
		return err;
	}
	loop_attach_finish(b, arg);
	return 0;
}

/*
 * Attaches arg->b to a device that the caller has moved to LOOP_ATTACHING. Even if it
 * fails, arg->b is NULL after that, and the end of the change frees the backing.
 */
int loop_reconf_attach(struct loop_reconf *rc, struct loop_attach_arg *arg)
{
	bool unannounced = arg->b->params.attach_flags & LOOP_ATTACH_HOLD;
	struct loop_device *lo = rc->lo;
	int err;

	rc->b = arg->b;
	arg->b = NULL;
	rc->b->lo = lo;
	rc->attach = arg->attach;
	err = loop_device_prepare(lo);
	/* loop_attach_build() does not know whether the device is read-only */
	if (!err && arg->attach)
		err = loop_attach_check_required(rc->b, arg->attach);
	if (err)
		return err;
	/* loop_device_announce() or loop_device_detach() releases them */
	if (unannounced)
		loop_uevents_hold(lo);
	WRITE_ONCE(lo->unannounced, unannounced);
	err = loop_attach_publish(rc, arg);
	/* changes are counted from the attach on */
	rc->changed = false;
	if (err && unannounced) {
		WRITE_ONCE(lo->unannounced, false);
		loop_uevents_release(lo, false);
	}
	return err;
}

/*
 * A task that waits for open_mutex may already have found a partition. Its open
 * fails when the partition has no size, so it cannot open one of the old medium.
 */
static void loop_partitions_end(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long partno;

	lockdep_assert_held(&disk->open_mutex);

	xa_for_each_start(&disk->part_tbl, partno, part, 1)
		part->bd_nr_sectors = 0;
}

/* Drops everything that the block layer keeps about the medium. */
static void loop_disk_reset(struct loop_device *lo)
{
	/* BLKROSET applies to one medium */
	bdev_clear_flag(lo->disk->part0, BD_READ_ONLY);
	/* sets the size to 0, and drops the page cache and its write errors */
	invalidate_disk(lo->disk);
	disk_force_media_change(lo->disk);
	loop_partitions_end(lo->disk);
	bdev_disk_changed(lo->disk, false);
	loop_partscan_allow(lo, loop_part_shift);
}

/*
 * Detaches a device in LOOP_RUNDOWN that nobody uses. The state and the open_mutex of
 * the caller keep others from opening or changing it. It waits for bios in flight. A
 * device that is not announced yet ends without an event.
 */
void loop_device_detach(struct loop_device *lo)
{
	struct device *dev = disk_to_dev(lo->disk);
	char *envp[2] = { "DISK_MEDIA_CHANGE=1" };
	bool unannounced = READ_ONCE(lo->unannounced);
	struct loop_backing *b;
	bool ephemeral;

	lockdep_assert_held(&lo->disk->open_mutex);

	loop_uevents_hold(lo);
	scoped_guard(mutex, &lo->mutex) {
		/* the end of a dead device has removed both */
		if (loop_device_backing(lo))
			sysfs_remove_group(&dev->kobj, &loop_attr_group);
		b = loop_backing_unpublish(lo);
	}
	loop_disk_reset(lo);
	if (unannounced) {
		loop_uevents_forget(lo);
		loop_uevents_release(lo, false);
	}
	loop_uevents_release(lo, false);

	if (b)
		loop_backing_retire(b);
	trace_loop_detach(lo->number, lo->diskseq);
	if (!unannounced)
		kobject_uevent_env(&dev->kobj, KOBJ_CHANGE, envp);
	ephemeral = lo->ephemeral;
	/* this comes first, as a task that sees LOOP_FREE may unload the module at once */
	module_put(THIS_MODULE);
	xa_lock(&loop_index);
	if (lo->death != LOOP_ALIVE)
		loop_groups_reset(lo);
	WRITE_ONCE(lo->death, LOOP_ALIVE);
	WRITE_ONCE(lo->unannounced, false);
	WRITE_ONCE(lo->leased, false);
	lo->detaching = false;
	loop_set_state_locked(lo, ephemeral ? LOOP_REMOVING : LOOP_FREE);
	xa_unlock(&loop_index);
	/* a work item removes it, as del_gendisk() takes open_mutex */
	if (ephemeral)
		queue_work(loop_remove_workqueue, &lo->remove_work);
	wake_up(&lo->events);
}

/* Makes the last close detach the device, even if there is a lease. */
void loop_detach_at_close(struct loop_device *lo)
{
	lockdep_assert_held(&loop_index.xa_lock);

	WRITE_ONCE(lo->autoclear, true);
	WRITE_ONCE(lo->lease_holds, false);
	atomic_inc(&lo->changes);
	wake_up(&lo->events);
}

/*
 * Nobody has the device open, and no ioctl of a lease or LOOP_CTL_ATTACH pins it. This
 * stays so under open_mutex and the lock of the index.
 */
bool loop_device_is_unused(const struct loop_device *lo)
{
	return !disk_openers(lo->disk) && !READ_ONCE(lo->pins);
}

/*
 * Nobody uses the device, and the caller calls loop_device_detach() next. It is too late to
 * kill the device.
 */
void loop_detach_begin(struct loop_device *lo)
{
	loop_set_state_locked(lo, LOOP_RUNDOWN);
	lo->detaching = true;
}

/* Detaches the device if that is due and nobody uses the device. */
void loop_device_detach_if_due(struct loop_device *lo)
{
	bool detach = false;

	lockdep_assert_held(&lo->disk->open_mutex);

	xa_lock(&loop_index);
	/* loop_force_work() calls this again when a dying device is dead */
	if (loop_state_is_attached(lo->state) && lo->death != LOOP_DYING &&
	    lo->autoclear && !lo->lease_holds && loop_device_is_unused(lo)) {
		loop_detach_begin(lo);
		detach = true;
	}
	xa_unlock(&loop_index);
	if (detach)
		loop_device_detach(lo);
	else if (wq_has_sleeper(&lo->events))
		wake_up(&lo->events);
}

/* Does the same for a caller that does not hold open_mutex. */
void loop_device_lock_and_detach_if_due(struct loop_device *lo)
{
	guard(mutex)(&lo->disk->open_mutex);
	loop_device_detach_if_due(lo);
}

/* Keeps the device attached until loop_device_unpin(), as an opener does. */
bool loop_device_pin(struct loop_device *lo, u64 attachment)
{
	bool valid;

	xa_lock(&loop_index);
	valid = lo->state == LOOP_ATTACHED && lo->attachment == attachment;
	if (valid)
		WRITE_ONCE(lo->pins, lo->pins + 1);
	xa_unlock(&loop_index);
	return valid;
}

void loop_device_unpin(struct loop_device *lo)
{
	bool due;

	/* without the pin, others may detach and remove the device */
	get_device(disk_to_dev(lo->disk));
	xa_lock(&loop_index);
	/* an opener's last close detaches it, and an open may hold open_mutex for long */
	WRITE_ONCE(lo->pins, lo->pins - 1);
	due = !lo->pins && lo->autoclear && !lo->lease_holds && !disk_openers(lo->disk);
	xa_unlock(&loop_index);
	if (due)
		loop_device_lock_and_detach_if_due(lo);
	else if (wq_has_sleeper(&lo->events))
		wake_up(&lo->events);
	put_disk(lo->disk);
}

/*
 * Makes the caller's loop_device_unpin(), or the last close after it, detach the
 * device. With @remove, the device is then removed.
 */
void loop_device_undo_attach(struct loop_device *lo, bool remove)
{
	xa_lock(&loop_index);
	loop_detach_at_close(lo);
	WRITE_ONCE(lo->ephemeral, remove || lo->ephemeral);
	xa_unlock(&loop_index);
}

/*
 * Detach by force
 */

/*
 * Frees a drained backing and releases its file here: fput() of a worker would leave the
 * release to another worker. No lock is held, as the release may close another device.
 */
static void loop_backing_retire_sync(struct loop_backing *b)
{
	struct file *quiet = b->quiet_file ? get_file(b->quiet_file) : NULL;
	struct file *file = get_file(b->file);

	loop_backing_retire(b);
	if (quiet)
		__fput_sync(quiet);
	__fput_sync(file);
}

/*
 * Shuts down file systems on a device that is dying, and releases its file. Each step
 * may wait for I/O on the file. Nobody detaches the device meanwhile.
 */
void loop_force_work(struct work_struct *work)
{
	struct loop_device *lo = container_of(work, struct loop_device, force_work);
	struct loop_backing *b;

	scoped_guard(mutex, &lo->mutex) {
		loop_partitions_mark_dead(lo->disk);
		bdev_mark_dead(lo->disk->part0, true);
		sysfs_remove_group(&disk_to_dev(lo->disk)->kobj, &loop_attr_group);
		b = loop_backing_unpublish_dead(lo);
	}
	loop_backing_retire_sync(b);
	xa_lock(&loop_index);
	WRITE_ONCE(lo->death, LOOP_DEAD);
	xa_unlock(&loop_index);
	wake_up(&lo->events);
	loop_device_lock_and_detach_if_due(lo);
	put_disk(lo->disk);
}

/*
 * From now on nobody can open the device, and no further bio reaches the file. The
 * file still works on bios that it already has. A work item finishes the detach.
 */
void loop_device_kill_locked(struct loop_device *lo)
{
	lockdep_assert_held(&loop_index.xa_lock);

	loop_set_state_locked(lo, LOOP_RUNDOWN);
	WRITE_ONCE(lo->death, LOOP_DYING);
	/* bios that wait for a slot of a group go on, and then find the device dying */
	loop_groups_let_go(lo);
	wake_up(&lo->drained);
	wake_up(&lo->events);
	/* it is never queued already: only its run ends the death of a device */
	get_device(disk_to_dev(lo->disk));
	queue_work(loop_force_workqueue, &lo->force_work);
}
