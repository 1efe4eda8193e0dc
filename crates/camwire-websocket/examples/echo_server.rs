//! Sends back every message that it gets, as the Autobahn test suite wants of a server:
//!
//!     cargo run --release -p camwire-websocket --example echo_server -- 127.0.0.1:9001

mod echo;

use std::error::Error;
use std::io::{self, Write};

use camwire_websocket::WebSocket;
use echo::{LIMITS, Memory, PATIENCE, Reader, Writer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    io::stdout().flush()?;
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = serve(stream).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn serve(stream: TcpStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut halves = echo::halves(stream)?;
    let result = talk(&mut halves).await;
    echo::hang_up(halves).await;
    result
}

async fn talk((reader, writer): &mut (Reader, Writer)) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut memory: Box<Memory> = Box::new([0; _]);
    // Everybody may connect. A server of anything but echoes looks at `origin` and `host` here.
    let accepted = WebSocket::accept(reader, writer, &mut memory, LIMITS, &[], |_| Ok(()));
    let (mut socket, _) = timeout(PATIENCE, accepted).await??;
    Ok(echo::echo(&mut socket).await?)
}
