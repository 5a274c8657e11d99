//! Walks a pickle's opcodes without running them: how much it holds, and what it would import.
//!
//! The reader behind [`super::pytorch`] never executes anything, but it builds every value a pickle
//! describes, so the count of operations is bounded here first. The imports tell a person that a
//! file was made to run code elsewhere.

use std::collections::HashMap;

/// Most operations in one file. A voice has about 20,000; fairseq's training state adds a few thousand.
const MAX_OPERATIONS: usize = 1_000_000;

/// What a walk found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// `module.name` of everything the pickle imports, in order.
    pub(super) imports: Vec<String>,
    /// Bytes up to and including the STOP operation.
    pub(super) length: usize,
    operations: usize,
}

/// Walks one pickle at the start of `bytes`. The error is what was found instead of a pickle.
pub(super) fn scan(bytes: &[u8]) -> Result<Scan, String> {
    let mut walk = Walk { bytes, at: 0, memo: HashMap::new(), memo_length: 0, recent: [None, None] };
    let mut scan = Scan::default();
    loop {
        let code = walk.take(1)?[0];
        scan.operations += 1;
        if scan.operations > MAX_OPERATIONS {
            return Err(format!("a pickle of more than {MAX_OPERATIONS} operations"));
        }
        if code == b'.' {
            scan.length = walk.at;
            return Ok(scan);
        }
        if let Some(import) = walk.operation(code)? {
            scan.imports.push(import);
        }
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Strings the pickle has memoised, for imports named through the stack.
    memo: HashMap<u32, &'a str>,
    memo_length: u32,
    /// The last two strings put on the stack, older first.
    recent: [Option<&'a str>; 2],
}

impl<'a> Walk<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("a pickle cut short at byte {}", self.bytes.len()))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&b| b == b'\n');
        let end = end.ok_or_else(|| format!("a pickle cut short at byte {}", self.bytes.len()))?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    /// An argument preceded by its length in `width` little-endian bytes.
    fn counted(&mut self, width: usize) -> Result<&'a [u8], String> {
        let count = self.take(width)?.iter().rev().fold(0_u64, |n, &b| n << 8 | u64::from(b));
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn push(&mut self, text: Option<&'a str>) {
        self.recent = [self.recent[1], text];
    }

    fn memoise(&mut self, slot: u32) {
        self.memo_length = self.memo_length.saturating_add(1);
        if let Some(text) = self.recent[1] {
            self.memo.insert(slot, text);
        }
    }

    /// Steps over one operation's arguments; returns what it imports, if it is an import.
    fn operation(&mut self, code: u8) -> Result<Option<String>, String> {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok();
        match code {
            b'c' | b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Ok(Some(format!("{}.{}", String::from_utf8_lossy(module), String::from_utf8_lossy(name))));
            }
            0x93 => {
                let [module, name] = self.recent.map(|part| part.unwrap_or("?"));
                return Ok(Some(format!("{module}.{name}")));
            }
            b'S' | b'V' => {
                let line = self.line()?;
                self.push(text(line));
            }
            b'F' | b'I' | b'L' | b'P' | b'p' | b'g' => {
                self.line()?;
            }
            b'U' | 0x8c => {
                let counted = self.counted(1)?;
                self.push(text(counted));
            }
            b'T' | b'X' => {
                let counted = self.counted(4)?;
                self.push(text(counted));
            }
            0x8d => {
                let counted = self.counted(8)?;
                self.push(text(counted));
            }
            b'C' | 0x8a => drop(self.counted(1)?),
            b'B' | 0x8b => drop(self.counted(4)?),
            0x8e | 0x96 => drop(self.counted(8)?),
            0x94 => self.memoise(self.memo_length),
            b'q' | b'r' => {
                let slot = self.take(if code == b'q' { 1 } else { 4 })?;
                self.memoise(slot.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b)));
            }
            b'h' | b'j' => {
                let slot = self.take(if code == b'h' { 1 } else { 4 })?;
                let slot = slot.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b));
                self.push(self.memo.get(&slot).copied());
            }
            b'K' | 0x80 | 0x82 => drop(self.take(1)?),
            b'M' | 0x83 => drop(self.take(2)?),
            b'J' | 0x84 => drop(self.take(4)?),
            b'G' | 0x95 => drop(self.take(8)?),
            b'(' | b')' | b'0' | b'1' | b'2' | b'N' | b'Q' | b'R' | b'a' | b'b' | b'd' | b'e' | b'l' | b'o' | b's'
            | b't' | b'u' | b'}' | b']' => {}
            0x81 | 0x85..=0x89 | 0x8f..=0x92 | 0x97 | 0x98 => {}
            other => return Err(format!("an unknown pickle operation 0x{other:02x} at byte {}", self.at - 1)),
        }
        Ok(None)
    }
}

/// Modules and functions that only a pickle made to run code imports.
const DANGEROUS: [&str; 34] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "runpy",
    "importlib",
    "imp",
    "socket",
    "shutil",
    "pty",
    "ctypes",
    "code",
    "codeop",
    "webbrowser",
    "commands",
    "popen2",
    "urllib",
    "urllib2",
    "requests",
    "http",
    "httplib",
    "ftplib",
    "asyncio",
    "multiprocessing",
    "threading",
    "pdb",
    "bdb",
    "timeit",
    "cProfile",
    "pip",
    "idlelib",
    "pickle",
    "marshal",
];

/// Functions of `builtins` that only a pickle made to run code imports.
const DANGEROUS_BUILTINS: [&str; 10] =
    ["eval", "exec", "execfile", "compile", "open", "file", "input", "__import__", "globals", "breakpoint"];

/// Whether an import shows that a pickle was made to run code.
///
/// This makes a message; safety does not rest on it, since nothing a pickle names is ever called.
pub(super) fn runs_code(import: &str) -> bool {
    let (module, name) = import.rsplit_once('.').unwrap_or((import, ""));
    let root = module.split('.').next().unwrap_or(module);
    DANGEROUS.contains(&root)
        || (["builtins", "__builtin__"].contains(&module) && DANGEROUS_BUILTINS.contains(&name))
        || import.starts_with("torch.hub.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_in_either_spelling() {
        // Protocol 0: posix.system called with one text.
        assert_eq!(scan(b"cposix\nsystem\n(S'id'\ntR.").unwrap().imports, ["posix.system"]);
        // Protocol 4: both names through the stack, the module through the memo.
        let stacked = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x8c\x02id\x85R0h\x00\x8c\x05popen\x93.";
        assert_eq!(scan(stacked).unwrap().imports, ["posix.system", "posix.popen"]);
        assert_eq!(scan(stacked).unwrap().length, stacked.len());
    }

    #[test]
    fn only_imports_that_run_code_are_dangerous() {
        for import in ["os.system", "posix.popen", "builtins.eval", "__builtin__.exec", "importlib.import_module"] {
            assert!(runs_code(import), "{import}");
        }
        for import in
            ["torch._utils._rebuild_tensor_v2", "collections.OrderedDict", "argparse.Namespace", "builtins.set"]
        {
            assert!(!runs_code(import), "{import}");
        }
    }

    #[test]
    fn truncated_lying_and_endless_pickles_are_refused() {
        assert_eq!(scan(b"\x80\x02X\xff\xff\xff\x7fabc").unwrap_err(), "a pickle cut short at byte 10");
        assert_eq!(
            scan(b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc").unwrap_err(),
            "a pickle cut short at byte 14"
        );
        assert_eq!(scan(b"\x80\x02\xff").unwrap_err(), "an unknown pickle operation 0xff at byte 2");
        let endless = vec![b'N'; MAX_OPERATIONS + 1];
        assert_eq!(scan(&endless).unwrap_err(), "a pickle of more than 1000000 operations");
    }
}
