use super::*;
use crate::capabilities::http::error::code;

fn secrets() -> Secrets {
    let secret = |value: &str, origins: &[&str]| Secret {
        value: value.to_owned(),
        origins: origins.iter().map(|o| (*o).to_owned()).collect(),
    };
    Secrets::new(&BTreeMap::from([
        ("token".to_owned(), secret("s3cr3t/a b&c", &["https://api.example.com"])),
        ("any".to_owned(), secret("everywhere", &[])),
        ("hook".to_owned(), secret("https://hooks.example.com/T0/B0", &["https://hooks.example.com"])),
    ]))
    .expect("secrets")
}

fn grants() -> Vec<OriginPattern> {
    ["https://api.example.com", "https://hooks.example.com", "https://other.example.com"]
        .map(|text| OriginPattern::parse(text).expect("grant"))
        .to_vec()
}

fn url(template: &str) -> Result<String, (&'static str, String)> {
    secrets()
        .fill_url(&grants(), template)
        .map(|target| target.url.to_string())
        .map_err(|error| (error.code, error.message))
}

#[test]
fn a_placeholder_in_a_url_becomes_its_value_encoded_for_its_place() {
    assert_eq!(
        url("https://api.example.com/v1/{{secret.token}}?q=1").as_deref(),
        Ok("https://api.example.com/v1/s3cr3t/a%20b&c?q=1")
    );
    assert_eq!(
        url("https://api.example.com/?key={{secret.token}}&x").as_deref(),
        Ok("https://api.example.com/?key=s3cr3t/a%20b%26c&x")
    );
}

#[test]
fn a_url_that_is_a_secret_goes_where_the_secret_says_if_that_is_granted() {
    assert_eq!(url("{{secret.hook}}/x").as_deref(), Ok("https://hooks.example.com/T0/B0/x"));
    assert_eq!(
        url("{{secret.hook}}.evil.example/x").map_err(|e| e.0).as_deref(),
        Ok("https://hooks.example.com/T0/B0.evil.example/x")
    );
}

#[test]
fn a_secret_never_decides_where_a_request_goes() {
    for template in
        ["https://{{secret.any}}/", "https://{{secret.any}}.example.com/", "{{secret.any}}://api.example.com/"]
    {
        let error = url(template).expect_err(template);
        assert!([code::DENIED, code::INVALID].contains(&error.0), "{error:?}");
    }
    assert_eq!(url("https://api.example.com:{{secret.any}}/").expect_err("port").0, code::INVALID);
    assert_eq!(url("https://{{secret.any}}@api.example.com/").expect_err("user").0, code::INVALID);
}

#[test]
fn a_secret_goes_only_where_it_is_granted() {
    let error = url("https://other.example.com/{{secret.token}}").expect_err("not for this origin");
    assert_eq!(
        error,
        (
            code::DENIED,
            "secret `token` is not granted for `https://other.example.com`; add it to the secret's `for`".into()
        )
    );
    assert!(url("https://other.example.com/{{secret.any}}").is_ok(), "no `for` means every granted origin");
    assert_eq!(url("https://evil.example/{{secret.any}}").expect_err("not granted").0, code::DENIED);
    let api = Origin::of(&Url::parse("https://api.example.com").expect("url")).expect("origin");
    let other = Origin::of(&Url::parse("https://other.example.com").expect("url")).expect("origin");
    assert_eq!(secrets().fill(b"Bearer {{secret.token}}", &api).as_deref(), Ok(b"Bearer s3cr3t/a b&c".as_slice()));
    assert_eq!(secrets().fill(b"Bearer {{secret.token}}", &other).expect_err("withheld").code, code::DENIED);
    assert!(secrets().withheld_from(b"{{secret.token}}", &other));
}

#[test]
fn an_unknown_secret_is_named_and_other_braces_are_left_alone() {
    let api = Origin::of(&Url::parse("https://api.example.com").expect("url")).expect("origin");
    assert!(secrets().fill(b"{{secret.nope}}", &api).expect_err("unknown").message.contains("`nope`"));
    for text in ["{{secret.}}", "{{secret.token", "{{secret.token}", "{{ other }}", "{{secret.a b}}", "{{secret."] {
        assert_eq!(secrets().fill(text.as_bytes(), &api).expect("text"), text.as_bytes(), "{text}");
    }
}

#[test]
fn values_are_not_filled_in_twice() {
    let api = Origin::of(&Url::parse("https://api.example.com").expect("url")).expect("origin");
    let nested = Secrets::new(&BTreeMap::from([
        ("a".to_owned(), Secret { value: "{{secret.b}}".into(), origins: vec![] }),
        ("b".to_owned(), Secret { value: "bbbbbbbb".into(), origins: vec!["https://other.example.com".into()] }),
    ]))
    .expect("secrets");
    assert_eq!(nested.fill(b"{{secret.a}}", &api).as_deref(), Ok(b"{{secret.b}}".as_slice()));
}

#[test]
fn a_redirect_that_carries_a_secret_elsewhere_is_seen() {
    let s = secrets();
    let target = |text: &str| {
        let url = Url::parse(text).expect("url");
        let origin = Origin::of(&url).expect("origin");
        s.leaks(&url, &origin)
    };
    assert!(
        target("https://other.example.com/?k=s3cr3t%2Fa%20b%26c")
            || target("https://other.example.com/?k=s3cr3t/a%20b%26c")
    );
    assert!(!target("https://api.example.com/?k=s3cr3t/a%20b%26c"));
    assert!(!target("https://other.example.com/?k=nothing"));
}

#[test]
fn text_for_people_carries_no_value_in_any_form() {
    let s = secrets();
    assert_eq!(s.redact("cannot reach s3cr3t/a b&c or s3cr3t/a%20b%26c"), "cannot reach [redacted] or [redacted]");
    assert!(!format!("{s:?}").contains("s3cr3t"));
}

#[test]
fn an_echo_is_taken_out_of_an_answer_however_it_is_cut() {
    let body = b"one everywhere two s3cr3t/a b&c three every";
    for cut in 0..body.len() {
        let mut echoes = secrets().echoes();
        let mut out = echoes.push(&body[..cut]);
        out.extend(echoes.push(&body[cut..]));
        out.extend(echoes.finish());
        assert_eq!(String::from_utf8_lossy(&out), "one [redacted] two [redacted] three every", "cut at {cut}");
    }
}
