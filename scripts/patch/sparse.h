/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers of Linux 7 use these, and Debian 12's sparse does not know them. With these
 * replacements it can check a file. They differ from the originals: the type keeps its
 * const, and the length is not that of the string.
 */
#define __typeof_unqual__	__typeof__
#define __builtin_strlen(str)	(sizeof(str) - 1)
