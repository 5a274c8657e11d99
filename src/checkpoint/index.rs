//! Retrieval indexes: FAISS `IVF*,Flat` and flat files, byte for byte as faiss writes them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// How vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Squared Euclidean distance: smaller is nearer. What RVC writes.
    L2,
    /// Inner product: larger is nearer.
    InnerProduct,
}

/// A retrieval index: the rows of a voice's training units, grouped by nearest centroid.
#[derive(Clone, Debug)]
pub struct Index {
    /// The file it came from, for messages.
    pub path: PathBuf,
    /// Values per row.
    pub dim: usize,
    /// How rows are compared.
    pub metric: Metric,
    /// Lists searched per query, as stored; at least 1 and at most the number of lists.
    pub nprobe: usize,
    /// One centroid per list, row-major `[lists, dim]`; empty in a flat index, which has one list.
    pub centroids: Vec<f32>,
    /// All rows, row-major `[rows, dim]`, list after list.
    pub vectors: Vec<f32>,
    /// The id of each row of [`Self::vectors`]: its position when it was added.
    pub ids: Vec<i64>,
    /// Where each list starts in rows, and after the last one the number of rows.
    pub offsets: Vec<usize>,
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// Files that are no index of a supported type, and claims that the file cannot hold.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Reader::open(path.as_ref())?.index()
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Number of lists; 1 in a flat index.
    #[must_use]
    pub fn lists(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The rows of list `list`, a range into [`Self::ids`] and the rows of [`Self::vectors`].
    #[must_use]
    pub fn list(&self, list: usize) -> Range<usize> {
        self.offsets[list]..self.offsets[list + 1]
    }

    /// The row at `position`.
    #[must_use]
    pub fn row(&self, position: usize) -> &[f32] {
        &self.vectors[position * self.dim..][..self.dim]
    }
}

const EXPECTED: &str = "a FAISS index";
const MAX_DIM: u64 = 8192;

/// Whether the file opens as a FAISS index does.
pub(super) fn recognises(path: &Path) -> Result<bool> {
    let mut fourcc = Vec::with_capacity(4);
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(4).read_to_end(&mut fourcc).map_err(|e| Error::io(path, e))?;
    Ok(fourcc.len() == 4 && fourcc[0] == b'I' && fourcc.iter().all(u8::is_ascii_alphanumeric))
}

/// The fields every index starts with.
struct Header {
    dim: usize,
    rows: usize,
    metric: Metric,
}

/// Reads little-endian fields; never past what the file holds.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    left: u64,
}

impl Reader {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let left = file.metadata().map_err(|e| Error::io(path, e))?.len();
        Ok(Self { path: path.to_owned(), file: BufReader::with_capacity(1 << 16, file), left })
    }

    fn error(&self, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Error {
        Error::format(&self.path, expected, found)
    }

    /// Refuses a claim of `count` items of `size` bytes that the rest of the file cannot hold.
    fn claim(&self, what: &str, count: u64, size: u64) -> Result<usize> {
        let limit = self.left / size.max(1);
        if count > limit {
            return Err(Error::Limit { path: self.path.clone(), what: what.to_owned(), claimed: count, limit });
        }
        Ok(count as usize)
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(what, &mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, what: &str, bytes: &mut [u8]) -> Result<()> {
        if (bytes.len() as u64) > self.left {
            return Err(self.error(format!("{EXPECTED} with {what}"), "the end of the file"));
        }
        self.file.read_exact(bytes).map_err(|e| Error::io(&self.path, e))?;
        self.left -= bytes.len() as u64;
        Ok(())
    }

    fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(self.bytes::<1>(what)?[0])
    }

    fn i32(&mut self, what: &str) -> Result<i32> {
        Ok(i32::from_le_bytes(self.bytes(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes(what)?))
    }

    fn fourcc(&mut self, what: &str) -> Result<[u8; 4]> {
        self.bytes(what)
    }

    /// Appends `count` floats, already claimed.
    fn floats(&mut self, what: &str, count: usize, into: &mut Vec<f32>) -> Result<()> {
        let start = into.len();
        into.resize(start + count, 0.0);
        self.fill(what, bytemuck::cast_slice_mut(&mut into[start..]))?;
        match into[start..].iter().find(|v| !v.is_finite()) {
            Some(bad) => Err(self.error(format!("{EXPECTED} with finite {what}"), bad)),
            None => Ok(()),
        }
    }

    fn index(mut self) -> Result<Index> {
        let fourcc = self.fourcc("a type")?;
        let index = match &fourcc {
            b"IwFl" => self.inverted()?,
            b"IxF2" | b"IxFl" | b"IxFI" => self.flat()?,
            other => return Err(self.unsupported("index", *other, "IwFl (IVF,Flat), IxF2, IxFl or IxFI (flat)")),
        };
        if self.left > 0 {
            return Err(self.error("the end of the index", format!("{} further bytes", self.left)));
        }
        Ok(index)
    }

    fn unsupported(&self, what: &str, fourcc: [u8; 4], supported: &str) -> Error {
        let found = fourcc.escape_ascii();
        self.error(format!("{EXPECTED} with the {what} type {supported}"), format!("type `{found}`"))
    }

    fn header(&mut self) -> Result<Header> {
        let dim = self.i32("a dimension")?;
        if !(1..=MAX_DIM as i32).contains(&dim) {
            return Err(self.error(format!("{EXPECTED} of 1 to {MAX_DIM} dimensions"), dim));
        }
        let rows = self.u64("a number of rows")?;
        let rows = self.claim("the number of rows", rows, 4 * dim as u64)?;
        self.u64("a reserved field")?;
        self.u64("a reserved field")?;
        if self.u8("a trained flag")? != 1 {
            return Err(self.error("a trained index", "an untrained one"));
        }
        let metric = match self.i32("a metric")? {
            0 => Metric::InnerProduct,
            1 => Metric::L2,
            other => return Err(self.error("the metric L2 or inner product", format!("metric {other}"))),
        };
        Ok(Header { dim: dim as usize, rows, metric })
    }

    /// A flat index after its type: all rows in one list.
    fn flat(&mut self) -> Result<Index> {
        let header = self.header()?;
        let mut vectors = Vec::new();
        self.flat_rows(&header, &mut vectors)?;
        Ok(Index {
            path: self.path.clone(),
            dim: header.dim,
            metric: header.metric,
            nprobe: 1,
            centroids: Vec::new(),
            vectors,
            ids: (0..header.rows as i64).collect(),
            offsets: vec![0, header.rows],
        })
    }

    fn flat_rows(&mut self, header: &Header, into: &mut Vec<f32>) -> Result<()> {
        let count = self.u64("a number of values")?;
        let count = self.claim("the number of values", count, 4)?;
        if header.rows.checked_mul(header.dim) != Some(count) {
            return Err(self.error(format!("{} rows of {} values", header.rows, header.dim), format!("{count} values")));
        }
        self.floats("values", count, into)
    }

    /// An inverted file after its type.
    fn inverted(&mut self) -> Result<Index> {
        let header = self.header()?;
        let lists = self.u64("a number of lists")?;
        let lists = self.claim("the number of lists", lists, 4 * header.dim as u64)?;
        let nprobe = self.u64("a number of probes")?;
        if nprobe == 0 {
            return Err(self.error("at least one probe", 0));
        }
        let centroids = self.quantizer(&header, lists)?;
        self.direct_map()?;
        let sizes = self.list_sizes(&header, lists)?;
        let mut vectors = Vec::with_capacity(header.rows * header.dim);
        let mut ids = Vec::with_capacity(header.rows);
        let mut offsets = Vec::with_capacity(lists + 1);
        offsets.push(0);
        for size in sizes {
            self.floats("rows", size * header.dim, &mut vectors)?;
            self.list_ids(size, header.rows, &mut ids)?;
            offsets.push(ids.len());
        }
        Ok(Index {
            path: self.path.clone(),
            dim: header.dim,
            metric: header.metric,
            nprobe: usize::try_from(nprobe).unwrap_or(usize::MAX).min(lists),
            centroids,
            vectors,
            ids,
            offsets,
        })
    }

    fn quantizer(&mut self, header: &Header, lists: usize) -> Result<Vec<f32>> {
        let fourcc = self.fourcc("a quantizer")?;
        if ![b"IxF2", b"IxFl", b"IxFI"].contains(&&fourcc) {
            return Err(self.unsupported("quantizer", fourcc, "IxF2, IxFl or IxFI (flat)"));
        }
        let quantizer = self.header()?;
        if (quantizer.dim, quantizer.rows) != (header.dim, lists) {
            let found = format!("{} of {} values", quantizer.rows, quantizer.dim);
            return Err(self.error(format!("{lists} centroids of {} values", header.dim), found));
        }
        if lists == 0 {
            return Err(self.error("at least one list", 0));
        }
        let mut centroids = Vec::new();
        self.flat_rows(&quantizer, &mut centroids)?;
        Ok(centroids)
    }

    /// A map from ids to rows, which search does not need; a hash table (type 2) is not written by RVC.
    fn direct_map(&mut self) -> Result<()> {
        let kind = self.u8("a direct map")?;
        let size = self.u64("a direct map")?;
        match kind {
            0 | 1 => self.skip("the size of the direct map", size, 8)?,
            2 => {
                self.skip("the size of the direct map", size, 8)?;
                let pairs = self.u64("a direct map")?;
                self.skip("the size of the direct map", pairs, 16)?;
            }
            other => return Err(self.error("a direct map of type 0, 1 or 2", other)),
        }
        Ok(())
    }

    fn skip(&mut self, what: &str, count: u64, size: u64) -> Result<()> {
        let bytes = self.claim(what, count, size)? as u64 * size;
        std::io::copy(&mut self.file.by_ref().take(bytes), &mut std::io::sink())
            .map_err(|e| Error::io(&self.path, e))?;
        self.left -= bytes;
        Ok(())
    }

    /// The size of each list, summing to the header's rows.
    fn list_sizes(&mut self, header: &Header, lists: usize) -> Result<Vec<usize>> {
        let storage = self.fourcc("inverted lists")?;
        if &storage != b"ilar" {
            return Err(self.unsupported("inverted lists", storage, "ilar (in memory)"));
        }
        let (stored_lists, code_size) = (self.u64("inverted lists")?, self.u64("a code size")?);
        if stored_lists != lists as u64 || code_size != 4 * header.dim as u64 {
            let found = format!("{stored_lists} lists of {code_size} bytes");
            return Err(self.error(format!("{lists} lists of {} bytes per row", 4 * header.dim), found));
        }
        let layout = self.fourcc("a list layout")?;
        let count = self.u64("list sizes")?;
        let count = self.claim("the number of list sizes", count, 8)?;
        let mut sizes = vec![0; lists];
        match &layout {
            b"full" if count == lists => {
                for size in &mut sizes {
                    *size = usize::try_from(self.u64("list sizes")?).unwrap_or(usize::MAX);
                }
            }
            b"sprs" if count % 2 == 0 && count / 2 <= lists => {
                for _ in 0..count / 2 {
                    let (list, size) = (self.u64("a list number")?, self.u64("list sizes")?);
                    let slot = usize::try_from(list).ok().and_then(|list| sizes.get_mut(list));
                    let Some(slot) = slot.filter(|slot| **slot == 0) else {
                        return Err(self.error(format!("each list below {lists} once"), format!("list {list}")));
                    };
                    *slot = usize::try_from(size).unwrap_or(usize::MAX);
                }
            }
            b"full" | b"sprs" => return Err(self.error(format!("sizes of {lists} lists"), format!("{count} numbers"))),
            other => return Err(self.unsupported("list layout", *other, "full or sprs")),
        }
        let total = sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size));
        if total != Some(header.rows) {
            let found = total.map_or("more than memory can address".to_owned(), |total| total.to_string());
            return Err(self.error(format!("{} rows in all lists", header.rows), found));
        }
        self.claim("the number of rows", header.rows as u64, 4 * header.dim as u64 + 8)?;
        Ok(sizes)
    }

    /// Appends the ids of one list; each names a row below `rows`.
    fn list_ids(&mut self, count: usize, rows: usize, into: &mut Vec<i64>) -> Result<()> {
        let start = into.len();
        into.resize(start + count, 0);
        self.fill("ids", bytemuck::cast_slice_mut(&mut into[start..]))?;
        match into[start..].iter().find(|id| !(0..rows as i64).contains(id)) {
            Some(bad) => Err(self.error(format!("ids below {rows}"), bad)),
            None => Ok(()),
        }
    }
}
