//! How much of a reply the system holds for a client that does not take it.
//!
//! Left to itself it holds megabytes, and tells that there is room again only when a third of
//! them are gone. A client that reads slowly, but reads, would look for a minute like one that
//! reads nothing, and would be cut.

use std::io;
use std::os::fd::AsRawFd as _;

use tokio::net::TcpStream;

/// What may wait to be sent, in bytes; what is on its way comes on top, which the client's own
/// window bounds. There is room again at half of it: at [`super::wire`]'s slowest pace that takes
/// eight seconds.
const UNSENT_BYTES_MAX: libc::c_int = 16 << 10;

/// Bounds it for one client, as `TCP_NOTSENT_LOWAT` does (tcp(7)).
///
/// # Errors
/// When the socket refuses it: it is closed already.
pub(super) fn bound(socket: &TcpStream) -> io::Result<()> {
    let (bytes, length) = (UNSENT_BYTES_MAX, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the kernel reads so many bytes from a number that lives through the call.
    let code = unsafe {
        let value = std::ptr::from_ref(&bytes).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, value, length)
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn little_is_held_for_a_client_and_what_it_reads_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        bound(&socket).unwrap();
        let mut held = 0;
        let piece = [b'x'; 4096];
        while let Ok(written) = socket.try_write(&piece) {
            held += written;
        }
        // The client's window on this machine is the larger part of it.
        assert!(held < 1 << 20, "{held} bytes are held for a client that reads nothing");
        client.read_exact(&mut vec![0; held / 4 * 3]).await.unwrap();
        // Would wait for ever if what it read made no room.
        socket.writable().await.unwrap();
        socket.write_all(&piece).await.unwrap();
    }
}
