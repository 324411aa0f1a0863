//! Tries what a workflow has no right to: files, the environment, standard input,
//! sockets, name lookup. The reply has one member for each attempt: `{"error": text}`
//! where the host refused, `{"got": text}` where it did not. The host must refuse all
//! that open or create something, show an empty environment, no arguments and an empty
//! standard input, and let the run go on.

use std::fmt::Debug;
use std::io::Read;

use serde_json::{Map, Value, json};
use tidegate_guest::bindings::wasi::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use tidegate_guest::bindings::wasi::sockets::{instance_network, ip_name_lookup, tcp_create_socket};
use tidegate_guest::bindings::wasi::sockets::{tcp, udp_create_socket};
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

fn handler(_request: Request, _settings: &mut Settings) -> Result<Value> {
    let mut tried = Map::new();
    let mut note = |name: &str, result: Result<String, String>| {
        tried.insert(
            name.to_owned(),
            result.map_or_else(|e| json!({ "error": e }), |got| json!({ "got": got })),
        );
    };
    note("read_file", told(std::fs::read_to_string("/etc/passwd")));
    note("read_relative_file", told(std::fs::read_to_string("../../../etc/passwd")));
    note("write_file", told(std::fs::write("/tmp/tidegate-guest", "x")));
    note("list_folder", told(std::fs::read_dir("/").map(Iterator::count)));
    note("make_folder", told(std::fs::create_dir("folder")));
    note("environment", Ok(format!("{:?}", std::env::vars().collect::<Vec<_>>())));
    note("arguments", Ok(format!("{:?}", std::env::args().collect::<Vec<_>>())));
    let mut input = Vec::new();
    note("stdin", told(std::io::stdin().read_to_end(&mut input)));
    note("tcp_socket", told(tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).map(|_| "a socket")));
    note("tcp_connect", told(connect()));
    note("tcp_listen", told(listen()));
    note("udp_socket", told(udp_create_socket::create_udp_socket(IpAddressFamily::Ipv4).map(|_| "a socket")));
    note("name_lookup", told(look_up()));
    Ok(tried.into())
}

fn told<T: Debug, E: Debug>(result: Result<T, E>) -> Result<String, String> {
    result.map(|got| format!("{got:?}")).map_err(|error| format!("{error:?}"))
}

fn loopback(port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) })
}

fn connect() -> Result<(), tcp::ErrorCode> {
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.start_connect(&instance_network::instance_network(), loopback(80))?;
    socket.subscribe().block();
    socket.finish_connect().map(|_| ())
}

fn listen() -> Result<(), tcp::ErrorCode> {
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.start_bind(&instance_network::instance_network(), loopback(0))?;
    socket.finish_bind()?;
    socket.start_listen()?;
    socket.finish_listen()
}

fn look_up() -> Result<Option<ip_name_lookup::IpAddress>, ip_name_lookup::ErrorCode> {
    let found = ip_name_lookup::resolve_addresses(&instance_network::instance_network(), "localhost")?;
    found.subscribe().block();
    found.resolve_next_address()
}
