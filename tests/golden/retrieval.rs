//! Retrieval against FAISS.

use std::sync::Arc;

use syrinx::checkpoint::index::Index;
use syrinx::nn::Cpu;
use syrinx::path::retrieval::{NEIGHBOURS, Retrieval, SmallCell};
use syrinx::units::Units;

use crate::support::{Golden, assert_close, data};

#[test]
fn neighbours_distances_and_blend_match_faiss() {
    let golden = Golden::open("retrieval_v1");
    let index = Arc::new(Index::open(data("added_IVF15_Flat_nprobe_1_small_v1.index")).expect("an index"));
    let retrieval = Retrieval::<Cpu>::new(index.clone(), 256, &Default::default()).expect("a retrieval");
    let queries = Units { values: golden.f32("query"), dim: 256 };

    let found = retrieval.search(&queries);
    let (ids, distances) = (golden.i64("ids"), golden.f32("score"));
    for (query, neighbours) in found.iter().enumerate() {
        let expected = &ids[query * NEIGHBOURS..][..NEIGHBOURS];
        let rows: Vec<i64> = neighbours.iter().map(|n| index.ids[n.row]).collect();
        assert_eq!(rows, expected.iter().copied().filter(|&id| id >= 0).collect::<Vec<_>>(), "query {query}");
        for (n, expected) in neighbours.iter().zip(&distances[query * NEIGHBOURS..]) {
            // FAISS expands the square; its rounding grows with the vectors' lengths.
            assert!((n.distance - expected).abs() <= 2e-5 * expected.max(1.0), "{} {expected}", n.distance);
        }
    }

    let mut blended = queries;
    retrieval.blend(&mut blended, 0, 1.0, SmallCell::Blend);
    assert_close("blend", &blended.values, &golden.f32("mixed"), 1e-5);
}

#[test]
fn more_probes_search_the_rows_of_as_many_of_the_nearest_lists() {
    let one = Index::open(data("added_IVF15_Flat_nprobe_1_small_v1.index")).expect("an index");
    let queries = Units { values: Golden::open("retrieval_v1").f32("query"), dim: 256 };
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    for nprobe in [1, 3, 15] {
        let index = Arc::new(Index { nprobe, ..one.clone() });
        let retrieval = Retrieval::<Cpu>::new(index.clone(), 256, &Default::default()).expect("a retrieval");
        for (query, found) in queries.values.chunks_exact(256).zip(retrieval.search(&queries)) {
            let mut lists: Vec<usize> = (0..index.lists()).collect();
            let to_list = |&list: &usize| distance(query, &index.centroids[list * 256..][..256]);
            lists.sort_by(|a, b| to_list(a).total_cmp(&to_list(b)));
            let rows = lists[..nprobe].iter().flat_map(|&list| index.list(list));
            let mut expected: Vec<f32> = rows.map(|row| distance(query, index.row(row))).collect();
            expected.sort_by(f32::total_cmp);
            expected.truncate(NEIGHBOURS);
            let found: Vec<f32> = found.iter().map(|neighbour| neighbour.distance).collect();
            // Sums in another order.
            assert_close(&format!("{nprobe} probes"), &found, &expected, 1e-4);
        }
    }
}

#[test]
fn a_unit_without_neighbours_stays_as_it_is() {
    let index = Arc::new(Index::open(data("trained_empty.index")).expect("an index"));
    assert_eq!(index.rows(), 0);
    let dim = index.dim;
    let retrieval = Retrieval::<Cpu>::new(index, dim, &Default::default()).expect("a retrieval");
    let units = Units { values: vec![0.5; 3 * dim], dim };
    let mut blended = units.clone();
    retrieval.blend(&mut blended, 0, 1.0, SmallCell::Blend);
    assert_eq!(blended.values, units.values);
}
