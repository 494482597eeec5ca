//! Whether a function keeps data in the red zone, the 128 bytes below the stack pointer that x86-64 leaf functions may
//! use without moving it.
//!
//! Follows the stack pointer and the frame pointer through every path of the function and compares each access to the
//! stack with where the stack ends at that instruction.

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::elf::{Function, Image};

/// Functions with more instructions than this hold no marker of ours.
const MAX_INSTRUCTIONS: usize = 200_000;

/// Where the two stack registers point, in bytes from the stack pointer at the function's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    stack_pointer: i64,
    frame_pointer: Option<i64>,
}

/// The address of the first instruction found that touches memory below the stack pointer.
pub(crate) fn first_use(image: &Image, function: &Function) -> Option<u64> {
    let size = usize::try_from(function.size).ok()?;
    first_use_in(image.code_at(function.address, size), function.address)
}

fn first_use_in(code: &[u8], start: u64) -> Option<u64> {
    let instructions: HashMap<u64, Instruction> =
        Decoder::with_ip(64, code, start, DecoderOptions::NONE)
            .into_iter()
            .take(MAX_INSTRUCTIONS)
            .map(|instruction| (instruction.ip(), instruction))
            .collect();
    let entry = Frame {
        stack_pointer: 0,
        frame_pointer: None,
    };
    let mut seen: HashMap<u64, Frame> = HashMap::new();
    let mut open = vec![(start, entry)];
    let mut first: Option<u64> = None;
    while let Some((address, frame)) = open.pop() {
        let Some(instruction) = instructions.get(&address) else {
            continue;
        };
        if seen.insert(address, frame).is_some() {
            continue;
        }
        if touches_below(instruction, frame) {
            first = Some(first.map_or(address, |earlier| earlier.min(address)));
        }
        let after = step(instruction, frame);
        let (next, jump) = (instruction.next_ip(), instruction.near_branch_target());
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch => open.push((jump, after)),
            FlowControl::ConditionalBranch => open.extend([(next, after), (jump, after)]),
            FlowControl::Return | FlowControl::IndirectBranch | FlowControl::Exception => {}
            _ => open.push((next, after)),
        }
    }
    first
}

fn touches_below(instruction: &Instruction, frame: Frame) -> bool {
    let has_memory =
        (0..instruction.op_count()).any(|index| instruction.op_kind(index) == OpKind::Memory);
    // `lea` only computes an address, and a nop may carry an operand that means nothing.
    if !has_memory || matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Nop) {
        return false;
    }
    let base = match instruction.memory_base() {
        Register::RSP => frame.stack_pointer,
        Register::RBP => match frame.frame_pointer {
            Some(frame_pointer) => frame_pointer,
            None => return false,
        },
        _ => return false,
    };
    let displacement = instruction.memory_displacement64().cast_signed();
    base.saturating_add(displacement) < frame.stack_pointer
}

fn step(instruction: &Instruction, frame: Frame) -> Frame {
    let mut after = frame;
    let into = |register| {
        instruction.op_count() > 0
            && instruction.op0_kind() == OpKind::Register
            && instruction.op0_register() == register
    };
    match instruction.mnemonic() {
        Mnemonic::Leave => {
            if let Some(frame_pointer) = frame.frame_pointer {
                after.stack_pointer = frame_pointer + 8;
            }
            after.frame_pointer = None;
        }
        Mnemonic::Mov if into(Register::RBP) => {
            after.frame_pointer = (instruction.op1_kind() == OpKind::Register
                && instruction.op1_register() == Register::RSP)
                .then_some(frame.stack_pointer);
        }
        Mnemonic::Mov if into(Register::RSP) => {
            if let Some(frame_pointer) = frame.frame_pointer {
                after.stack_pointer = frame_pointer;
            }
        }
        Mnemonic::Sub | Mnemonic::Add if into(Register::RSP) => {
            let amount = instruction.immediate(1).cast_signed();
            after.stack_pointer += if instruction.mnemonic() == Mnemonic::Sub {
                -amount
            } else {
                amount
            };
        }
        Mnemonic::Lea if into(Register::RSP) => {
            let base = match instruction.memory_base() {
                Register::RBP => frame.frame_pointer,
                Register::RSP => Some(frame.stack_pointer),
                _ => None,
            };
            if let Some(base) = base {
                after.stack_pointer = base + instruction.memory_displacement64().cast_signed();
            }
        }
        // A call comes back with the stack as it was.
        Mnemonic::Call => {}
        _ => after.stack_pointer += i64::from(instruction.stack_pointer_increment()),
    }
    if instruction.mnemonic() == Mnemonic::Pop && into(Register::RBP) {
        after.frame_pointer = None;
    }
    after
}

#[cfg(test)]
mod tests {
    use super::first_use_in;

    #[test]
    fn a_leaf_function_that_keeps_data_below_the_stack() {
        // push rbp; mov rbp,rsp; mov [rbp-8],rdi; nop5; mov rax,[rbp-8]; pop rbp; ret
        let code = [
            0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0x7d, 0xf8, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x48,
            0x8b, 0x45, 0xf8, 0x5d, 0xc3,
        ];
        assert_eq!(first_use_in(&code, 0x1000), Some(0x1004));
    }

    #[test]
    fn without_a_frame_pointer() {
        // mov [rsp-8],rdi; nop5; mov rax,[rsp-8]; ret
        let code = [
            0x48, 0x89, 0x7c, 0x24, 0xf8, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x48, 0x8b, 0x44, 0x24,
            0xf8, 0xc3,
        ];
        assert_eq!(first_use_in(&code, 0x1000), Some(0x1000));
    }

    #[test]
    fn a_function_that_moves_the_stack_pointer_first() {
        // push rbp; mov rbp,rsp; sub rsp,16; mov [rbp-8],rdi; nop5; mov rax,[rbp-8]; leave; ret
        let code = [
            0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0x7d, 0xf8, 0x0f, 0x1f,
            0x44, 0x00, 0x00, 0x48, 0x8b, 0x45, 0xf8, 0xc9, 0xc3,
        ];
        assert_eq!(first_use_in(&code, 0x1000), None);
    }

    #[test]
    fn an_early_return_does_not_confuse_it() {
        // push rbp; mov rbp,rsp; push rbx; push rax; test edi,edi; jne +4; mov rbx,[rbp-8]; leave; ret;
        // (target:) mov rbx,[rbp-8]; leave; ret
        let code = [
            0x55, 0x48, 0x89, 0xe5, 0x53, 0x50, 0x85, 0xff, 0x75, 0x06, 0x48, 0x8b, 0x5d, 0xf8,
            0xc9, 0xc3, 0x48, 0x8b, 0x5d, 0xf8, 0xc9, 0xc3,
        ];
        assert_eq!(first_use_in(&code, 0x1000), None);
    }
}
