/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The counters of a device, in the order of its attribute loop_stats: a symbol, and
 * the name that the attribute and the tracepoint loop_bio_queue use. Each bio that is sent
 * on its way has one LOOP_PATH; bios that were merged have one together. The files that
 * include this define LOOP_PATH() and LOOP_STAT().
 */
LOOP_PATH(INLINE,		"inline")	/* the submitter tries it first */
LOOP_PATH(CLONED,		"cloned")	/* the device below gets a clone */
LOOP_PATH(WORKER_OP,		"worker_op")	/* it is no plain read or write */
LOOP_PATH(WORKER_FLUSH,		"worker_flush")	/* a flush comes first */
LOOP_PATH(WORKER_SWAP,		"worker_swap")	/* it is swapped in or out */
LOOP_PATH(WORKER_OFF,		"worker_off")	/* inline I/O is turned off */
LOOP_PATH(WORKER_FILE,		"worker_file")	/* the file would wait, or NO_INLINE */
LOOP_PATH(WORKER_ALIGN,		"worker_align")	/* the file refuses it as direct I/O */
LOOP_PATH(WORKER_KWORKER,	"worker_kworker") /* a worker of the kernel writes it */
LOOP_PATH(WORKER_BACKOFF,	"worker_backoff") /* the last tries would have waited */
LOOP_PATH(WORKER_TRANSACTION,	"worker_transaction") /* the task has one open */
LOOP_PATH(WORKER_META,		"worker_meta")	/* a file system above holds locks */
LOOP_PATH(WORKER_RECLAIM,	"worker_reclaim") /* the task is freeing memory */
LOOP_PATH(WORKER_PARKED,	"worker_parked") /* another bio waits for the task */
LOOP_PATH(WORKER_RLIMIT,	"worker_rlimit") /* the task has a file size limit */
LOOP_PATH(WORKER_ATIME,		"worker_atime")	/* the access time is due */
LOOP_PATH(WORKER_CGROUP,	"worker_cgroup") /* the task is in another cgroup */
LOOP_PATH(WORKER_STACK,		"worker_stack")	/* little of the stack is left */

LOOP_STAT(RETRY_AGAIN,		"retry_again")	/* an inline try would have waited */
LOOP_STAT(RETRY_LATE,		"retry_late")	/* its completion said so */
LOOP_STAT(RETRY_SHORT,		"retry_short")	/* it did a part */
LOOP_STAT(RETRY_ERROR,		"retry_error")	/* it failed otherwise */
LOOP_STAT(RETRY_FROZEN,		"retry_frozen")	/* the file system is frozen */
LOOP_STAT(MERGED,		"merged")	/* it became a part of a larger bio */
LOOP_STAT(BUFFERED,		"buffered")	/* the file refused direct I/O */
LOOP_STAT(FLUSH,		"flush")	/* a flush, or a FUA write to be synced */
LOOP_STAT(FSYNC,		"fsync")	/* an fsync served some of them */
LOOP_STAT(UNMAP_REFUSED,	"unmap_refused") /* the file refused a discard or zeroes */
