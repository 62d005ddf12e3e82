//! The keys of the file as they are written, and the checks that make a [`Config`] of them. `[[group]]` is in
//! [`super::group`].

use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::fault::Fault;
use super::group::GroupText;
use super::{
    Config, CredentialFiles, DEFAULT_CONTROL_SOCKET, DEFAULT_KEYS, DEFAULT_STATE, GroupConfig, Ports,
    misplaced,
};

/// A parser of configurations whose relative paths begin at `directory`.
pub(super) const fn parse(directory: &Path) -> Parser<'_> {
    Parser { directory }
}

/// See [`parse`].
pub(super) struct Parser<'a> {
    directory: &'a Path,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    interface: Option<String>,
    port: Option<u16>,
    control_port: Option<Spanned<u16>>,
    data_port: Option<Spanned<u16>>,
    control_socket: Option<PathBuf>,
    state: Option<Spanned<PathBuf>>,
    keys: Option<Spanned<PathBuf>>,
    credentials: CredentialsText,
    #[serde(default)]
    group: Vec<GroupText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsText {
    certificate: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

impl Parser<'_> {
    /// Reads the text and checks every value.
    pub(super) fn checked(&self, text: &str) -> Result<Config, Fault> {
        misplaced::find(text)?;
        let file: FileText = toml::from_str(text)?;
        let socket = file.control_socket.as_deref().unwrap_or_else(|| Path::new(DEFAULT_CONTROL_SOCKET));
        Ok(Config {
            interface: file.interface.clone(),
            ports: file.ports()?,
            control_socket: self.directory.join(socket),
            state: self.place(file.state.as_ref(), DEFAULT_STATE),
            keys: self.keys_apart(&file)?,
            credentials: CredentialFiles {
                certificate: self.directory.join(&file.credentials.certificate),
                key: self.directory.join(&file.credentials.key),
                ca: self.directory.join(&file.credentials.ca),
            },
            groups: file.groups()?,
        })
    }

    fn place(&self, path: Option<&Spanned<PathBuf>>, default: &str) -> PathBuf {
        plain(&self.directory.join(path.map_or_else(|| Path::new(default), |path| path.get_ref().as_path())))
    }

    /// The directory of the keys. One inside the other would put keys into every backup of the state, or the state under
    /// the mode of the keys.
    fn keys_apart(&self, file: &FileText) -> Result<PathBuf, Fault> {
        let state = self.place(file.state.as_ref(), DEFAULT_STATE);
        let keys = self.place(file.keys.as_ref(), DEFAULT_KEYS);
        if !keys.starts_with(&state) && !state.starts_with(&keys) {
            return Ok(keys);
        }
        let what = format!(
            "keys ({}) and state ({}) must be two directories, neither inside the other: \
             whoever has a copy of the state must not have its keys",
            keys.display(),
            state.display(),
        );
        Err(Fault::new(file.keys.as_ref().or(file.state.as_ref()).map_or(0..0, Spanned::span), what))
    }
}

impl FileText {
    fn ports(&self) -> Result<Ports, Fault> {
        let default = Ports::default();
        let port = |key, text: &Option<Spanned<u16>>| within(key, text.as_ref(), 1..=u16::MAX);
        let ports = Ports {
            registrar: self.port.unwrap_or(default.registrar),
            control: port("control_port", &self.control_port)?.unwrap_or(default.control),
            data: port("data_port", &self.data_port)?.unwrap_or(default.data),
        };
        if ports.control == ports.data {
            let span = self.data_port.as_ref().or(self.control_port.as_ref()).map_or(0..0, Spanned::span);
            let what = format!("control_port and data_port are both {}: they must differ", ports.data);
            return Err(Fault::new(span, what));
        }
        Ok(ports)
    }

    fn groups(&self) -> Result<Vec<GroupConfig>, Fault> {
        let mut groups: Vec<GroupConfig> = Vec::new();
        for text in &self.group {
            let group = text.checked()?;
            if groups.iter().any(|other| other.name == group.name) {
                let what = format!("there is a group {:?} above already", group.name);
                return Err(Fault::new(text.name.span(), what));
            }
            groups.push(group);
        }
        if groups.is_empty() {
            return Err(Fault::new(0..0, "there is no group: write [[group]] and below it name = \"NAME\""));
        }
        Ok(groups)
    }
}

/// A path without `.` and `..`, by its words alone: nothing is looked up.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// A number in its range.
pub(super) fn within<T: Copy + PartialOrd + std::fmt::Display>(
    key: &str,
    text: Option<&Spanned<T>>,
    range: RangeInclusive<T>,
) -> Result<Option<T>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let value = *text.get_ref();
    if range.contains(&value) {
        return Ok(Some(value));
    }
    let what = format!("{key} = {value} is not between {} and {}", range.start(), range.end());
    Err(Fault::new(text.span(), what))
}
