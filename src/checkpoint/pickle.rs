//! Reads the plain values of a pickle: numbers, texts, lists and dictionaries. Calls nothing.
//!
//! `pytorch_reader` finds the tensors, but it copies a list when a pickle refers to it again, and may
//! copy it while it is still empty (`[[1, 3, 5]] * 3` in a voice's config). Here values are nodes of
//! an arena and references are shared, as in Python. This walk comes first: it bounds the operations
//! that the other reader will see, and finds the imports of a pickle that was made to run code.
//! What a reference would repeat is charged before it is copied, so memory stays near the file's length.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

/// Most operations in one pickle. A voice has about 20,000; fairseq's training state adds a few thousand.
const MAX_OPERATIONS: usize = 1_000_000;

/// Most memory of the values that are handed on, and their deepest nesting. A config has less than a hundred values.
const MAX_VALUE_BYTES: usize = 16 << 20;
const MAX_DEPTH: usize = 64;

/// What a value costs beside its text, and a dictionary or object beside its entries: the least that either allocates.
const VALUE_BYTES: usize = 64;
const TABLE_BYTES: usize = 768;

/// Longest name of a module, class or function, and most bytes of different names. A voice imports six.
const MAX_NAME_BYTES: usize = 256;
const MAX_NAMES_BYTES: usize = 1 << 20;

/// One value; others are referred to by their place in the arena.
#[derive(Clone, Debug)]
enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Items(Vec<usize>),
    Pairs(Vec<(usize, usize)>),
    /// A class, function or object: its Python name.
    Object(Arc<str>),
}

/// What a pickle holds.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: usize,
    /// `module.name` of everything the pickle imports, each once, in order.
    pub(super) imports: Vec<Arc<str>>,
    /// Bytes up to and including the STOP operation.
    pub(super) length: usize,
}

impl Pickle<'_> {
    /// The plain values under the root's keys, except the keys in `without`.
    ///
    /// Objects become `{"__type__": name}`; what is nested too deep is null, and what is repeated too often is cut off.
    pub(super) fn values(&self, without: &[&str]) -> Map<String, Value> {
        let Node::Pairs(pairs) = &self.nodes[self.root] else { return Map::new() };
        self.table(pairs, without, MAX_DEPTH, &mut Budget(MAX_VALUE_BYTES))
    }

    fn table(
        &self,
        pairs: &[(usize, usize)],
        without: &[&str],
        depth: usize,
        budget: &mut Budget,
    ) -> Map<String, Value> {
        let mut table = Map::new();
        for &(key, value) in pairs {
            let Some(key) = self.key(key).filter(|key| !without.contains(&key.as_ref())) else { continue };
            if !budget.pays(VALUE_BYTES + key.len()) {
                break;
            }
            let value = self.value(value, depth, budget);
            table.insert(key.into_owned(), value);
        }
        table
    }

    fn key(&self, at: usize) -> Option<Cow<'_, str>> {
        match &self.nodes[at] {
            Node::Text(text) => Some(Cow::Borrowed(text)),
            Node::Int(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }

    /// A value whose own place is paid for; null if what it holds costs more than is left.
    fn value(&self, at: usize, depth: usize, budget: &mut Budget) -> Value {
        let Some(deeper) = depth.checked_sub(1) else { return Value::Null };
        match &self.nodes[at] {
            Node::Bool(b) => (*b).into(),
            Node::Int(i) => (*i).into(),
            Node::Float(f) => (*f).into(),
            Node::Text(text) if budget.pays(text.len()) => (*text).into(),
            Node::Items(items) => {
                let items = items.iter().map_while(|&item| {
                    let paid = budget.pays(VALUE_BYTES);
                    paid.then(|| self.value(item, deeper, budget))
                });
                items.collect()
            }
            Node::Pairs(pairs) if budget.pays(TABLE_BYTES) => Value::Object(self.table(pairs, &[], deeper, budget)),
            Node::Object(name) if budget.pays(TABLE_BYTES + name.len()) => {
                Value::Object(Map::from_iter([("__type__".to_owned(), (**name).into())]))
            }
            Node::None | Node::Text(_) | Node::Pairs(_) | Node::Object(_) => Value::Null,
        }
    }
}

/// Bytes that may still be allocated.
struct Budget(usize);

impl Budget {
    /// Takes `bytes`; where they exceed what is left, nothing is left and nothing may be built.
    fn pays(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Reads the pickle at the start of `bytes`. The error is what was found instead of one.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine { bytes, ..Machine::default() };
    for _ in 0..MAX_OPERATIONS {
        let code = machine.take(1)?[0];
        if code == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle { nodes: machine.nodes, root, imports: machine.imports, length: machine.at });
        }
        machine.operation(code)?;
    }
    Err(format!("a pickle of more than {MAX_OPERATIONS} operations"))
}

/// Python's pickle machine without its callables.
#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: HashMap<u32, usize>,
    imports: Vec<Arc<str>>,
    names: HashSet<Arc<str>>,
    names_bytes: usize,
}

impl<'a> Machine<'a> {
    fn damaged(&self) -> String {
        format!("a damaged pickle at byte {}", self.at)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("a pickle cut short at byte {}", self.bytes.len()))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&b| b == b'\n');
        let end = end.ok_or_else(|| format!("a pickle cut short at byte {}", self.bytes.len()))?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| self.damaged())
    }

    /// A little-endian number of `width` bytes.
    fn number(&mut self, width: usize) -> Result<u64, String> {
        Ok(self.take(width)?.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    /// An argument preceded by its length in `width` bytes.
    fn counted(&mut self, width: usize) -> Result<&'a [u8], String> {
        let count = self.number(width)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn push(&mut self, node: Node<'a>) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn push_text(&mut self, bytes: &'a [u8]) {
        // Python 2 wrote bytes where text was meant.
        match std::str::from_utf8(bytes) {
            Ok(text) => self.push(Node::Text(text)),
            Err(_) => self.push_object("bytes"),
        }
    }

    fn push_object(&mut self, name: &str) {
        let name = self.interned(name).0;
        self.push(Node::Object(name));
    }

    fn push_integer(&mut self, bytes: &[u8]) {
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        if bytes.len() <= 8 {
            wide[..bytes.len()].copy_from_slice(bytes);
            self.push(Node::Int(i64::from_le_bytes(wide)));
        } else {
            self.push_object("int");
        }
    }

    fn pop(&mut self) -> Result<usize, String> {
        self.stack.pop().ok_or_else(|| self.damaged())
    }

    fn top(&self) -> Result<usize, String> {
        self.stack.last().copied().ok_or_else(|| self.damaged())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<usize>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or_else(|| self.damaged())?))
    }

    fn object_at(&self, at: usize) -> Option<Arc<str>> {
        match &self.nodes[at] {
            Node::Object(name) => Some(name.clone()),
            _ => None,
        }
    }

    /// The name that a value is, of at most [`MAX_NAME_BYTES`].
    fn name_of(&self, at: usize) -> Result<&str, String> {
        match &self.nodes[at] {
            Node::Object(name) => Ok(name),
            Node::Text(text) => self.short(text),
            _ => Ok("?"),
        }
    }

    fn short<'t>(&self, name: &'t str) -> Result<&'t str, String> {
        if name.len() <= MAX_NAME_BYTES {
            return Ok(name);
        }
        let most = format!("more than {MAX_NAME_BYTES}");
        Err(format!("a pickle with a name of {} bytes, {most}, before byte {}", name.len(), self.at))
    }

    /// The one copy of `name`, and whether it is new.
    fn interned(&mut self, name: &str) -> (Arc<str>, bool) {
        if let Some(known) = self.names.get(name) {
            return (known.clone(), false);
        }
        let new: Arc<str> = name.into();
        self.names_bytes += new.len();
        self.names.insert(new.clone());
        (new, true)
    }

    fn import(&mut self, name: &str) -> Result<(), String> {
        let (name, is_new) = self.interned(name);
        if self.names_bytes > MAX_NAMES_BYTES {
            return Err(format!("a pickle with more than {MAX_NAMES_BYTES} bytes of names"));
        }
        if is_new {
            self.imports.push(name.clone());
        }
        self.push(Node::Object(name));
        Ok(())
    }

    fn memoise(&mut self, slot: u64) -> Result<(), String> {
        let slot = u32::try_from(slot).map_err(|_| self.damaged())?;
        self.memo.insert(slot, self.top()?);
        Ok(())
    }

    fn recall(&mut self, slot: u64) -> Result<(), String> {
        let node = u32::try_from(slot).ok().and_then(|slot| self.memo.get(&slot)).copied();
        self.stack.push(node.ok_or_else(|| self.damaged())?);
        Ok(())
    }

    fn operation(&mut self, code: u8) -> Result<(), String> {
        match code {
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => self.stack.push(self.top()?),
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            0x98 => {}
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memo_operation(code)?,
            b'c' | b'i' | 0x93 | b'R' | b'o' | b'b' | 0x81 | 0x92 | b'P' | b'Q' | 0x82..=0x84 | 0x97 => {
                self.object_operation(code)?;
            }
            b']' | b')' | b'}' | 0x8f | b'l' | b't' | 0x85..=0x87 | 0x91 | b'd' | b'a' | b'e' | 0x90 | b's' | b'u' => {
                self.collection_operation(code)?;
            }
            _ => self.scalar_operation(code)?,
        }
        Ok(())
    }

    fn memo_operation(&mut self, code: u8) -> Result<(), String> {
        match code {
            0x94 => self.memoise(self.memo.len() as u64),
            b'q' | b'h' | b'r' | b'j' => {
                let slot = self.number(if matches!(code, b'q' | b'h') { 1 } else { 4 })?;
                if matches!(code, b'q' | b'r') { self.memoise(slot) } else { self.recall(slot) }
            }
            _ => {
                let slot = self.line()?.parse().map_err(|_| self.damaged())?;
                if code == b'p' { self.memoise(slot) } else { self.recall(slot) }
            }
        }
    }

    /// Imports and calls: each leaves an object that is only a name.
    fn object_operation(&mut self, code: u8) -> Result<(), String> {
        match code {
            b'c' | b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let name = format!("{}.{}", self.short(module)?, self.short(name)?);
                if code == b'i' {
                    self.pop_to_mark()?;
                }
                self.import(&name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let name = format!("{}.{}", self.name_of(module)?, self.name_of(name)?);
                self.import(&name)?;
            }
            b'R' | 0x81 | 0x92 => {
                if code == 0x92 {
                    self.pop()?;
                }
                let (_, callable) = (self.pop()?, self.pop()?);
                match self.object_at(callable) {
                    Some(name) if *name == *"collections.OrderedDict" => self.push(Node::Pairs(Vec::new())),
                    Some(name) if name.starts_with("torch._utils._rebuild_") => self.push_object("torch.Tensor"),
                    Some(name) => self.push(Node::Object(name)),
                    None => self.push_object("?"),
                }
            }
            b'o' => {
                let parts = self.pop_to_mark()?;
                match self.object_at(*parts.first().ok_or_else(|| self.damaged())?) {
                    Some(name) => self.push(Node::Object(name)),
                    None => self.push_object("?"),
                }
            }
            // The state of an object is not read.
            b'b' => drop(self.pop()?),
            b'P' => {
                self.line()?;
                self.push_object("storage");
            }
            b'Q' => {
                self.pop()?;
                self.push_object("storage");
            }
            0x97 => self.push_object("buffer"),
            _ => {
                self.take([1, 2, 4][usize::from(code - 0x82)])?;
                self.push_object("extension");
            }
        }
        Ok(())
    }

    fn collection_operation(&mut self, code: u8) -> Result<(), String> {
        match code {
            b']' | b')' | 0x8f => self.push(Node::Items(Vec::new())),
            b'}' => self.push(Node::Pairs(Vec::new())),
            b'l' | b't' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.push(Node::Items(items));
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or_else(|| self.damaged())?;
                let items = self.stack.split_off(start);
                self.push(Node::Items(items));
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Pairs(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.extend(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])?;
            }
            _ => {
                let items = self.pop_to_mark()?;
                self.insert(&items)?;
            }
        }
        Ok(())
    }

    /// Appends to the list on top; an object's items are not read.
    fn extend(&mut self, items: &[usize]) -> Result<(), String> {
        let list = self.top()?;
        match &mut self.nodes[list] {
            Node::Items(list) => list.extend(items),
            Node::Object(_) => {}
            _ => return Err(self.damaged()),
        }
        Ok(())
    }

    /// Inserts alternating keys and values into the dictionary on top.
    fn insert(&mut self, items: &[usize]) -> Result<(), String> {
        let dictionary = self.top()?;
        match &mut self.nodes[dictionary] {
            Node::Pairs(pairs) => pairs.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            Node::Object(_) => {}
            _ => return Err(self.damaged()),
        }
        Ok(())
    }

    fn scalar_operation(&mut self, code: u8) -> Result<(), String> {
        match code {
            b'N' => self.push(Node::None),
            0x88 | 0x89 => self.push(Node::Bool(code == 0x88)),
            b'K' | b'M' => {
                let number = self.number(if code == b'K' { 1 } else { 2 })?;
                self.push(Node::Int(number as i64));
            }
            b'J' => {
                let number = self.number(4)? as u32 as i32;
                self.push(Node::Int(number.into()));
            }
            0x8a | 0x8b => {
                let bytes = self.counted(if code == 0x8a { 1 } else { 4 })?;
                self.push_integer(bytes);
            }
            b'I' | b'L' => {
                let line = self.line()?;
                let number = line.trim_end_matches('L').parse();
                match (line, number) {
                    ("00" | "01", _) if code == b'I' => self.push(Node::Bool(line == "01")),
                    (_, Ok(number)) => self.push(Node::Int(number)),
                    (_, Err(_)) => self.push_object("int"),
                }
            }
            b'F' => {
                let number = self.line()?.parse().map_err(|_| self.damaged())?;
                self.push(Node::Float(number));
            }
            b'G' => {
                let bits = self.number(8)?.swap_bytes();
                self.push(Node::Float(f64::from_bits(bits)));
            }
            b'S' | b'V' => {
                let line = self.line()?;
                self.push(Node::Text(if code == b'S' { line.trim_matches(['\'', '"']) } else { line }));
            }
            b'U' | 0x8c | b'T' | b'X' | 0x8d => {
                let bytes = self.counted(match code {
                    b'U' | 0x8c => 1,
                    0x8d => 8,
                    _ => 4,
                })?;
                self.push_text(bytes);
            }
            b'C' | b'B' | 0x8e | 0x96 => {
                self.counted(match code {
                    b'C' => 1,
                    b'B' => 4,
                    _ => 8,
                })?;
                self.push_object("bytes");
            }
            other => return Err(format!("an unknown pickle operation 0x{other:02x} at byte {}", self.at - 1)),
        }
        Ok(())
    }
}

/// Modules that only a pickle made to run code imports.
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
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_that_are_referred_to_again_keep_their_items() {
        // {"a": [[1, 3], <the same list>], "b": -2, "c": 0.5, "w": 7}
        let shared = b"\x80\x02}(X\x01\0\0\0a](]q\x05(K\x01K\x03eh\x05eX\x01\0\0\0bJ\xfe\xff\xff\xff\
            X\x01\0\0\0cG\x3f\xe0\0\0\0\0\0\0X\x01\0\0\0wK\x07u.";
        let values = read(shared).unwrap().values(&["w"]);
        assert_eq!(Value::Object(values), json!({"a": [[1, 3], [1, 3]], "b": -2, "c": 0.5}));
    }

    #[test]
    fn a_list_that_holds_itself_ends() {
        let values = read(b"\x80\x02}X\x01\0\0\0a]q\x00h\x00as.").unwrap().values(&[]);
        let mut depth = 0;
        let mut inner = &values["a"];
        while let Some(item) = inner.get(0) {
            inner = item;
            depth += 1;
        }
        assert_eq!(depth, MAX_DEPTH);
    }

    /// Values within `value`, itself included.
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(count).sum(),
            Value::Object(table) => table.values().map(count).sum(),
            _ => 0,
        }
    }

    #[test]
    fn what_references_repeat_is_built_no_larger_than_the_budget() {
        // A list of 900,000 references to itself, and one of 1000 to a text of a megabyte.
        let itself = [b"\x80\x02}X\x01\0\0\0a]q\x00(".as_slice(), &b"h\x00".repeat(450_000), b"es."].concat();
        assert!(count(&Value::Object(read(&itself).unwrap().values(&[]))) <= MAX_VALUE_BYTES / VALUE_BYTES + 2);
        let text = [b"X".as_slice(), &(1_u32 << 20).to_le_bytes(), &vec![b'x'; 1 << 20]].concat();
        let texts = [b"\x80\x02}X\x01\0\0\0a(".as_slice(), &text, b"q\x00", &b"h\x00".repeat(1000), b"ls."].concat();
        let values = read(&texts).unwrap().values(&[]);
        let bytes = values["a"].as_array().unwrap().iter().filter_map(Value::as_str).map(str::len).sum::<usize>();
        assert!((1 << 20..=MAX_VALUE_BYTES).contains(&bytes), "{bytes}");
        // As keys of one dictionary after another.
        let keys = [b"\x80\x02}X\x01\0\0\0a(".as_slice(), &text, b"q\x00", &b"}h\x00Ns".repeat(1000), b"ls."].concat();
        assert!(Value::Object(read(&keys).unwrap().values(&[])).to_string().len() < 2 * MAX_VALUE_BYTES);
    }

    #[test]
    fn names_are_short_and_kept_once() {
        let long = [b"\x80\x02X\x2c\x01\0\0".as_slice(), &[b'x'; 300], b"q\x00h\x00\x93."].concat();
        let error = read(&long).unwrap_err();
        assert_eq!(error, "a pickle with a name of 300 bytes, more than 256, before byte 312");
        assert!(
            read(&[b"\x80\x02cos\n".as_slice(), &[b'x'; 300], b"\n."].concat()).unwrap_err().contains("a name of 300")
        );
        let again = [b"\x80\x02\x8c\x01aq\x00".as_slice(), &b"h\x00h\x00\x930".repeat(1000), b"."].concat();
        assert_eq!(read(&again).unwrap().imports, ["a.a".into()]);
        let mut many = b"\x80\x02".to_vec();
        for index in 0..5000_u16 {
            many.extend([b"cm\n".as_slice(), format!("{index:0>250}").as_bytes(), b"\n0"].concat());
        }
        assert_eq!(read(&many).unwrap_err(), "a pickle with more than 1048576 bytes of names");
        // What is called without being a function is not copied.
        let called = [b"X".as_slice(), &300_u32.to_le_bytes(), &[b'x'; 300], b")R."].concat();
        assert!(read(&called).unwrap().imports.is_empty());
    }

    #[test]
    fn imports_are_found_in_either_spelling() {
        // Protocol 0: posix.system called with one text.
        assert_eq!(read(b"cposix\nsystem\n(S'id'\ntR.").unwrap().imports, ["posix.system".into()]);
        // Protocol 4: both names through the stack, the module through the memo.
        let stacked = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x8c\x02id\x85R0h\x00\x8c\x05popen\x93.";
        assert_eq!(read(stacked).unwrap().imports, ["posix.system".into(), "posix.popen".into()]);
        assert_eq!(read(stacked).unwrap().length, stacked.len());
    }

    #[test]
    fn only_imports_that_run_code_are_dangerous() {
        for import in ["os.system", "posix.popen", "builtins.eval", "__builtin__.exec", "importlib.import_module"] {
            assert!(runs_code(import), "{import}");
        }
        for import in ["torch._utils._rebuild_tensor_v2", "collections.OrderedDict", "argparse.Namespace"] {
            assert!(!runs_code(import), "{import}");
        }
    }

    #[test]
    fn truncated_lying_and_endless_pickles_are_refused() {
        assert_eq!(read(b"\x80\x02X\xff\xff\xff\x7fabc").unwrap_err(), "a pickle cut short at byte 10");
        let long = b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc";
        assert_eq!(read(long).unwrap_err(), "a pickle cut short at byte 14");
        assert_eq!(read(b"\x80\x02\xff").unwrap_err(), "an unknown pickle operation 0xff at byte 2");
        assert_eq!(read(b"\x80\x02e.").unwrap_err(), "a damaged pickle at byte 3");
        let endless = vec![b'N'; MAX_OPERATIONS + 1];
        assert_eq!(read(&endless).unwrap_err(), "a pickle of more than 1000000 operations");
    }
}
