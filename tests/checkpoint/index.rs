//! FAISS files, as faiss writes them and as nobody should.

use std::path::Path;

use syrinx::checkpoint::Tensors;
use syrinx::checkpoint::index::{Index, Metric};

use crate::support::{cut_everywhere, data, folder};

fn open(name: &str) -> Index {
    Index::open(data(name)).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn rows_are_those_that_faiss_reconstructs() {
    let index = open("added_IVF15_Flat_nprobe_1_small_v1.index");
    assert_eq!((index.rows(), index.dim, index.lists(), index.nprobe), (600, 256, 15, 1));
    assert_eq!((index.metric, index.centroids.len()), (Metric::L2, 15 * 256));
    let recorded = Tensors::open(data("retrieval_v1.safetensors")).unwrap();
    let expected = recorded.get("reconstruct").unwrap().to_f32();
    for (position, &id) in index.ids.iter().enumerate() {
        assert_eq!(index.row(position), &expected[id as usize * 256..][..256], "row {id}");
    }
    let mut ids = index.ids.clone();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..600), "an id is missing");
}

#[test]
fn lists_partition_the_rows() {
    let index = open("added_IVF7_Flat_nprobe_1_small_v2.index");
    assert_eq!((index.dim, index.lists()), (768, 7));
    assert_eq!(index.list(0).start, 0);
    assert_eq!(index.list(6).end, index.rows());
    assert!((0..6).all(|list| index.list(list).end == index.list(list + 1).start));
}

#[test]
fn each_row_lies_in_the_list_of_its_nearest_centroid() {
    let index = open("added_IVF15_Flat_nprobe_1_small_v1.index");
    let distance = |row: &[f32], list: usize| {
        let centroid = &index.centroids[list * index.dim..][..index.dim];
        row.iter().zip(centroid).map(|(a, b)| (a - b).powi(2)).sum::<f32>()
    };
    for list in 0..index.lists() {
        for position in index.list(list) {
            let own = distance(index.row(position), list);
            // Rounding may swap near ties, never a clear order.
            assert!((0..index.lists()).all(|other| distance(index.row(position), other) >= own * 0.999));
        }
    }
}

#[test]
fn a_flat_index_is_one_list() {
    let index = open("flat.index");
    assert_eq!((index.rows(), index.dim, index.lists()), (60, 8, 1));
    assert!(index.centroids.is_empty());
    assert!(index.ids.iter().copied().eq(0..60));
}

#[test]
fn sparse_lists_and_a_direct_map_are_read() {
    let index = open("sparse_mapped.index");
    assert_eq!((index.rows(), index.lists()), (3, 16));
    let flat = open("flat.index");
    for (position, &id) in index.ids.iter().enumerate() {
        assert_eq!(index.row(position), flat.row(id as usize));
    }
}

#[test]
fn flat_indexes_and_quantizers_are_read_by_all_their_names() {
    let folder = folder();
    let path = folder.path().join("renamed.index");
    for (file, at) in [("sparse_mapped.index", at::QUANTIZER), ("flat.index", 0)] {
        let (good, mut bytes) = (open(file), std::fs::read(data(file)).unwrap());
        for name in [b"IxF2", b"IxFl", b"IxFI"] {
            bytes[at..at + 4].copy_from_slice(name);
            std::fs::write(&path, &bytes).unwrap();
            let found = Index::open(&path).unwrap();
            assert_eq!((found.metric, found.dim, found.nprobe), (good.metric, good.dim, good.nprobe));
            assert_eq!((&found.vectors, &found.centroids), (&good.vectors, &good.centroids));
            assert_eq!((&found.ids, &found.offsets), (&good.ids, &good.offsets));
        }
    }
}

#[test]
fn the_number_of_probes_is_the_files_within_the_number_of_lists() {
    let folder = folder();
    let path = folder.path().join("probes.index");
    let mut bytes = std::fs::read(data("sparse_mapped.index")).unwrap();
    for (stored, expected) in [(1_u64, 1), (3, 3), (16, 16), (17, 16), (u64::MAX, 16)] {
        bytes[at::PROBES..at::PROBES + 8].copy_from_slice(&stored.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Index::open(&path).unwrap().nprobe, expected);
    }
}

#[test]
fn a_trained_index_without_rows_is_empty() {
    let index = open("trained_empty.index");
    assert_eq!((index.rows(), index.lists()), (0, 16));
}

/// Byte offsets of the fields of `trained_empty.index`; 16 lists of 8 values.
mod at {
    pub const DIM: usize = 4;
    pub const ROWS: usize = 8;
    pub const TRAINED: usize = 32;
    pub const METRIC: usize = 33;
    pub const LISTS: usize = 37;
    pub const PROBES: usize = 45;
    pub const QUANTIZER: usize = 53;
    pub const CENTROID_VALUES: usize = 90;
    pub const DIRECT_MAP: usize = 98 + 16 * 8 * 4;
    pub const STORAGE: usize = DIRECT_MAP + 9;
    pub const LAYOUT: usize = STORAGE + 20;
    pub const SIZES: usize = LAYOUT + 4;
}

#[track_caller]
fn assert_refused(path: &Path, bytes: &[u8], message: &str) {
    std::fs::write(path, bytes).unwrap();
    let error = Index::open(path).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn every_lie_in_an_index_has_its_message() {
    let good = std::fs::read(data("trained_empty.index")).unwrap();
    let folder = folder();
    let path = folder.path().join("lie.index");
    let huge = u64::MAX.to_le_bytes();
    let cases: [(usize, &[u8], &str); 16] = [
        (0, b"IwPQ", "type `IwPQ`"),
        (at::DIM, &[0; 4], "1 to 8192 dimensions, found 0"),
        (at::DIM, &[255; 4], "1 to 8192 dimensions, found -1"),
        (at::ROWS, &huge, "the number of rows claims 18446744073709551615"),
        (at::ROWS, &5_u64.to_le_bytes(), "expected 5 rows in all lists, found 0"),
        (at::TRAINED, &[0], "expected a trained index"),
        (at::METRIC, &[9], "found metric 9"),
        (at::LISTS, &huge, "the number of lists claims 18446744073709551615"),
        (at::LISTS, &[15], "expected 15 centroids of 8 values, found 16 of 8 values"),
        (at::PROBES, &[0; 8], "expected at least one probe"),
        (at::QUANTIZER, b"IHNf", "the quantizer type IxF2, IxFl or IxFI (flat), found type `IHNf`"),
        (at::CENTROID_VALUES, &huge, "the number of values claims 18446744073709551615"),
        (at::CENTROID_VALUES, &[127], "expected 16 rows of 8 values, found 127 values"),
        (at::DIRECT_MAP, &[1, 255, 255, 255], "the size of the direct map claims"),
        (at::LAYOUT, b"what", "the list layout type full or sprs, found type `what`"),
        (at::SIZES, &huge, "the number of list sizes claims 18446744073709551615"),
    ];
    for (offset, patch, message) in cases {
        let mut bytes = good.clone();
        bytes[offset..offset + patch.len()].copy_from_slice(patch);
        assert_refused(&path, &bytes, message);
    }
    let mut longer = good.clone();
    longer.push(0);
    assert_refused(&path, &longer, "expected the end of the index, found 1 further bytes");
    let product = std::fs::read(data("product_quantized.index")).unwrap();
    assert_refused(&path, &product, "type `IxPq`");
}

#[test]
fn ids_and_values_that_search_cannot_use_are_refused() {
    let good = std::fs::read(data("added_IVF15_Flat_nprobe_1_small_v1.index")).unwrap();
    let folder = folder();
    let path = folder.path().join("lie.index");
    let mut bytes = good.clone();
    let last = bytes.len() - 8;
    bytes[last..].copy_from_slice(&600_i64.to_le_bytes());
    assert_refused(&path, &bytes, "expected ids below 600, found 600");
    let mut bytes = good;
    bytes[98..102].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_refused(&path, &bytes, "finite values, found NaN");
}

#[test]
fn an_index_cut_short_anywhere_is_refused() {
    let folder = folder();
    for name in ["sparse_mapped.index", "flat.index"] {
        let good = std::fs::read(data(name)).unwrap();
        cut_everywhere(&folder.path().join(name), &good, good.len(), |path| Index::open(path).is_err());
    }
}
