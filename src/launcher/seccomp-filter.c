// SPDX-License-Identifier: Apache-2.0
// Theory of operation
//
// Calls of another architecture (i386, x32) kill the process: their numbers mean other things.
// What a refused call would give a guest, who has every right inside its user namespace that the
// bounding set leaves:
//   mounts, namespaces      attack surface that only CAP_SYS_ADMIN of a nested user namespace opens
//   bpf, perf, io_uring, userfaultfd, keyctl, fanotify   kernel parts with a long record of holes
//   open_by_handle_at       files beneath a mount's root
//   io_setup and the like   fs.aio-max-nr is the whole host's; ENOSYS, and programs do without
//   clone3                  its flags lie in memory where no filter can read them: ENOSYS, and
//                           C libraries fall back to clone
//   other socket families   protocol modules that load on demand, also by socketpair and by the
//                           requests that configure bridges and VLANs
//   huge pages              a pool of the whole host's that no memory limit of a sandbox counts
//   upper layers of TCP and encapsulation in UDP   kernel TLS, IPsec and L2TP by a socket option
//   classic BPF programs    the kernel counts their machine code for the whole host alone
//                           (net.core.bpf_jit_limit): when that is used up, no filter can be
//                           loaded, and so no sandbox made
// ptrace and process_vm_* stay: who may trace whom is decided by the user namespace, and debuggers
// are part of development.
#include "launcher/seccomp-filter.h"

#include "base/cleanup.h"
#include "launcher/seccomp-tables.h"

#include <errno.h>
#include <linux/if_vlan.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SOCK_TYPE_BITS = 0xf,
    ADDRESS_FAMILIES = 64, // more than the kernel has; all above are refused by a comparison
};

static int
set_attributes(scmp_filter_ctx ctx)
{
    // no_new_privs stays off; a tree instead of a chain of comparisons.
    int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    return r;
}

static int
add_names(scmp_filter_ctx ctx, uint32_t action, const char *const *names, size_t count,
          struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        int number = seccomp_syscall_resolve_name(names[i]);
        if (number == __NR_SCMP_ERROR || number < 0)
            continue; // not on this architecture
        int r = seccomp_rule_add(ctx, action, number, 0);
        if (r < 0)
            return error_set_errno(err, -r, "seccomp rule for %s", names[i]);
    }
    return 0;
}

static int
add_numbers(scmp_filter_ctx ctx, struct error *err)
{
    for (size_t i = 0; i < seccomp_newer_count; i++) {
        int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, seccomp_newer[i], 0);
        if (r < 0)
            return error_set_errno(err, -r, "seccomp rule for call %d", seccomp_newer[i]);
    }
    return 0;
}

static int
add_personalities(scmp_filter_ctx ctx, struct error *err)
{
    for (size_t i = 0; i < seccomp_personalities_count; i++) {
        int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1,
                                 SCMP_A0_32(SCMP_CMP_EQ, seccomp_personalities[i]));
        if (r < 0)
            return error_set_errno(err, -r, "seccomp rule for personality");
    }
    return 0;
}

static int
fill_numbers(scmp_filter_ctx ctx, struct error *err)
{
    if (add_names(ctx, SCMP_ACT_ALLOW, seccomp_allowed, seccomp_allowed_count, err) < 0 ||
        add_names(ctx, SCMP_ACT_ERRNO(EPERM), seccomp_refused, seccomp_refused_count, err) < 0 ||
        add_numbers(ctx, err) < 0)
        return -1;
    return add_personalities(ctx, err);
}

static int
refuse_clone_flags(scmp_filter_ctx ctx)
{
    static const scmp_datum_t flags[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                         CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(flags); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, flags[i], flags[i]));
    return r;
}

// Typing into a terminal, consoles, line disciplines, bridges and VLANs.
static int
refuse_controls(scmp_filter_ctx ctx)
{
    static const scmp_datum_t requests[] = {TIOCSTI,     TIOCLINUX,   TIOCSETD,
                                            SIOCGIFBR,   SIOCSIFBR,   SIOCBRADDBR,
                                            SIOCBRDELBR, SIOCGIFVLAN, SIOCSIFVLAN};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(requests); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, requests[i]));
    return r;
}

static int
refuse_families(scmp_filter_ctx ctx)
{
    int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                             SCMP_A0_32(SCMP_CMP_GE, ADDRESS_FAMILIES));
    for (unsigned family = 0; r == 0 && family < ADDRESS_FAMILIES; family++) {
        if (family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK)
            continue;
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                             SCMP_A0_32(SCMP_CMP_EQ, family));
    }
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socketpair), 1,
                             SCMP_A0_32(SCMP_CMP_NE, AF_UNIX));
    if (r == 0) // only NETLINK_ROUTE, which is 0
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 2,
                             SCMP_A0_32(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2_32(SCMP_CMP_NE, 0));
    return r;
}

// Of the Internet families only streams and datagrams: no raw sockets, no SCTP or DCCP.
static int
refuse_types(scmp_filter_ctx ctx)
{
    static const unsigned families[] = {AF_INET, AF_INET6};
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        for (unsigned type = 0; r == 0 && type <= SOCK_TYPE_BITS; type++) {
            if (type == SOCK_STREAM || type == SOCK_DGRAM)
                continue;
            r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 2,
                                 SCMP_A0_32(SCMP_CMP_EQ, families[i]),
                                 SCMP_A1_32(SCMP_CMP_MASKED_EQ, SOCK_TYPE_BITS, type));
        }
        // UDP is the highest protocol number that is needed, but for ICMPv6 sockets, which the
        // namespace's ping_group_range refuses anyway. Out: UDP-Lite, SCTP, L2TP, MPTCP.
        if (r == 0)
            r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket), 2,
                                 SCMP_A0_32(SCMP_CMP_EQ, families[i]),
                                 SCMP_A2_32(SCMP_CMP_GT, IPPROTO_UDP));
    }
    return r;
}

static int
refuse_options(scmp_filter_ctx ctx)
{
    static const struct {
        unsigned level;
        unsigned name;
    } options[] = {
        {SOL_SOCKET, SO_ATTACH_FILTER},
        {SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF},
        {IPPROTO_TCP, TCP_ULP},
        {IPPROTO_UDP, UDP_ENCAP},
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(options); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOPROTOOPT), SCMP_SYS(setsockopt), 2,
                             SCMP_A1_32(SCMP_CMP_EQ, options[i].level),
                             SCMP_A2_32(SCMP_CMP_EQ, options[i].name));
    return r;
}

// As on a host that has none; who asks for them goes on with pages of the usual size.
static int
refuse_huge_pages(scmp_filter_ctx ctx)
{
    static const struct {
        int call;
        struct scmp_arg_cmp flag;
    } uses[] = {
        {SCMP_SYS(mmap), {3, SCMP_CMP_MASKED_EQ, MAP_HUGETLB, MAP_HUGETLB}},
        {SCMP_SYS(memfd_create), {1, SCMP_CMP_MASKED_EQ, MFD_HUGETLB, MFD_HUGETLB}},
        {SCMP_SYS(shmget), {2, SCMP_CMP_MASKED_EQ, SHM_HUGETLB, SHM_HUGETLB}},
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(uses); i++)
        r = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(ENOMEM), uses[i].call, 1, &uses[i].flag);
    return r;
}

// What else tries to confine itself takes these for a kernel without the facility, and goes on.
static int
refuse_programs(scmp_filter_ctx ctx)
{
    int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(seccomp), 1,
                             SCMP_A0_32(SCMP_CMP_EQ, SECCOMP_SET_MODE_FILTER));
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 2,
                             SCMP_A0_32(SCMP_CMP_EQ, PR_SET_SECCOMP),
                             SCMP_A1(SCMP_CMP_EQ, SECCOMP_MODE_FILTER));
    return r;
}

static int
fill_arguments(scmp_filter_ctx ctx, struct error *err)
{
    int r = refuse_clone_flags(ctx);
    if (r == 0)
        r = refuse_controls(ctx);
    if (r == 0)
        r = refuse_families(ctx);
    if (r == 0)
        r = refuse_types(ctx);
    if (r == 0)
        r = refuse_programs(ctx);
    if (r == 0)
        r = refuse_options(ctx);
    if (r == 0)
        r = refuse_huge_pages(ctx);
    return r < 0 ? error_set_errno(err, -r, "seccomp rules for arguments") : 0;
}

// libseccomp writes the program into a descriptor.
static int
export_program(scmp_filter_ctx ctx, struct sock_fprog *ret, struct error *err)
{
    cleanup_fd int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "make a memory file");
    int r = seccomp_export_bpf(ctx, fd);
    if (r < 0)
        return error_set_errno(err, -r, "export the seccomp filter");
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "read the seccomp filter");
    size_t size = (size_t)st.st_size;
    cleanup_free struct sock_filter *code = malloc(size);
    if (size / sizeof *code > BPF_MAXINSNS || code == NULL ||
        pread(fd, code, size, 0) != (ssize_t)size)
        return error_set(err, ERR_INTERNAL, "seccomp filter of %zu bytes", size);
    ret->len = (unsigned short)(size / sizeof *code);
    ret->filter = TAKE_PTR(code);
    return 0;
}

static int
build_stage(struct sock_fprog *ret, uint32_t otherwise,
            int (*fill)(scmp_filter_ctx, struct error *), struct error *err)
{
    scmp_filter_ctx ctx = seccomp_init(otherwise);
    if (ctx == NULL)
        return error_set(err, ERR_INTERNAL, "seccomp_init failed");
    int r = set_attributes(ctx);
    if (r < 0)
        r = error_set_errno(err, -r, "set up the seccomp filter");
    else
        r = fill(ctx, err);
    if (r == 0)
        r = export_program(ctx, ret, err);
    seccomp_release(ctx);
    return r;
}

int
seccomp_filter_build(struct seccomp_filter *ret, struct error *err)
{
    struct seccomp_filter f = {0};
    if (build_stage(&f.stages[SECCOMP_STAGE_ARGUMENTS], SCMP_ACT_ALLOW, fill_arguments, err) < 0 ||
        build_stage(&f.stages[SECCOMP_STAGE_NUMBERS], SCMP_ACT_ERRNO(ENOSYS), fill_numbers, err) <
            0) {
        seccomp_filter_done(&f);
        return -1;
    }
    *ret = f;
    return 0;
}

void
seccomp_filter_done(struct seccomp_filter *f)
{
    for (size_t i = 0; i < SECCOMP_STAGE_MAX; i++) {
        free(f->stages[i].filter);
        f->stages[i] = (struct sock_fprog){0};
    }
}

int
seccomp_filter_load(const struct seccomp_filter *f, struct error *err)
{
    for (size_t i = 0; i < SECCOMP_STAGE_MAX; i++) {
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &f->stages[i]) < 0)
            return error_set_errno(err, errno, "load the seccomp filter");
    }
    return 0;
}
