/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the headers of Linux 7 use and Debian 12's sparse does not know. With
 * this it can check a file; such a value is const to it, or not a string's.
 */
#define __typeof_unqual__	__typeof__
#define __builtin_strlen(str)	(sizeof(str) - 1)
