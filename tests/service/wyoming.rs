//! The Wyoming server, by our own client and by the `wyoming` package.

use syrinx::tts::{Manner, SourceChoice};

use crate::support::*;

fn samples(server: &Server, text: &str, manner: Manner) -> syrinx::Result<(usize, u32)> {
    let source = format!("wyoming={}", server.wyoming.as_deref().expect("an address"));
    let said = say(&server.runtime, &source, text, manner)?;
    Ok((said.samples.len(), said.sample_rate_hz))
}

#[test]
fn speech_is_brought_to_the_voices_own_pitch() {
    let (server, _folder) = Server::with_joe(&["--wyoming", "127.0.0.1:0"]);
    let source = format!("wyoming={}", server.wyoming.as_deref().expect("an address"));
    // espeak-ng's usual voice is not joe's.
    let said = say(&server.runtime, "espeak-ng", TEXT, Manner::default()).expect("speech");
    assert!(semitones(JOES_HZ, pitch_hz(&said)).abs() > 1.0, "{} Hz", pitch_hz(&said));
    for _ in 0..2 {
        let heard = say(&server.runtime, &source, TEXT, Manner::default()).expect("speech");
        assert!(semitones(JOES_HZ, pitch_hz(&heard)).abs() < 1.2, "{} Hz", pitch_hz(&heard));
    }
}

#[test]
fn a_wyoming_client_hears_the_stores_voices() {
    let (server, _folder, _) = Server::with_voice(&["--wyoming", "127.0.0.1:0"]);
    let source = format!("wyoming={}", server.wyoming.as_deref().expect("an address"));
    let source = SourceChoice { source, ..SourceChoice::default() }.open().expect("a source");
    let voices = server.runtime.block_on(source.voices()).expect("voices");
    assert!(voices.len() == 1 && voices[0].name == "small" && voices[0].languages.len() > 50, "{voices:?}");
    for voice in [None, Some("small".to_owned())] {
        let (count, rate_hz) = samples(&server, TEXT, Manner { voice, ..Manner::default() }).expect("speech");
        let seconds = count as f64 / f64::from(rate_hz);
        assert!(rate_hz == 32_000 && (2.5..8.0).contains(&seconds), "{seconds} s at {rate_hz} Hz");
    }
    let manner = Manner { voice: Some("nobody".into()), ..Manner::default() };
    let error = samples(&server, "Hi.", manner).expect_err("no voice").to_string();
    assert!(error.contains("voice `nobody` not found"), "{error}");
}

#[test]
fn the_wyoming_package_speaks_to_it_whole_and_in_chunks() {
    let (server, _folder, _) = Server::with_voice(&["--wyoming", "127.0.0.1:0"]);
    let python = std::env::var("SYRINX_TTS_PYTHON").expect("SYRINX_TTS_PYTHON: see `make service-packages`");
    let script = "import asyncio, sys
from wyoming.client import AsyncTcpClient
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize, SynthesizeStart, SynthesizeChunk, SynthesizeStop, SynthesizeStopped

async def main():
    host, port = sys.argv[1].rsplit(':', 1)
    async with AsyncTcpClient(host, int(port)) as client:
        await client.write_event(Describe().event())
        info = Info.from_event(await client.read_event())
        assert info.tts[0].voices[0].name == 'small' and info.tts[0].supports_synthesize_streaming
        await client.write_event(Synthesize(text='Birds sing.').event())
        assert await listen(client, AudioStop) > 20000
        await client.write_event(SynthesizeStart().event())
        for word in ['Birds ', 'sing. ', 'We ', 'listen.']:
            await client.write_event(SynthesizeChunk(text=word).event())
        await client.write_event(SynthesizeStop().event())
        assert await listen(client, SynthesizeStopped) > 40000

async def listen(client, last):
    count = 0
    while True:
        event = await client.read_event()
        if AudioStart.is_type(event.type):
            assert AudioStart.from_event(event).rate == 32000
        if AudioChunk.is_type(event.type):
            count += len(AudioChunk.from_event(event).audio)
        if last.is_type(event.type):
            return count

asyncio.run(main())
";
    let mut run = std::process::Command::new(format!("{python}/bin/python"));
    run.args(["-c", script, server.wyoming.as_deref().expect("an address")]);
    assert!(run.status().expect("Python").success());
}

#[test]
fn it_listens_to_this_machine_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = assert_cmd::Command::from_std(command(folder.path(), &["--wyoming", "0.0.0.0:0"]));
    command.assert().code(64).stderr(predicates::str::contains("--wyoming: expected an address of this machine only"));
}
