//! The address policy against Python's: what it lets out must be global there too.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use rand::RngExt as _;
use tidegate::engine::egress::{IPV4_REFUSED, decide};

use super::{Dice, drive};

const PYTHON: &str = "
import ipaddress, sys
for line in sys.stdin:
    address = ipaddress.ip_address(line.strip())
    print(int(address.is_global and not address.is_multicast))
";

fn address(dice: &mut Dice) -> IpAddr {
    let v4 = Ipv4Addr::from(dice.0.random::<u32>());
    let v6: u128 = dice.0.random();
    match dice.below(8) {
        0..=2 => v4.into(),
        // Near an edge of a refused range.
        3 => {
            let range = dice.pick(IPV4_REFUSED).network;
            let IpAddr::V4(network) = range else { return v4.into() };
            Ipv4Addr::from(u32::from(network).wrapping_add(dice.below(5) as u32).wrapping_sub(2)).into()
        }
        4 => v4.to_ipv6_mapped().into(),
        5 => Ipv6Addr::from(0x2000 << 112 | v6 >> 3).into(),
        6 => Ipv6Addr::from(0x2002 << 112 | u128::from(u32::from(v4)) << 80 | v6 >> 48).into(),
        _ => Ipv6Addr::from(v6).into(),
    }
}

#[test]
fn what_policy_lets_out_is_global_for_python_too() {
    let mut addresses = Vec::new();
    drive("addresses", 5_000, |dice| addresses.push(address(dice)));
    let mut python = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let list: String = addresses.iter().map(|address| format!("{address}\n")).collect();
    let feed = std::thread::spawn(move || stdin.write_all(list.as_bytes()));
    let told = python.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let global: Vec<bool> = told.lines().map(|line| line == "1").collect();
    assert_eq!(global.len(), addresses.len());
    let mut let_out = 0;
    for (address, is_global) in addresses.iter().zip(global) {
        if decide(*address).is_ok() {
            assert!(is_global, "{address} is let out, and is not global");
            let_out += 1;
        }
    }
    assert!(let_out > addresses.len() / 5, "only {let_out} were let out: the control");
}
