//! Where an argument is when its marker fires, in the form that the eBPF program takes: registers counted in words of the
//! kernel's `struct pt_regs`.

use gil_probes::operand::{self, Operand};
use object::Architecture;

/// x86-64's `struct pt_regs` (arch/x86/include/asm/ptrace.h), each word with its names from 8 bytes to 1.
const X86_64: [(usize, [&str; 4]); 16] = [
    (0, ["r15", "r15d", "r15w", "r15b"]),
    (1, ["r14", "r14d", "r14w", "r14b"]),
    (2, ["r13", "r13d", "r13w", "r13b"]),
    (3, ["r12", "r12d", "r12w", "r12b"]),
    (4, ["rbp", "ebp", "bp", "bpl"]),
    (5, ["rbx", "ebx", "bx", "bl"]),
    (6, ["r11", "r11d", "r11w", "r11b"]),
    (7, ["r10", "r10d", "r10w", "r10b"]),
    (8, ["r9", "r9d", "r9w", "r9b"]),
    (9, ["r8", "r8d", "r8w", "r8b"]),
    (10, ["rax", "eax", "ax", "al"]),
    (11, ["rcx", "ecx", "cx", "cl"]),
    (12, ["rdx", "edx", "dx", "dl"]),
    (13, ["rsi", "esi", "si", "sil"]),
    (14, ["rdi", "edi", "di", "dil"]),
    (19, ["rsp", "esp", "sp", "spl"]),
];

/// Where an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: PlaceKind,
    /// The word of `struct pt_regs`.
    pub(super) register: u8,
    /// In bytes.
    pub(super) size: u8,
    pub(super) signed: bool,
    /// The constant, or the distance from where the register points.
    pub(super) value: i64,
}

/// The numbers are those of the eBPF program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PlaceKind {
    Register = 0,
    Constant = 1,
    Memory = 2,
}

/// `sizeof(struct place)`, in place.h.
pub(super) const BYTES: usize = 16;

impl Place {
    /// As the program has it.
    pub(super) fn bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&[
            self.kind as u8,
            self.register,
            self.size,
            u8::from(self.signed),
        ]);
        bytes[8..].copy_from_slice(&self.value.to_ne_bytes());
        bytes
    }

    /// `None` for a place that the program cannot read.
    pub(super) fn of(operand: &Operand, architecture: Architecture) -> Option<Self> {
        let (kind, register, value) = match &operand.place {
            operand::Place::Register(name) => {
                (PlaceKind::Register, register(name, architecture)?, 0)
            }
            operand::Place::Constant(number) => (PlaceKind::Constant, 0, *number),
            operand::Place::Stack { base, offset } => {
                (PlaceKind::Memory, register(base, architecture)?, *offset)
            }
            operand::Place::Unreadable(_) => return None,
        };
        Some(Self {
            kind,
            register,
            size: operand.size,
            signed: operand.signed,
            value,
        })
    }
}

fn register(name: &str, architecture: Architecture) -> Option<u8> {
    let word = match architecture {
        Architecture::X86_64 => X86_64.iter().find(|(_, names)| names.contains(&name))?.0,
        // struct user_pt_regs: x0 to x30, then sp.
        Architecture::Aarch64 => match name {
            "sp" => 31,
            _ => name
                .strip_prefix(['x', 'w'])?
                .parse()
                .ok()
                .filter(|&number: &usize| number <= 30)?,
        },
        _ => return None,
    };
    u8::try_from(word).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, architecture: Architecture) -> Option<(PlaceKind, u8, i64)> {
        let place = Place::of(&Operand::parse(text)?, architecture)?;
        Some((place.kind, place.register, place.value))
    }

    #[test]
    fn registers_are_those_of_the_architecture() {
        let x86 = Architecture::X86_64;
        let arm = Architecture::Aarch64;
        assert_eq!(place("8@%r15", x86), Some((PlaceKind::Register, 0, 0)));
        assert_eq!(place("-4@%edx", x86), Some((PlaceKind::Register, 12, 0)));
        assert_eq!(place("8@-24(%rbp)", x86), Some((PlaceKind::Memory, 4, -24)));
        assert_eq!(place("-4@$-7", x86), Some((PlaceKind::Constant, 0, -7)));
        assert_eq!(place("8@x19", arm), Some((PlaceKind::Register, 19, 0)));
        assert_eq!(place("8@[sp, 16]", arm), Some((PlaceKind::Memory, 31, 16)));
        assert_eq!(place("8@x31", arm), None);
        assert_eq!(place("8@x19", x86), None);
        assert_eq!(place("8@%fs:0", x86), None);
    }
}
