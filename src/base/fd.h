// SPDX-License-Identifier: Apache-2.0
// File descriptors: whole writes, memory files, and SEQPACKET messages that carry descriptors.
// Leaf calls return -errno on failure and do not log.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// write(2) until all is written; 0 or -errno.
int fd_write_all(int fd, const void *data, size_t size);
// read(2) until size bytes came; 0 or -errno (-ENODATA at an early end of file).
int fd_read_all(int fd, void *data, size_t size);
// Opens path, writes text, closes; 0 or -errno.
int fd_write_file(const char *path, const char *text);
int fd_write_file_at(int dir_fd, const char *path, const char *text);

// A memfd holding these bytes, sealed against every change (memfd_create(2), fcntl_sealing), or
// -errno.
int fd_memfd_sealed(const char *name, const void *data, size_t size);
// Maps a sealed memfd read-only; fails with -EPERM unless it is sealed against writing and
// shrinking, -EFBIG above max bytes. The caller unmaps (munmap(2)).
int fd_map_sealed(int fd, size_t max, void **ret_data, size_t *ret_size);

int fd_socketpair(int type, int ret_pair[2]); // AF_UNIX, CLOEXEC; 0 or -errno
int fd_set_nonblock(int fd);

// One SEQPACKET message with up to FD_PASS_MAX descriptors. Sending does not close them.
enum { FD_PASS_MAX = 8 };
int fd_send_msg(int sock, const void *data, size_t size, const int *fds, size_t fd_count);
// Returns the message's size, 0 at end of file, -errno otherwise (-EMSGSIZE for a truncated
// message, whose descriptors are closed). Received descriptors are CLOEXEC and the caller's.
ssize_t fd_recv_msg(int sock, void *data, size_t capacity, int fds[FD_PASS_MAX],
                    size_t *ret_fd_count);
