//! Grants that mean nothing are refused when a plugin is loaded, not at its first request.
//!
//! Not here: what a grant allows (each capability knows).

use std::collections::BTreeMap;

use super::http::OriginPattern;
use crate::spec::{Grants, Secret};

/// What of the machine can be granted.
const AREAS: [&str; 7] = ["cpu", "memory", "disk", "network", "process", "sensors", "host"];

/// What is wrong, and how to write it.
pub(crate) fn check(grants: &Grants, secrets: &BTreeMap<String, Secret>) -> Result<(), (String, String)> {
    let origins = grants.http.iter().map(|text| ("`grants.http`".to_owned(), text));
    let of_secrets = secrets.iter().flat_map(|(name, secret)| {
        secret.origins.iter().map(move |text| (format!("`for` of the secret `{name}`"), text))
    });
    for (place, text) in origins.chain(of_secrets) {
        OriginPattern::parse(text).map_err(|why| {
            let help = "an origin is `https://host`, `https://host:port` or `https://*.host`; paths are not granted one by one";
            (format!("in {place}: {why}"), help.to_owned())
        })?;
    }
    if let Some(area) = grants.system.iter().find(|area| !AREAS.contains(&area.as_str())) {
        return Err((
            format!("in `grants.system`: there is no area `{area}`"),
            format!("there are {}", AREAS.join(", ")),
        ));
    }
    if let Some(address) = grants.mail.iter().find(|address| *address != "*" && !address.contains('@')) {
        let help = "write an address, `*@` and a domain, or `*` for any";
        return Err((format!("in `grants.mail`: `{address}` is no mail address"), help.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_wrongly_is_named_with_its_place() {
        let none = Grants::default();
        let with = |change: fn(&mut Grants)| {
            let mut grants = none.clone();
            change(&mut grants);
            check(&grants, &BTreeMap::new()).map_err(|(reason, help)| format!("{reason}; {help}"))
        };
        assert_eq!(with(|_| ()), Ok(()));
        assert_eq!(with(|g| g.http = vec!["https://*.example.com".into(), "http://127.0.0.1:9000".into()]), Ok(()));
        assert_eq!(with(|g| g.system = AREAS.map(str::to_owned).to_vec()), Ok(()));
        assert_eq!(with(|g| g.mail = vec!["*".into(), "*@example.com".into()]), Ok(()));
        assert!(with(|g| g.http = vec!["api.github.com".into()]).is_err_and(|e| e.contains("grants.http")));
        assert!(with(|g| g.system = vec!["cpus".into()]).is_err_and(|e| e.contains("`cpus`") && e.contains("sensors")));
        assert!(with(|g| g.mail = vec!["example.com".into()]).is_err_and(|e| e.contains("grants.mail")));
        let secret = Secret { value: "v".into(), origins: vec!["nowhere".into()] };
        let (reason, _) = check(&none, &BTreeMap::from([("token".into(), secret)])).expect_err("no origin");
        assert!(reason.contains("secret `token`") && !reason.contains("\"v\""), "{reason}");
    }
}
