// SPDX-License-Identifier: GPL-2.0
/*
 * When this module is loaded, it makes the mistake that its parameter names. This
 * shows that the debuggers of the debug kernel report it and that qemu/vm finds the
 * report. See scripts/check-debug.sh.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu_counter.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

static char *what = "";
module_param(what, charp, 0444);

/* The compiler must not know this number. */
static int thirty_three = 33;
module_param(thirty_three, int, 0444);

static void use_after_free(void)
{
	char *p = kmalloc(64, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(p);
	kfree(p);
	WRITE_ONCE(*p, 1);
}

static void slab_out_of_bounds(void)
{
	char *p = kmalloc(64, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(p[64], 1);
	kfree(p);
}

static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);

static void lock_order(void)
{
	mutex_lock(&lock_a);
	mutex_lock(&lock_b);
	mutex_unlock(&lock_b);
	mutex_unlock(&lock_a);
	mutex_lock(&lock_b);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	mutex_unlock(&lock_b);
}

static void atomic_sleep(void)
{
	preempt_disable();
	might_sleep();
	preempt_enable();
}

static int __rcu *pointer;

static void rcu_outside(void)
{
	(void)rcu_dereference(pointer);
}

static void work_fn(struct work_struct *work)
{
	msleep(1000);
}

static void timer_fn(struct timer_list *timer)
{
}

/* The work item waits for another one, so it is certain to be active. */
static void free_active_work(void)
{
	struct workqueue_struct *wq = alloc_ordered_workqueue("provoke", 0);
	struct work_struct *work = kmalloc_array(2, sizeof(*work), GFP_KERNEL);

	INIT_WORK(&work[0], work_fn);
	INIT_WORK(&work[1], work_fn);
	queue_work(wq, &work[0]);
	queue_work(wq, &work[1]);
	kfree(work);
}

static void free_active_timer(void)
{
	struct timer_list *timer = kmalloc(sizeof(*timer), GFP_KERNEL);

	timer_setup(timer, timer_fn, 0);
	mod_timer(timer, jiffies + 1000 * HZ);
	kfree(timer);
}

static void free_percpu_counter(void)
{
	struct percpu_counter *counter = kmalloc(sizeof(*counter), GFP_KERNEL);

	if (!percpu_counter_init(counter, 0, GFP_KERNEL))
		kfree(counter);
}

static void rcu_fn(struct rcu_head *head)
{
}

static void rcu_twice(void)
{
	static struct rcu_head head;

	call_rcu(&head, rcu_fn);
	call_rcu(&head, rcu_fn);
}

static void list_twice(void)
{
	static LIST_HEAD(head);
	static LIST_HEAD(entry);

	list_add(&entry, &head);
	list_add(&entry, &head);
}

/* This writes by way of a second mapping, which KASAN does not know. */
static void page_after_free(void)
{
	struct page *page = alloc_page(GFP_KERNEL);
	static struct page *got[512];
	char *p = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	int n;

	__free_page(page);
	memset(p + 100, 0x12, 8);
	for (n = 0; n < ARRAY_SIZE(got); n++) {
		got[n] = alloc_page(GFP_KERNEL);
		if (got[n] == page)
			break;
	}
	while (n-- > 0)
		__free_page(got[n]);
	vunmap(p);
}

static void refcount_zero(void)
{
	static refcount_t count = REFCOUNT_INIT(0);

	refcount_inc(&count);
}

static void shift(void)
{
	pr_info("%d\n", 1 << thirty_three);
}

static void bounds(void)
{
	static int array[32];

	array[thirty_three] = 1;
	pr_info("%d\n", array[3]);
}

static void leak(void)
{
	void *p;
	int i;

	/* the allocator keeps stale pointers to the last ones it gave out */
	for (i = 0; i < 1000; i++) {
		p = kmalloc(128, GFP_KERNEL);
		OPTIMIZER_HIDE_VAR(p);
	}
}

static int sleeper(void *unused)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule();
	return 0;
}

static void hang(void)
{
	kthread_run(sleeper, NULL, "sleeper");
	msleep(60 * 1000);
}

static void spin(void)
{
	unsigned long end = jiffies + 60 * HZ;

	preempt_disable();
	while (time_before(jiffies, end))
		cpu_relax();
	preempt_enable();
}

static void warn(void)
{
	WARN_ON(thirty_three);
}

static u64 shared;

static int racer(void *unused)
{
	while (!kthread_should_stop()) {
		shared++;
		cond_resched();
	}
	return 0;
}

static int scribbler(void *unused)
{
	while (!kthread_should_stop()) {
		get_random_bytes(&shared, sizeof(shared));
		cond_resched();
	}
	return 0;
}

static void race(int (*fn)(void *unused), int (*other)(void *unused))
{
	struct task_struct *tasks[] = {
		kthread_run(fn, NULL, "racer"), kthread_run(other, NULL, "racer"),
	};
	int i;

	msleep(5 * 1000);
	for (i = 0; i < ARRAY_SIZE(tasks); i++)
		if (!IS_ERR(tasks[i]))
			kthread_stop(tasks[i]);
}

static void data_races(void)
{
	race(racer, racer);
}

/* This races with a function of the kernel, which is not compiled for KCSAN. */
static void data_races_with_kernel(void)
{
	race(racer, scribbler);
}

static const struct {
	const char *name;
	void (*fn)(void);
} mistakes[] = {
	{ "use-after-free", use_after_free },
	{ "slab-out-of-bounds", slab_out_of_bounds },
	{ "lock-order", lock_order },
	{ "atomic-sleep", atomic_sleep },
	{ "rcu-outside", rcu_outside },
	{ "free-active-work", free_active_work },
	{ "free-active-timer", free_active_timer },
	{ "free-percpu-counter", free_percpu_counter },
	{ "rcu-twice", rcu_twice },
	{ "list-twice", list_twice },
	{ "page-after-free", page_after_free },
	{ "refcount-zero", refcount_zero },
	{ "shift", shift },
	{ "bounds", bounds },
	{ "leak", leak },
	{ "hang", hang },
	{ "spin", spin },
	{ "warn", warn },
	{ "data-race", data_races },
	{ "data-race-with-kernel", data_races_with_kernel },
};

static int __init provoke_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(mistakes); i++) {
		if (strcmp(what, mistakes[i].name))
			continue;
		mistakes[i].fn();
		return 0;
	}
	return -EINVAL;
}

static void __exit provoke_exit(void)
{
}

module_init(provoke_init);
module_exit(provoke_exit);
MODULE_DESCRIPTION("Makes mistakes for the debuggers to find");
MODULE_LICENSE("GPL");
