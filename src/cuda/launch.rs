//! What a kernel is, where its data lies, and how it is launched.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;

use crate::error::{Error, Result};

/// A source file of `kernels/`.
#[derive(Debug)]
pub struct Op {
    /// The file's name without `.cu`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// The headers of `kernels/`, those that include others first.
const HEADERS: [(&str, &str); 5] = [
    ("#include \"convolve.cuh\"", include_str!("../../kernels/convolve.cuh")),
    ("#include \"tiles.cuh\"", include_str!("../../kernels/tiles.cuh")),
    ("#include \"epilogue.cuh\"", include_str!("../../kernels/epilogue.cuh")),
    ("#include \"spectrum.cuh\"", include_str!("../../kernels/spectrum.cuh")),
    ("#include \"syrinx.cuh\"", include_str!("../../kernels/syrinx.cuh")),
];

impl Op {
    /// The file with its headers in the place of their includes: what a compiler that knows no files reads.
    #[must_use]
    pub fn source(&self) -> String {
        HEADERS
            .iter()
            .fold(self.text.to_owned(), |source, (include, header)| source.replacen(include, header, 1))
            .replace("#pragma once", "")
    }
}

/// An entry point of an [`Op`].
#[derive(Debug)]
pub struct Kernel {
    /// Its name in the source.
    pub name: &'static str,
    /// The file it is in.
    pub op: &'static Op,
    /// Threads of its blocks.
    pub threads: u32,
}

/// What runs kernels: a CUDA device, or in tests a CPU that stands in for one. Work runs in the order it is given.
pub trait Machine {
    /// A stretch of the machine's memory.
    type Memory;

    /// `bytes` zeros, aligned to 64 bytes.
    ///
    /// # Errors
    /// There is not so much memory.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory>;

    /// Where kernels find it.
    fn address(memory: &Self::Memory) -> u64;

    /// Copies `bytes` to `memory` from byte `first` on; they lie within it. Work given earlier sees what was there before.
    ///
    /// # Errors
    /// The machine fails.
    fn write(&self, memory: &Self::Memory, first: usize, bytes: &[u8]) -> Result<()>;

    /// Waits for the work given, then copies `memory` from byte `first` on to `bytes`; they lie within it.
    ///
    /// # Errors
    /// The machine fails, or work given earlier did.
    fn read(&self, memory: &Self::Memory, first: usize, bytes: &mut [u8]) -> Result<()>;

    /// Gives a launch to the machine.
    ///
    /// # Errors
    /// The kernel cannot be compiled or started.
    fn launch(&self, launch: &Launch) -> Result<()>;
}

/// A machine that keeps launches and repeats them, which should cost it less than each of them.
pub trait Graphs: Machine {
    /// Launches, each after those that it waits for, with their arguments: the memory that they name has to outlive them.
    type Graph;

    /// Keeps what `work` launches, which is not run, for tasks 0, 1 and so on. Each waits for those in its entry of `after`,
    /// which come before it, and for what they wait for; others may run at the same time. `work` does nothing else: it neither
    /// allocates nor copies, and has launched the same kernels before.
    ///
    /// # Errors
    /// `work` fails, or the machine cannot keep a launch.
    fn keep(&self, after: &[Vec<usize>], work: &mut dyn FnMut(usize) -> Result<()>) -> Result<Self::Graph>;

    /// Gives all launches of `graph` to the machine.
    ///
    /// # Errors
    /// The machine fails.
    fn repeat(&self, graph: &Self::Graph) -> Result<()>;
}

/// Values of one type in a machine's memory, which is given back with the last handle of it.
pub struct Buffer<M: Machine, T> {
    memory: Arc<M::Memory>,
    first: usize,
    len: usize,
    values: PhantomData<T>,
}

impl<M: Machine, T> Clone for Buffer<M, T> {
    /// Another handle of the same values.
    fn clone(&self) -> Self {
        let memory = Arc::clone(&self.memory);
        Self { memory, first: self.first, len: self.len, values: PhantomData }
    }
}

impl<M: Machine, T: Pod> Buffer<M, T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn zeros(machine: &M, len: usize) -> Result<Self> {
        let memory = Arc::new(machine.allocate(len * size_of::<T>())?);
        Ok(Self { memory, first: 0, len, values: PhantomData })
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn new(machine: &M, values: &[T]) -> Result<Self> {
        let mut buffer = Self::zeros(machine, values.len())?;
        buffer.write(machine, values)?;
        Ok(buffer)
    }

    /// Replaces all values.
    ///
    /// # Errors
    /// Their number is another, or the machine fails.
    pub fn write(&mut self, machine: &M, values: &[T]) -> Result<()> {
        expect_len("values", values.len(), self.len)?;
        machine.write(&self.memory, self.first * size_of::<T>(), bytemuck::cast_slice(values))
    }

    /// Waits for the work given and copies all values.
    ///
    /// # Errors
    /// The machine fails.
    pub fn read(&self, machine: &M) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); self.len];
        machine.read(&self.memory, self.first * size_of::<T>(), bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// The values in `range`, in the same memory. Work runs in order, kept work in that of its tasks, so that a part may be written and another handle of
    /// it be read later.
    ///
    /// # Panics
    /// There are fewer values.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} values", self.len);
        let memory = Arc::clone(&self.memory);
        Self { memory, first: self.first + range.start, len: range.len(), values: PhantomData }
    }

    /// Whether no other handle of this memory is left.
    pub(super) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.memory) == 1
    }

    fn address(&self) -> u64 {
        M::address(&self.memory) + (self.first * size_of::<T>()) as u64
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Most parameters a kernel has.
const MOST_ARGUMENTS: usize = 40;

/// One launch of a kernel. Only the wrappers of [`super::ops`], which know what each kernel may touch, make one.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What is launched.
    pub(super) kernel: &'static Kernel,
    grid: [usize; 3],
    shared_bytes: usize,
    /// Addresses and numbers, each in the first bytes of its word.
    words: [u64; MOST_ARGUMENTS],
    count: usize,
    /// A number that does not fit its parameter.
    too_large: Option<usize>,
}

impl Launch {
    /// A launch of `blocks` blocks.
    pub(super) fn new(kernel: &'static Kernel, blocks: usize) -> Self {
        let words = [0; MOST_ARGUMENTS];
        Self { kernel, grid: [blocks, 1, 1], shared_bytes: 0, words, count: 0, too_large: None }
    }

    /// A launch with a thread for each of `count` elements.
    pub(super) fn over(kernel: &'static Kernel, count: usize) -> Self {
        let mut launch = Self::new(kernel, count.div_ceil(kernel.threads as usize));
        launch.too_large = i32::try_from(count).is_err().then_some(count);
        launch
    }

    /// The same with `rows` rows of blocks.
    pub(super) fn rows(mut self, rows: usize) -> Self {
        self.grid[1] = rows;
        self
    }

    /// The same with `layers` layers of rows of blocks.
    pub(super) fn layers(mut self, layers: usize) -> Self {
        self.grid[2] = layers;
        self
    }

    /// The same with shared memory beside what the kernel declares.
    pub(super) fn shared_bytes(mut self, bytes: usize) -> Self {
        self.shared_bytes = bytes;
        self
    }

    fn word(mut self, word: u64) -> Self {
        self.words[self.count] = word;
        self.count += 1;
        self
    }

    /// Adds what the kernel reads.
    pub(super) fn input<M: Machine, T: Pod>(self, buffer: &Buffer<M, T>) -> Self {
        self.word(buffer.address())
    }

    /// Adds what the kernel may read, or nothing.
    pub(super) fn optional<M: Machine, T: Pod>(self, buffer: Option<&Buffer<M, T>>) -> Self {
        self.word(buffer.map_or(0, Buffer::address))
    }

    /// Adds what the kernel writes.
    pub(super) fn output<M: Machine, T: Pod>(self, buffer: &mut Buffer<M, T>) -> Self {
        self.word(buffer.address())
    }

    /// Adds a number of things, an `int`.
    pub(super) fn size(mut self, value: usize) -> Self {
        if i32::try_from(value).is_err() {
            self.too_large = Some(value);
        }
        self.word(value as u64)
    }

    /// Adds a signed number, an `int`.
    pub(super) fn int(self, value: i32) -> Self {
        self.word(value.cast_unsigned().into())
    }

    /// Adds 32 bits, a `u32`.
    pub(super) fn bits(self, value: u32) -> Self {
        self.word(value.into())
    }

    /// Adds two of them.
    pub(super) fn sizes(self, [first, second]: [usize; 2]) -> Self {
        self.size(first).size(second)
    }

    /// Adds a `float`.
    pub(super) fn f32(self, value: f32) -> Self {
        self.word(value.to_bits().into())
    }

    /// Adds a `double`.
    pub(super) fn f64(self, value: f64) -> Self {
        self.word(value.to_bits())
    }

    /// Gives the launch to `machine`; nothing, if there is no block.
    pub(super) fn run<M: Machine>(self, machine: &M) -> Result<()> {
        let most = i32::MAX as usize;
        let most_rows = usize::from(u16::MAX);
        if let Some(value) = self.too_large.or((self.grid[0] > most).then_some(self.grid[0])) {
            return Err(Error::argument(
                format!("size for kernel `{}`", self.kernel.name),
                format!("up to {most}"),
                value,
            ));
        }
        if let Some(rows) = self.grid[1..].iter().find(|&&rows| rows > most_rows) {
            let name = format!("rows or layers of blocks of kernel `{}`", self.kernel.name);
            return Err(Error::argument(name, format!("up to {most_rows}"), rows));
        }
        if self.grid.contains(&0) { Ok(()) } else { machine.launch(&self) }
    }

    /// The kernel's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kernel.name
    }

    /// Blocks in each dimension, none of them 0.
    #[must_use]
    pub fn grid(&self) -> [u32; 3] {
        self.grid.map(|blocks| blocks as u32)
    }

    /// Threads of each block.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.kernel.threads
    }

    /// Bytes of shared memory beside what the kernel declares.
    #[must_use]
    pub fn shared_size(&self) -> u32 {
        self.shared_bytes as u32
    }

    /// The arguments, in order: an argument of 4 bytes lies in the first of its word.
    #[must_use]
    pub fn arguments(&self) -> &[u64] {
        &self.words[..self.count]
    }
}

#[cfg(target_endian = "big")]
compile_error!("arguments of kernels lie in the low bytes of words; CUDA has no big-endian host");

/// Refuses a buffer of another length.
pub(super) fn expect_len(name: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::argument(name, format!("{expected} values"), found)) }
}

/// Refuses a buffer that is too short.
pub(super) fn expect_at_least(name: &str, found: usize, least: usize) -> Result<()> {
    if found >= least { Ok(()) } else { Err(Error::argument(name, format!("at least {least} values"), found)) }
}
