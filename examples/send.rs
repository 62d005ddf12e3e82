//! Joins a group and sends it what comes on stdin, a line at a time.
//!
//! `cargo run --example send -- GROUP HOST:PORT INTERFACE CERTIFICATE KEY CA`

use std::error::Error;
use std::path::Path;

use conclave::{Credentials, Group, Interface, JoinError, MemberOptions, Threads};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [group, manager, interface, certificate, key, ca] = &arguments[..] else {
        return Err("usage: send GROUP HOST:PORT INTERFACE CERTIFICATE KEY CA".into());
    };
    let options = MemberOptions {
        group: group.clone(),
        credentials: Credentials::load(Path::new(certificate), Path::new(key), Path::new(ca))?,
        gsm: tokio::net::lookup_host(manager).await?.collect(),
        interface: Interface::resolve(interface)?,
    };
    let threads = Threads::start()?;
    let mut group = Group::join(&threads, options)?;
    loop {
        match group.joined().await {
            Ok(place) => break eprintln!("joined at {}", place.manager),
            // It goes on trying by itself.
            Err(error @ JoinError::Unreachable { .. }) => eprintln!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        group.send(line.as_bytes()).await?;
    }
    group.leave().await;
    Ok(())
}
