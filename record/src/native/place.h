/* Where a marker's arguments are, and reading them there: in every eBPF program that attaches to markers. Filled in by place.rs. */
#ifndef GIL_PLACE_H
#define GIL_PLACE_H

enum { IN_REGISTER, CONSTANT, IN_MEMORY };

/* Where an argument is: in a register (counted in words of struct pt_regs), a constant, or in memory at `value` bytes from
 * where a register points. */
struct place {
    __u8 kind;
    __u8 reg;
    __u8 size;
    __u8 is_signed;
    __u32 reserved;
    __s64 value;
};

#define LOAD_(number)                                                                                  \
    case number:                                                                                       \
        /* Written out: the compiler would compute an address, and the verifier wants constant ones. */ \
        asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(value) : "r"(context), "i"((number) * 8));        \
        break;
#define LOAD4_(first) LOAD_(first) LOAD_((first) + 1) LOAD_((first) + 2) LOAD_((first) + 3)

static __always_inline __u64
load_register(void *context, __u8 reg)
{
    __u64 value = 0;
    switch (reg) {
        LOAD4_(0) LOAD4_(4) LOAD4_(8) LOAD4_(12) LOAD4_(16) LOAD4_(20) LOAD4_(24) LOAD4_(28) LOAD_(32)
    }
    return value;
}

static __always_inline __u64
place_value(void *context, const volatile struct place *place)
{
    __u64 value;
    if (place->kind == CONSTANT) {
        return (__u64)place->value;
    }
    value = load_register(context, place->reg);
    if (place->kind == IN_MEMORY) {
        void *address = (void *)(value + (__u64)place->value);
        value = 0;
        bpf_probe_read_user(&value, sizeof(value), address);
    }
    if (place->size == 8) {
        return value;
    }
    if (place->size == 4) {
        return place->is_signed ? (__u64)(__s64)(__s32)value : (__u32)value;
    }
    if (place->size == 2) {
        return place->is_signed ? (__u64)(__s64)(__s16)value : (__u16)value;
    }
    return place->is_signed ? (__u64)(__s64)(__s8)value : (__u8)value;
}

#endif
