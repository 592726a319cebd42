//! What a process finds on its stack when it begins (System V ABI, "Process Initialization").

use alloc::vec::Vec;
use core::ffi::{CStr, c_char};

use crate::env::Env;

/// Arguments and environment.
pub struct Start {
    pub argv: Vec<Vec<u8>>,
    pub env: Env,
}

impl Start {
    /// # Safety
    /// `stack` is the stack pointer with which the kernel started the process.
    pub unsafe fn read(stack: *const usize) -> Self {
        // SAFETY: the count comes first, then that many arguments and a null, then the environment and a null.
        unsafe {
            let argc = *stack;
            let argv = strings(stack.add(1));
            let env = strings(stack.add(argc + 2));
            Self {
                argv,
                env: env.iter().filter_map(|pair| variable(pair)).collect(),
            }
        }
    }
}

fn variable(pair: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    Some((pair[..at].to_vec(), pair[at + 1..].to_vec()))
}

/// # Safety
/// `list` is a list of pointers to C strings, ended by a null pointer.
unsafe fn strings(mut list: *const usize) -> Vec<Vec<u8>> {
    let mut strings = Vec::new();
    // SAFETY: as promised by the caller.
    unsafe {
        while *list != 0 {
            strings.push(CStr::from_ptr(*list as *const c_char).to_bytes().to_vec());
            list = list.add(1);
        }
    }
    strings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_environment_are_found() {
        let strings = [c"/cnb/process/web", c"a b", c"X=1=2", c"odd", c"Y="];
        let [name, arg, x, odd, y] = strings.map(|string| string.as_ptr() as usize);
        let stack = [2, name, arg, 0, x, odd, y, 0];
        // SAFETY: laid out as the kernel does.
        let start = unsafe { Start::read(stack.as_ptr()) };
        assert_eq!(start.argv, [b"/cnb/process/web".to_vec(), b"a b".to_vec()]);
        assert_eq!(start.env.pairs(), [b"X=1=2".to_vec(), b"Y=".to_vec()]);
    }
}
