//! The contract's text.

use std::path::Path;

use wit_parser::Resolve;

#[test]
fn the_contract_is_valid_and_documented() {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/0.1.0");
    let (package, _) = resolve.push_dir(&folder).expect("wit/0.1.0 is valid WIT");
    let package = &resolve.packages[package];
    assert_eq!(package.name.to_string(), "belfry:plugin@0.1.0");
    let interfaces: Vec<&str> = package.interfaces.keys().map(String::as_str).collect();
    for kind in ["plugin", "collector", "metric-source", "alert-handler", "report-handler", "report-section"] {
        assert!(interfaces.contains(&kind), "{kind} in {interfaces:?}");
    }
    for world in package.worlds.values() {
        let exports = &resolve.worlds[*world].exports;
        assert!(!exports.is_empty(), "world {} exports nothing", resolve.worlds[*world].name);
    }
}

#[test]
fn every_fallible_call_answers_the_one_error_record() {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/0.1.0");
    resolve.push_dir(&folder).expect("wit/0.1.0 is valid WIT");
    for (_, interface) in resolve.interfaces.iter() {
        for function in interface.functions.values() {
            let Some(wit_parser::Type::Id(id)) = function.result else { continue };
            let wit_parser::TypeDefKind::Result(result) = &resolve.types[id].kind else { continue };
            let Some(wit_parser::Type::Id(error)) = result.err else { panic!("{} has no error type", function.name) };
            assert_eq!(resolve.types[error].name.as_deref(), Some("error"), "{}", function.name);
        }
    }
}
