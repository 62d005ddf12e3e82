//! Commands that change something.

use crate::cli::Setting;
use crate::client::Client;
use crate::control::{Evict, Evicted, HandOver, HandedOver, Rekeyed, Settings};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::spoken;

pub(super) async fn evict(client: &Client, output: Output, identity: String) -> Result<(), Failure> {
    let done: Evicted = client.post("/v1/evict", &Evict { identity }).await?;
    if output.json {
        return Output::json(&done);
    }
    let epoch = done.state.epoch;
    output::line(&format!("evicted {}: it reads nothing sent under epoch {epoch} or later", done.identity))
}

pub(super) async fn handover(client: &Client, output: Output, to: Option<String>) -> Result<(), Failure> {
    let done: HandedOver = client.post("/v1/handover", &HandOver { to }).await?;
    if output.json {
        return Output::json(&done);
    }
    output::line(&format!("{} manages {} now; this node is a member of it", done.identity, done.group))
}

pub(super) async fn rekey(client: &Client, output: Output) -> Result<(), Failure> {
    let done: Rekeyed = client.post("/v1/rekey", &serde_json::Value::Null).await?;
    if output.json {
        return Output::json(&done);
    }
    output::line(&format!(
        "epoch {}: {} in, {} out, {} keys in {} packets, {} bytes",
        done.state.epoch,
        done.joins,
        done.leaves,
        spoken::count(done.entries),
        done.packets,
        spoken::count(done.bytes),
    ))
}

pub(super) async fn set(client: &Client, output: Output, setting: Setting) -> Result<(), Failure> {
    let Setting::RekeyInterval(interval) = setting;
    let wanted = Settings { rekey_interval_seconds: interval.as_secs_f64() };
    let done: Settings = client.post("/v1/set", &wanted).await?;
    if output.json {
        return Output::json(&done);
    }
    output::line(&format!("rekey-interval = {}", spoken::exact(interval)))
}
