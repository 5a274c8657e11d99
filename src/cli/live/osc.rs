//! OSC: commands by UDP.
//!
//! | address | arguments | does |
//! |---|---|---|
//! | `/syrinx/SETTING` | a number | sets it |
//! | `/syrinx/SETTING/step` | a number | moves it by so much |
//! | `/syrinx/SWITCH` | a number or truth value; none turns it over | sets it: from 0.5 on it is on |
//! | `/syrinx/slot` | a number from 1 | changes the voice |
//! | `/syrinx/slot/N` | none, or a number: a button's 0 when it is let go does nothing | changes the voice |
//!
//! SETTING is one of [`Setting`]'s names, SWITCH one of [`Switch`]'s. Time tags of bundles are not waited for.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::Sender;
use rosc::decoder::{MTU, decode_udp};
use rosc::{OscMessage, OscPacket, OscType};

use super::remote::Order;
use crate::error::{Error, Result};
use crate::live::{Command, Setting, Switch};

/// How long the thread waits for a message before it looks whether it shall end.
const PATIENCE: Duration = Duration::from_millis(100);

/// A socket that is listened to. Dropping it ends that.
pub struct OscReceiver {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl OscReceiver {
    /// Listens at `address`; port 0 takes any that is free.
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub fn start(address: SocketAddr, orders: Sender<Order>) -> Result<Self> {
        let of_address = |error| Error::io(format!("--osc {address}"), error);
        let socket = UdpSocket::bind(address).map_err(of_address)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(of_address)?;
        let address = socket.local_addr().map_err(of_address)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("osc".into());
        let thread = thread.spawn(move || listen(&socket, &orders, &stopped)).map_err(of_address)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OscReceiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It waits for no longer than its patience.
            let _ = thread.join();
        }
    }
}

fn listen(socket: &UdpSocket, orders: &Sender<Order>, stop: &AtomicBool) {
    // One byte more than a packet may have tells those that have more.
    let mut packet = [0; MTU + 1];
    while !stop.load(Ordering::Relaxed) {
        // Time-outs, and refusals by those whom nothing was sent.
        let Ok((length, sender)) = socket.recv_from(&mut packet) else { continue };
        for order in decode(&packet[..length]) {
            let order = order.map_err(|problem| format!("OSC from {sender}: {problem}"));
            // While many wait, this waits too, and the system drops what does not fit into the socket.
            while let Err(error) = orders.send_timeout(order.clone(), PATIENCE) {
                if stop.load(Ordering::Relaxed) || error.is_disconnected() {
                    return;
                }
            }
        }
    }
}

/// What a packet orders.
///
/// Bundles nest, and are read by recursion: that packets are short bounds its depth.
fn decode(packet: &[u8]) -> Vec<Order> {
    if packet.len() > MTU {
        return vec![Err(format!("a packet of more than {MTU} bytes"))];
    }
    let mut orders = Vec::new();
    match decode_udp(packet) {
        Ok((_, packet)) => read(packet, &mut orders),
        Err(error) => orders.push(Err(error.to_string())),
    }
    orders
}

fn read(packet: OscPacket, orders: &mut Vec<Order>) {
    match packet {
        OscPacket::Message(message) => orders.extend(order(&message).transpose()),
        OscPacket::Bundle(bundle) => bundle.content.into_iter().for_each(|packet| read(packet, orders)),
    }
}

/// What a message orders: nothing, for a button that is let go.
fn order(message: &OscMessage) -> std::result::Result<Option<Command>, String> {
    let unknown = || format!("`{}` is no address of Syrinx", printable(&message.addr));
    let path = message.addr.strip_prefix("/syrinx/").ok_or_else(unknown)?;
    let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let needed = || argument(message)?.ok_or_else(|| format!("`{}` needs a number", message.addr));
    let command = match (Setting::named(name), Switch::named(name), rest) {
        (Some(setting), _, None) => Command::Set(setting, needed()?),
        (Some(setting), _, Some("step")) => Command::Step(setting, needed()?),
        (_, Some(switch), None) => match argument(message)? {
            Some(value) => Command::Switch(switch, value >= 0.5),
            None => Command::Toggle(switch),
        },
        (None, None, None) if name == "slot" => Command::Slot(needed()?.round() as usize),
        (None, None, Some(number)) if name == "slot" => {
            let number = number.parse().map_err(|_| unknown())?;
            if argument(message)?.is_some_and(|pressed| pressed < 0.5) {
                return Ok(None);
            }
            Command::Slot(number)
        }
        _ => return Err(unknown()),
    };
    Ok(Some(command))
}

/// The one number of a message, if it has any.
fn argument(message: &OscMessage) -> std::result::Result<Option<f32>, String> {
    match message.args.as_slice() {
        [] => Ok(None),
        [OscType::Float(value)] => Ok(Some(*value)),
        [OscType::Double(value)] => Ok(Some(*value as f32)),
        [OscType::Int(value)] => Ok(Some(*value as f32)),
        [OscType::Long(value)] => Ok(Some(*value as f32)),
        [OscType::Bool(value)] => Ok(Some(f32::from(u8::from(*value)))),
        _ => Err(format!("`{}` has arguments that are not one number", message.addr)),
    }
}

/// An address as it may be shown on a terminal.
fn printable(address: &str) -> String {
    address.chars().take(60).map(|char| if char.is_control() { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use rosc::{OscBundle, OscTime, encoder};

    use super::*;

    fn message(addr: &str, args: Vec<OscType>) -> OscPacket {
        OscPacket::Message(OscMessage { addr: addr.into(), args })
    }

    fn orders(packet: &OscPacket) -> Vec<Order> {
        decode(&encoder::encode(packet).expect("a packet"))
    }

    #[test]
    fn addresses_and_arguments_become_commands() {
        for (addr, args, command) in [
            ("/syrinx/transpose", vec![OscType::Float(-12.0)], Command::Set(Setting::Transpose, -12.0)),
            ("/syrinx/transpose/step", vec![OscType::Int(1)], Command::Step(Setting::Transpose, 1.0)),
            ("/syrinx/rms-mix-rate", vec![OscType::Double(0.25)], Command::Set(Setting::RmsMixRate, 0.25)),
            ("/syrinx/mix", vec![OscType::Long(1)], Command::Set(Setting::Mix, 1.0)),
            ("/syrinx/bypass", vec![OscType::Bool(true)], Command::Switch(Switch::Bypass, true)),
            ("/syrinx/mute", vec![OscType::Float(0.0)], Command::Switch(Switch::Mute, false)),
            ("/syrinx/mute", vec![], Command::Toggle(Switch::Mute)),
            ("/syrinx/slot", vec![OscType::Float(2.0)], Command::Slot(2)),
            ("/syrinx/slot/3", vec![OscType::Float(1.0)], Command::Slot(3)),
            ("/syrinx/slot/3", vec![], Command::Slot(3)),
        ] {
            assert_eq!(orders(&message(addr, args)), [Ok(command)], "{addr}");
        }
        assert_eq!(orders(&message("/syrinx/slot/3", vec![OscType::Float(0.0)])), [], "a button let go");
    }

    #[test]
    fn a_bundle_is_all_its_messages_in_order() {
        let timetag = OscTime { seconds: 0, fractional: 1 };
        let inner = OscPacket::Bundle(OscBundle { timetag, content: vec![message("/syrinx/mute", vec![])] });
        let content = vec![message("/syrinx/slot/2", vec![]), inner, message("/elsewhere", vec![])];
        let found = orders(&OscPacket::Bundle(OscBundle { timetag, content }));
        assert_eq!(found[..2], [Ok(Command::Slot(2)), Ok(Command::Toggle(Switch::Mute))]);
        assert!(found[2].as_ref().is_err_and(|problem| problem.contains("`/elsewhere` is no address")), "{found:?}");
    }

    #[test]
    fn what_makes_no_sense_is_told_and_nothing_else() {
        for (addr, args) in [
            ("/syrinx/transpose", vec![]),
            ("/syrinx/transpose", vec![OscType::String("high".into())]),
            ("/syrinx/mix", vec![OscType::Float(0.5), OscType::Float(0.5)]),
            ("/syrinx/mix/step/step", vec![OscType::Float(0.5)]),
            ("/syrinx/slot/two", vec![]),
            ("/syrinx", vec![]),
            ("/syrinx/quit\u{1b}[2J", vec![]),
        ] {
            let found = orders(&message(addr, args));
            assert!(matches!(found.as_slice(), [Err(problem)] if !problem.contains('\u{1b}')), "{addr}: {found:?}");
        }
    }

    #[test]
    fn no_bytes_harm_the_decoder() {
        // Bundles in bundles, as deep as a packet can hold them.
        let mut deep = encoder::encode(&message("/syrinx/mute", vec![])).expect("a packet");
        while deep.len() + 20 <= MTU {
            let length = u32::try_from(deep.len()).expect("a short packet").to_be_bytes();
            deep = [&b"#bundle\0\0\0\0\0\0\0\0\x01"[..], &length, &deep].concat();
        }
        assert_eq!(decode(&deep), [Ok(Command::Toggle(Switch::Mute))]);
        assert!(decode(&[0; MTU + 1])[0].is_err());
        let mut random = 1_u32;
        for start in [&b""[..], b"/", b"#bundle\0", b"/syrinx/mix\0,f\0\0", b"/syrinx/mix\0,[[b]]\0"] {
            for length in 0..200 {
                let noise = std::iter::repeat_with(|| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 24) as u8
                });
                let packet: Vec<u8> = start.iter().copied().chain(noise.take(length)).collect();
                assert!(decode(&packet).len() <= packet.len().max(1));
            }
        }
    }
}
