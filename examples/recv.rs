//! Joins a group and prints what others send to it, a line for each message.
//!
//! `cargo run --example recv -- GROUP INTERFACE CERTIFICATE KEY CA`

use std::error::Error;
use std::path::Path;

use conclave::{Credentials, Group, GroupOptions, Host, HostOptions, Interface, Threads};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [group, interface, certificate, key, ca] = &arguments[..] else {
        return Err("usage: recv GROUP INTERFACE CERTIFICATE KEY CA".into());
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
    while let Some(message) = group.recv().await {
        println!("{} {}", message.sender, String::from_utf8_lossy(&message.payload));
    }
    Ok(())
}
