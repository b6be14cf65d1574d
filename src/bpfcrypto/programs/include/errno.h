/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Error numbers of Linux on every architecture that BPF runs on; kernel functions return them negated. */
#ifndef BPF_ERRNO_H
#define BPF_ERRNO_H

#define EPERM 1
#define ENOENT 2
#define EINTR 4
#define EIO 5
#define ENXIO 6
#define E2BIG 7
#define EBADF 9
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define ENODEV 19
#define EINVAL 22
#define ENOSPC 28
#define ERANGE 34
#define EDEADLK 35
#define ENODATA 61
#define ETIME 62
#define EPROTO 71
#define EBADMSG 74
#define EOVERFLOW 75
#define EMSGSIZE 90
#define EOPNOTSUPP 95
#define ETIMEDOUT 110
#define EKEYREJECTED 129
#define ENOTSUPP 524 /* the kernel's own; no C library has a name for it */

#endif
