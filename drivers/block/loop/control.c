// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/loop-control: its ioctls, which add and remove devices, and attach, detach
 * and list them, and its attribute features. This room reads and checks the structures
 * of the ioctls, and writes the answers.
 *
 * This room calls index.c for devices, lease.c for leases and detaching, attach.c to
 * attach and to describe an attachment, and backing.c to check a file and to look at a
 * backing. It takes no lock itself: loop_reconf_begin() takes lo->mutex for it.
 */
#include <linux/compat.h>
#include <linux/device_cgroup.h>
#include <linux/file.h>
#include <linux/ioctl.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>
#include "loop.h"

static_assert(sizeof(struct loop_ctl_attach) == LOOP_CTL_ATTACH_SIZE_VER0);
static_assert(sizeof(struct loop_ctl_detach) == LOOP_CTL_DETACH_SIZE_VER0);
static_assert(sizeof(struct loop_ctl_list) == LOOP_CTL_LIST_SIZE_VER0);
static_assert(sizeof(struct loop_ctl_entry) == LOOP_CTL_ENTRY_SIZE_VER0);

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
	/* the copy reads the size again: the value that was checked counts */
	*(u32 *)dst = usize;
	return err ?: usize;
}

static int loop_struct_write(void __user *dst, const void *src, size_t size,
			     size_t usize)
{
	return copy_to_user(dst, src, min(size, usize)) ? -EFAULT : 0;
}

/*
 * Attach
 */

#define LOOP_ATTACH_FLAGS						\
	(LOOP_ATTACH_LEASE | LOOP_ATTACH_HOLD | LOOP_ATTACH_EXCLUSIVE |	\
	 LOOP_ATTACH_EPHEMERAL | LOOP_ATTACH_DIRECT_ALIGNED |		\
	 LOOP_ATTACH_NO_INLINE | LOOP_ATTACH_UNCACHED |			\
	 LOOP_ATTACH_INTERNAL | LOOP_ATTACH_NO_DISCARD)

#define LOOP_CONDS							\
	(LOOP_COND_DIRECT_IO | LOOP_COND_DIRECT_ALIGN | LOOP_COND_WRITE | \
	 LOOP_COND_SIZELIMIT | LOOP_COND_DISCARD | LOOP_COND_BLOCK_SIZE | \
	 LOOP_COND_UNCACHED)

static int loop_attach_validate(const struct loop_ctl_attach *attach)
{
	bool lease = attach->attach_flags & LOOP_ATTACH_LEASE;

	if ((attach->attach_flags & ~LOOP_ATTACH_FLAGS) ||
	    (attach->lo_flags & ~LOOP_CONFIGURE_SETTABLE_FLAGS) ||
	    (attach->require & ~LOOP_CONDS))
		return -EINVAL;
	if (!lease && ((attach->attach_flags & LOOP_ATTACH_HOLD) ||
		       (attach->lo_flags & LO_FLAGS_AUTOCLEAR)))
		return -EINVAL;
	if (attach->index < -1 || attach->reserved)
		return -EINVAL;
	if (memchr_inv(&attach->out_diskseq, 0, sizeof(*attach) -
		       offsetof(struct loop_ctl_attach, out_diskseq)))
		return -EINVAL;
	return 0;
}

/*
 * Attaches to the device that is asked for or found. On EBUSY attach->out_busy is
 * the device that is in the way, or -1.
 */
static int loop_attach(struct loop_attach_arg *arg,
		       struct loop_reserved *reserved)
{
	struct loop_ctl_attach *attach = arg->attach;
	bool fresh = attach->attach_flags & LOOP_ATTACH_EPHEMERAL;
	struct loop_reconf rc;
	int err;

	for (;;) {
		attach->out_busy = attach->index;
		err = loop_device_reserve(attach->index, fresh, reserved);
		if (err)
			return err;
		err = loop_reconf_begin(&rc, reserved->lo, true) ?:
		      loop_reconf_end(&rc, loop_reconf_attach(&rc, arg));
		if (!err) {
			attach->out_busy = -1;
			return 0;
		}
		loop_device_give_back(reserved);
		if (err != -EBUSY || !arg->b || attach->index >= 0 || fresh)
			return err;
		/* another task has just opened the device with O_EXCL: make a new one */
		fresh = true;
	}
}

/* Builds the backing before a device is reserved or made, and then attaches it. */
static int loop_attach_file(struct loop_ctl_attach *attach,
			    struct loop_reserved *reserved)
{
	struct file *file __free(fput) = fget(attach->fd);
	struct loop_config config = {
		.block_size		= attach->block_size,
		.info.lo_offset		= attach->offset,
		.info.lo_sizelimit	= attach->sizelimit,
		.info.lo_flags		= attach->lo_flags,
	};
	struct loop_attach_arg arg = { .config = &config, .attach = attach };
	int err;

	if (!file)
		return -EBADF;
	memcpy(config.info.lo_file_name, attach->name, LO_NAME_SIZE);
	err = loop_file_validate(file) ?:
	      loop_attach_build(&arg, file, BLK_OPEN_WRITE) ?:
	      loop_attach(&arg, reserved);
	if (arg.b)
		loop_backing_free(arg.b);
	return err;
}

/* Writes the answers that tell why a call failed. */
static void loop_attach_explain(void __user *arg, struct loop_ctl_attach *attach,
				const struct loop_ctl_attach *result, int err,
				size_t usize)
{
	if (err == -EBUSY)
		attach->out_busy = result->out_busy;
	else if (err == -EOPNOTSUPP)
		attach->out_unmet = result->out_unmet;
	else
		return;
	loop_struct_write(arg, attach, sizeof(*attach), usize);
}

static int loop_control_attach(void __user *arg)
{
	struct loop_ctl_attach attach, result;
	struct loop_reserved reserved;
	struct file *lease = NULL;
	int usize, fd = -1;
	int err;

	usize = loop_struct_read(&attach, sizeof(attach),
				 LOOP_CTL_ATTACH_SIZE_VER0, arg);
	if (usize < 0)
		return usize;
	err = loop_attach_validate(&attach);
	/* if the answers cannot be written, the call fails before it attaches */
	if (!err)
		err = loop_struct_write(arg, &attach, sizeof(attach), usize);
	if (err)
		return err;
	if (attach.attach_flags & LOOP_ATTACH_LEASE) {
		fd = get_unused_fd_flags(O_CLOEXEC);
		if (fd < 0)
			return fd;
		lease = loop_lease_create();
		err = PTR_ERR_OR_ZERO(lease);
		if (err)
			goto out_put_fd;
	}

	result = attach;
	result.out_busy = -1;
	err = loop_attach_file(&result, &reserved);
	if (err) {
		loop_attach_explain(arg, &attach, &result, err, usize);
		goto out_put_lease;
	}
	/* the device is pinned, so nobody has detached it */
	if (lease)
		loop_lease_start(lease, reserved.lo);
	result.out_lease = fd;
	err = loop_struct_write(arg, &result, sizeof(result), usize);
	if (err)
		loop_device_undo_attach(reserved.lo, reserved.made);
	loop_device_unpin(reserved.lo);
	if (err)
		goto out_put_lease;
	if (lease)
		fd_install(fd, lease);
	return 0;

out_put_lease:
	if (lease)
		fput(lease);
out_put_fd:
	if (fd >= 0)
		put_unused_fd(fd);
	return err;
}

/*
 * Detach
 */

static bool loop_detach_has_deadline(const struct loop_ctl_detach *detach)
{
	return detach->mode != LOOP_DETACH_NOW && detach->mode != LOOP_DETACH_LAZY;
}

static int loop_detach_validate(const struct loop_ctl_detach *detach)
{
	bool any = detach->flags & LOOP_DETACH_ANY;

	if ((detach->flags & ~LOOP_DETACH_ANY) || detach->mode > LOOP_DETACH_FORCE)
		return -EINVAL;
	if (detach->index < 0 || detach->reserved || detach->out_pending)
		return -EINVAL;
	if (any != !detach->diskseq)
		return -EINVAL;
	if (detach->deadline && !loop_detach_has_deadline(detach))
		return -EINVAL;
	return 0;
}

static int loop_control_detach(void __user *uarg)
{
	struct loop_ctl_detach detach;
	struct loop_detach_arg arg;
	struct loop_device *lo;
	int usize, err;

	usize = loop_struct_read(&detach, sizeof(detach),
				 LOOP_CTL_DETACH_SIZE_VER0, uarg);
	if (usize < 0)
		return usize;
	err = loop_detach_validate(&detach);
	/* if the answer cannot be written, the call fails before it detaches */
	if (!err)
		err = loop_struct_write(uarg, &detach, sizeof(detach), usize);
	if (err)
		return err;
	lo = loop_device_get(detach.index);
	if (!lo)
		return -ENODEV;
	arg = (struct loop_detach_arg) {
		.mode		= detach.mode,
		.diskseq	= detach.diskseq,
		.deadline	= loop_detach_has_deadline(&detach) ?
				  min(detach.deadline, KTIME_MAX) : KTIME_MAX,
		.admin		= detach.mode == LOOP_DETACH_WATCH,
	};
	err = loop_number_check_cgroup(lo->number, DEVCG_ACC_READ) ?:
	      loop_detach(lo, &arg);
	put_disk(lo->disk);
	if (err || !arg.pending)
		return err;
	detach.out_pending = arg.pending;
	return loop_struct_write(uarg, &detach, sizeof(detach), usize);
}

/*
 * List
 */

/*
 * Fills *@entry. Returns the backing, which the caller releases, or NULL if there is
 * none. State and backing are from one moment. A change of the state takes longer than
 * a try, so the loop ends.
 */
static struct loop_backing *loop_entry_read(struct loop_ctl_entry *entry,
					    struct loop_device *lo)
{
	struct loop_backing *b;
	enum loop_state state;

	for (;;) {
		/* these two pair with loop_set_state_locked() */
		state = smp_load_acquire(&lo->state);
		b = loop_state_is_attached(state) && !READ_ONCE(lo->death) ?
		    loop_backing_hold(lo) : NULL;
		smp_rmb();	/* the state is not older than the backing */
		if (state == smp_load_acquire(&lo->state))
			break;
		if (b)
			loop_backing_release(b);
		cond_resched();
	}
	memset(entry, 0, sizeof(*entry));
	entry->index = lo->number;
	entry->state = b ? LOOP_STATE_ATTACHED :
			   state == LOOP_FREE ? LOOP_STATE_FREE : LOOP_STATE_BUSY;
	entry->diskseq = READ_ONCE(lo->disk->diskseq);
	entry->openers = disk_openers(lo->disk);
	if (b)
		loop_entry_fill_backing(entry, b);
	return b;
}

/* Returns true if @list asks for @lo, and then *@entry describes the device. */
static bool loop_list_match(struct loop_device *lo,
			    const struct loop_ctl_list *list,
			    struct file *file, struct loop_ctl_entry *entry)
{
	struct loop_backing *b __free(loop_backing_release) =
						loop_entry_read(entry, lo);

	if ((list->flags & LOOP_LIST_ATTACHED) && !b)
		return false;
	return !file || (b && b->file->f_mapping == file->f_mapping);
}

/* Writes the entries. It holds no lock and no reference while it writes them. */
static int loop_list(struct loop_ctl_list *list, struct file *file)
{
	void __user *dst = u64_to_user_ptr(list->entries);
	struct loop_ctl_entry entry;
	unsigned long number;
	struct loop_device *lo;
	bool full, match;

	for (number = list->start; (lo = loop_device_get_next(&number, ULONG_MAX));
	     number++) {
		full = list->out_count == list->count;
		match = !full && !loop_number_check_cgroup(number, DEVCG_ACC_READ) &&
			loop_list_match(lo, list, file, &entry);
		put_disk(lo->disk);
		if (full) {
			list->out_next = number;
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
		list->out_count++;
	}
	list->out_next = U32_MAX;
	return 0;
}

static int loop_list_validate(const struct loop_ctl_list *list)
{
	if (list->flags & ~(LOOP_LIST_ATTACHED | LOOP_LIST_FD))
		return -EINVAL;
	if (!(list->flags & LOOP_LIST_FD) && list->fd != -1)
		return -EINVAL;
	if (list->out_count || list->out_next)
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
/* The argument is a pointer if the number of the ioctl has a direction, else an int. */
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

/* Lists what this driver can do beyond LOOP_CTL_ADD, _REMOVE and _GET_FREE. */
static ssize_t features_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	return sysfs_emit(buf, "attach detach list lease force\n");
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

int __init loop_control_init(void)
{
	int err = loop_index_init();

	if (err)
		return err;
	err = misc_register(&loop_control);
	if (err) {
		/* opens of nodes may have made devices meanwhile */
		loop_index_exit();
		return err;
	}
	loop_index_add_first();
	return 0;
}

void loop_control_exit(void)
{
	misc_deregister(&loop_control);
	loop_index_exit();
}
