//! The part of an MP4 (m4a) track that is meant to be heard: what its edit list, or iTunes' note of the encoder's delay,
//! leaves of the decoded samples.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// Largest `moov` box that is read: a day of audio has a few megabytes of tables.
const MOST_MOOV_BYTES: u64 = 64 << 20;
/// Most boxes looked at on one level.
const MOST_BOXES: usize = 4096;

/// The samples to keep of `decoded` at `rate_hz`; `None` where the file is no MP4 or does not tell.
pub(super) fn heard(path: &Path, decoded: usize, rate_hz: u32) -> Option<Range<usize>> {
    let moov = read_moov(path)?;
    let (start, length) = itunes(&moov).or_else(|| edit(&moov, rate_hz))?;
    let start = usize::try_from(start).ok().filter(|&start| start < decoded)?;
    let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length))?;
    (end > start).then_some(start..end.min(decoded))
}

/// The `moov` box's content.
fn read_moov(path: &Path) -> Option<Vec<u8>> {
    let mut file = File::open(path).ok()?;
    let mut at = 0;
    for index in 0..MOST_BOXES {
        let mut header = [0; 16];
        file.seek(SeekFrom::Start(at)).ok()?;
        file.read_exact(&mut header[..8]).ok()?;
        let name: [u8; 4] = header[4..8].try_into().ok()?;
        if index == 0 && &name != b"ftyp" {
            return None;
        }
        let mut size = u64::from(u32::from_be_bytes(header[..4].try_into().ok()?));
        let mut lead = 8;
        if size == 1 {
            file.read_exact(&mut header[8..]).ok()?;
            (size, lead) = (u64::from_be_bytes(header[8..].try_into().ok()?), 16);
        }
        if &name == b"moov" {
            let length = size.checked_sub(lead).filter(|&length| length <= MOST_MOOV_BYTES)?;
            let mut moov = Vec::new();
            file.take(length).read_to_end(&mut moov).ok()?;
            return Some(moov);
        }
        at = at.checked_add(size.max(lead))?;
    }
    None
}

/// The boxes that follow each other in `content`, by name.
fn boxes(mut content: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let size = u32::from_be_bytes(content.get(..4)?.try_into().ok()?) as usize;
        // Inside `moov` none needs 64 bits; 0 means all that is left.
        let size = if size == 0 { content.len() } else { size };
        let (whole, rest) = content.split_at_checked(size.max(8))?;
        content = rest;
        Some((&whole[4..8], &whole[8..]))
    })
    .take(MOST_BOXES)
}

/// The content of the box that a path of names leads to.
fn inner<'a>(content: &'a [u8], names: &[&[u8; 4]]) -> Option<&'a [u8]> {
    names.iter().try_fold(content, |content, name| boxes(content).find(|(found, _)| found == *name).map(|(_, c)| c))
}

fn u32_at(content: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(content.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(content: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(content.get(at..at + 8)?.try_into().ok()?))
}

/// Ticks per second in `mvhd` or `mdhd`, after creation and modification times of 32 or 64 bits.
fn timescale(header: &[u8]) -> Option<u64> {
    u32_at(header, if *header.first()? == 1 { 20 } else { 12 }).map(u64::from).filter(|&ticks| ticks > 0)
}

/// Start and length in samples of the one edit of the first audio track.
fn edit(moov: &[u8], rate_hz: u32) -> Option<(u64, u64)> {
    let is_audio = |track: &&[u8]| inner(track, &[b"mdia", b"hdlr"]).and_then(|h| h.get(8..12)) == Some(b"soun");
    let track = boxes(moov).filter(|(name, _)| name == b"trak").map(|(_, track)| track).find(is_audio)?;
    let movie_ticks = timescale(inner(moov, &[b"mvhd"])?)?;
    let media_ticks = timescale(inner(track, &[b"mdia", b"mdhd"])?)?;
    let list = inner(track, &[b"edts", b"elst"])?;
    let wide = *list.first()? == 1;
    let count = u32_at(list, 4)?;
    let entry = |index: usize| {
        let at = 8 + index * if wide { 20 } else { 12 };
        Some(if wide {
            (u64_at(list, at)?, u64_at(list, at + 8)? as i64)
        } else {
            (u32_at(list, at)?.into(), i64::from(u32_at(list, at + 4)? as i32))
        })
    };
    // A negative time is a pause before the track, which has no samples.
    let mut edits = (0..(count as usize).min(MOST_BOXES)).map_while(entry).filter(|(_, start)| *start >= 0);
    let ((length, start), None) = (edits.next()?, edits.next()) else { return None };
    let samples = |ticks: u64, per_second: u64| {
        u64::try_from(u128::from(ticks) * u128::from(rate_hz) / u128::from(per_second)).ok()
    };
    Some((samples(start as u64, media_ticks)?, samples(length, movie_ticks)?))
}

/// Start and length in samples as iTunes notes them: `00000000 DELAY PADDING LENGTH ...`, hexadecimal.
fn itunes(moov: &[u8]) -> Option<(u64, u64)> {
    const NAME: &[u8] = b"iTunSMPB";
    let after = moov.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let rest = moov.get(after..(after + 512).min(moov.len()))?;
    // A `data` box: four bytes each of type and locale before the text.
    let text = rest.get(rest.windows(4).position(|window| window == b"data")? + 12..)?;
    let text: String = text.iter().map_while(|&b| b.is_ascii().then_some(char::from(b))).collect();
    let number = |word: usize| u64::from_str_radix(text.split_ascii_whitespace().nth(word)?, 16).ok();
    Some((number(1)?, number(3)?)).filter(|(_, length)| *length > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: [u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes()[..], &name, content].concat()
    }

    /// A file of one audio track at 48 kHz with these edits `(length in milliseconds, start in samples)`.
    fn file(edits: &[(u32, i32)], note: Option<&str>) -> Vec<u8> {
        let header = |ticks: u32| [&[0; 12][..], &ticks.to_be_bytes()].concat();
        let entries = edits
            .iter()
            .flat_map(|(length, start)| [&length.to_be_bytes()[..], &start.to_be_bytes(), &[0, 1, 0, 0]].concat());
        let list = [&[0; 4][..], &(edits.len() as u32).to_be_bytes()].concat().into_iter().chain(entries);
        let handler = boxed(*b"hdlr", &[&[0; 8][..], b"soun"].concat());
        let media = boxed(*b"mdia", &[boxed(*b"mdhd", &header(48_000)), handler].concat());
        let track = boxed(*b"trak", &[boxed(*b"edts", &boxed(*b"elst", &list.collect::<Vec<_>>())), media].concat());
        let note = note.map_or(Vec::new(), |text| {
            let data = boxed(*b"data", &[&[0; 8][..], text.as_bytes()].concat());
            boxed(*b"udta", &[boxed(*b"name", b"\0\0\0\0iTunSMPB"), data].concat())
        });
        let moov = boxed(*b"moov", &[boxed(*b"mvhd", &header(1000)), track, note].concat());
        [boxed(*b"ftyp", b"M4A "), boxed(*b"mdat", &[7; 100]), moov].concat()
    }

    fn heard_in(bytes: &[u8], decoded: usize) -> Option<Range<usize>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.m4a");
        std::fs::write(&path, bytes).unwrap();
        heard(&path, decoded, 48_000)
    }

    #[test]
    fn an_edit_tells_where_the_sound_starts_and_how_long_it_lasts() {
        assert_eq!(heard_in(&file(&[(500, 1024)], None), 26_000), Some(1024..25_024));
        // A pause before the track; a track that breaks off.
        assert_eq!(heard_in(&file(&[(20, -1), (500, 1024)], None), 20_000), Some(1024..20_000));
        // Several pieces, none, and one that lies outside.
        for edits in [&[(100, 0), (100, 9600)][..], &[], &[(500, 30_000)], &[(0, 0)]] {
            assert_eq!(heard_in(&file(edits, None), 26_000), None, "{edits:?}");
        }
    }

    #[test]
    fn itunes_note_is_exact_where_an_edit_is_only_near() {
        let note = " 00000000 00000840 000001CA 0000000000003F31 00000000 00000000";
        assert_eq!(heard_in(&file(&[(500, 1024)], Some(note)), 26_000), Some(0x840..0x840 + 0x3F31));
        assert_eq!(heard_in(&file(&[(500, 1024)], Some("nonsense")), 26_000), Some(1024..25_024));
    }

    #[test]
    fn damaged_boxes_are_no_edit() {
        let whole = file(&[(500, 1024)], None);
        for length in 0..whole.len() {
            let cut = heard_in(&whole[..length], 26_000);
            assert!(cut.is_none() || cut == Some(1024..25_024), "{length}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            heard_in(&damaged, 26_000);
        }
        assert_eq!(heard_in(b"RIFF\0\0\0\0WAVEfmt ", 26_000), None);
    }
}
