//! Joins a group and sends it what comes on stdin, a line at a time.
//!
//! `cargo run --example send -- GROUP INTERFACE CERTIFICATE KEY CA`

use std::error::Error;
use std::path::Path;

use conclave::{Credentials, Group, GroupOptions, Host, HostOptions, Interface, Threads};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [group, interface, certificate, key, ca] = &arguments[..] else {
        return Err("usage: send GROUP INTERFACE CERTIFICATE KEY CA".into());
    };
    let options = HostOptions {
        credentials: Credentials::load(Path::new(certificate), Path::new(key), Path::new(ca))?,
        interface: Interface::resolve(interface)?,
        port: 0,
        control_port: 0,
        data_port: 0,
    };
    let threads = Threads::start()?;
    let host = Host::open(&threads, options).await?;
    let mut group = Group::start(&host, GroupOptions::named(group)).await?;
    eprintln!("joined at {}", group.joined().await?.manager);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        group.send(line.as_bytes()).await?;
    }
    group.leave().await;
    Ok(())
}
