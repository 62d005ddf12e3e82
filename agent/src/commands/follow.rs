//! Commands that print what comes, as it comes.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use serde_json::{Map, Value};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec, LinesCodec};
use tokio_util::io::StreamReader;

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, Output};

/// The longest line of JSON the daemon sends: a payload of control characters, escaped, and its frame.
const MAX_LINE: usize = 65_536;

pub(super) async fn events(client: &Client, output: Output, count: Option<u64>) -> Result<(), Failure> {
    let lines = client.stream("/v1/events").await?;
    each_line(
        lines,
        count,
        |line| {
            if output.json { output::line(line) } else { output::line(&readable(line)) }
        },
    )
    .await
}

pub(super) async fn recv(
    client: &Client,
    output: Output,
    count: Option<u64>,
    raw: bool,
) -> Result<(), Failure> {
    if output.json {
        let lines = client.stream("/v1/recv?json=true").await?;
        return each_line(lines, count, output::line).await;
    }
    let bytes = StreamReader::new(client.stream("/v1/recv").await?);
    let codec = LengthDelimitedCodec::builder().max_frame_length(data::MAX_PAYLOAD).new_codec();
    let frames = FramedRead::new(bytes, codec);
    each(frames, count, |payload: BytesMut| {
        if raw { output::bytes(&payload) } else { output::bytes(&[&payload[..], b"\n"].concat()) }
    })
    .await
}

async fn each_line(
    stream: impl Stream<Item = io::Result<Bytes>> + Unpin,
    count: Option<u64>,
    mut print: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let codec = LinesCodec::new_with_max_length(MAX_LINE);
    each(FramedRead::new(StreamReader::new(stream), codec), count, |line: String| print(&line)).await
}

/// Prints up to `count` items. A stream that ends by itself is the daemon's orderly end.
async fn each<T, E: std::fmt::Display>(
    mut items: impl Stream<Item = Result<T, E>> + Unpin,
    count: Option<u64>,
    mut print: impl FnMut(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        match items.next().await {
            Some(item) => print(item.map_err(Failure::because)?)?,
            None if count.is_none() => return Ok(()),
            None => return Err(Failure::Failed(format!("the daemon ended with {left} still to come"))),
        }
        left -= 1;
    }
    Ok(())
}

/// `14:07:31.250Z group.rekeyed epoch=4 hard=false`, from an event's JSON.
fn readable(line: &str) -> String {
    let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(line) else { return line.to_owned() };
    let event = fields.remove("event").map(|event| plain(&event)).unwrap_or_default();
    let time = fields.remove("time").and_then(|time| time.as_f64()).unwrap_or(0.0);
    let mut text = format!("{} {event}", time_of_day(time));
    for (name, value) in &fields {
        text.push_str(&format!(" {name}={}", plain(value)));
    }
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains(' ') => format!("{text:?}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Seconds since 1970 as the time of day in UTC.
fn time_of_day(seconds: f64) -> String {
    let millis = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_millis() % 86_400_000;
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}Z", millis / 1_000 % 60, millis % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_one_line_of_key_value() {
        let line = r#"{"event":"join.refused","time":50851.25,"identity":"eve","text":"no such role"}"#;
        assert_eq!(readable(line), "14:07:31.250Z join.refused identity=eve text=\"no such role\"");
    }
}
