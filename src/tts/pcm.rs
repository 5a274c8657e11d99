//! Bytes of a wav or of raw PCM, in pieces of any size, as samples.
//!
//! Lengths in headers are not believed where they cannot be true: who writes a wav while speaking does not know its length.

use super::speech::Piece;

/// Lengths from here on stand for "until the end": what programs write that do not know it.
const UNKNOWN_LENGTH: u32 = 0x7fff_0000;
/// Most bytes of a header before its samples.
const LONGEST_HEADER: usize = 1 << 20;

/// How a sample is stored, always little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// Unsigned 8 bits.
    U8,
    /// Signed 16 bits.
    S16,
    /// Signed 24 bits.
    S24,
    /// Signed 32 bits.
    S32,
    /// 32-bit floating point.
    F32,
}

impl SampleKind {
    /// Bytes of one sample.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::S16 => 2,
            Self::S24 => 3,
            Self::S32 | Self::F32 => 4,
        }
    }

    /// The kind of signed samples of this many bytes.
    #[must_use]
    pub fn signed(bytes: u64) -> Option<Self> {
        match bytes {
            2 => Some(Self::S16),
            3 => Some(Self::S24),
            4 => Some(Self::S32),
            _ => None,
        }
    }

    fn value(self, b: &[u8]) -> f32 {
        match self {
            Self::U8 => (f32::from(b[0]) - 128.0) / 128.0,
            Self::S16 => f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0,
            Self::S24 => (i32::from_le_bytes([0, b[0], b[1], b[2]]) >> 8) as f32 / 8_388_608.0,
            Self::S32 => (f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])) / 2_147_483_648.0) as f32,
            Self::F32 => Some(f32::from_le_bytes([b[0], b[1], b[2], b[3]])).filter(|x| x.is_finite()).unwrap_or(0.0),
        }
    }
}

/// What raw PCM is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmFormat {
    /// Frames per second.
    pub rate_hz: u32,
    /// Channels, interleaved.
    pub channels: u16,
    /// Their samples.
    pub kind: SampleKind,
}

impl PcmFormat {
    /// One channel of 16 bits.
    #[must_use]
    pub fn mono(rate_hz: u32) -> Self {
        Self { rate_hz, channels: 1, kind: SampleKind::S16 }
    }

    /// Whether a voice can be of that format.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        (4_000..=384_000).contains(&self.rate_hz) && (1..=8).contains(&self.channels)
    }

    fn frame_bytes(self) -> usize {
        usize::from(self.channels) * self.kind.bytes()
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing tells yet whether there is a header.
    Start,
    /// In the chunks of a wav before its samples, with its format once it was read.
    Header(Option<PcmFormat>),
    /// In the samples, of which there are so many bytes left, if that is known.
    Samples(PcmFormat, Option<u64>),
    /// Behind the samples of a wav, where another may begin.
    Behind,
}

/// Takes bytes, gives samples.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    bytes: Vec<u8>,
    /// What raw PCM is like, if anyone has told.
    told: Option<PcmFormat>,
}

impl Decoder {
    /// For a wav, or for PCM of the format told.
    pub(super) fn new(told: Option<PcmFormat>) -> Self {
        Self { state: State::Start, bytes: Vec::new(), told }
    }

    /// Takes bytes in; returns the whole frames among all that came, as one channel. Fails with what was found.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, String> {
        self.bytes.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        while self.step(&mut pieces)? {}
        Ok(pieces)
    }

    /// Nothing more comes. Fails if there was no header where one was needed.
    pub(super) fn finish(&self) -> Result<(), String> {
        match self.state {
            State::Start if self.bytes.is_empty() => Ok(()),
            State::Start | State::Header(_) => Err(format!("{} bytes that end before any sample", self.bytes.len())),
            State::Samples(..) | State::Behind => Ok(()),
        }
    }

    /// Goes on as far as one state goes; says whether there is more to do.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> Result<bool, String> {
        match self.state {
            State::Start | State::Behind => Ok(self.begin()?),
            State::Header(format) => self.read_header(format),
            State::Samples(format, left) => Ok(self.read_samples(format, left, pieces)),
        }
    }

    fn begin(&mut self) -> Result<bool, String> {
        let is_behind = matches!(self.state, State::Behind);
        if self.bytes.len() < 12 && b"RIFF".starts_with(&self.bytes[..self.bytes.len().min(4)]) {
            return Ok(false);
        }
        if self.bytes.len() >= 12 && self.bytes.starts_with(b"RIFF") && &self.bytes[8..12] == b"WAVE" {
            self.bytes.drain(..12);
            self.state = State::Header(None);
            return Ok(true);
        }
        if is_behind {
            // Tags and the like.
            self.bytes.clear();
            return Ok(false);
        }
        match self.told {
            Some(format) => self.state = State::Samples(format, None),
            None => return Err(format!("{} without a rate", self.found())),
        }
        Ok(true)
    }

    fn read_header(&mut self, format: Option<PcmFormat>) -> Result<bool, String> {
        if self.bytes.len() < 8 {
            return Ok(false);
        }
        let length = u32::from_le_bytes([self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7]]);
        if self.bytes.starts_with(b"data") {
            let format = format.ok_or("a wav without a format before its samples")?;
            let is_known = length != 0 && length < UNKNOWN_LENGTH;
            self.bytes.drain(..8);
            self.state = State::Samples(format, is_known.then_some(u64::from(length)));
            return Ok(true);
        }
        let whole = 8 + length as usize + (length as usize & 1);
        if whole > LONGEST_HEADER {
            return Err(format!("a wav whose header claims {length} bytes"));
        }
        if self.bytes.len() < whole {
            return Ok(false);
        }
        let format = if self.bytes.starts_with(b"fmt ") { Some(read_format(&self.bytes[8..whole])?) } else { format };
        self.bytes.drain(..whole);
        self.state = State::Header(format);
        Ok(true)
    }

    fn read_samples(&mut self, format: PcmFormat, left: Option<u64>, pieces: &mut Vec<Piece>) -> bool {
        let frame = format.frame_bytes();
        let most = left.map_or(self.bytes.len(), |left| self.bytes.len().min(left as usize));
        let taken = most - most % frame;
        if taken > 0 {
            let samples = self.bytes[..taken]
                .chunks_exact(frame)
                .map(|frame| {
                    let values = frame.chunks_exact(format.kind.bytes()).map(|bytes| format.kind.value(bytes));
                    values.sum::<f32>() / f32::from(format.channels)
                })
                .collect();
            pieces.push(Piece { samples, rate_hz: format.rate_hz });
            self.bytes.drain(..taken);
        }
        let left = left.map(|left| left - taken as u64);
        let is_over = left.is_some_and(|left| left < frame as u64);
        self.state = if is_over { State::Behind } else { State::Samples(format, left) };
        is_over && !self.bytes.is_empty()
    }

    /// What begins where a wav should.
    fn found(&self) -> String {
        match self.bytes.get(..4).unwrap_or_default() {
            b"OggS" => "Ogg".into(),
            b"fLaC" => "FLAC".into(),
            [b'I', b'D', b'3', _] | [0xff, 0xe0..=0xff, ..] => "MP3 or AAC".into(),
            [b'{' | b'<' | b'[', ..] => "text".into(),
            _ => "raw PCM".into(),
        }
    }
}

fn read_format(chunk: &[u8]) -> Result<PcmFormat, String> {
    let word = |at: usize| chunk.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]])).unwrap_or_default();
    // The extensible format names its code in front of a GUID.
    let code = if word(0) == 0xfffe { word(24) } else { word(0) };
    let rate_hz = u32::from(word(4)) | (u32::from(word(6)) << 16);
    let kind = match (code, word(14)) {
        (1, 8) => SampleKind::U8,
        (1, 16) => SampleKind::S16,
        (1, 24) => SampleKind::S24,
        (1, 32) => SampleKind::S32,
        (3, 32) => SampleKind::F32,
        (code, bits) => return Err(format!("a wav of code {code} with {bits} bits")),
    };
    let format = PcmFormat { rate_hz, channels: word(2), kind };
    if format.is_plausible() {
        return Ok(format);
    }
    Err(format!("a wav of {} channels at {rate_hz} Hz", format.channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(code: u16, channels: u16, bits: u16, claimed: u32, samples: &[u8]) -> Vec<u8> {
        let mut bytes = b"RIFF\xff\xff\xff\xffWAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        bytes.extend(code.to_le_bytes());
        bytes.extend(channels.to_le_bytes());
        bytes.extend(22_050_u32.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(bits.to_le_bytes());
        bytes.extend(b"data");
        bytes.extend(claimed.to_le_bytes());
        bytes.extend(samples);
        bytes
    }

    fn decode(told: Option<PcmFormat>, bytes: &[u8], step: usize) -> Result<(Vec<f32>, u32), String> {
        let mut decoder = Decoder::new(told);
        let (mut samples, mut rate_hz) = (Vec::new(), 0);
        for bytes in bytes.chunks(step) {
            for piece in decoder.push(bytes)? {
                rate_hz = piece.rate_hz;
                samples.extend(piece.samples);
            }
        }
        decoder.finish()?;
        Ok((samples, rate_hz))
    }

    #[test]
    fn a_wav_in_pieces_of_any_size_gives_its_samples_at_its_rate() {
        for step in [1, 2, 3, 7, 44, 4096] {
            for (code, bits, bytes) in [
                (1, 8, &[192, 64][..]),
                (1, 16, &[0, 64, 0, 192]),
                (1, 24, &[0, 0, 64, 0, 0, 192]),
                (1, 32, &[0, 0, 0, 64, 0, 0, 0, 192]),
                (3, 32, &[0, 0, 0, 63, 0, 0, 0, 191]),
            ] {
                // Lengths that are true, unknown, and those that streaming programs write.
                for claimed in [bytes.len() as u32, 0, u32::MAX, 0x7fff_ffff, 0x7fff_f000] {
                    let found = decode(None, &wav(code, 1, bits, claimed, bytes), step);
                    assert_eq!(found, Ok((vec![0.5, -0.5], 22_050)), "{bits} bits by {step}, {claimed} claimed");
                }
            }
        }
    }

    #[test]
    fn channels_are_mixed_and_what_follows_the_samples_is_no_audio() {
        let mut bytes = wav(1, 2, 16, 8, &[0, 64, 0, 0, 0, 192, 0, 0]);
        bytes.extend(b"LIST\x04\0\0\0tags");
        assert_eq!(decode(None, &bytes, 5), Ok((vec![0.25, -0.25], 22_050)));
        // A server may send one wav after another.
        let two = [wav(1, 1, 16, 2, &[0, 64]), wav(1, 1, 16, 2, &[0, 192])].concat();
        assert_eq!(decode(None, &two, 3), Ok((vec![0.5, -0.5], 22_050)));
    }

    #[test]
    fn raw_pcm_needs_a_format_and_other_content_is_named() {
        let raw = [0, 64, 0, 192];
        assert_eq!(decode(Some(PcmFormat::mono(24_000)), &raw, 1), Ok((vec![0.5, -0.5], 24_000)));
        assert_eq!(decode(None, &raw, 4), Err("raw PCM without a rate".into()));
        assert_eq!(decode(None, b"ID3\x04 and so on....", 4096), Err("MP3 or AAC without a rate".into()));
        assert!(decode(None, &wav(85, 1, 16, 0, &[]), 4096).is_err_and(|found| found.contains("code 85")));
        assert!(decode(None, b"RIFF", 4096).is_err());
    }
}
