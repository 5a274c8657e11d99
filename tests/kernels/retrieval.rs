//! Retrieval against its twin on an index of one list.

use std::sync::Arc;

use proptest::prelude::*;
use syrinx::checkpoint::index::{Index, Metric};
use syrinx::cuda::Buffer;
use syrinx::cuda::ops::{Neighbours, retrieval_blend, retrieval_nearest};
use syrinx::nn::Cpu;
use syrinx::path::retrieval::{NEIGHBOURS, Neighbour, Retrieval, SmallCell};
use syrinx::units::Units;

use crate::host::{Host, ORDERS, Order};
use crate::support::{assert_close, config, noise, order, upload};

fn twin(rows: &[f32], dim: usize) -> Retrieval<Cpu> {
    let count = rows.len() / dim;
    let index = Index {
        path: "test.index".into(),
        dim,
        metric: Metric::L2,
        nprobe: 1,
        centroids: Vec::new(),
        vectors: rows.to_vec(),
        ids: (0..count as i64).collect(),
        offsets: vec![0, count],
    };
    Retrieval::new(Arc::new(index), dim, &Default::default()).expect("a retrieval")
}

/// Neighbours of each unit, and the units blended.
fn by_kernel(
    host: &Host,
    rows: &[f32],
    units: &[f32],
    dim: usize,
    rate: f32,
    blocks: usize,
) -> (Vec<Vec<Neighbour>>, Vec<f32>) {
    let mut found = Neighbours::new(host, units.len() / dim, rows.len() / dim, blocks).expect("memory");
    let (rows, mut units) = (upload(host, rows), upload(host, units));
    retrieval_nearest(host, &rows, &units, dim, &mut found).expect("a launch");
    retrieval_blend(host, &rows, &mut units, dim, rate, &mut found).expect("a launch");
    let (row, distance) = (found.row.read(host).expect("values"), found.distance.read(host).expect("values"));
    let neighbours = row.chunks(NEIGHBOURS).zip(distance.chunks(NEIGHBOURS)).map(|(rows, distances)| {
        let known = rows.iter().zip(distances).filter(|(row, _)| **row >= 0);
        known.map(|(&row, &distance)| Neighbour { row: row as usize, distance }).collect()
    });
    (neighbours.collect(), units.read(host).expect("values"))
}

fn assert_retrieval(host: &Host, rows: &[f32], units: &[f32], dim: usize, rate: f32, blocks: usize) {
    let twin = twin(rows, dim);
    let mut expected = Units { values: units.to_vec(), dim };
    let nearest = twin.search(&expected);
    twin.blend(&mut expected, 0, rate, SmallCell::Blend);
    let (found, blended) = by_kernel(host, rows, units, dim, rate, blocks);
    for (unit, (found, expected)) in found.iter().zip(&nearest).enumerate() {
        assert_eq!(found.len(), expected.len(), "neighbours of unit {unit}");
        let distances = |neighbours: &[Neighbour]| neighbours.iter().map(|n| n.distance).collect::<Vec<_>>();
        assert_close("distance", &distances(found), &distances(expected), |d| 1e-5 * d);
        let rows = |neighbours: &[Neighbour]| neighbours.iter().map(|n| n.row).collect::<Vec<_>>();
        assert_eq!(rows(found), rows(expected), "unit {unit}");
    }
    assert_close("value", &blended, &expected.values, |v| 2e-5 * v.abs() + 2e-6);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn neighbours_and_blend_match_the_twin(
        seed: u64, rows in 0_usize..150, units in 1_usize..19, quads in 1_usize..40, rate in 0.01_f32..1.0,
        blocks in 1_usize..40, order in order(),
    ) {
        let dim = 4 * quads;
        let (rows, units) = (noise(seed, rows * dim), noise(seed ^ 1, units * dim));
        assert_retrieval(&Host::new(order), &rows, &units, dim, rate, blocks);
    }
}

#[test]
fn exact_hits_equal_rows_few_rows_and_full_size_units() {
    let dim = 768;
    let mut rows = noise(3, 40 * dim);
    // Rows 5 and 9 are the same, and unit 0 is just that.
    rows.copy_within(5 * dim..6 * dim, 9 * dim);
    let mut units = noise(4, 9 * dim);
    units[..dim].copy_from_slice(&rows[5 * dim..6 * dim]);
    for order in ORDERS {
        let host = Host::new(order);
        assert_retrieval(&host, &rows, &units, dim, 0.75, 3);
        for few in [0, 1, 7, 8] {
            assert_retrieval(&host, &rows[..few * dim], &units, dim, 1.0, 2048);
        }
    }
    let (found, blended) = by_kernel(&Host::new(Order::Forwards), &rows, &units, dim, 1.0, 3);
    assert_eq!([found[0][0].row, found[0][1].row], [5, 9]);
    assert_eq!(blended[..dim], rows[5 * dim..6 * dim]);
}

#[test]
fn a_unit_that_is_no_number_stays_and_harms_no_other() {
    let dim = 8;
    let rows = noise(3, 30 * dim);
    let mut units = noise(4, 3 * dim);
    units[dim + 2] = f32::NAN;
    let host = Host::new(Order::Shuffled);
    let (found, blended) = by_kernel(&host, &rows, &units, dim, 0.5, 2);
    assert!(found[1].is_empty());
    for unit in [0, 2] {
        let alone = &units[unit * dim..][..dim];
        let (_, expected) = by_kernel(&host, &rows, alone, dim, 0.5, 2);
        assert_eq!(blended[unit * dim..][..dim], expected);
    }
    let same = |i: usize| blended[dim + i].to_bits() == units[dim + i].to_bits();
    assert!((0..dim).all(same));
}

#[test]
fn rows_found_in_a_larger_index_are_not_read_in_a_smaller() {
    let dim = 4;
    let host = Host::new(Order::Forwards);
    let rows = noise(3, 30 * dim);
    let units = noise(4, dim);
    let mut found = Neighbours::new(&host, 1, 30, 2).expect("memory");
    let mut units_there = upload(&host, &units);
    retrieval_nearest(&host, &upload(&host, &rows), &units_there, dim, &mut found).expect("a launch");
    let fewer: Buffer<Host, f32> = upload(&host, &rows[..2 * dim]);
    retrieval_blend(&host, &fewer, &mut units_there, dim, 1.0, &mut found).expect("a launch");
    assert!(found.row.read(&host).expect("values").iter().all(|&row| row < 2));
}
