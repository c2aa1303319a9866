// SPDX-License-Identifier: Apache-2.0
// Theory of operation
//
// The program sees each packet that no established socket takes, before the tables of bound sockets
// are searched, so a process of the sandbox that binds a foreign address cannot get in front. It
// looks up the worker's socket in a two-element map and assigns it. Where that fails, because the
// worker is gone, it drops: the capture fails closed. When the worker dies the link goes as well;
// then the namespace has neither the program nor a socket that answers.
//
//   r6 = context                      r7 = socket from the map
//   fp-4 = key: SOCKET_TCP or SOCKET_UDP
//
// Loopback: 127.0.0.0/8 and ::1. A v4-mapped destination travels as IPv4 and is judged as such.
#include "launcher/capture.h"

#include "base/cleanup.h"

#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SOCKET_TCP, SOCKET_UDP, SOCKET_COUNT };
enum { PROGRAM_MAX = 64, JUMPS_MAX = 16 };
enum { KEY_AT = -4 }; // of the map's key on the program's stack

// Where a jump goes; resolved when all is written.
enum label { LABEL_IPV6, LABEL_PROTOCOL, LABEL_STEER, LABEL_PASS, LABEL_DROP, LABEL_MAX };

struct program {
    struct bpf_insn code[PROGRAM_MAX];
    unsigned size;
    struct {
        unsigned at;
        enum label to;
    } jumps[JUMPS_MAX];
    unsigned jump_count;
    unsigned labels[LABEL_MAX];
};

static void
emit(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
    p->code[p->size++] = (struct bpf_insn){
        .code = code, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm};
}

static void
move(struct program *p, uint8_t dst, uint8_t src)
{
    emit(p, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

static void
move_imm(struct program *p, uint8_t dst, int32_t imm)
{
    emit(p, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm);
}

static void
load_field(struct program *p, uint8_t dst, size_t offset)
{
    emit(p, BPF_LDX | BPF_MEM | BPF_W, dst, BPF_REG_6, (int16_t)offset, 0);
}

static void
jump(struct program *p, uint8_t condition, uint8_t reg, int32_t imm, enum label to)
{
    p->jumps[p->jump_count].at = p->size;
    p->jumps[p->jump_count++].to = to;
    emit(p, BPF_JMP | condition | BPF_K, reg, 0, 0, imm);
}

static void
call(struct program *p, int32_t helper)
{
    emit(p, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}

static void
end(struct program *p, int32_t verdict)
{
    move_imm(p, BPF_REG_0, verdict);
    emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void
label(struct program *p, enum label l)
{
    p->labels[l] = p->size;
}

static void
resolve(struct program *p)
{
    for (unsigned i = 0; i < p->jump_count; i++) {
        unsigned at = p->jumps[i].at;
        p->code[at].off = (int16_t)(p->labels[p->jumps[i].to] - at - 1);
    }
}

#define FIELD(name) offsetof(struct bpf_sk_lookup, name)

// Loopback destinations pass.
static void
emit_loopback_test(struct program *p)
{
    load_field(p, BPF_REG_2, FIELD(family));
    jump(p, BPF_JEQ, BPF_REG_2, AF_INET6, LABEL_IPV6);
    load_field(p, BPF_REG_2, FIELD(local_ip4)); // network byte order
    emit(p, BPF_ALU | BPF_END | BPF_TO_BE, BPF_REG_2, 0, 0, 32);
    emit(p, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_2, 0, 0, 24);
    jump(p, BPF_JEQ, BPF_REG_2, IN_LOOPBACKNET, LABEL_PASS);
    jump(p, BPF_JA, 0, 0, LABEL_PROTOCOL);

    label(p, LABEL_IPV6);
    load_field(p, BPF_REG_2, FIELD(local_ip6[0]));
    jump(p, BPF_JNE, BPF_REG_2, 0, LABEL_PROTOCOL);
    load_field(p, BPF_REG_2, FIELD(local_ip6[1]));
    jump(p, BPF_JNE, BPF_REG_2, 0, LABEL_PROTOCOL);
    load_field(p, BPF_REG_2, FIELD(local_ip6[2]));
    jump(p, BPF_JNE, BPF_REG_2, 0, LABEL_PROTOCOL);
    load_field(p, BPF_REG_2, FIELD(local_ip6[3]));
    emit(p, BPF_ALU | BPF_END | BPF_TO_BE, BPF_REG_2, 0, 0, 32);
    jump(p, BPF_JEQ, BPF_REG_2, 1, LABEL_PASS);
}

// Every TCP port, and UDP to the port of DNS.
static void
emit_protocol_test(struct program *p)
{
    label(p, LABEL_PROTOCOL);
    load_field(p, BPF_REG_2, FIELD(protocol));
    emit(p, BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, KEY_AT, SOCKET_TCP);
    jump(p, BPF_JEQ, BPF_REG_2, IPPROTO_TCP, LABEL_STEER);
    jump(p, BPF_JNE, BPF_REG_2, IPPROTO_UDP, LABEL_PASS);
    load_field(p, BPF_REG_2, FIELD(local_port)); // host byte order
    jump(p, BPF_JNE, BPF_REG_2, NETWORK_DNS_PORT, LABEL_PASS);
    emit(p, BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, KEY_AT, SOCKET_UDP);
}

static void
emit_steer(struct program *p, int map_fd)
{
    label(p, LABEL_STEER);
    emit(p, BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map_fd);
    emit(p, 0, 0, 0, 0, 0); // upper half of the 64-bit immediate
    move(p, BPF_REG_2, BPF_REG_10);
    emit(p, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, KEY_AT);
    call(p, BPF_FUNC_map_lookup_elem);
    jump(p, BPF_JEQ, BPF_REG_0, 0, LABEL_DROP);
    move(p, BPF_REG_7, BPF_REG_0);
    move(p, BPF_REG_1, BPF_REG_6);
    move(p, BPF_REG_2, BPF_REG_7);
    move_imm(p, BPF_REG_3, 0);
    call(p, BPF_FUNC_sk_assign);
    move(p, BPF_REG_8, BPF_REG_0);
    move(p, BPF_REG_1, BPF_REG_7);
    call(p, BPF_FUNC_sk_release);
    jump(p, BPF_JNE, BPF_REG_8, 0, LABEL_DROP);
}

static void
write_program(struct program *p, int map_fd)
{
    move(p, BPF_REG_6, BPF_REG_1);
    emit_loopback_test(p);
    emit_protocol_test(p);
    emit_steer(p, map_fd);
    label(p, LABEL_PASS);
    end(p, SK_PASS);
    label(p, LABEL_DROP);
    end(p, SK_DROP);
    resolve(p);
}

// The kernel wants every byte of the union zero that it does not know; an initialiser sets one
// member.
static void
clear(union bpf_attr *attr)
{
    memset(attr, 0, sizeof *attr);
}

static int
bpf(enum bpf_cmd command, union bpf_attr *attr)
{
    int r = (int)syscall(SYS_bpf, command, attr, sizeof *attr);
    return r < 0 ? -errno : r;
}

static int
make_map(const struct network_sockets *sockets, struct error *err)
{
    union bpf_attr attr;
    clear(&attr);
    attr.map_type = BPF_MAP_TYPE_SOCKMAP;
    attr.key_size = sizeof(uint32_t);
    attr.value_size = sizeof(uint64_t);
    attr.max_entries = SOCKET_COUNT;
    cleanup_fd int map = bpf(BPF_MAP_CREATE, &attr);
    if (map < 0)
        return error_set_errno(err, -map, "make the capture's map");
    const uint64_t values[SOCKET_COUNT] = {
        [SOCKET_TCP] = (uint64_t)sockets->tcp,
        [SOCKET_UDP] = (uint64_t)sockets->udp,
    };
    for (uint32_t key = 0; key < SOCKET_COUNT; key++) {
        clear(&attr);
        attr.map_fd = (uint32_t)map;
        attr.key = (uint64_t)(uintptr_t)&key;
        attr.value = (uint64_t)(uintptr_t)&values[key];
        int r = bpf(BPF_MAP_UPDATE_ELEM, &attr);
        if (r < 0)
            return error_set_errno(err, -r, "put socket %u into the capture's map", key);
    }
    return TAKE_FD(map);
}

static int
load_program(int map_fd, struct error *err)
{
    struct program program = {0};
    write_program(&program, map_fd);
    static const char licence[] = "Apache-2.0";
    union bpf_attr attr;
    clear(&attr);
    attr.prog_type = BPF_PROG_TYPE_SK_LOOKUP;
    attr.expected_attach_type = BPF_SK_LOOKUP;
    attr.insns = (uint64_t)(uintptr_t)program.code;
    attr.insn_cnt = program.size;
    attr.license = (uint64_t)(uintptr_t)licence;
    memcpy(attr.prog_name, "casemate", sizeof "casemate");
    int fd = bpf(BPF_PROG_LOAD, &attr);
    return fd < 0 ? error_set_errno(err, -fd, "load the capture program") : fd;
}

int
capture_attach(int netns_fd, const struct network_sockets *sockets, struct error *err)
{
    cleanup_fd int map = make_map(sockets, err);
    if (map < 0)
        return -1;
    cleanup_fd int program = load_program(map, err);
    if (program < 0)
        return -1;
    union bpf_attr attr;
    clear(&attr);
    attr.link_create.prog_fd = (uint32_t)program;
    attr.link_create.target_fd = (uint32_t)netns_fd;
    attr.link_create.attach_type = BPF_SK_LOOKUP;
    int link = bpf(BPF_LINK_CREATE, &attr);
    return link < 0 ? error_set_errno(err, -link, "attach the capture program") : link;
}
