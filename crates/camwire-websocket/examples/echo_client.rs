//! Lets the fuzzing server of the Autobahn test suite try all of its cases on it:
//!
//!     cargo run --release -p camwire-websocket --example echo_client -- ws://127.0.0.1:9001

mod echo;

use std::error::Error;

use camwire_websocket::{Client, Event, Uri, WebSocket};
use echo::{LIMITS, Memory, PATIENCE, Reader, Writer};
use tokio::net::TcpStream;
use tokio::time::timeout;

type Socket<'m> = WebSocket<'m, Reader, Writer, Client, fn() -> [u8; 4]>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9001".to_owned());
    let server = server.trim_end_matches('/');
    let mut memory: Box<Memory> = Box::new([0; _]);

    let mut socket = connect(&format!("{server}/getCaseCount"), &mut memory).await?;
    let mut count = Vec::new();
    while let Some(event) = socket.receive().await? {
        if let Event::Data(data) = event {
            count.extend_from_slice(data.bytes);
        }
    }
    echo::hang_up(socket.into_parts()).await;
    let count: u32 = str::from_utf8(&count)?.trim().parse()?;

    for case in 1..=count {
        let uri = format!("{server}/runCase?case={case}&agent=camwire");
        let mut socket = connect(&uri, &mut memory).await?;
        match echo::echo(&mut socket).await {
            Ok(()) => println!("case {case} of {count}"),
            Err(error) => println!("case {case} of {count}: {error}"),
        }
        echo::hang_up(socket.into_parts()).await;
    }

    let uri = format!("{server}/updateReports?agent=camwire");
    let mut socket = connect(&uri, &mut memory).await?;
    echo::echo(&mut socket).await?;
    echo::hang_up(socket.into_parts()).await;
    Ok(())
}

async fn connect<'m>(uri: &str, memory: &'m mut Memory) -> Result<Socket<'m>, Box<dyn Error>> {
    let uri = Uri::parse(uri)?;
    let stream = TcpStream::connect((uri.host, uri.port)).await?;
    let (reader, writer) = echo::halves(stream)?;
    let keys: fn() -> [u8; 4] = || {
        let mut key = [0; 4];
        getrandom::fill(&mut key).expect("the system has random numbers");
        key
    };
    let request = uri.request();
    let connected = WebSocket::connect(reader, writer, memory, LIMITS, &request, keys);
    let (socket, _) = timeout(PATIENCE, connected).await??;
    Ok(socket)
}
