//! `conclave pki`: an authority for those who have none.

use std::fs;
use std::path::Path;
use std::time::Duration;

use conclave::{Authority, Identity, IssueRequest, KeyKind, ShownCertificate, read_certificates};
use crypto::Roles;
use serde_json::json;

use crate::cli::{Pki, PkiRole};
use crate::failure::Failure;
use crate::output::{self, Output};

const DAY: u64 = 24 * 3_600;

/// Carries out one of its commands.
pub(crate) fn run(request: &Pki, output: Output) -> Result<(), Failure> {
    match request {
        Pki::Init { directory, name, days } => init(directory, name, *days, output),
        Pki::Issue { identity, role, ca, out, days } => {
            let roles = Roles {
                member: role.contains(&PkiRole::Member),
                manager: role.contains(&PkiRole::Manager),
                maa: false,
            };
            issue(identity, roles, (ca, out), *days, output)
        }
        Pki::Show { file } => show(file, output),
    }
}

fn init(directory: &Path, name: &str, days: u32, output: Output) -> Result<(), Failure> {
    let authority = Authority::create(name, KeyKind::default(), lifetime(days)).map_err(Failure::because)?;
    authority.save(directory).map_err(Failure::because)?;
    let (certificate, key) = (directory.join("ca-cert.pem"), directory.join("ca-key.pem"));
    if output.json {
        return Output::json(&json!({ "certificate": certificate, "key": key }));
    }
    output::line(&format!("authority {name:?}: {} goes to every node", certificate.display()))?;
    output::line(&format!("its key {} goes to none: whoever has it makes members", key.display()))
}

fn issue(
    identity: &Identity,
    roles: Roles,
    (ca, out): (&Path, &Path),
    days: u32,
    output: Output,
) -> Result<(), Failure> {
    let authority = Authority::load(ca).map_err(Failure::because)?;
    let request = IssueRequest::new(identity.clone(), roles, lifetime(days));
    let issued = authority.issue(&request).map_err(Failure::because)?;
    fs::create_dir_all(out)
        .map_err(|error| Failure::Failed(format!("cannot make {}: {error}", out.display())))?;
    let ca = beside(&authority, out)?;
    let (certificate, key) = issued.save(out, &stem(identity)).map_err(Failure::because)?;
    if output.json {
        return Output::json(&json!({ "certificate": certificate, "key": key, "ca": ca }));
    }
    output::line("[credentials]")?;
    for (name, path) in [("certificate", &certificate), ("key", &key), ("ca", &ca)] {
        output::line(&format!("{name} = {:?}", path.display().to_string()))?;
    }
    Ok(())
}

fn show(file: &Path, output: Output) -> Result<(), Failure> {
    for certificate in read_certificates(file).map_err(Failure::because)? {
        show_one(&certificate, output)?;
    }
    Ok(())
}

fn show_one(certificate: &ShownCertificate, output: Output) -> Result<(), Failure> {
    let fingerprint: String = certificate.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    let (identities, roles) = match &certificate.node {
        Some(facts) => (facts.all_identities.clone(), role_words(facts.roles)),
        None => (Vec::new(), Vec::new()),
    };
    if output.json {
        return Output::json(&json!({
            "name": certificate.name,
            "identities": identities,
            "roles": roles,
            "not_before": certificate.not_before,
            "not_after": certificate.not_after,
            "fingerprint": fingerprint,
        }));
    }
    match &certificate.node {
        Some(_) => {
            let roles = if roles.is_empty() { "none".to_owned() } else { roles.join(", ") };
            output::line(&format!("identity     {}", identities.join(", ")))?;
            output::line(&format!("roles        {roles}"))?;
        }
        None => output::line(&format!("authority    {}", certificate.name))?,
    }
    output::line(&format!(
        "valid        {} to {}",
        date(certificate.not_before),
        date(certificate.not_after)
    ))?;
    output::line(&format!("fingerprint  {fingerprint}"))
}

fn role_words(roles: Roles) -> Vec<&'static str> {
    let held = [("member", roles.member), ("manager", roles.manager), ("maa", roles.maa)];
    held.into_iter().filter(|(_, held)| *held).map(|(word, _)| word).collect()
}

/// The authority's certificate beside what it issued, so that one directory is all a node needs.
fn beside(authority: &Authority, out: &Path) -> Result<std::path::PathBuf, Failure> {
    let path = out.join("ca-cert.pem");
    let pem = authority.certificate_pem().map_err(Failure::because)?;
    let cannot = |error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(there) if there == pem => {}
        Ok(_) => {
            let text = format!("{} is another authority's and is not overwritten", path.display());
            return Err(Failure::Failed(text));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::write(&path, pem).map_err(cannot)?;
        }
        Err(error) => return Err(cannot(error)),
    }
    Ok(path)
}

/// An identity as part of a file's name.
fn stem(identity: &Identity) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_@".contains(letter);
    let stem: String =
        identity.as_str().chars().map(|letter| if plain(letter) { letter } else { '_' }).collect();
    stem.trim_start_matches('.').to_owned()
}

fn lifetime(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * DAY)
}

/// Seconds since 1970 as a date and time in UTC.
fn date(seconds: i64) -> String {
    match u64::try_from(seconds) {
        Ok(since) => {
            let time = std::time::UNIX_EPOCH + Duration::from_secs(since);
            humantime::format_rfc3339_seconds(time).to_string()
        }
        Err(_) => "before 1970".to_owned(),
    }
}
